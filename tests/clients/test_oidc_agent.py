"""Clients of oidc-agent, unmodified, at Keyfob's socket: Debian's oidc-token, and liboidcagent of Python programs."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.clients.conftest import Program
from tests.clients.program import FOREIGN, PROGRAMS
from tests.clients.room import Room
from tests.e2e.home import Done

# Longer than the pieces in which both clients read, and than most tokens.
LONG = 20_000


@dataclass(frozen=True, slots=True)
class Client:
    """One of the clients.

    Attributes:
        ask: asks for the token of an account, or of an issuer.
        token_in: takes the token out of what it printed.
        no_agent: what it says where nobody listens.
    """

    ask: Callable[[str], Done]
    token_in: Callable[[str], str]
    no_agent: str

    def token(self, account: str = "me") -> str:
        """Return the token, which it has to get."""
        done = self.ask(account)
        assert (done.code, done.err) == (0, ""), done
        return self.token_in(done.out)

    def fails(self, account: str = "me") -> str:
        """Return what it says to its person; it has to fail, and soon."""
        began = time.monotonic()
        done = self.ask(account)
        assert (done.code, done.out) == (1, ""), done
        assert time.monotonic() - began < 5
        return done.err


@pytest.fixture(params=["oidc-token", "liboidcagent"])
def client(request: pytest.FixtureRequest, room: Room, program: Program) -> Iterator[Client]:
    """Return a client that finds the socket where everybody's programs do."""
    sock = str(room.home.runtime / "oidc.sock")
    if request.param == "oidc-token":
        oidc_token = program("oidc-token", "oidc-agent-cli")
        yield Client(
            lambda whose: room.run(oidc_token, whose, OIDC_SOCK=sock),
            lambda out: out.removesuffix("\n"),
            "Error: did not receive any response",
        )
    else:
        if not FOREIGN.exists():
            pytest.fail(f"There is no {FOREIGN}. Run: make test-clients")
        command = (FOREIGN, "-I", PROGRAMS / "with_liboidcagent.py")
        yield Client(
            lambda whose: room.run(*command, whose, OIDC_SOCK=sock),
            lambda out: str(json.loads(out)["token"]),
            "OidcAgentConnectError: Could not connect to oidc-agent",
        )


def test_an_expiry_in_the_middle(room: Room, client: Client) -> None:
    """The client gets the token that everybody gets, and the next one when that has ended."""
    room.serve()
    first = client.token()
    assert first == room.home.token()
    assert room.practice.worth(first) is not None
    room.outlive(first)

    second = client.token()

    assert second != first
    assert room.practice.worth(second) is not None


def test_a_login_that_is_needed(room: Room, client: Client) -> None:
    """The client's own error says in words what happened, and names the command and the page."""
    room.serve()
    room.end_login()

    said = client.fails()

    assert "Log in: keyfob login me - or in a browser: http://127.0.0.1:" in said
    assert "\n" in said.strip()


def test_what_else_a_person_is_told(room: Room, client: Client) -> None:
    """An account that is not there, a lock, a daemon that is not running: each in a sentence, and nothing hangs."""
    daemon = room.home.serve()
    assert "No account configured with that short name\nNo account is called 'me'. Log in first: keyfob login me" in (
        client.fails()
    )
    room.log_in("me")
    assert room.home.run("lock").code == 0
    assert "Keyfob is locked. It was locked by its owner.\nUnlock it: keyfob unlock" in client.fails()
    assert room.home.run("unlock").code == 0
    assert client.token() == room.home.token()
    daemon.kill()  # the socket's file stays

    assert client.no_agent in client.fails()

    room.home.serve().stop()  # and is gone
    assert client.no_agent in client.fails()


def test_a_long_token(room: Room, client: Client) -> None:
    """A token of many kilobytes arrives whole."""
    room.home.serve()
    plain = {"authorization_endpoint": f"{room.practice.url}/authorize", "token_endpoint": f"{room.practice.url}/token"}
    long = "".join(chr(65 + number % 26) for number in range(LONG))
    with room.home.door() as door:
        assert door.post("/v1/providers", json={"name": "plain", "client_id": "keyfob", **plain}).status_code == 201
        login = {"account": "me", "provider": "plain", "flow": "token", "access_token": long}
        assert door.post("/v1/logins", json=login).status_code == 201

    assert client.token() == long
