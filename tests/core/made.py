"""An account to begin with, as the tests of this room change it."""

from broker.core.account import Account, Active, Destination
from broker.core.token import Token

NOW = 1_800_000_000.0
HOUR = 3600.0
ACCOUNT = Account(
    uuid="u-1",
    name="me",
    provider="example",
    destination=Destination("https://id.example.org", "https://id.example.org/token", "client-1"),
    version=1,
    generation=1,
    identity=None,
    asked_scope=(),
    resource=None,
    state=Active(NOW),
    token=Token("Bearer", (), NOW, NOW + HOUR),
    has_refresh_token=True,
    refresh_expires_at=None,
    created_at=NOW,
)
