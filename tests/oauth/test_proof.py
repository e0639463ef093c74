"""How a client says who it is: what stands in the header and what in the body (security.md R19)."""

from base64 import b64encode
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from broker.core.secret import Secret
from broker.errors import Misconfigured
from tests.oauth.loopback import Loopback, headers_of, http
from tests.oauth.test_wire import GOOD, PUBLIC, refresh


def test_basic_is_form_encoded_before_base64(server: Loopback) -> None:
    """Odd ids and secrets survive (RFC 6749 2.3.1), and the body then holds neither (R19)."""
    server.default = http("200 OK", GOOD)
    client = replace(PUBLIC, client_id="odd id:+%", auth_method="client_secret_basic")
    refresh(server, client=client, secret=Secret("s:é &"))
    expected = b64encode(b"odd+id%3A%2B%25:s%3A%C3%A9+%26").decode()
    assert headers_of(server.head())["authorization"] == f"Basic {expected}"
    assert "client" not in server.form()


def test_post_puts_the_secret_into_the_body_only(server: Loopback) -> None:
    """Never both (R19)."""
    server.default = http("200 OK", GOOD)
    refresh(server, client=replace(PUBLIC, auth_method="client_secret_post"), secret=Secret("s s"))
    assert dict(parse_qsl(server.form()))["client_secret"] == "s s"
    assert "authorization" not in headers_of(server.head())


def test_a_client_without_a_secret_may_have_to_say_so_by_basic(server: Loopback) -> None:
    """Its id, form-encoded, and nothing after the colon (RFC 6749 2.3.1); the body then names no client."""
    server.default = http("200 OK", GOOD)
    refresh(server, client=replace(PUBLIC, client_id="odd id:+%", auth_method="client_id_basic"))
    assert headers_of(server.head())["authorization"] == f"Basic {b64encode(b'odd+id%3A%2B%25:').decode()}"
    assert "client" not in server.form()


def test_an_authentication_that_is_not_known_asks_nobody(server: Loopback) -> None:
    """Without a way to authenticate nothing is sent, and the reason says what to do."""
    with pytest.raises(Misconfigured, match="private_key_jwt"):
        refresh(server, client=replace(PUBLIC, auth_method="tls_client_auth"), secret=Secret("s"))
    assert not server.requests


def test_an_empty_secret_is_not_sent_in_place_of_one(server: Loopback) -> None:
    """A client that has a secret after all is not taken for one without."""
    with pytest.raises(Misconfigured, match="client_id_basic"):
        refresh(server, client=replace(PUBLIC, auth_method="client_id_basic"), secret=Secret("s"))
    assert not server.requests
