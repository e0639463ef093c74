"""When an account is due, to be asked for with an index; whose it is, and which are derived from it.

Run by Alembic. SQLite computes the columns from the row whenever they are read, and keeps the indexes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

DUE = (
    "CASE WHEN renewal = 'refresh_token' AND refresh_generation IS NULL THEN NULL WHEN state = 'active' AND "
    "access_generation IS NULL THEN state_since WHEN state = 'active' THEN min(coalesce(max(expires_at - "
    "min(max(120.0, (expires_at - issued_at) * 0.2), (expires_at - issued_at) * 0.3333333333333333) - "
    "(((instr('0123456789abcdef', substr(uuid, 1, 1)) - 1) * 256 + (instr('0123456789abcdef', substr(uuid, 2, "
    "1)) - 1) * 16 + (instr('0123456789abcdef', substr(uuid, 3, 1)) - 1) * 1 + generation * 2531) % 4096 / "
    "4096.0) * min(60.0, (expires_at - issued_at) * 0.05), issued_at + 6.166666666666667), 9e999), "
    "coalesce(CASE WHEN renewal = 'refresh_token' AND (refresh_expires_at - last_refresh_at) >= 900.0 THEN "
    "refresh_expires_at - (refresh_expires_at - last_refresh_at) * 0.3333333333333333 END, 9e999)) WHEN state "
    "= 'refreshing-failed' THEN max(retry_at, throttled_until) WHEN state = 'uncertain' THEN max(retry_at, "
    "CASE WHEN access_generation IS NULL THEN 0.0 ELSE coalesce(expires_at, 0.0) END) END"
)
DUE_LATE = (
    "CASE WHEN renewal = 'refresh_token' AND refresh_generation IS NULL THEN NULL WHEN state = 'active' AND "
    "access_generation IS NULL THEN state_since WHEN state = 'active' THEN min(coalesce(max(expires_at - "
    "min(60.0, (expires_at - issued_at) * 0.3333333333333333) - (((instr('0123456789abcdef', substr(uuid, 1, "
    "1)) - 1) * 256 + (instr('0123456789abcdef', substr(uuid, 2, 1)) - 1) * 16 + (instr('0123456789abcdef', "
    "substr(uuid, 3, 1)) - 1) * 1 + generation * 2531) % 4096 / 4096.0) * min(60.0, (expires_at - issued_at) "
    "* 0.05), issued_at + 6.166666666666667), 9e999), coalesce(CASE WHEN renewal = 'refresh_token' AND "
    "(refresh_expires_at - last_refresh_at) >= 900.0 THEN refresh_expires_at - (refresh_expires_at - "
    "last_refresh_at) * 0.3333333333333333 END, 9e999)) WHEN state = 'refreshing-failed' THEN max(retry_at, "
    "throttled_until) WHEN state = 'uncertain' THEN max(retry_at, CASE WHEN access_generation IS NULL THEN "
    "0.0 ELSE coalesce(expires_at, 0.0) END) END"
)
IDLES = "state = 'active' AND renewal = 'refresh_token' AND refresh_generation IS NOT NULL"
DERIVED = "renewal = 'token_exchange'"


def upgrade() -> None:
    """Add the columns and the indexes."""
    op.add_column("account", sa.Column("due_at", sa.Float(), sa.Computed(DUE, persisted=False)))
    op.add_column("account", sa.Column("due_late_at", sa.Float(), sa.Computed(DUE_LATE, persisted=False)))
    op.drop_index("account_provider", "account")  # those that follow begin with the same column
    op.create_index("account_due", "account", ["provider", "due_at"])
    op.create_index("account_due_late", "account", ["provider", "due_late_at"])
    op.create_index("account_idle", "account", ["provider", "last_refresh_at"], sqlite_where=sa.text(IDLES))
    op.create_index("account_person", "account", ["identity_subject", "provider"])
    op.create_index("account_parent", "account", ["renewal_subject", "state"], sqlite_where=sa.text(DERIVED))
