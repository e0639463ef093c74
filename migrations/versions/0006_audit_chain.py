"""A chain through the audit, which shows what was changed behind Keyfob's back.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEPT = "id, at, action, account_uuid, account, app, detail, generation, first, count"


def upgrade() -> None:
    """Make the table anew, since a hand-out series may have more than one row now; old entries stay without a seal."""
    op.create_table(
        "audit_0006",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("account_uuid", sa.String()),
        sa.Column("account", sa.String()),
        sa.Column("app", sa.String()),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer()),
        sa.Column("first", sa.Float()),
        sa.Column("count", sa.Integer()),
        sa.Column("link", sa.Integer()),
        sa.Column("hash", sa.LargeBinary()),
        sa.Column("late", sa.Boolean(), nullable=False, server_default="0"),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO audit_0006 ({KEPT}) SELECT {KEPT} FROM audit ORDER BY id")  # noqa: S608 -- our own names
    op.drop_table("audit")
    op.rename_table("audit_0006", "audit")
    op.create_index("audit_at", "audit", ["at"])
    op.create_index("audit_account", "audit", ["account_uuid"])
    op.create_index("audit_link", "audit", ["link"], unique=True)
    op.create_index("audit_unlinked", "audit", ["account_uuid", "app"], sqlite_where=sa.text("link IS NULL"))
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("old", sa.Integer(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
