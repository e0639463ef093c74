"""The auth objects of httpx2 and requests ask before each request, report a 401 once, and lose no token to others."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.client import Client, ClientError, LoginNeeded
from tests.cli.scripted_daemon import ScriptedDaemon, scripted_daemon
from tests.integrations.callers import CALLERS, REQUESTS, Answer, Caller

ASK = "GET /v1/accounts/work/token"
REPORT = "POST /v1/accounts/work/token/rejected"
SECRETS = ("secret-1", "secret-2")


def token(secret: str) -> dict[str, object]:
    """Return what the daemon says of a token."""
    return {"account": "work", "access_token": secret, "expires_at": "2030-01-01T00:00:00Z", "expires_in": 3599}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KEYFOB_", "XDG_RUNTIME"))]:
        monkeypatch.delenv(name)


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    """Return each way to call."""
    found: Caller = request.param
    return found


class Scene:
    """A daemon, an API, and a way to call it."""

    def __init__(self, caller: Caller, daemon: ScriptedDaemon, api: ScriptedDaemon, client: Client) -> None:
        self.caller, self.daemon, self.api, self._client = caller, daemon, api, client
        daemon.answers(ASK, token("secret-1"))
        daemon.answers(REPORT, token("secret-2"))

    def auth(self, **wishes: object) -> Any:  # noqa: ANN401 -- of any library
        """Return an auth object of the account."""
        return self.caller.auth("work", self._client, **wishes)

    def send(self, method: str = "GET", path: str = "/me", body: bytes | str | None = None) -> Answer:
        """Call the API."""
        return self.caller.send(method, self.api.where + path, body, self.auth())

    def seen(self) -> list[str | None]:
        """Return the Authorization header of each request that the API got."""
        return [request.headers.get("authorization") for request in self.api.requests]


@pytest.fixture
def scene(caller: Caller, tmp_path: Path) -> Iterator[Scene]:
    """Make one."""
    with ExitStack() as stack:
        daemon = stack.enter_context(scripted_daemon(tmp_path / "s.sock"))
        api = stack.enter_context(scripted_daemon(None))
        yield Scene(caller, daemon, api, stack.enter_context(Client(socket=daemon.where)))


def test_every_request_asks(scene: Scene) -> None:
    """Keyfob is asked before each request, and a token that has changed is used at once."""
    scene.daemon.forget(ASK)
    scene.daemon.answers(ASK, token("secret-1"))
    scene.daemon.answers(ASK, token("secret-2"))
    scene.api.answers("GET /me", {})

    answers = [scene.send(), scene.send()]

    assert answers == [Answer(200, ()), Answer(200, ())]
    assert scene.seen() == ["Bearer secret-1", "Bearer secret-2"]
    assert scene.daemon.lines() == [ASK, ASK]


def test_wishes_are_passed_on(scene: Scene) -> None:
    """Scopes, resource, audience and the least lifetime reach the daemon, with a report too."""
    query = "min_ttl=300&scope=a%20b&resource=https%3A%2F%2Fapi.example%2F&audience=api"
    scene.daemon.answers(f"{ASK}?{query}", token("secret-1"))
    scene.api.answers("GET /me", status=401)

    auth = scene.auth(min_ttl=300, scope=["a", "b"], resource="https://api.example/", audience="api")
    scene.caller.send("GET", f"{scene.api.where}/me", None, auth)

    assert scene.daemon.lines() == [f"{ASK}?{query}", REPORT]
    assert scene.daemon.requests[1].body == {
        "access_token": "secret-1",
        "scope": "a b",
        "resource": "https://api.example/",
        "audience": "api",
    }


@pytest.mark.parametrize("body", [None, b'{"a":1}'])
def test_refused_token_is_reported(scene: Scene, body: bytes | None) -> None:
    """After a 401 the token is reported, and the whole request is sent once more with the other one."""
    scene.api.answers("POST /me", status=401)
    scene.api.answers("POST /me", {})

    answer = scene.send("POST", body=body)

    assert answer == Answer(200, (401,))
    assert scene.seen() == ["Bearer secret-1", "Bearer secret-2"]
    assert scene.daemon.lines() == [ASK, REPORT]
    assert scene.daemon.requests[1].body == {"access_token": "secret-1"}
    assert [request.body for request in scene.api.requests] == [body and {"a": 1}] * 2


def test_retried_once(scene: Scene) -> None:
    """An API that refuses the other token as well is not asked a third time; its answer is the program's."""
    scene.api.answers("GET /me", status=401)

    assert scene.send() == Answer(401, (401,))
    assert scene.seen() == ["Bearer secret-1", "Bearer secret-2"]
    assert scene.daemon.lines() == [ASK, REPORT]


