"""When an account is due whose client was refused: that is tried again.

Run by Alembic. SQLite cannot change what it computes a column from, so both columns are made anew with their indexes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
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
    "CASE WHEN access_generation IS NULL THEN 0.0 ELSE coalesce(expires_at, 0.0) END) WHEN state = "
    "'misconfigured' THEN max(retry_at, CASE WHEN lost_at > 0.0 THEN CASE WHEN access_generation IS NULL THEN "
    "0.0 ELSE coalesce(expires_at, 0.0) END ELSE 0.0 END) END"
)
DUE_LATE = (
    "CASE WHEN renewal = 'refresh_token' AND refresh_generation IS NULL THEN NULL WHEN state = 'active' AND "
    "access_generation IS NULL THEN state_since WHEN state = 'active' THEN min(coalesce(max(expires_at - "
    "min(60.0, (expires_at - issued_at) * 0.3333333333333333) - (((instr('0123456789abcdef', substr(uuid, 1, "
    "1)) - 1) * 256 + (instr('0123456789abcdef', substr(uuid, 2, 1)) - 1) * 16 + (instr('0123456789abcdef', "
    "substr(uuid, 3, 1)) - 1) * 1 + generation * 2531) % 4096 / 4096.0) * min(60.0, (expires_at - issued_at) *"
    " 0.05), issued_at + 6.166666666666667), 9e999), coalesce(CASE WHEN renewal = 'refresh_token' AND "
    "(refresh_expires_at - last_refresh_at) >= 900.0 THEN refresh_expires_at - (refresh_expires_at - "
    "last_refresh_at) * 0.3333333333333333 END, 9e999)) WHEN state = 'refreshing-failed' THEN max(retry_at, "
    "throttled_until) WHEN state = 'uncertain' THEN max(retry_at, CASE WHEN access_generation IS NULL THEN 0.0"
    " ELSE coalesce(expires_at, 0.0) END) WHEN state = 'misconfigured' THEN max(retry_at, CASE WHEN lost_at > "
    "0.0 THEN CASE WHEN access_generation IS NULL THEN 0.0 ELSE coalesce(expires_at, 0.0) END ELSE 0.0 END) "
    "END"
)


def upgrade() -> None:
    """Make the columns anew, and be careful with the accounts that are in that state by now."""
    for name, how in (("due", DUE), ("due_late", DUE_LATE)):
        op.drop_index(f"account_{name}", "account")
        op.drop_column("account", f"{name}_at")
        op.add_column("account", sa.Column(f"{name}_at", sa.Float(), sa.Computed(how, persisted=False)))
        op.create_index(f"account_{name}", "account", ["provider", f"{name}_at"])
    # Nobody knows any more whether an answer was lost before. So none is asked for before its token is over.
    op.execute("UPDATE account SET lost_at = state_since, attempts = 1 WHERE state = 'misconfigured'")
