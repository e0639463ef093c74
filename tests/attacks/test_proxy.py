"""A program that may use an account through the proxy only wants its token, another host, or more than its rules."""

from collections.abc import Iterator

import pytest

from tests.attacks.ground import Ground
from tests.web.api import Api, Call, an_api
from tests.web.raw import Answer, Line, bearer

# Paths that some server reads as one outside the base, or outside what a rule allows.
PATHS = (
    *("../private", "%2e%2e/private", ".%2e/private", "%252e%252e/private", "..;/private", "..%2fprivate"),
    *("..%5cprivate", "..%c0%afprivate", "/evil.example/%2e%2e", "a%00b", "a%0d%0aX-Y:z", "a%23/../../x", "%2e"),
    *("a/..%3bx/../..", "a\\..\\b", "%25252e%25252e/private", "%2e%2e%3b/private", "%%32%65%%32%65/private"),
)
# Whoever reads these takes another path, another method or another caller for the one that was looked at.
CLAIMS = (
    *("X-Original-URL: /private", "X-Rewrite-URL: /private", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1"),
    *("X-Forwarded-Host: evil.example", "Proxy-Authorization: Basic eDp5", "Cookie: session=stolen"),
    *("X-Real-IP: 10.0.0.1", "Via: 1.1 evil.example", "X_Original_URL: /private", "X_Forwarded_For: 10.0.0.1"),
    *("Content_Length: 0", "Transfer_Encoding: chunked"),
)


@pytest.fixture(scope="module")
def api(ground: Ground) -> Iterator[Api]:
    """Run the API of the account ``me``."""
    with an_api() as found:
        ground.owner.patch("/v1/accounts/me", json={"api_base": f"http://{found.host}/v1"}).raise_for_status()
        yield found


@pytest.fixture(scope="module")
def key(ground: Ground) -> str:
    """Return the key of an app that may read below /open, through the proxy only."""
    return ground.add_app("agent", {"account": "me", "mode": "proxy", "rules": ["GET /open/**"]})


@pytest.fixture
def asked(api: Api) -> list[Call]:
    """Return what the API is asked from now on."""
    api.calls.clear()
    api.acts.clear()
    return api.calls


def ask(ground: Ground, door: str, key: str, method: str, path: str, *headers: str) -> Answer:
    """Send a request as the app."""
    with Line(ground.where(door)) as line:
        return line.ask(method, f"/proxy/me/{path}", bearer(key), *headers)


@pytest.mark.parametrize("door", ["app", "socket"])
def test_the_token_stays_inside(ground: Ground, api: Api, key: str, door: str) -> None:
    """The API gets the token; the app is told it by no answer of Keyfob's, whatever it asks for."""
    api.acts["/v1/open/quiet"] = lambda call: call.answer("200 OK", {}, b"quiet")
    answers = [ask(ground, door, key, "GET", path) for path in ("open/quiet", "private", "%2e%2e")]
    answers.append(ask(ground, door, key, "GET", "../../v1/accounts/me/token"))
    with Line(ground.where(door)) as line:
        answers.append(line.ask("GET", "/v1/accounts/me/token", bearer(key)))

    assert api.calls[-1].header("authorization") == [f"Bearer {ground.token}"]
    assert [answer.status for answer in answers] == [200, 403, 400, 400, 403]
    assert not [answer for answer in answers if ground.token in answer.text + str(answer.headers)]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_elsewhere(ground: Ground, key: str, asked: list[Call], path: str) -> None:
    """Neither out of the base nor around the rules: the API is not even asked."""
    answer = ask(ground, "app", key, "GET", f"open/{path}")

    assert answer.status in (400, 403, 404), asked
    assert asked == []


@pytest.mark.parametrize("path", ["/evil.example/", "@evil.example/", ":80@evil.example", "http://evil.example/"])
def test_no_path_names_a_host(ground: Ground, asked: list[Call], api: Api, path: str) -> None:
    """What looks like a host in a path is refused, or is a path below the base."""
    with Line(ground.where("socket")) as line:
        answer = line.ask("GET", f"/proxy/me/{path}", host="localhost")

    assert answer.status == 400 or [call.target for call in asked] == [f"/v1/{path}"]
    assert [call.header("host") for call in asked] in ([], [[api.host]])


def test_no_other_host_gets_the_token(ground: Ground, api: Api, key: str) -> None:
    """An absolute target, a foreign Host and a redirection lead the token to nobody else."""
    with an_api() as evil, Line(ground.app_url) as line:
        away = f"http://{evil.host}/v1/open/x"
        api.acts["/v1/open/moved"] = lambda call: call.answer("307 Temporary Redirect", {"Location": away})
        line.send(f"GET {away} HTTP/1.1\r\nHost: {line.host}\r\n{bearer(key)}\r\n\r\n".encode())
        absolute = line.end()
        with Line(ground.app_url) as other:
            foreign = other.ask("GET", "/proxy/me/open/x", bearer(key), host=evil.host)
        moved = ask(ground, "app", key, "GET", "open/moved")

        assert absolute.startswith(b"HTTP/1.1 400 ")
        assert foreign.status == 400
        assert (moved.status, moved.headers["location"]) == (307, away)
        assert evil.calls == []


@pytest.mark.parametrize(
    ("door", "away"),
    [
        *(
            ("app", f"http://{host}:{{port}}/proxy/you/x")
            for host in ("127.0.0.1", "localhost", "127.1", "me@127.0.0.1")
        ),
        *(("app", f"http://{host}:{{port}}/proxy/you/x") for host in ("127.0.0.%31", "127.0.0.1.", "127.0.0.1:1")),
        *(("socket", f"http://{host}/v1/lock") for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]", "any")),
        ("app", "{api}/v1\\..\\..\\proxy\\you"),
    ],
)
def test_no_redirection_leads_back_here(ground: Ground, api: Api, key: str, door: str, away: str) -> None:
    """An API sends no program that follows redirections to another account, or to Keyfob, with the program's key."""
    told = away.format(port=ground.app_url.rpartition(":")[2], api=f"http://{api.host}")
    api.acts["/v1/open/moved"] = lambda call: call.answer("307 Temporary Redirect", {"Location": told})

    answer = ask(ground, door, key, "GET", "open/moved")

    assert answer.is_problem(502, "provider_unavailable")
    assert "location" not in answer.headers


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_claim_reaches_the_api(ground: Ground, key: str, asked: list[Call], claim: str) -> None:
    """Another path, another caller and the caller's own credentials end at the proxy."""
    answer = ask(ground, "app", key, "GET", "open/x", claim, "X-Kept: yes")

    name, _, value = claim.partition(": ")
    assert answer.status == 200
    assert (asked[0].header("x-kept"), asked[0].header(name.lower())) == (["yes"], [])
    assert value not in [sent for _, sent in asked[0].headers]
    assert key not in str(asked[0].headers)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", ()),
        ("DELETE", ()),
        ("GET", ("X-HTTP-Method-Override: DELETE",)),
        ("GET", ("X-Method-Override: DELETE",)),
        ("GET", ("X_HTTP_METHOD_OVERRIDE: DELETE",)),
        ("TRACE", ()),
        ("PROPFIND", ()),
    ],
)
def test_no_other_method(ground: Ground, key: str, asked: list[Call], method: str, headers: tuple[str, ...]) -> None:
    """What the rules do not name is not sent, and not under the name of another method."""
    assert ask(ground, "app", key, method, "open/x", *headers).status in (400, 403, 405)
    assert asked == []


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nContent-Length: 30",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Content-Length: 0\r\nConnection: content-length",
        "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
    ],
)
def test_nothing_is_smuggled(ground: Ground, asked: list[Call], framing: str) -> None:
    """However a body is framed, the API sees one request or none, and never what was hidden in the body."""
    own = f"open/{framing.encode().hex()}"  # what an earlier test sent may arrive in this one
    hidden = "GET /proxy/me/hidden HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    head = f"POST /proxy/me/{own} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n"
    ground.raw("socket", f"{head}0\r\n\r\n{hidden}".encode())

    targets = [call.target for call in asked]
    assert targets.count(f"/v1/{own}") <= 1
    assert "/v1/hidden" not in targets


@pytest.mark.parametrize(
    "base", ["http://169.254.169.254/latest", "https://10.0.0.1", "http://evil.example", "https://[::ffff:10.0.0.1]/"]
)
def test_no_base_leads_inside(ground: Ground, api: Api, base: str) -> None:
    """A person who is talked into a base gets no token sent in the clear, nor to an address of the inside."""
    answer = ground.owner.patch("/v1/accounts/me", json={"api_base": base})

    assert answer.status_code == 400, answer.text
    assert ground.get("/v1/accounts/me").json()["api_base"] == f"http://{api.host}/v1"


def test_an_app_moves_no_base(ground: Ground, api: Api, key: str) -> None:
    """Where the API is says the owner only."""
    with an_api() as evil:
        moved = ground.app(key, "/v1/accounts/me", "PATCH", json={"api_base": f"http://{evil.host}"})

        assert moved.status_code == 403
    assert ground.get("/v1/accounts/me").json()["api_base"] == f"http://{api.host}/v1"
