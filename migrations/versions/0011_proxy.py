"""Where an account's API is, and which requests an app may send there.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nobody has set any of it before."""
    op.add_column("account", sa.Column("api_base", sa.String(), nullable=True))
    op.add_column("app_grant", sa.Column("rules", sa.JSON(), nullable=True))
