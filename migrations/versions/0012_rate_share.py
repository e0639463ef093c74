"""How much of a rate limit an app may use.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nobody had a share before."""
    op.add_column("app_grant", sa.Column("rate_share", sa.Integer(), nullable=True))
