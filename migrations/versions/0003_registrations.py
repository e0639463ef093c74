"""What Keyfob registered for itself, what manages that, and when an issuer was last asked about itself.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of clients of before nobody knows what was registered, and every issuer is asked anew."""
    op.add_column("client", sa.Column("redirect_uris", sa.JSON(), nullable=True))
    op.add_column("client", sa.Column("scope", sa.JSON(), nullable=True))
    op.add_column("client", sa.Column("secret_expires_at", sa.Float(), nullable=True))
    op.add_column("client", sa.Column("registration_uri", sa.String(), nullable=True))
    op.add_column("provider", sa.Column("discovered_at", sa.Float(), nullable=False, server_default="0"))
