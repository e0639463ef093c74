"""What authenticates apps, their grants, and the plain columns of clients and logins.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; they are filled when the key is first at hand, which it is not here."""
    op.add_column("app", sa.Column("epoch", sa.Integer(), nullable=True))
    op.add_column("app", sa.Column("listed", sa.JSON(), nullable=True))
    op.add_column("app", sa.Column("seal", sa.LargeBinary(), nullable=True))
    op.add_column("client", sa.Column("binding", sa.LargeBinary(), nullable=True))
    op.add_column("login", sa.Column("binding", sa.LargeBinary(), nullable=True))
    op.create_table(
        "app_register",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("apps", sa.JSON(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
