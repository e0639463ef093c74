"""Requests on which two parsers would disagree: smuggling, folding, odd targets, other versions.

Each carries the right key, or is worth a page: it is refused because nobody can be sure what it means.
"""

import pytest

from tests.attacks.ground import TOKEN, Ground
from tests.web.raw import Line, bearer

# %H: the right Host; %K: the line with the right key; %T: a target worth asking for; %S: a whole request that is
# smuggled in a body.
HEADS = {
    "two equal hosts": "GET %T HTTP/1.1\r\nHost: %H\r\nHost: %H\r\n%K\r\n",
    "two hosts": "GET %T HTTP/1.1\r\nHost: %H\r\nHost: evil.example\r\n%K\r\n",
    "two hosts, the foreign one first": "GET %T HTTP/1.1\r\nHost: evil.example\r\nHost: %H\r\n%K\r\n",
    "no host": "GET %T HTTP/1.1\r\n%K\r\n",
    "an empty host": "GET %T HTTP/1.1\r\nHost:\r\n%K\r\n",
    "a folded host": "GET %T HTTP/1.1\r\nHost: evil.example\r\n %H\r\n%K\r\n",
    "a host folded from nothing": "GET %T HTTP/1.1\r\nHost:\r\n %H\r\n%K\r\n",
    "a space before the colon": "GET %T HTTP/1.1\r\nHost : %H\r\n%K\r\n",
    "a header line that begins with a space": "GET %T HTTP/1.1\r\n Host: %H\r\n%K\r\n",
    "a line without a colon": "GET %T HTTP/1.1\r\nHost: %H\r\nnonsense\r\n%K\r\n",
    "NUL in a value": "GET %T HTTP/1.1\r\nHost: %H\r\nX: a\0b\r\n%K\r\n",
    "NUL in a name": "GET %T HTTP/1.1\r\nHost: %H\r\nX\0: a\r\n%K\r\n",
    "NUL in the host": "GET %T HTTP/1.1\r\nHost: %H\0.evil.example\r\n%K\r\n",
    "NUL in the target": "GET %T\0 HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "a bare CR in a value": "GET %T HTTP/1.1\r\nHost: %H\r\nX: a\rb: c\r\n%K\r\n",
    "a bare CR as line end": "GET %T HTTP/1.1\rHost: %H\r%K\r",
    "a space in the target": "GET %T /x HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "a tab in the target": "GET %T\t HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "an absolute target": "GET http://%H%T HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "a foreign absolute target": "GET http://evil.example%T HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "an authority as target": "CONNECT %H HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "a star as target": "OPTIONS * HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "no target": "GET HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "a relative target": "GET v1/accounts/me/token HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "HTTP/0.9": "GET %T\r\n\r\n",
    "HTTP/1.0 without a host": "GET %T HTTP/1.0\r\n%K\r\n",
    "HTTP/1.2": "GET %T HTTP/1.2\r\nHost: %H\r\n%K\r\n",
    "HTTP/2.0": "GET %T HTTP/2.0\r\nHost: %H\r\n%K\r\n",
    "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another protocol": "GET %T ICY/1.1\r\nHost: %H\r\n%K\r\n",
    "a method in small letters": "get %T HTTP/1.1\r\nHost: %H\r\n%K\r\n",
    "a client hello": "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "a PROXY line": "PROXY TCP4 1.2.3.4 127.0.0.1 1 2\r\nGET %T HTTP/1.1\r\nHost: %H\r\n%K\r\n",
}
# After this head the smuggled request is body to one parser and a request to another.
FRAMES = {
    "length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S",
    "chunks and length": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n%S",
    "two lengths": "Content-Length: 0\r\nContent-Length: 9\r\n\r\n%S",
    "two equal lengths": "Content-Length: 0\r\nContent-Length: 0\r\n\r\n%S",
    "a list of lengths": "Content-Length: 0, 0\r\n\r\n%S",
    "a length with a sign": "Content-Length: +0\r\n\r\n%S",
    "a negative length": "Content-Length: -1\r\n\r\n%S",
    "a length in hexadecimal": "Content-Length: 0x0\r\n\r\n%S",
    "a length that overflows": "Content-Length: 18446744073709551616\r\n\r\n%S",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n%S",
    "chunked not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n%S",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n%S",
    "a space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n%S",
    "a folded coding": "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n%S",
    "a chunk that overflows": "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n%S",
    "a negative chunk": "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n%S",
    "a chunk in 0x": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n%S",
    "a line feed in an extension": "Transfer-Encoding: chunked\r\n\r\n0;a\n\r\n%S",
    "a chunk without its end": "Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n%S",
    "a trailer": "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.example\r\n\r\n%S",
    "a trailer with a key": "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer kf_x\r\n\r\n%S",
}
# What a normaliser would make of them is worth asking for; here each is a path of its own, or none.
PATHS = [
    "/healthz/../v1/accounts/me/token",
    "/healthz/..%2fv1/accounts/me/token",
    "/healthz%2f..%2fv1%2faccounts%2fme%2ftoken",
    "/v1/./accounts/me/token",
    "//v1/accounts/me/token",
    "/v1//accounts/me/token",
    "/v1/accounts/me%2ftoken",
    "/v1/accounts/me%2Ftoken",
    "/v1%2faccounts%2fme%2ftoken",
    "/v1/accounts/me%252ftoken",
    "/v1/accounts/x/../me/token",
    "/v1/accounts/me/token/",
    "/v1/accounts/me/token%20",
    "/v1/accounts/me/token%00",
    "/v1/accounts/me/token;x",
    "/v1/accounts/me\\token",
    "/V1/accounts/me/token",
    "/v1/accounts/me/%c0%ae%c0%ae/token",
    "/v1/accounts/me%00/token",
    "/healthz;/v1/accounts/me/token",
    "/healthz?/../v1/accounts/me/token",
    "/healthz#/v1/accounts/me/token",
    "/oauth/token/../../v1/accounts/me/token",
    "/oauth/token;/v1/accounts/me/token",
    "/oauth/token%2f..%2f..%2fv1/accounts/me/token",
    "/.well-known/oauth-authorization-server/../../v1/accounts/me/token",
]


