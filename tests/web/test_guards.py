"""Who may come in: every door's guard, over real sockets."""

import base64
import os
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.practice.server import PracticeServer
from broker.practice.settings import PUBLIC_CLIENT
from broker.web.asgi import APP_ROUTES
from broker.web.browser import BROWSER_ROUTES
from tests.web.house import House, running
from tests.web.raw import Line, bearer, head

PORTS = ("app", "browser")
DOORS = ("socket", *PORTS)
# A page that guards cannot refuse for another reason than the one that is tested.
OPEN = {"socket": "/v1/status", "app": "/v1/apps/job", "browser": "/ui/"}

# All that a key opens, but as part of an address. Whatever route is added is the owner's until it is written here.
FOR_APPS = {
    *(("GET", p) for p in ("/healthz", "/azure/token", "/.well-known/oauth-authorization-server", "/v1/apps/{app}")),
    *((m, "/v1/accounts/{account}/rate-limits") for m in ("GET", "POST")),
    *(("GET", "/v1/accounts/{account}/token"), ("POST", "/v1/accounts/{account}/token/rejected")),
    *(("POST", "/oauth/token"), *((method, "/v1/pairing") for method in ("POST", "GET", "DELETE"))),
}
FOR_OWNERS = [(m, route) for m, route, _, _ in APP_ROUTES if (m, route) not in FOR_APPS and "{capability}" not in route]


def url_of(house: House, door: str) -> str:
    """Return where a door is."""
    return {"socket": house.socket, "app": house.app_url, "browser": house.browser_url}[door]


def path_of(route: str) -> str:
    """Return a path that a route answers."""
    return route.format_map(defaultdict(lambda: "x", account="work", provider="practice", preset="practice", app="job"))


# --- Host -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}"])
@pytest.mark.parametrize("door", PORTS)
def test_right_host(house: House, key: str, door: str, host: str) -> None:
    """A port answers to its own address, and to localhost."""
    url = url_of(house, door)
    with Line(url) as line:
        shown = (bearer(key),) if door == "app" else ()
        assert line.ask("GET", OPEN[door], *shown, host=host.format(port=urlsplit(url).port)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",  # a rebound name
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1",  # no port is port 80
        "localhost",
        "127.0.0.1:80",
        "127.0.0.1:{port}0",
        "127.0.0.1:0{port}",
        "127.0.0.1:{other}",
        "localhost.:{port}",
        "sub.localhost:{port}",
        "127.1:{port}",
        "127.0.0.2:{port}",
        "2130706433:{port}",
        "0.0.0.0:{port}",
        "[::1]:{port}",
        "me@127.0.0.1:{port}",
        "127.0.0.1:{port}, evil.example",
        "http://127.0.0.1:{port}",
        "",
    ],
)
@pytest.mark.parametrize("door", PORTS)
def test_wrong_host(house: House, key: str, door: str, host: str) -> None:
    """Whatever came through another name, or meant another port, is refused, the right key and open paths or not."""
    port, other = (urlsplit(url_of(house, name)).port for name in (door, PORTS[PORTS.index(door) - 1]))
    given = host.format(port=port, other=other)

    with Line(url_of(house, door)) as line:
        if door == "app":
            assert line.ask("GET", "/healthz", host=given).is_problem(400, "invalid_request")
            assert line.ask("GET", "/v1/apps/job", bearer(key), host=given).is_problem(400, "invalid_request")
        else:
            answer = line.ask("GET", "/ui/", host=given)
            assert (answer.status, answer.text) == (400, "This address is not Keyfob's.\n")


@pytest.mark.parametrize("host", ["localhost", "localhost:8401", "keyfob", "keyfob.sock", "127.0.0.1", "[::1]"])
def test_host_of_the_socket(house: House, host: str) -> None:
    """Programs write different things for a socket: any name that can only mean this machine is right."""
    with Line(house.socket) as line:
        assert line.ask("GET", "/v1/status", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "sub.localhost", "10.0.0.1", "localhost:x", ""])
def test_foreign_host_at_the_socket(house: House, host: str) -> None:
    """A proxy that leads a foreign name to the socket does not get through."""
    with Line(house.socket) as line:
        assert line.ask("GET", "/v1/status", host=host).is_problem(400, "invalid_request")


