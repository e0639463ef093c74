"""Which ways to log in a provider offers, by what is known of its endpoints and grants."""

import pytest

from broker.core.login import Flow
from broker.providers.flows import offered
from broker.providers.model import TOKEN_EXCHANGE, Provider
from broker.providers.rules import Endpoints

AUTHORIZATION, TOKEN, DEVICE = "https://id.example/authorize", "https://id.example/token", "https://id.example/device"
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"


ALONE = ("client-credentials", "jwt-bearer", "token-exchange")


@pytest.mark.parametrize(
    ("endpoints", "grants", "flows"),
    [
        (Endpoints(AUTHORIZATION, TOKEN), (), ()),
        (Endpoints(token=TOKEN), (), ("client-credentials", "jwt-bearer")),
        (Endpoints(AUTHORIZATION, TOKEN), ("authorization_code",), ()),
        (Endpoints(AUTHORIZATION, TOKEN), ("authorization_code", "client_credentials"), ("client-credentials",)),
        (Endpoints(token=TOKEN, device_authorization=DEVICE), (ASSERTION,), ("jwt-bearer",)),
        (Endpoints(AUTHORIZATION, TOKEN), ("authorization_code", TOKEN_EXCHANGE), ("token-exchange",)),
        (Endpoints(), (), ()),
        (Endpoints(), ("client_credentials", ASSERTION, TOKEN_EXCHANGE), ()),
    ],
)
def test_what_needs_nobody_is_offered_where_a_grant_lets_it(
    endpoints: Endpoints, grants: tuple[str, ...], flows: tuple[Flow, ...]
) -> None:
    """Where it is announced, or, of a program, where nothing is and people cannot go anywhere; theirs come before."""
    found = offered(Provider(name="p", title="P", preset="generic", endpoints=endpoints, grants=grants))
    assert tuple(flow for flow in found if flow in ALONE) == flows
    if flows and "browser" in found:
        assert found.index("browser") < found.index(flows[0])
