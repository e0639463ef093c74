"""The socket of oidc-agent: who asks there gets the owner's tokens, an error to read, or the end of the connection."""

import base64
import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nacl.public import Box, PrivateKey

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.web.emulate import oidc_door
from tests.web.facade import Facade
from tests.web.house import running
from tests.web.oidc_client import in_a_box, in_the_clear, sealed, shake_hands
from tests.web.raw import Line
from tests.web.test_doors import mode_of

MARKER = "m4rker-that-nobody-may-see"
PLAIN = {"authorization": "authorize", "token": "token"}
KEY = base64.b64encode(bytes(PrivateKey.generate().public_key))


class Agent(Facade):
    """A house whose tests ask at the socket of oidc-agent."""

    @property
    def where(self) -> str:
        """Where that is."""
        return str(Path(self.house.socket).with_name("oidc.sock"))

    def get(self, **request: Any) -> Any:  # noqa: ANN401 -- JSON
        """Ask for a token of ``work``, if nothing else is said; in a box, as the stock clients do."""
        return in_a_box(self.where, json.dumps({"request": "access_token", "account": "work"} | request).encode())

    def bring(self, account: str, token: str) -> None:
        """Bring a token that a person has made and that ends nobody knows when."""
        login = {"account": account, "provider": "plain", "flow": "token"}
        self.house.owner.ask("POST", "/v1/logins", 201, json=login | {"access_token": token})


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Run a daemon with the account ``work``, and a clock that the tests move."""
    found = Agent()
    settings = PracticeSettings(ttl=600, auto_approve=True)
    with (
        practice_in_thread(settings, clock=found.clock) as found.practice,
        running(tmp_path_factory.mktemp("agent"), found.clock) as found.house,
    ):
        found.house.log_in("work", found.practice.url)
        # Nobody is asked there whose a token is that a person brings.
        plain = {f"{name}_endpoint": f"{found.practice.url}/{path}" for name, path in PLAIN.items()}
        found.house.owner.ask("POST", "/v1/providers", 201, json={"name": "plain", "client_id": "keyfob", **plain})
        yield found


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_token_in_the_form_of_the_request(agent: Agent) -> None:
    """In the clear or in a box, the answer is the token that the owner gets, its issuer and its end, and no more."""
    request = {"request": "access_token", "account": "work", "min_valid_period": 0, "application_hint": "x"}

    told = in_the_clear(agent.where, request)

    stored = agent.house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})
    assert told == {
        "status": "success",
        "access_token": stored["access_token"],
        "issuer": agent.practice.url,
        "expires_at": int(agent.now + stored["expires_in"]),
    }
    assert in_a_box(agent.where, json.dumps(request).encode()) == told


def test_request_in_pieces(agent: Agent) -> None:
    """A request that comes in two pieces is one, in the clear and in a box."""
    text = b'{"request":"loaded_accounts","a":{}}'
    with Line(agent.where) as line:
        line.send(text[:-1])
        line.send(text[-1:])
        assert json.loads(line.end())["status"] == "success"
    with Line(agent.where) as line:
        box = shake_hands(line)
        message = sealed(box, text)
        line.send(message[:40])
        line.send(message[40:])
        assert line.end().startswith(b"%d:" % (len('{"status": "success", "info": ["work"]}')))


def test_account_of_an_issuer(agent: Agent) -> None:
    """The only account of an issuer needs no name; of several the answer lists the names, and of none it says so."""
    issuer = {"request": "access_token", "account": "", "issuer": agent.practice.url + "/"}
    assert agent.get(**issuer)["access_token"] == agent.stored()["access_token"]
    agent.house.log_in("other", agent.practice.url)
    try:
        several = agent.get(**issuer)
        assert agent.get(**issuer | {"account": "work"})["status"] == "success"
    finally:
        agent.house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path={"account": "other"})

    assert several["error"] == "Several accounts are of that issuer: other, work."
    assert "name of one" in several["info"]
    assert (
        "No account is of the issuer 'https://x.example'" in agent.get(account="", issuer="https://x.example")["error"]
    )


def test_how_long_it_has_to_live(agent: Agent) -> None:
    """0 means that nobody said anything, more than is left brings the next token, -1 a new one, but not in a loop."""
    first = agent.get()
    agent.now += 100
    assert agent.get(min_valid_period=0) == agent.get(min_valid_period=None) == first

    second = agent.get(min_valid_period=550)
    agent.now += 100
    third = agent.get(min_valid_period=-1)

    assert len({one["access_token"] for one in (first, second, third)}) == 3
    assert agent.get(min_valid_period=-1) == third


def test_less_than_the_whole_token(agent: Agent) -> None:
    """Scopes and an audience go to the provider, and what the login was not granted is refused in words."""
    whole = agent.get()["access_token"]

    narrower, elsewhere = agent.get(scope="openid"), agent.get(audience="https://api.example.org")
    refused = agent.get(scope="openid everything")

    assert len({whole, narrower["access_token"], elsewhere["access_token"]}) == 3
    assert refused["error"] == "No: account 'work' was not granted the scope 'everything' at login."
    assert "keyfob login work --scope everything" in refused["info"]


def test_id_token(agent: Agent) -> None:
    """The ID token is handed out as such; of a failure one sentence says all, because oidc-token shows only that."""
    told = agent.get(request="id_token")

    assert set(told) == {"status", "id_token", "issuer"}
    assert told["id_token"].count(".") == 2
    failed = agent.get(request="id_token", account="nobody")
    assert set(failed) == {"status", "error"}
    assert "keyfob login nobody" in failed["error"]


def test_end_that_nobody_knows(agent: Agent) -> None:
    """A token of unknown life has the end 0, as oidc-agent writes it: a number for each client, and nothing to keep."""
    agent.bring("made", "a-token-made-by-hand")
    try:
        told = agent.get(account="made")
    finally:
        agent.house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path={"account": "made"})

    assert (told["access_token"], told["expires_at"]) == ("a-token-made-by-hand", 0)


@pytest.mark.parametrize("size", [4095, 4096, 8192, 3 * 4096])
def test_answers_of_just_that_size(agent: Agent, size: int) -> None:
    """One stock client reads on after each 4096 bytes: the end of the connection tells it that this was all."""
    agent.bring("long", "x")
    short = len(json.dumps(in_the_clear(agent.where, {"request": "access_token", "account": "long"})))
    agent.bring("long", "x" * (size - short + 1))
    try:
        with Line(agent.where) as line:
            line.send(b'{"request":"access_token","account":"long"}')
            whole = line.end()
    finally:
        agent.house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path={"account": "long"})

    assert len(whole) == size
    assert json.loads(whole)["status"] == "success"


def test_which_accounts_there_are(agent: Agent) -> None:
    """Clients that choose an account are told the names, and whose they are."""
    assert agent.get(request="loaded_accounts") == {"status": "success", "info": ["work"]}
    info = agent.get(request="account_info")["info"]
    assert info == {agent.practice.url: {"pubclient": False, "accounts": {"work": True}}}


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "error", "info"),
    [
        ({"account": "nobody"}, "No account configured with that short name", "keyfob login nobody"),
        ({"account": ""}, "The request names neither an account nor an issuer.", "keyfob accounts"),
        ({"account": 5}, "'account' must be text.", ""),
        ({"account": "a\u009b"}, "'account' holds a control character.", ""),
        ({"request": "add", "config": {}}, "and not 'add'", "keyfob --help"),
        ({"request": None}, "and not ''", "keyfob --help"),
        ({"min_valid_period": "60"}, "'min_valid_period' must be a number of seconds.", ""),
        ({"min_valid_period": True}, "'min_valid_period' must be a number of seconds.", ""),
        ({"scope": 'a"b'}, "'scope' holds something that is no word", ""),
        ({"audience": "ü"}, "'audience' must be a name of plain characters.", "2048"),
    ],
)
def test_what_cannot_be_answered(agent: Agent, request_: dict[str, Any], error: str, info: str) -> None:
    """A failure says what is wrong, and what to do where that helps; it never holds what a success does."""
    told = agent.get(**request_)

    assert told["status"] == "failure"
    assert error in told["error"]
    assert info in told.get("info", "")
    assert "access_token" not in told


def test_locked(agent: Agent) -> None:
    """While Keyfob is locked there is no token, and the answer says how to go on; names are not secret."""
    agent.house.owner.ask("POST", "/v1/lock", 200)
    try:
        told, names = agent.get(), agent.get(request="loaded_accounts")
    finally:
        agent.house.owner.ask("POST", "/v1/unlock", 200, json={})

    assert told["error"].startswith("Keyfob is locked. ")
    assert "keyfob unlock" in told["info"]
    assert names["info"] == ["work"]


def test_login_needed(agent: Agent) -> None:
    """What a person has to do is in the answer: the command, and the page."""
    agent.house.log_in("gone", agent.practice.url)
    try:
        agent.practice.revoke_grants()
        agent.now += 601
        told = agent.get(account="gone")
    finally:
        agent.house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path={"account": "gone"})
        agent.house.log_in("work", agent.practice.url)

    assert told["status"] == "failure"
    assert told["error"].endswith(".")
    assert f"keyfob login gone - or in a browser: {agent.house.browser_url}/login/" in told["info"]


# --- who sends nonsense, or nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"{" + MARKER.encode() + b"}",
        b'{"request":"access_token","request":"id_token","x":"' + MARKER.encode() + b'"}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b"{" + b" " * 20_000,
        MARKER.encode().ljust(44, b"!"),
        b"A" * 43 + b"=",  # a key of zeros, with which every secret is the same
        base64.b64encode(b"k" * 31).ljust(44, b"="),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    ],
)
def test_nonsense_in_the_clear(agent: Agent, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What is no request is refused in plain words, and nothing of it is repeated or logged."""
    caplog.set_level(logging.DEBUG)
    with Line(agent.where) as line:
        line.send(sent)
        told = json.loads(line.end())

    assert told["status"] == "failure"
    assert "request" in told["error"]
    assert MARKER not in json.dumps(told) + caplog.text
    assert "Traceback" not in caplog.text


