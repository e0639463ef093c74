"""Targets: what programs send through the proxy - paths and queries -, rules, and where an API's redirections lead.

Used by ``targets``.
"""

import re
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from broker.core import below, rules
from broker.core.rules import Passage
from tests.fuzz.target import Target, picked, repeated, text_of

BASE = urlsplit("https://api.example/v1")


def _path(data: bytes) -> None:
    how, data = picked(data, (0, 1))
    if how == 1:
        below.check_query(data)
        assert data.isascii()
        return
    path = below.decoded(data)
    assert path == "/" + unquote_to_bytes(data).decode()
    whole = below.target(BASE, data, b"")
    assert whole == b"/v1" + (b"/" + data if data else b"")
    # Whoever decodes it again finds no more segments than there were, and no way up.
    again = data
    for _ in range(3):
        again = unquote_to_bytes(again)
        assert again.count(b"/") == data.count(b"/")
        assert b"\\" not in again
        assert not {b".", b".."} & {segment.partition(b";")[0] for segment in again.split(b"/")}


def _rule(data: bytes) -> None:
    rule = rules.written(text_of(data))
    assert rules.written(rule) == rule
    assert rules.allow([rule], Passage("GET", "/a/b")) in (True, False)
    assert not rules.allow([rule], Passage("TRACE ", "/a/b")) or rule.startswith("* ")


def _location(data: bytes) -> None:
    location = data.decode("latin-1")
    back = below.redirected(location, BASE, b"/v1/a/b?c", "/proxy/me")
    back.encode("latin-1")
    if back.startswith("/"):
        assert re.match(r"/proxy/me([/?#]|$)", back)
        assert not {".", ".."} & set(unquote(urlsplit(back).path).split("/"))


PASSAGES = (
    Target(
        "proxy-path",
        "paths and queries of requests through the proxy",
        _path,
        (below.Unfit,),
        (
            b"\0v1/issues/7",
            b"\0a%20b/%C3%A9;x=1//",
            b"\0%252e%252e/x",
            b"\0..;/x",
            b"\0%c0%af",
            b"\0a%25252fb",
            b"\x01a=b&c=%2F",
        ),
        (
            repeated(b"\0", b"%25"),
            repeated(b"\0%", b"25"),
            repeated(b"\0", b"a/"),
            repeated(b"\0", b"%C3%A9"),
            repeated(b"\x01", b"a=b&"),
        ),
        (b"%2e", b"%2f", b"%5c", b"%25", b"..", b";", b"//", b"%00", b"%c0%ae", b"#", b"?"),
        examples=600,
    ),
    Target(
        "proxy-rule",
        "rules of a grant",
        _rule,
        (ValueError,),
        (b"GET /v1/**", b"get,POST /a/*/b", b"read-only", b"* /", b"GET /\xc3\xa9"),
        (repeated(b"GET /", b"*/"), repeated(b"GET", b",GET"), repeated(b"", b" ")),
        (b"**", b"*", b"/", b",", b"read-only", b"..", b"%"),
        examples=300,
    ),
    Target(
        "proxy-location",
        "redirections of an API",
        _location,
        (below.Unfit,),
        (
            b"/v1/x",
            b"https://api.example/v1/x?a#b",
            b"//evil.example/",
            b"../..",
            b"?a",
            b"https://[",
            b"HTTPS://API.example:443/v1",
        ),
        (repeated(b"/v1/", b"../"), repeated(b"", b"/"), repeated(b"https://", b"a.")),
        (b"//", b"..", b"/v1", b"https://api.example", b"@", b"[", b"\\", b"%2e"),
        examples=300,
    ),
)
