"""git's credential protocol: what its lines mean, and what none of them may hold."""

import pytest

from broker.client import ClientError, Token
from broker.integrations import git
from broker.integrations.whose import Found

ASKED = "protocol=https\nhost=git.example.org\n"
CAPABLE = f"{ASKED}capability[]=authtype\n"


def token(**members: object) -> Token:
    """Return a token as the daemon hands it out."""
    return Token({"account": "work", "access_token": "tok-1", "expires_in": 59, **members})


def test_what_git_asks_about() -> None:
    """The lines become a place, a user name and a secret; what is not known is left out."""
    asked = git.Asked(f"{ASKED}path=org/repo.git\nusername=ada\npassword=a=b\nfuture=1\n\nhost=evil.example\n")

    assert asked.place is not None
    assert (str(asked.place), asked.place.path) == ("https://git.example.org", "org/repo.git")
    assert (asked.username, asked.secret, asked.bearer) == ("ada", "a=b", False)


@pytest.mark.parametrize("text", ["protocol=smtp\nhost=mail.example.org\n", "protocol=https\n", "protocol=cert\n", ""])
def test_what_is_no_host_on_the_web(text: str) -> None:
    """Of mail servers, certificates and URLs without a host nothing is known here."""
    assert git.Asked(text).place is None


@pytest.mark.parametrize("text", ["host=a\rhost=b\n", "host=a\0\n", "host\n", "path=a\r\n", "na\x1bme=\r\n"])
def test_lines_that_cannot_be(text: str) -> None:
    """CR and NUL could be a line of their own to somebody else: refused, not cleaned."""
    with pytest.raises(ClientError) as refused:
        git.Asked(text)

    assert refused.value.exit_code == 2
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize(
    ("text", "bearer"),
    [
        (ASKED, False),
        (CAPABLE, True),
        (f"{CAPABLE}wwwauth[]=Basic realm=x\n", False),
        (f"{CAPABLE}wwwauth[]=Basic realm=x\nwwwauth[]=bearer\n", True),
        (f"{CAPABLE}wwwauth[]=Basic realm=x\nwwwauth[]=\n", True),
        (f"{ASKED}wwwauth[]=Bearer\n", False),
    ],
)
def test_a_bearer_token_where_it_is_understood(text: str, *, bearer: bool) -> None:
    """Only a git that can send it, and never to a server that says it takes passwords only."""
    assert git.Asked(text).bearer is bearer


def test_lines_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """User name, token, and the second at which git is to forget them."""
    monkeypatch.setattr("time.time", lambda: 1000.9)

    told = git.lines(git.Asked(ASKED), Found("work"), token())

    assert told == ["username=oauth2", "password=tok-1", "password_expiry_utc=1059"]


def test_lines_for_a_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capability comes first, and git is told not to keep the token."""
    monkeypatch.setattr("time.time", lambda: 1000.9)

    told = git.lines(git.Asked(CAPABLE), Found("work"), token())

    assert told == [
        "capability[]=authtype",
        "authtype=Bearer",
        "credential=tok-1",
        "ephemeral=1",
        "password_expiry_utc=1059",
    ]


def test_a_token_without_an_end() -> None:
    """Where nobody knows when it ends, nothing is made up."""
    told = git.lines(git.Asked(ASKED), Found("work"), token(expires_in=None))

    assert told == ["username=oauth2", "password=tok-1"]


@pytest.mark.parametrize("username", ["a\nhost=evil", "a\r", "a\0"])
def test_a_user_name_that_would_be_a_line(username: str) -> None:
    """Whatever a provider's description says, it stays within its line."""
    with pytest.raises(ClientError):
        git.lines(git.Asked(ASKED), Found("work", username), token())
