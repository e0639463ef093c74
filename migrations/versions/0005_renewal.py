"""How each account gets its next token: by a refresh token, or without one.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; every account of before has or had a refresh token, or is static."""
    for name, default in (("renewal", "refresh_token"), ("renewal_subject", ""), ("renewal_audience", "")):
        op.add_column("account", sa.Column(name, sa.String(), nullable=False, server_default=default))
