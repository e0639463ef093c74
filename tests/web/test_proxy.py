"""Requests through the proxy: what the API gets, what comes back, and that the token stays inside."""

import pytest

from broker.practice.person import visit
from broker.practice.server import PracticeServer
from tests.web.house import PATIENCE, House
from tests.web.proxied import Proxied, problem
from tests.web.raw import Line, head


def test_a_request_arrives_with_the_token(me: Proxied) -> None:
    """Method, path, query, body and end-to-end headers arrive as they were; the bearer is the account's."""
    answer = me.app.put(
        "/proxy/me/a%20b/c;d=1/?q=1&q=%2F", content=b"body", headers={"X-Own": "yes", "Accept": "text/x"}
    )

    came = answer.json()
    assert (came["method"], came["target"], came["body"]) == ("PUT", "/v1/a%20b/c;d=1/?q=1&q=%2F", "body")
    assert me.api.calls[0].header("authorization") == [f"Bearer {me.token}"]
    assert me.api.calls[0].header("host") == [me.api.host]
    assert (me.api.calls[0].header("x-own"), me.api.calls[0].header("accept")) == (["yes"], ["text/x"])


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Proxy-Authorization", "Cookie", "Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"),
        *("Referer", "X-Original-URL", "X-Rewrite-URL", "Keep-Alive", "TE", "Trailer", "Sec-Fetch-Mode"),
        *("X-Keyfob-Other", "X-Mine"),
    ],
)
def test_what_ends_at_the_proxy(me: Proxied, name: str) -> None:
    """Credentials and claims of the caller's, and what is of one connection, do not reach the API."""
    mine = {"Connection": "keep-alive, X-Mine"} | ({} if name == "Authorization" else {name: "marker"})
    me.app.get("/proxy/me/x", headers=mine).raise_for_status()

    sent = [value for known, value in me.api.calls[0].headers if known == name.lower()]
    assert "kf_" not in str(me.api.calls[0].headers)
    assert "marker" not in str(me.api.calls[0].headers)
    assert len(sent) == (name == "Authorization")


