"""SASL: the two forms, byte by byte."""

import base64

import pytest

from broker.client import ClientError, Token
from broker.integrations import sasl

# The example of RFC 7628 4.1, and that of Google's page on XOAUTH2.
RFC_7628 = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT\x01\x01"
XOAUTH2 = "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmT\x01\x01"


def response(token: str, user: str, mechanism: str, host: str = "", port: int = 0) -> str:
    """Return the response as it was before base64."""
    told = sasl.initial_response(Token({"access_token": token}), user, mechanism, host, port)
    return base64.b64decode(told, validate=True).decode()


def test_the_examples() -> None:
    """What the two documents show comes out."""
    assert response("vF9dft4qmT", "user@example.com", "oauthbearer", "server.example.com", 143) == RFC_7628
    assert response("ya29.vF9dft4qmT", "someuser@example.com", "xoauth2", "server.example.com", 143) == XOAUTH2


def test_oauthbearer_without_a_server() -> None:
    """Host and port are left out where nobody gave them; in the user a comma and an equals sign are escaped."""
    assert response("t", "a=d,a", "oauthbearer") == "n,a=a=3Dd=2Ca,\x01auth=Bearer t\x01\x01"


def test_a_long_response_is_one_line() -> None:
    """Base64 is not wrapped, however long the token is."""
    told = sasl.initial_response(Token({"access_token": "t" * 5000}), "ada", "xoauth2")

    assert "\n" not in told


@pytest.mark.parametrize("mechanism", sasl.MECHANISMS)
@pytest.mark.parametrize("bad", ["a\x01auth=Bearer x", "a\n", "a\r", "a\0", "a\udcff"])
def test_what_would_be_a_member_of_its_own(bad: str, mechanism: str) -> None:
    """Separator, CR, LF, NUL and what is no text are refused in user and host."""
    for user, host in ((bad, ""), ("ada", bad)):
        with pytest.raises(ClientError) as refused:
            response("t", user, mechanism, host)
        assert refused.value.exit_code == 2