def test_no_other_token(scene: Scene) -> None:
    """Where the same token comes back, one that lives longer is asked for, and the API's own 401 says the rest."""
    scene.daemon.forget(REPORT)
    scene.daemon.answers(REPORT, token("secret-1"))
    scene.daemon.answers(f"{ASK}?min_ttl=3600", token("secret-1"))
    scene.api.answers("GET /me", status=401)

    assert scene.send() == Answer(401, ())
    assert scene.daemon.lines() == [ASK, REPORT, f"{ASK}?min_ttl=3600"]


def test_new_token_refused(scene: Scene) -> None:
    """Where the token was renewed just now, its age is not the reason: the API's own 401 says more than Keyfob."""
    scene.daemon.forget(REPORT)
    scene.daemon.refuses(REPORT, 429, "too_many_requests", retry_after=29)
    scene.api.answers("GET /me", status=401)

    assert scene.send() == Answer(401, ())


def test_other_answers_are_left_alone(scene: Scene) -> None:
    """403 and 500 say nothing about the token's life: nothing is reported, and nothing sent again."""
    scene.api.answers("GET /me", status=403)
    scene.api.answers("GET /me", status=500)

    assert [scene.send(), scene.send()] == [Answer(403, ()), Answer(500, ())]
    assert scene.daemon.lines() == [ASK, ASK]


def test_stream_is_not_replayed(scene: Scene) -> None:
    """A body that is read while it is sent goes out once; the token is reported, so the next request has another."""
    scene.api.answers("PUT /me", status=401)

    assert scene.send("PUT", body="stream") == Answer(401, ())
    assert [request.body for request in scene.api.requests] == [{"a": 1}]
    assert scene.daemon.lines() == [ASK, REPORT]


def test_other_host_gets_nothing(scene: Scene) -> None:
    """A redirect to another host takes no token along, and what that host says of one is not believed."""
    with scripted_daemon(None) as other:
        other.answers("GET /there", status=401)
        scene.api.answers_raw("GET /me", _redirect(f"{other.where}/there"))

        assert scene.send() == Answer(401, (302,))
        assert [request.headers.get("authorization") for request in other.requests] == [None]
    assert scene.seen() == ["Bearer secret-1"]
    assert scene.daemon.lines() == [ASK]


def test_redirect_within_the_host(scene: Scene) -> None:
    """A redirect to the same host keeps the token, and a 401 behind it is reported."""
    scene.api.answers_raw("GET /me", _redirect(f"{scene.api.where}/there"))
    scene.api.answers("GET /there", status=401)
    scene.api.answers("GET /there", {})

    assert scene.send().status == 200
    assert scene.seen()[:2] == ["Bearer secret-1", "Bearer secret-1"]
    assert scene.seen()[-1] == "Bearer secret-2"
    assert scene.daemon.lines() == [ASK, REPORT]


