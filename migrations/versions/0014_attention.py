"""What needs a person, and which counts still grow, to be asked for with an index.

Run by Alembic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NOTABLE = "state <> 'active'"
CALM = "state NOT IN ('needs-login', 'misconfigured', 'suspect', 'uncertain', 'refreshing-failed')"
ENDS = (
    "renewal = 'refresh_token' AND refresh_generation IS NULL"
    " AND access_generation IS NOT NULL AND expires_at IS NOT NULL"
)


def upgrade() -> None:
    """Add the indexes."""
    op.create_index("account_notable", "account", ["state", "name"], sqlite_where=sa.text(NOTABLE))
    op.create_index("account_calm", "account", ["name", "state"], sqlite_where=sa.text(CALM))
    op.create_index("account_ends", "account", ["expires_at"], sqlite_where=sa.text(ENDS))
    op.drop_index("audit_link", "audit")
    op.create_index("audit_link", "audit", ["link"], unique=True, sqlite_where=sa.text("link IS NOT NULL"))
    op.create_index("audit_growing", "audit", ["id"], sqlite_where=sa.text("link IS NULL AND hash IS NOT NULL"))
