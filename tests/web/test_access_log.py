"""The log of the doors: what came through, and nothing that it held."""

import logging
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from broker import logs
from broker.practice.server import PracticeServer
from tests.web.house import House
from tests.web.walk import Walk


def test_log_has_templates_only(
    house: House, practice: PracticeServer, browser: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of a login and a hand-out names doors, routes and statuses: no address, no name, no value of anything."""
    for name in logs.QUIET:
        caplog.set_level(logging.WARNING, logger=name)  # as the daemon itself does, at every level
    caplog.set_level(logging.DEBUG)

    walk = Walk(house, practice, browser, "privately-named")
    arrival = walk.answered()
    browser.get(arrival, follow_redirects=True)
    browser.get(arrival)
    browser.get(f"{house.browser_url}/nothing/here-{walk.id}?token=query-mark")
    grants = [{"account": "privately-named"}]
    key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job", "grants": grants})["key"]
    app = house.app(key)
    with app.http:
        path = {"account": "privately-named"}
        for _ in range(9):  # the second is the first one again and goes out another way, unless the scheduler looks
            got = app.ask("GET", "/v1/accounts/{account}/token", 200, path=path, params={"min_ttl": 31})
        token = got["access_token"]
        app.ask("POST", "/v1/accounts/{account}/token/rejected", 200, path=path, json={"access_token": token})
        app.http.get("/v1/nothing", headers={"Authorization": f"Bearer {key}x"})
    house.owner.ask("GET", "/healthz", 200)  # a line is written after its answer, and before the next one

    records = [record for record in caplog.records if record.name == "broker.access"]
    lines = [record.getMessage() for record in records]
    for line in (
        "socket POST /v1/logins 201",
        "browser GET /login/{id} 302",
        "browser GET /callback/{provider} 303",
        "browser GET /ui/logins/{id} 200",
        "browser GET /callback/{provider} 400",
        "browser GET - 404",
        "app GET /v1/accounts/{account}/token 200",
        "app GET - 401",
    ):
        assert any(found.startswith(line) for found in lines), (line, lines)
    handed_out = "app GET /v1/accounts/{account}/token 200"
    levels = [record.levelname for record in records if record.getMessage().startswith(handed_out)]
    assert (levels[0], set(levels)) == ("INFO", {"INFO", "DEBUG"})
    assert not [line for line in lines if "privately-named" in line or "?" in line]
    given = parse_qs(urlsplit(arrival).query)
    for secret in (*given["code"], *given["state"], walk.cookie, walk.id, token, key, "query-mark"):
        assert secret not in caplog.text
