"""Tokens that carry less than the account's, and which one a refresh that was begun is for.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column; a refresh that was open before was for the account's own token."""
    op.add_column("refresh_intent", sa.Column("wish", sa.JSON(), nullable=True))
    op.create_table(
        "derived_token",
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("token_type", sa.String(), nullable=False),
        sa.Column("scope", sa.JSON(), nullable=False),
        sa.Column("issued_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["account.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("slot"),
    )
    op.create_index("derived_token_account", "derived_token", ["account"], unique=False)
