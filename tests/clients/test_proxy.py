"""curl, as it comes, uses an API through the proxy: over the end of a token, and up to a readable refusal."""

import json
from pathlib import Path

import pytest

from tests.clients.conftest import Program
from tests.clients.room import Room
from tests.e2e.home import Done


class Agent:
    """A program with a key for the proxy only.

    Attributes:
        room: the home.
        program: curl.
        url: where the API is, as ``keyfob proxy-url`` prints it.
        head: a file with the header that shows the key.
    """

    def __init__(self, room: Room, curl: str) -> None:
        self.room, self.program = room, curl
        room.serve()
        key = room.home.run("app", "add", "agent", "--account", "me", "--proxy-only", "--read-only").out.strip()
        self.url = room.home.run("proxy-url", "me").out.strip()
        self.head: Path = room.home.place / "agent.head"
        self.head.write_text(f"Authorization: Bearer {key}\n")
        self.head.chmod(0o600)

    def curl(self, path: str, *more: str) -> Done:
        """Ask the API as the program does."""
        return self.room.run(self.program, "-sS", "-H", f"@{self.head}", *more, f"{self.url}{path}")


@pytest.fixture
def agent(room: Room, program: Program) -> Agent:
    """Log in, and make such a program."""
    return Agent(room, program("curl", "curl"))


def test_over_the_end_of_a_token(agent: Agent) -> None:
    """The API is used before and after a token's end, and the program has seen neither of them."""
    first = agent.room.home.token()
    before = agent.curl("userinfo")
    agent.room.outlive(first)
    after = agent.curl("userinfo")

    assert json.loads(before.out)["sub"] == json.loads(after.out)["sub"]
    assert agent.room.home.token() != first
    assert agent.room.practice.worth(agent.room.home.token()) is not None


def test_what_it_may_not(agent: Agent) -> None:
    """Neither the token, nor more than to read, nor another path: it is told so in words."""
    post = agent.curl("userinfo", "-X", "POST")
    up = agent.curl("a/../../v1/accounts/me/token", "--path-as-is")
    token = agent.room.run(
        agent.program, "-sS", "-H", f"@{agent.head}", agent.url.replace("/proxy/me/", "/v1/accounts/me/token")
    )

    assert json.loads(post.out)["rule"] == "read-only"
    assert json.loads(up.out)["code"] == "invalid_request"
    assert "through the proxy only" in json.loads(token.out)["detail"]


def test_where_the_login_ended(agent: Agent) -> None:
    """The program's person reads what happened and what helps."""
    agent.room.end_login()
    done = agent.curl("userinfo", "--fail-with-body")

    assert done.code == 22
    assert "keyfob login me" in json.loads(done.out)["detail"]