def _sealed_otherwise(box: Box) -> list[bytes]:
    good = sealed(box, b'{"request":"loaded_accounts"}')
    length, nonce, ciphertext = good.split(b":")
    stranger = Box(PrivateKey.generate(), PrivateKey.generate().public_key)
    return [
        sealed(stranger, b"{}"),
        b"%b:%b:%b" % (length, nonce, ciphertext[::-1]),
        b"%b:%b:%b" % (length, nonce[:-4] + b"====", ciphertext),
        b"%b:%b%b=" % (length, nonce, ciphertext),
        b"%b:%b:%b" % (length, b"*" * 32, ciphertext),
        b"123456:",
        b"99999:",
        b"-1:",
        b":",
        b"0:%b:%b" % (nonce, base64.b64encode(b"s" * 16)),
        b"1:%b:%b" % (nonce, b"A" * 23 + b"="),
        sealed(box, b"\xff\xfe"),
        sealed(box, b"[]"),
        sealed(box, b"{" * 10_000),
        sealed(box, b'{"a":' * 40 + b"1" + b"}" * 40),
    ]


@pytest.mark.parametrize("number", range(15))
def test_nonsense_in_a_box(agent: Agent, number: int) -> None:
    """What is not in this very box, or is no request in it, is refused at once, in a form that stock clients read."""
    with Line(agent.where) as line:
        line.send(_sealed_otherwise(shake_hands(line))[number])
        told = json.loads(line.end())

    assert told["status"] == "failure"
    assert agent.get()["status"] == "success"


