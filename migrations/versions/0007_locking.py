"""What the key of a passphrase needs, how often a wrong one was given, and the keys that sealed the audit before.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; no key of before came from a passphrase, and none was ever rotated."""
    op.add_column("instance", sa.Column("kdf", sa.JSON(), nullable=True))
    op.add_column("instance", sa.Column("unlock_failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("unlock_failed_at", sa.Float(), nullable=False, server_default="0"))
    op.create_table(
        "audit_key",
        sa.Column("until", sa.Integer(), primary_key=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
    )
