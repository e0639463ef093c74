"""Which ways to log in a provider offers, by what is known of its endpoints and grants."""

import pytest

from broker.core.login import Flow
from broker.providers.flows import first_offered, offered
from broker.providers.model import TOKEN_EXCHANGE, Provider
from broker.providers.rules import DeviceRules, Endpoints

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


@pytest.mark.parametrize(
    ("grants", "by_hand", "flows"),
    [
        ((), "https://id.example/tokens", ("token", "refresh-token")),
        (("authorization_code", "refresh_token"), "", ("refresh-token",)),
        (("authorization_code",), "https://id.example/tokens", ("token",)),
        (("authorization_code",), "", ()),
    ],
)
def test_what_a_person_brings_is_named_where_there_is_such_a_thing(
    grants: tuple[str, ...], by_hand: str, flows: tuple[Flow, ...]
) -> None:
    """A token where there is a page to make one, a refresh token where the provider gives any."""
    ends = Endpoints(AUTHORIZATION, TOKEN)
    provider = Provider(name="p", title="P", preset="generic", endpoints=ends, grants=grants, static_token_url=by_hand)
    assert offered(provider) == ("browser", "paste", *flows)


def test_a_device_that_wants_its_own_client_is_taken_only_when_it_is_named() -> None:
    """Over SSH the way that works with the client that people have goes first."""
    ends = Endpoints(AUTHORIZATION, TOKEN, device_authorization=DEVICE)
    for own, first in ((True, "paste"), (False, "device")):
        provider = Provider("p", "P", "generic", endpoints=ends, device=DeviceRules(own_client=own))
        assert first_offered(provider, "device", "paste") == first
        assert first_offered(provider, "device") == "device"
