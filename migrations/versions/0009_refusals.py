"""What the owner refused an app for good.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; nobody was ever asked before."""
    op.create_table(
        "refusal",
        sa.Column("app", sa.String(), sa.ForeignKey("app.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("account", sa.String(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
    )
