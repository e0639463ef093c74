"""Requests that a web page makes: to the app doors none is answered, at the browser port a page may be linked to only.

A page cannot read an answer without CORS, but a simple request is sent all the same; and no door says a word of CORS.
"""

import httpx2
import pytest

from tests.attacks.ground import DOORS, TOKEN, Ground
from tests.loopback import NO_TLS
from tests.web.raw import Answer, Line, bearer, head
from tests.web.walk import is_guarded_page

# What browsers add to requests of pages by themselves; one of them is enough.
FROM_A_PAGE = [
    "Origin: https://evil.example",
    "Origin: null",
    "Origin: http://127.0.0.1:{port}",
    "Origin: http://localhost:{port}",
    "Origin:",
    "Referer: https://evil.example/",
    "Referer: http://127.0.0.1:{port}/ui/",
    "Cookie: any=thing",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Dest: image",
    "Sec-Fetch-Dest: document",
]
# The three types that a form, or fetch without asking before, may send.
SIMPLE = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
# How the parts of a page load something: mode and destination (Fetch 2.2.5).
LOADED = [
    ("no-cors", "image"),
    ("no-cors", "script"),
    ("no-cors", "style"),
    ("no-cors", "empty"),
    ("no-cors", "audio"),
    ("cors", "empty"),
    ("cors", "font"),
    ("navigate", "iframe"),
    ("navigate", "frame"),
    ("navigate", "embed"),
    ("navigate", "object"),
    ("navigate", "fencedframe"),
    ("websocket", "empty"),
    ("same-origin", "sharedworker"),
]
NEVER = ("access-control-", "cross-origin-resource-policy: cross-origin")


def invites_nobody(answer: Answer) -> bool:
    """Whether no header of an answer lets a page of another origin read it or ask again with more."""
    return not any(f"{name}: {value}".lower().startswith(NEVER) for name, value in answer.headers.items())


@pytest.mark.parametrize("line", FROM_A_PAGE)
@pytest.mark.parametrize("door", ["app", "socket"])
def test_a_page_gets_no_token(ground: Ground, door: str, line: str) -> None:
    """Even with the key: whatever shows a browser is refused with 403, whichever origin it names."""
    answer = ground.ask(door, line.format(port=ground.port("app")))

    assert answer.is_problem(403, "not_granted")
    assert invites_nobody(answer)


@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.parametrize("path", ["/v1/lock", "/v1/accounts/me/refresh", f"{TOKEN}/rejected", "/v1/apps"])
def test_a_form_does_nothing(ground: Ground, path: str, kind: str) -> None:
    """A form that posts JSON to the app port from elsewhere changes nothing: it has no key, and an origin."""
    before = ground.get("/v1/accounts/me").json()
    body = b'{"name":"evil","grants":[{"account":"me"}]}'
    for more in ((), ("Origin: https://evil.example",), (bearer(ground.key), "Origin: https://evil.example")):
        with Line(ground.app_url) as line:
            lines = (f"Host: {line.host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more)
            line.send(head("POST", path, *lines) + body)
            assert line.answer().status in (401, 403)

    assert ground.get("/v1/accounts/me").json() == before
    assert ground.get("/v1/status").json()["state"] == "ok"
    assert [app["name"] for app in ground.get("/v1/apps").json()["apps"]] == ["job"]


@pytest.mark.parametrize("ask", ["Private", "Local"])
@pytest.mark.parametrize("door", DOORS)
def test_nobody_is_let_through_a_preflight(ground: Ground, door: str, ask: str) -> None:
    """A preflight gets no leave, neither for an origin nor for the way into this machine's network."""
    lines = (
        "Origin: https://evil.example",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: authorization",
        f"Access-Control-Request-{ask}-Network: true",
    )

    answer = ground.ask(door, *lines, method="OPTIONS")

    assert answer.status in (403, 405)
    assert invites_nobody(answer)


@pytest.mark.parametrize(("mode", "dest"), LOADED, ids=str)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_cannot_load_ours(ground: Ground, site: str, mode: str, dest: str) -> None:
    """Neither as image, script, frame nor worker; same-site is another port of this machine, and no better."""
    answer = ground.ask("browser", f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {dest}")

    assert answer.status == 403
    assert invites_nobody(answer)


@pytest.mark.parametrize("line", ["Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Purpose: prefetch"])
def test_ahead_of_time_no_login_is_opened(ground: Ground, line: str) -> None:
    """A prefetched start page would make whatever fetched it the owner of the login."""
    start = ground.begin("early")["start_url"]
    with httpx2.Client(trust_env=False, verify=NO_TLS) as browser:
        name, _, value = line.partition(": ")
        assert browser.get(start, headers={name: value, "Sec-Fetch-Site": "none"}).status_code == 403
        assert not browser.cookies

        assert browser.get(start).status_code == 302


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH"])
@pytest.mark.parametrize("path", ["/callback/practice?state=x&code=y", "/login/x", "/ui/logins/x", "/"])
def test_a_page_cannot_post(ground: Ground, path: str, method: str) -> None:
    """The browser port takes no method that changes something, from whatever page (response_mode=form_post is one)."""
    with Line(ground.browser_url) as line:
        answer = line.ask(method, path, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")

        assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_every_page_refuses_to_be_framed(ground: Ground) -> None:
    """For browsers without Sec-Fetch: each page says itself that nothing may frame it, and it loads nothing."""
    begun = ground.begin("framed")
    with httpx2.Client(trust_env=False, verify=NO_TLS) as browser:
        for path in ("/ui/", "/nothing", "/login/x", "/callback/practice?state=x", "/ui/logins/x"):
            assert is_guarded_page(browser.get(ground.browser_url + path))
        sent = browser.get(begun["start_url"])
        assert sent.headers["content-security-policy"]
        assert is_guarded_page(browser.get(f"{ground.browser_url}/ui/logins/{begun['id']}"))


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
@pytest.mark.parametrize("door", DOORS)
def test_no_websocket(ground: Ground, door: str, upgrade: str) -> None:
    """An upgrade, which knows no CORS at all, is never answered with 101."""
    lines = ("Connection: Upgrade", f"Upgrade: {upgrade}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")

    assert ground.ask(door, *lines, "Origin: https://evil.example").status in (200, 400, 403)
    assert ground.ask(door, *lines).status in (200, 400)
