"""The proxy and rate limits: nothing is sent into a closed window, and what may wait is sent when it opens."""

import concurrent.futures
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.web.api import Act, Call
from tests.web.house import PATIENCE, House, running
from tests.web.proxied import Proxied, problem, proxied

HOLD = {"X-Keyfob-Wait": "20"}
# The window opens at once by the server's word: after the second that is waited for its rounding.
SOON = {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}
LATER = {**SOON, "X-RateLimit-Reset": "600", "X-RateLimit-Resource": "search"}


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    """Run a provider."""
    with practice_in_thread(PracticeSettings(auto_approve=True)) as found:
        yield found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a daemon."""
    with running(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture
def me(house: House, practice: PracticeServer, request: pytest.FixtureRequest) -> Iterator[Proxied]:
    """Log in anew, with an API of its own."""
    with proxied(house, request.node.name.replace("_", "-"), practice.url) as found:
        yield found


def says(headers: dict[str, str], status: str = "200 OK") -> Act:
    """Return what answers with these headers."""
    return lambda call: call.answer(status, headers)


def ask(me: Proxied, path: str = "x", headers: dict[str, str] | None = None) -> httpx2.Response:
    """Send a request as the app."""
    return me.app.get(f"/proxy/{me.account}/{path}", headers=headers)


def test_a_closed_window_is_told_before_anything_is_sent(me: Proxied) -> None:
    """429 with the time; a wait that is too short is no wait; another kind of request goes."""
    me.api.acts["/v1/x"] = says(LATER)
    assert ask(me).status_code == 200
    for headers in ({}, HOLD):
        refused = ask(me, headers=headers)
        assert "used up" in problem(refused, 429, "too_many_requests")["detail"]
        assert 595 < int(refused.headers["retry-after"]) <= 601
    assert len(me.api.calls) == 1
    assert ask(me, "y").status_code == 200
    where = {"account": me.account}
    shown = me.house.owner.ask("GET", "/v1/accounts/{account}/rate-limits", 200, path=where)["rate_limits"]
    assert [(one["scope"], one["limit"], one["remaining"]) for one in shown] == [("search", 5, 0)]


def test_a_request_that_may_wait_is_sent_when_the_window_opens(me: Proxied) -> None:
    """The API sees it once, after the opening, and without the header that was for the proxy."""
    me.api.acts["/v1/x"] = says(SOON)
    ask(me)
    began = time.monotonic()
    assert ask(me, headers=HOLD).status_code == 200
    assert 0.9 < time.monotonic() - began < PATIENCE
    assert len(me.api.calls) == 2
    assert me.api.calls[1].header("x-keyfob-wait") == []


def test_a_refusal_of_the_api_is_waited_out_as_well(me: Proxied) -> None:
    """Nobody knew of a limit: the request is sent again, with the same body, and the caller sees the success alone."""

    def once(call: Call) -> None:
        call.body = b"".join(call.pieces())
        refused = len(me.api.calls) == 1
        call.answer("429 Too Many Requests" if refused else "200 OK", {"Retry-After": "0"})

    me.api.acts["/v1/x"] = once
    answer = me.app.post(f"/proxy/{me.account}/x", content=b"the body", headers=HOLD)
    assert answer.status_code == 200
    assert [call.body for call in me.api.calls] == [b"the body"] * 2
    me.api.acts["/v1/z"] = says({"Retry-After": "900"}, "429 Too Many Requests")
    assert ask(me, "z", headers=HOLD).headers["retry-after"] == "900"  # the API's own, where a wait is in vain


def test_an_app_goes_no_further_than_its_share(me: Proxied) -> None:
    """With half of four it may send two; the owner, who has no share, goes on."""
    where = {"app": f"{me.account}-app", "account": me.account}
    grant = {"mode": "proxy", "rate_share": 50}
    me.house.owner.ask("PUT", "/v1/apps/{app}/grants/{account}", 200, path=where, json=grant)

    def counting(call: Call) -> None:
        left = 4 - len(me.api.calls)
        call.answer("200 OK", {"X-RateLimit-Limit": "4", "X-RateLimit-Remaining": f"{left}", "X-RateLimit-Reset": "60"})

    me.api.acts["/v1/x"] = counting
    assert [ask(me).status_code for _ in range(3)] == [200, 200, 429]
    assert "50 % that app" in problem(ask(me), 429, "too_many_requests")["detail"]
    assert me.house.owner.http.get(f"/proxy/{me.account}/x").status_code == 200
    assert len(me.api.calls) == 3


def test_a_wait_is_a_number_of_seconds(me: Proxied) -> None:
    """Anything else is a mistake of the caller's, and nothing is sent."""
    for seconds in ("soon", "-1", "1e3", "1_0", ""):
        refused = ask(me, headers={"X-Keyfob-Wait": seconds})
        assert "X-Keyfob-Wait" in problem(refused, 400, "invalid_request")["detail"]
    assert me.api.calls == []


def test_a_stop_of_the_daemon_ends_a_wait(tmp_path: Path, practice: PracticeServer) -> None:
    """Who is held gets an answer that says why, and the daemon does not wait for the window."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with running(tmp_path) as house, proxied(house, "me", practice.url) as me:
            me.api.acts["/v1/x"] = says({**SOON, "X-RateLimit-Reset": "60"})
            ask(me)
            key = me.app.headers["authorization"]
            url = f"{house.app_url}/proxy/me/x"
            headers = {"authorization": key, "x-keyfob-wait": "200"}
            held = pool.submit(httpx2.get, url, headers=headers, trust_env=False, timeout=PATIENCE)
            where = {"account": "me"}
            limits = "/v1/accounts/{account}/rate-limits"
            while not house.owner.ask("GET", limits, 200, path=where)["rate_limits"][0]["waiting"]:
                assert not held.done()
        assert "stopping" in problem(held.result(), 503, "provider_unavailable")["detail"]
