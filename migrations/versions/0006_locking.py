"""What a key that comes from a passphrase needs, and how often a wrong one was given.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no key of before came from a passphrase."""
    op.add_column("instance", sa.Column("kdf", sa.JSON(), nullable=True))
    op.add_column("instance", sa.Column("unlock_failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("unlock_failed_at", sa.Float(), nullable=False, server_default="0"))
