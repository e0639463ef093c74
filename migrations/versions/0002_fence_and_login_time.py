"""What tells a copy of the database from the one in use, when each login was made, and that a provider was not changed.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a database of before has no line yet, so it is not taken for a copy."""
    op.add_column("instance", sa.Column("sequence", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("line", sa.String(), nullable=True))
    op.add_column("account", sa.Column("logged_in_at", sa.Float(), nullable=True))
    op.add_column("provider", sa.Column("binding", sa.LargeBinary(), nullable=True))