@pytest.mark.parametrize("asked", [ASK, REPORT])
def test_login_needed(scene: Scene, asked: str) -> None:
    """A login that is needed is the library's own error, and says what to do, whenever it shows."""
    url = "http://127.0.0.1:8400/login/x"
    scene.daemon.forget(asked)
    scene.daemon.refuses(asked, 409, "login_needed", "The login ended. Log in: keyfob login work", login_url=url)
    scene.api.answers("GET /me", status=401)

    with pytest.raises(scene.caller.error) as caught:
        scene.send()

    assert str(caught.value) == f"The login ended. Log in: keyfob login work (in the browser: {url})"
    assert isinstance(caught.value, scene.caller.known_as)
    assert isinstance(caught.value.__cause__, LoginNeeded)
    assert not any(secret in repr(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("status", [403, 423, 503])
def test_refusals(scene: Scene, status: int) -> None:
    """Not granted, locked, and a provider that does not answer: the daemon's sentence reaches the program."""
    code = {403: "not_granted", 423: "locked", 503: "provider_unavailable"}[status]
    scene.daemon.forget(ASK)
    scene.daemon.refuses(ASK, status, code, "Why, and the next step.")

    with pytest.raises(scene.caller.error, match=r"^Why, and the next step\.$"):
        scene.send()

    assert scene.api.requests == []


def test_no_daemon(caller: Caller, tmp_path: Path) -> None:
    """Where no daemon runs, the error says how to start it."""
    auth = caller.auth("work", Client(socket=tmp_path / "nobody.sock"))

    with pytest.raises(caller.error, match=r"No daemon answers at .*keyfob serve"):
        caller.send("GET", "http://127.0.0.1:9/", None, auth)


def test_nothing_shows_a_token(scene: Scene) -> None:
    """An auth object can be printed, with what it holds."""
    scene.api.answers("GET /me", {})
    auth = scene.auth()

    scene.caller.send("GET", f"{scene.api.where}/me", None, auth)

    assert repr(auth) == "KeyfobAuth('work')"
    assert not any(secret in f"{auth} {vars(auth)}" for secret in SECRETS)


def test_connection_goes_with_the_object(caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An auth object finds the daemon by the environment, and closes its connection when it is no longer needed."""
    with scripted_daemon(tmp_path / "s.sock") as daemon, scripted_daemon(None) as api:
        monkeypatch.setenv("KEYFOB_SOCKET", daemon.where)
        daemon.answers(ASK, token("secret-1"))
        api.answers("GET /me", {})
        auth = caller.auth("work")
        caller.send("GET", f"{api.where}/me", None, auth)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del auth
            gc.collect()

    assert daemon.lines() == [ASK]
    assert [str(warning.message) for warning in warned] == []


def test_files_are_not_replayed(tmp_path: Path) -> None:
    """A file is a stream to requests: it is not sent again from wherever it stands."""
    (tmp_path / "f").write_bytes(b'{"a":1}')
    with scripted_daemon(tmp_path / "s.sock") as daemon, scripted_daemon(None) as api:
        daemon.answers(ASK, token("secret-1"))
        daemon.answers(REPORT, token("secret-2"))
        api.answers("PUT /me", status=401)
        with Client(socket=daemon.where) as client, (tmp_path / "f").open("rb") as file:
            answer = REQUESTS.send("PUT", f"{api.where}/me", file, REQUESTS.auth("work", client))  # type: ignore[arg-type]

        assert answer == Answer(401, ())
        assert [request.body for request in api.requests] == [{"a": 1}]


def test_client_reports(tmp_path: Path) -> None:
    """The client reports a refused token once, and tells why there is no other."""
    with scripted_daemon(tmp_path / "s.sock") as daemon, Client(socket=daemon.where) as client:
        daemon.answers(REPORT, token("secret-2"))
        daemon.refuses(REPORT, 429, "too_many_requests", retry_after=29)

        assert client.rejected("work", "secret-1").access_token == "secret-2"
        with pytest.raises(ClientError) as caught:
            client.rejected("work", "secret-2", ["a", "b"])

        assert (caught.value.code, caught.value.retry_after) == ("too_many_requests", 29)
        assert daemon.requests[1].body == {"access_token": "secret-2", "scope": "a b"}


def _redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
