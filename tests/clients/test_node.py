"""Node's own fetch, which sends one of the headers that browsers send, asks for a token."""

import json

from tests.clients.conftest import Program
from tests.clients.room import Room

# Where there is no token, the reason is printed.
ASK = """
const answer = await fetch(process.env.KEYFOB_URL + '/v1/accounts/me/token', {
  headers: { authorization: `Bearer ${process.env.KEYFOB_APP_KEY}` },
});
const body = await answer.json();
console.log(JSON.stringify(body.access_token ?? body.detail));
"""


def test_fetch(room: Room, program: Program) -> None:
    """It gets a token that the API takes, another one after the end of that, and a sentence where a login is needed."""
    node = program("node", "nodejs")
    room.serve()
    key = room.home.run("app", "add", "agent", "--account", "me").out.strip()
    url = json.loads(room.home.run("status", "--json").out)["doors"]["app"]

    def ask() -> str:
        done = room.run(node, "--input-type=module", "-e", ASK, KEYFOB_URL=url, KEYFOB_APP_KEY=key)
        return str(json.loads(done.out))

    first = ask()
    assert room.practice.worth(first) is not None
    room.outlive(first)
    assert room.practice.worth(ask()) is not None
    room.end_login()
    assert "keyfob login me" in ask()
