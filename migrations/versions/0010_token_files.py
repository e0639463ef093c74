"""Which grants have a token kept in a file.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no grant of before has one, which leaves their digests as they are."""
    op.add_column("app_grant", sa.Column("token_file", sa.String(), nullable=True))