def test_an_answer_comes_back_as_it_is(me: Proxied) -> None:
    """Status, headers and a body that is encoded come back; cookies and what is of one connection do not."""
    given = {
        "Content-Encoding": "gzip",
        "X-RateLimit-Remaining": "7",
        "Set-Cookie": "a=b",
        "Connection": "X-Mine",
        "X-Mine": "1",
    }
    me.api.acts["/v1/x"] = lambda call: call.answer("418 Teapot", given, b"\x1f\x8b no gzip")

    with me.app.stream("GET", "/proxy/me/x") as answer:
        raw = b"".join(answer.iter_raw())

    assert (answer.status_code, raw) == (418, b"\x1f\x8b no gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["x-ratelimit-remaining"] == "7"
    assert not {"set-cookie", "x-mine"} & set(answer.headers)


def test_the_token_is_not_handed_out(me: Proxied) -> None:
    """An app that was granted the proxy only does not get the token itself."""
    found = problem(me.app.get("/v1/accounts/me/token"), 403, "not_granted")

    assert "through the proxy only" in found["detail"]
    assert me.api.calls == []


@pytest.mark.parametrize("path", ["../x", "a/%2e%2e/x", "%252e%252e/x", "..;/x", "./x", "a/.."])
def test_no_path_leaves_the_base(me: Proxied, path: str) -> None:
    """Whatever some server might read as the way up is refused."""
    with Line(me.house.socket) as line:
        answer = line.ask("GET", f"/proxy/me/{path}", "Host: localhost")

    assert answer.is_problem(400, "invalid_request")
    assert me.api.calls == []


def test_a_name_that_holds_a_slash(me: Proxied) -> None:
    """It is refused with what helps at an API, and not as a name of Keyfob's own."""
    found = problem(me.app.get("/proxy/me/projects/group%2Fproject"), 400, "invalid_request")

    assert "take the number" in found["detail"]
    assert me.api.calls == []


def test_the_base_itself(me: Proxied) -> None:
    """Without anything behind the account the base is asked for, just as it was written down."""
    with Line(me.house.socket) as line:
        line.send(head("GET", "/proxy/me/", "Host: localhost"))
        line.answer()
        line.send(head("GET", "/proxy/me", "Host: localhost"))
        line.answer()

    assert [call.target for call in me.api.calls] == ["/v1", "/v1"]


@pytest.mark.parametrize(
    ("told", "back"),
    [
        ("https://evil.example/v1/x", "https://evil.example/v1/x"),
        ("//evil.example/v1/x", "http://evil.example/v1/x"),
        ("{api}/v1/new?x=1", "/proxy/me/new?x=1"),
        ("/v1/new", "/proxy/me/new"),
        ("new", "/proxy/me/a/new"),
        ("/v11/x", "{api}/v11/x"),
        ("../../login", "{api}/login"),
    ],
)
def test_no_redirect_is_followed(me: Proxied, told: str, back: str) -> None:
    """A redirection goes back to the caller: below the base by way of the proxy, elsewhere without the token."""
    api = f"http://{me.api.host}"
    me.api.acts["/v1/a/b"] = lambda call: call.answer("302 Found", {"Location": told.format(api=api)})

    answer = me.app.get("/proxy/me/a/b", follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (302, back.format(api=api))
    assert len(me.api.calls) == 1


def test_rules(me: Proxied) -> None:
    """What fits a rule passes; what fits none is refused with the rules that there are, and written down."""
    me.allow("GET /issues/*", "read-only")
    try:
        assert me.app.get("/proxy/me/other").status_code == 200
        found = problem(me.app.delete("/proxy/me/issues/7"), 403, "not_granted")
        hidden = me.app.post("/proxy/me/issues/7", headers={"X-HTTP-Method-Override": "GET"})
    finally:
        me.allow()

    assert found["rule"] == "GET /issues/*, read-only"
    assert "DELETE" in found["detail"]
    problem(hidden, 400, "invalid_request")
    assert [call.method for call in me.api.calls] == ["GET"]
    me.house.owner.ask("PATCH", "/v1/accounts/{account}", 200, path={"account": "me"}, json={"name": "me"})
    audit = me.house.owner.ask("GET", "/v1/audit", 200, params={"app": "me-app", "account": "me"})["entries"]
    written = {entry["action"]: entry for entry in audit}
    assert "'GET /issues/*', 'read-only'" in written["refused"]["detail"]
    assert written["handout"]["count"] >= 1


def test_rules_are_for_the_proxy(me: Proxied) -> None:
    """An app that may take the token itself is bound by no rule, so no such grant is made."""
    grant = {"account": "me", "rules": ["read-only"]}
    found = me.house.owner.ask("POST", "/v1/apps", 400, json={"name": "other", "grants": [grant]})

    assert "--proxy-only" in found["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"), 501),
        (("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"), 501),
        (("Origin: https://evil.example",), 403),
        (("Sec-Fetch-Site: cross-site",), 403),
    ],
)
def test_what_the_proxy_does_not_do(me: Proxied, headers: tuple[str, ...], status: int) -> None:
    """Another protocol on the connection, and requests of web pages, are refused in words."""
    with Line(me.house.socket) as line:
        answer = line.ask("GET", "/proxy/me/x", *headers)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert me.api.calls == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_that_are_not_sent(me: Proxied, method: str) -> None:
    """Nobody is shown his request, and nobody gets a tunnel."""
    with Line(me.house.socket) as line:
        answer = line.ask(method, "/proxy/me/x")

    assert answer.status in (400, 405)
    assert me.api.calls == []


def test_nobody_knows_where_the_api_is(house: House, practice: PracticeServer) -> None:
    """Without a base nothing is sent, and the answer says how to name one."""
    house.owner.ask("POST", "/v1/providers", 201, json={"name": "plain", "issuer": practice.url, "client_id": "keyfob"})
    begun = house.owner.ask("POST", "/v1/logins", 201, json={"account": "nowhere", "provider": "plain"})
    visit(begun["start_url"], PATIENCE)

    answer = house.owner.http.get("/proxy/nowhere/x")

    assert "keyfob proxy-url nowhere --api-base" in problem(answer, 409, "conflict")["detail"]