def written(ground: Ground, door: str, pattern: str) -> bytes:
    """Write a request of the tables above for a door."""
    key = "".join(f"{line}\r\n" for line in ground.headers(door))
    smuggled = f"GET {TOKEN} HTTP/1.1\r\nHost: {ground.named(door)}\r\n{bearer(ground.key)}\r\n\r\n"
    words = {"%H": ground.named(door), "%K": key, "%T": ground.target(door), "%S": smuggled}
    for mark, text in words.items():
        pattern = pattern.replace(mark, text)
    return pattern.encode("latin-1")


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("door", ["app", "browser"])
def test_an_odd_head(ground: Ground, door: str, name: str) -> None:
    """It is refused: no token, no page, and one answer at the most."""
    came = ground.raw(door, written(ground, door, HEADS[name]))

    assert came.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ")) or not came
    assert came.count(b"HTTP/1.1 ") <= 1
    assert ground.token.encode() not in came
    assert b"<html" not in came


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("door", ["app", "browser"])
def test_nothing_is_smuggled(ground: Ground, door: str, name: str) -> None:
    """Where the end of a body is in doubt, what comes after it is no request."""
    begin = "POST %T HTTP/1.1\r\nHost: %H\r\n%K" + FRAMES[name]

    came = ground.raw(door, written(ground, door, begin))

    assert came.startswith(b"HTTP/1.1 4") or not came
    assert came.count(b"HTTP/1.1 ") <= 1
    assert ground.token.encode() not in came


@pytest.mark.parametrize("path", PATHS)
def test_no_path_is_another(ground: Ground, path: str) -> None:
    """Dots, doubled and encoded slashes and semicolons lead nowhere: neither around the key nor to a token."""
    for door, lines in (("app", ()), ("app", (bearer(ground.key),)), ("socket", ())):
        with Line(ground.where(door)) as line:
            answer = line.ask("GET", path, *lines)

        assert "access_token" not in answer.text
        assert answer.status in (400, 401, 403, 404) or answer.json() == {"state": "ok"}


@pytest.mark.parametrize(
    "path", ["/ui/static/../../callback.py", "/ui/static/%2e%2e%2f%2e%2e%2fcallback.py", "/ui/static//etc/passwd"]
)
def test_no_file_is_read(ground: Ground, path: str) -> None:
    """The static files are two; a path does not get at any other."""
    with Line(ground.browser_url) as line:
        answer = line.ask("GET", path)

    assert answer.status in (400, 404)
    assert "root:" not in answer.text


def test_bare_line_feeds_change_nothing(ground: Ground) -> None:
    """A head whose lines end in a line feed alone is refused, or read as it plainly says: one request."""
    request = written(ground, "app", "GET %T HTTP/1.1\nHost: evil.example\n%K\n").replace(b"\r\n", b"\n")

    came = ground.raw("app", request)

    assert came.startswith(b"HTTP/1.1 400 ") or not came


def test_chunk_extensions_say_nothing(ground: Ground) -> None:
    """An extension is skipped, whatever it is called; the body is that of the chunk."""
    body = b'5;x="\\"";Host=evil.example\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'
    head = f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: chunked\r\n%K\r\n"

    came = ground.raw("app", written(ground, "app", head) + body)

    assert came.count(b"HTTP/1.1 ") == 1
    assert b"Unknown in the body: 'a'" in came or b"access_token" in came