def test_who_says_no_more(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps a request to himself is hung up on after the deadline, and who goes away is no trouble."""
    monkeypatch.setattr(oidc_door, "RECEIVE_DEADLINE", 0.2)
    monkeypatch.setattr(oidc_door, "NEXT_PIECE", 0.1)
    began = time.monotonic()
    with Line(agent.where) as silent, Line(agent.where) as half, Line(agent.where) as begun, Line(agent.where) as gone:
        half.send(b'{"request":')
        shake_hands(begun)
        begun.send(b"20:")
        gone.send(KEY)
        gone.__exit__(None, None, None)
        assert silent.gone()
        assert json.loads(half.end())["status"] == "failure"
        assert begun.end() == b""
        assert agent.get()["status"] == "success"
    assert time.monotonic() - began < 5


def test_crowd(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many connections the one is hung up on that says nothing for longest, and who asks is answered."""
    monkeypatch.setattr(oidc_door, "MOST_CONNECTIONS", 3)
    with Line(agent.where) as first, Line(agent.where) as second, Line(agent.where):
        assert agent.get()["status"] == "success"
        assert first.gone()
        second.send(b'{"request":"loaded_accounts"}')
        assert json.loads(second.end())["status"] == "success"


# --- the socket -------------------------------------------------------------------------------------------------------


def test_socket_comes_and_goes(tmp_path: Path) -> None:
    """It is 0600, named by the status, and gone after a stop, which waits for nobody who has not asked."""
    with contextlib.ExitStack() as life:
        house = life.enter_context(running(tmp_path))
        where = Path(house.owner.ask("GET", "/v1/status", 200)["doors"]["oidc"])
        assert (mode_of(where), where.parent) == (0o600, Path(house.socket).parent)
        with Line(str(where)) as line:
            shake_hands(line)
            began = time.monotonic()
            life.close()
            assert time.monotonic() - began < 3
            assert line.gone()

    assert not where.exists()


def test_turned_off(tmp_path: Path) -> None:
    """Whoever does not want it has no such socket."""
    with running(tmp_path, oidc_socket="off") as house:
        assert "oidc" not in house.owner.ask("GET", "/v1/status", 200)["doors"]
        assert {path.name for path in Path(house.socket).parent.iterdir()} == {"keyfob.sock"}


def test_record(agent: Agent) -> None:
    """What is handed out or refused here stands in the record as the owner's."""
    agent.get()
    agent.get(scope="everything")
    agent.house.owner.ask("POST", "/v1/lock", 200)  # which writes down what was only counted so far
    agent.house.owner.ask("POST", "/v1/unlock", 200, json={})

    entries = agent.house.owner.ask("GET", "/v1/audit", 200, params={"account": "work", "app": "owner"})["entries"]

    assert {"handout", "refused"} <= {entry["action"] for entry in entries}