@pytest.mark.parametrize(
    ("base", "step"),
    [
        ("http://api.example.org", "Use https://"),
        ("https://10.0.0.1/v1", "a provider that was added with --private"),
        ("https://api.example.org/a/../b", "Write it without /./ and /../"),
        ("x", "Write it as https://host/path"),
    ],
)
def test_bases_that_cannot_be(house: House, me: Proxied, base: str, step: str) -> None:
    """The token is sent over TLS or not away from this machine, and to no special-purpose address unasked."""
    where = {"account": "me"}
    found = house.owner.ask("PATCH", "/v1/accounts/{account}", 400, path=where, json={"api_base": base})

    assert step in found["detail"]
    assert me.app.get("/proxy/me/x").status_code == 200


def test_an_unknown_account_and_one_that_is_not_granted_look_alike(me: Proxied) -> None:
    """An app is told of no account that it may not use."""
    answers = [me.app.get(f"/proxy/{name}/x") for name in ("never", "nowhere")]

    assert [problem(answer, 403, "not_granted")["code"] for answer in answers] == ["not_granted"] * 2


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")]
)
def test_answers_without_a_body(me: Proxied, method: str, status: str) -> None:
    """An answer that has no body ends where it ends, whatever it tells of a length, and the connection goes on."""
    me.api.acts["/v1/x"] = lambda call: call.say(f"HTTP/1.1 {status}\r\ncontent-length: 7\r\netag: a\r\n\r\n".encode())
    with Line(me.house.socket) as line:
        for _ in range(2):
            answer = line.ask(method, "/proxy/me/x")
            assert (answer.status, answer.headers["etag"]) == (int(status[:3]), "a")
        assert answer.headers.get("content-length") == ("7" if method == "HEAD" else None)


@pytest.mark.parametrize("status", ["101 Switching Protocols", "999 Request Denied"])
def test_answers_that_cannot_be_passed_on(me: Proxied, status: str) -> None:
    """What is no answer of HTTP's is told as one that did not come."""
    me.api.acts["/v1/x"] = lambda call: call.say(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

    problem(me.app.get("/proxy/me/x"), 502, "provider_unavailable")


def test_a_login_for_a_resource_goes_there(house: House, practice: PracticeServer) -> None:
    """A login that named a resource has its API there: the resource itself is at the account's own path."""
    new = {"account": "there", "provider": "practice", "base_url": practice.url, "client_id": "keyfob"}
    begun = house.owner.ask("POST", "/v1/logins", 201, json={**new, "resource": f"{practice.url}/api"})
    visit(begun["start_url"], PATIENCE)

    answers = [house.owner.http.get(f"/proxy/there{end}") for end in ("", "/", "/x")]

    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert answers[0].json()["subject"]


def test_what_was_not_granted_is_asked_for(house: House, me: Proxied) -> None:
    """An app that wants a request to be sent asks the owner, whose yes gives it the proxy and not the token."""
    key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "newcomer"})["key"]
    with house.app(key).http as newcomer:
        refused = problem(newcomer.get("/proxy/me/x"), 403, "not_granted")
        code = refused["approval_url"].rpartition("/")[2]
        asked = house.owner.ask("GET", "/v1/approvals/{id}", 200, path={"id": code})
        house.owner.ask("POST", "/v1/approvals/{id}", 200, path={"id": code}, json={"decision": "allow"})

        assert asked["wanted"] == [{"account": "me", "scope": "", "resource": None, "mode": "proxy"}]
        assert newcomer.get("/proxy/me/x").status_code == 200
        assert newcomer.get("/v1/accounts/me/token").status_code == 403
    assert [call.target for call in me.api.calls] == ["/v1/x"]