@pytest.mark.parametrize("door", DOORS)
def test_one_host(house: House, key: str, door: str) -> None:
    """No Host, and two of them even if both are right, are refused: parsers disagree on which counts."""
    shown = (bearer(key),) if door == "app" else ()
    for hosts in (0, 2):
        with Line(url_of(house, door)) as line:
            line.send(head("GET", OPEN[door], *[f"Host: {line.host}"] * hosts, *shown))
            answer = line.answer()
        assert answer.status == 400
        assert "Exactly one Host" in answer.text


@pytest.mark.parametrize("door", DOORS)
def test_foreign_authority_in_the_target(house: House, key: str, door: str) -> None:
    """A target that names another server is not answered, whatever Host says (RFC 9112 3.2.2)."""
    shown = (bearer(key),) if door == "app" else ()
    with Line(url_of(house, door)) as line:
        assert line.ask("GET", f"http://evil.example{OPEN[door]}", *shown).status == 400


# --- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://evil.example",
        "Origin: null",
        "ORIGIN: http://127.0.0.1:8400",
        "Referer: http://127.0.0.1/",
        "Cookie: a=b",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Dest: image",
    ],
)
@pytest.mark.parametrize("door", ["socket", "app"])
def test_web_pages_have_no_business_at_app_doors(house: House, key: str, door: str, header: str) -> None:
    """What only a browser sends is refused before anything is done, on open paths too."""
    shown = (bearer(key),) if door == "app" else ()
    with Line(url_of(house, door)) as line:
        assert line.ask("GET", OPEN[door], *shown, header).is_problem(403, "not_granted")
        assert line.ask("GET", "/healthz", header).is_problem(403, "not_granted")
        assert line.ask("DELETE", "/v1/apps/job", *shown, header).is_problem(403, "not_granted")

    assert house.owner.ask("GET", "/v1/apps/{app}", 200, path={"app": "job"})


@pytest.mark.parametrize("door", DOORS)
def test_nobody_is_invited(house: House, door: str) -> None:
    """No preflight is answered with permission: no answer names an origin, a method or a header that a page may use."""
    with Line(url_of(house, door)) as line:
        asked = (
            line.ask("OPTIONS", OPEN[door], "Access-Control-Request-Method: GET"),
            line.ask("OPTIONS", OPEN[door], "Origin: http://evil.example", "Access-Control-Request-Method: GET"),
            line.ask("GET", OPEN[door], "Origin: http://evil.example"),
        )

    assert not [name for answer in asked for name in answer.headers if name.startswith("access-control")]
    assert all(answer.status >= 400 for answer in asked[:2])


# --- keys -------------------------------------------------------------------------------------------------------------


def test_everything_at_the_app_port_needs_a_key(house: House) -> None:
    """Without a key only the open paths answer; all else is a 401 that names the scheme and the next step."""
    paths = [(method, path_of(route)) for method, route, _, who in APP_ROUTES if who not in ("anyone", "client")]
    made_up = [("GET", path) for path in ("/", "/nothing", "/v1/", "/healthz/", "/v1/../healthz", "/login/x", "/ui/")]

    with Line(house.app_url) as line:
        assert line.ask("GET", "/healthz").json() == {"state": "ok"}
        for method, path in paths + made_up:
            answer = line.ask(method, path)
            assert answer.is_problem(401, "unauthorized"), (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="keyfob"'
            assert "keyfob app add" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: ",
        "Authorization: Bearer",
        "Authorization: Bearer kf_",
        "Authorization: Bearer kf_wrong",
        "Authorization: Bearer {key}x",
        "Authorization: Bearer {cut}",
        "Authorization: Bearer {upper}",
        "Authorization: Bearer {bare}",
        "Authorization: {key}",
        "Authorization: Token {key}",
        "Authorization: Basic {basic}",
        "Authorization: Bearer {key}, Bearer {key}",
        'Authorization: Bearer "{key}"',
        "Authorization: Bearer\t{key}",
        "Authorization: Bearer kf_\xff\xfe",
        "Authorization: Bearer {key}\r\nAuthorization: Bearer {key}",
        "Authorization: Bearer {key}\r\nAuthorization: Bearer kf_wrong",
    ],
)
@pytest.mark.parametrize("door", ["socket", "app"])
def test_wrong_key(house: House, key: str, door: str, header: str) -> None:
    """What is not exactly one known key is nobody - on the socket too, where it does not fall back to the owner."""
    given = header.format(
        key=key, cut=key[:-1], upper=key.upper(), bare=key[3:], basic=base64.b64encode(f"job:{key}".encode()).decode()
    )
    with Line(url_of(house, door)) as line:
        answer = line.ask("GET", "/v1/apps/job", given)

    assert answer.is_problem(401, "unauthorized")
    assert "www-authenticate" in answer.headers
    assert key not in answer.text


def test_key_is_taken_from_authorization_only(house: House, key: str) -> None:
    """A key in an address ends in logs and histories: it opens nothing there, nor in other headers."""
    with Line(house.app_url) as line:
        for target, header in (
            (f"/v1/apps/job?access_token={key}", "X: y"),
            ("/v1/apps/job", f"Proxy-Authorization: Bearer {key}"),
            ("/v1/apps/job", f"X-Api-Key: {key}"),
        ):
            assert line.ask("GET", target, header).is_problem(401, "unauthorized")
        assert line.ask("GET", "/v1/apps/job", f"Cookie: Authorization={key}").is_problem(403, "not_granted")
        assert line.ask("GET", "/v1/apps/job", f"authorization: bearer  {key}").status == 200


def test_key_dies(tmp_path: Path) -> None:
    """A key opens until it expires, is replaced or its app is removed, and not a request longer."""
    now = time.time()
    with running(tmp_path, lambda: now) as house:

        def made(name: str, **more: float) -> str:
            key: str = house.owner.ask("POST", "/v1/apps", 201, json={"name": name, **more})["key"]
            return key

        keys = {name: made(name) for name in ("replaced", "removed", "kept")} | {
            "expired": made("e", expires_at=now + 60)
        }
        names = {name: name for name in keys} | {"expired": "e"}

        def opens() -> set[str]:
            with Line(house.app_url) as line:
                return {n for n, k in keys.items() if line.ask("GET", f"/v1/apps/{names[n]}", bearer(k)).status == 200}

        assert opens() == set(keys)
        now += 61
        house.owner.ask("POST", "/v1/apps/{app}/rotate", 200, path={"app": "replaced"})
        house.owner.ask("DELETE", "/v1/apps/{app}", 204, path={"app": "removed"})

        assert opens() == {"kept"}


def test_forwarding_headers_change_nothing(house: House, key: str, practice: PracticeServer) -> None:
    """Nobody becomes somebody, and no address is built, by what a proxy would add: there is none in front of a door."""
    lies = (
        "X-Forwarded-For: 127.0.0.1",
        f"X-Forwarded-Host: {urlsplit(house.app_url).netloc}",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1;proto=https;host=localhost",
        "X-Original-URL: /healthz",
        "X-HTTP-Method-Override: DELETE",
    )
    with Line(house.app_url) as line:
        assert line.ask("GET", "/v1/apps/job", *lies).status == 401
        assert line.ask("GET", "/v1/apps/job", *lies, bearer(key), host="evil.example").status == 400
        assert line.ask("GET", "/v1/status", *lies, bearer(key)).status == 403
        assert line.ask("GET", "/v1/apps/job", *lies, bearer(key)).status == 200

    new = {"provider": "practice", "base_url": practice.url, "client_id": PUBLIC_CLIENT}
    begun = house.owner.ask("POST", "/v1/logins", 201, json=new, headers=dict(lie.split(": ") for lie in lies))
    house.owner.ask("DELETE", "/v1/logins/{id}", 204, path={"id": begun["id"]})
    assert begun["start_url"].startswith(f"{house.browser_url}/login/")


# --- who may what -----------------------------------------------------------------------------------------------------


def test_key_makes_an_app_of_its_bearer_on_the_socket_too(house: House, key: str) -> None:
    """Who shows a key at the socket has that app's rights and not the owner's."""
    with Line(house.socket) as line:
        for method, route in FOR_OWNERS:
            assert line.ask(method, path_of(route), bearer(key)).is_problem(403, "not_granted"), (method, route)
        assert line.ask("GET", "/v1/apps/job", bearer(key)).status == 200
        assert line.ask("GET", "/v1/apps/other", bearer(key)).status == 403
        assert line.ask("GET", "/v1/status").status == 200


def test_owners_routes_refuse_an_app_at_the_port(house: House, key: str) -> None:
    """What only the owner may is refused to every key, with the way that the owner would go."""
    with Line(house.app_url) as line:
        for method, route in FOR_OWNERS:
            answer = line.ask(method, path_of(route), bearer(key))
            assert answer.is_problem(403, "not_granted"), (method, route)
            assert "on the socket" in answer.json()["detail"]


def test_socket_is_for_its_own_user(house: House, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of another user, as the kernel names it, is nobody at the socket, root and a key or not."""
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)  # one user cannot be two in a test: the daemon is another

    with Line(house.socket) as line:
        assert line.ask("GET", "/v1/status").is_problem(401, "unauthorized")
        assert line.ask("GET", "/v1/apps/job", bearer(key)).is_problem(401, "unauthorized")


# --- the browser port -------------------------------------------------------------------------------------------------


def test_browser_port_has_none_of_the_api(house: House, key: str, practice: PracticeServer) -> None:
    """No path of the API is there, for nobody: a token cannot leave through the port that pages can reach."""
    house.log_in("work", practice.url)
    token = house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"]

    with Line(house.browser_url) as line:
        for _, route, _, _ in APP_ROUTES:
            for shown in ((), (bearer(key),)):
                answer = line.ask("GET", path_of(route), *shown)
                assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8"), route
                assert token not in answer.text


def test_app_doors_have_no_pages(house: House, key: str) -> None:
    """The start page, the callback and the pages are behind the browser port only."""
    with Line(house.app_url) as port, Line(house.socket) as local:
        for _, route, _, _ in BROWSER_ROUTES:
            assert port.ask("GET", path_of(route), bearer(key)).is_problem(404, "not_found")
            assert local.ask("GET", path_of(route)).is_problem(404, "not_found")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_browser_port_answers_get_only(house: House, method: str) -> None:
    """Any other method is refused, whatever the path, and told which one is right (RFC 9110 15.5.6)."""
    for path in ("/ui/", "/login/x", "/callback/practice", "/nothing"):
        with Line(house.browser_url) as line:
            answer = line.ask(method, path)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND"])
def test_unusual_methods_at_app_doors(house: House, key: str, method: str) -> None:
    """They are refused, and TRACE sends nothing of the request back."""
    for door in ("socket", "app"):
        for path in ("/healthz", OPEN[door]):
            with Line(url_of(house, door)) as line:
                answer = line.ask(method, path, "X-Mark: mirror-mirror", *((bearer(key),) if door == "app" else ()))
            assert answer.status == 405
            assert answer.headers["allow"]
            assert "mirror" not in answer.text
            assert key not in answer.text


# --- every answer -----------------------------------------------------------------------------------------------------


def test_every_answer_is_neither_kept_nor_guessed(house: House, key: str) -> None:
    """Whatever the status, an answer is not cached, its type not guessed, and the software behind it not told."""
    name = f"app-{time.monotonic_ns()}"
    asked: list[tuple[str, str, str, tuple[str, ...], int]] = [
        ("socket", "GET", "/healthz", (), 200),
        ("socket", "GET", "/openapi.yaml", (), 200),
        ("socket", "GET", "/v1/events", (), 200),
        ("socket", "GET", "/v1/status?x=y", (), 400),
        ("socket", "GET", "/v1/status", ("Cookie: a=b",), 403),
        ("socket", "GET", "/v1/apps/none", (), 404),
        ("socket", "GET", "/nothing", (), 404),
        ("socket", "PATCH", "/v1/status", (), 405),
        ("socket", "DELETE", f"/v1/apps/{name}", (), 204),
        ("app", "GET", "/healthz", (), 200),
        ("app", "GET", "/v1/apps/job", (), 401),
        ("app", "GET", "/v1/status", (bearer(key),), 403),
        ("browser", "GET", "/ui/", (), 200),
        ("browser", "GET", "/ui/", ("Purpose: prefetch",), 403),
        ("browser", "GET", "/login/x", (), 404),
        ("browser", "GET", "/callback/practice?code=x&state=y", (), 400),
        ("browser", "GET", "/ui/logins/x", (), 404),
        ("browser", "GET", "/nothing", (), 404),
        ("browser", "POST", "/ui/", (), 405),
        ("browser", "GET", f"/ui/?{'x' * 17_000}", (), 414),
    ]
    house.owner.ask("POST", "/v1/apps", 201, json={"name": name})

    for door, method, target, headers, status in asked:
        with Line(url_of(house, door)) as line:
            answer = line.ask(method, target, *headers)
        assert answer.status == status, (door, method, target)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not {"server", "x-powered-by", "via"} & set(answer.headers)
