"""Starting, stopping, steering and watching the provider."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from broker.errors import CannotStart, InvalidRequest
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.loopback import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.practice.conftest import Walk


def test_start_and_stop_are_fast_even_with_an_idle_connection() -> None:
    """Tests can afford a provider each: up and down again in under 100 ms."""
    starts, stops = [], []
    for _ in range(5):  # the least counts: other work of the machine, and what only the first start pays, do not
        begin = time.perf_counter()
        with practice_in_thread() as server, httpx2.Client(trust_env=False, verify=NO_TLS) as http:
            assert http.get(f"{server.url}/jwks").status_code == 200
            starts.append(time.perf_counter() - begin)
            begin = time.perf_counter()
        stops.append(time.perf_counter() - begin)
    assert min(starts) < 0.1 + (0.1 if sys.gettrace() else 0)
    assert min(stops) < 0.1


def test_stop_does_not_wait_for_a_held_answer(start: Callable[..., Walk]) -> None:
    """An answer that would come in an hour does not keep the provider up."""
    walk = start("jwks:delay=3600")
    with pytest.raises(httpx2.ReadTimeout):
        walk.http.get("/jwks", timeout=0.02)
    with practice_in_thread(PracticeSettings(faults=("jwks:delay=3600",))) as server:
        answered: list[int] = []
        asking = threading.Thread(target=lambda: answered.append(httpx2.get(f"{server.url}/jwks").status_code))
        asking.start()
        server.log.wait_for("jwks")
    asking.join(5)
    assert answered == [200]


def test_no_signal_handler_is_touched() -> None:
    """The process's own handlers stay, in the main thread too."""

    async def run() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        server = PracticeServer()
        await server.start()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        await server.stop()
        await server.stop()

    asyncio.run(run())


def test_a_restart_is_an_outage_and_not_a_loss() -> None:
    """After stop and start on the same port every grant is still there; in between nobody answers."""

    async def run() -> None:
        server = PracticeServer(PracticeSettings(client_secret=None))
        await server.start()
        url, port = server.url, server.port
        form = {"grant_type": "client_credentials", "client_id": "keyfob-machine", "scope": "read"}
        form["client_secret"] = server.client_secret.reveal()
        async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS) as http:
            token = (await http.post(f"{url}/token", data=form)).json()["access_token"]
            await server.stop()
            with pytest.raises(httpx2.ConnectError):
                await http.get(f"{url}/jwks")
            await server.start(port)
            assert server.url == url
            look = {**form, "token": token}
            assert (await http.post(f"{url}/introspect", data=look)).json()["active"] is True
        await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize("port", [None, 70_000])
def test_a_port_that_cannot_be_had(port: int | None) -> None:
    """A taken or impossible port is CannotStart with the port and the flag that moves it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = port or taken.getsockname()[1]
        with pytest.raises(CannotStart) as caught, practice_in_thread(port=wanted):
            pass
    assert str(wanted) in caught.value.detail
    assert "--port" in caught.value.hint


@pytest.mark.parametrize(
    "settings", [{"ttl": 0.5}, {"ttl": float("nan")}, {"grace": -1.0}, {"rotation": "sometimes"}, {"user": " "}]
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    """A wrong setting is an InvalidRequest before anything starts."""
    with pytest.raises(InvalidRequest):
        PracticeSettings(**settings)


def test_a_wrong_fault_is_found_before_the_start() -> None:
    """A spec that cannot be read stops the provider from being made."""
    with pytest.raises(InvalidRequest, match="explode"):
        PracticeServer(PracticeSettings(faults=("explode",)))


def test_faults_can_be_changed_while_it_runs(start: Callable[..., Walk]) -> None:
    """A POST replaces them; a wrong list changes nothing and is told why."""
    walk = start("jwks:status=500")
    assert walk.http.post("/practice/faults", json=["jwks:status=503*1"]).json() == ["jwks:status=503*1"]
    assert [walk.http.get("/jwks").status_code for _ in range(2)] == [503, 200]
    for body in (b'["explode"]', b"{", b'{"a": 1}', b"[1]"):
        answer = walk.http.post("/practice/faults", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert walk.http.get("/practice/faults").json() == ["jwks:status=503*1"]


def test_all_grants_can_be_killed(start: Callable[..., Walk]) -> None:
    """After revoke-grants every refresh is invalid_grant and every access token dead; a new login works."""
    walk = start()
    tokens = walk.login()
    assert walk.http.post("/practice/revoke-grants").json() == {"revoked": 1}
    assert walk.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert walk.userinfo(tokens["access_token"]).status_code == 401
    assert walk.server.revoke_grants() == 0
    assert walk.login()["access_token"]


def test_the_log_can_be_read_over_http(start: Callable[..., Walk]) -> None:
    """All events in order, or those of one kind."""
    walk = start()
    walk.login()
    assert [event["kind"] for event in walk.http.get("/practice/log").json()] == ["authorize", "code"]
    (event,) = walk.http.get("/practice/log", params={"kind": "code"}).json()
    assert (event["result"], event["client"], event["at"]) == ("ok", "keyfob", walk.clock.now)


def test_waiting_for_events(start: Callable[..., Walk]) -> None:
    """wait_for returns at once what is there, and says what it saw when its patience ends."""
    walk = start()
    walk.login()
    assert walk.server.log.wait_for("code", result="ok")[0].kind == "code"
    with pytest.raises(TimeoutError, match="code=ok"):
        walk.server.log.wait_for("refresh", timeout=0.01)


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_web_pages_cannot_steer(start: Callable[..., Walk], headers: dict[str, str]) -> None:
    """Whatever a browser sends for a page is refused at every control endpoint."""
    walk = start()
    tokens = walk.login()
    for method, path in (("POST", "revoke-grants"), ("POST", "faults"), ("GET", "log")):
        assert walk.http.request(method, f"/practice/{path}", headers=headers).status_code == 403
    assert walk.userinfo(tokens["access_token"]).status_code == 200


def test_the_command_prints_its_url_and_ends_on_ctrl_c() -> None:
    """Keyfob practice: the URL alone on stdout; how to log in, then one line per event, on stderr; Ctrl-C is exit 0."""
    command = [sys.executable, "-m", "broker.cli", "practice", "--port", "0", "--auto-approve", "--fault", "html*1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        httpx2.get(f"{url}/jwks")
        httpx2.post(f"{url}/token", data={"client_id": "a\x1b[31mb"})
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out == ""
    assert f"keyfob login practice --provider practice --base-url {url}" in err
    assert "jwks  ok" in err
    assert "other_grant  not processed" in err
    assert "\x1b" not in err


def test_the_command_takes_several_faults_at_once() -> None:
    """After one --fault, and after the next: each is in force."""
    faults = ["--fault", "jwks:status=503*1", "token:status=502*1", "--port", "0", "--fault", "userinfo:status=504*1"]
    command = [sys.executable, "-m", "broker.cli", "practice", *faults]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answers = [httpx2.get(f"{url}/jwks"), httpx2.post(f"{url}/token"), httpx2.get(f"{url}/userinfo")] if url else []
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert [answer.status_code for answer in answers] == [503, 502, 504], err


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--fault", "html*1", "explode"], 'fault "explode"'),
        (["--ttl", "0"], "1 second"),
        (["--port", "70000"], "--port 0"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(flags: list[str], part: str) -> None:
    """A wrong flag is exit 2 and a sentence, never a traceback."""
    command = [sys.executable, "-m", "broker.cli", "practice", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr
