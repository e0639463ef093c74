"""Paths below an API base: what is sent on, and what could be read in two ways."""

from urllib.parse import urlsplit

import pytest

from broker.core.below import Unfit, check_query, decoded, redirected, target


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"", "/"),
        (b"a/b", "/a/b"),
        (b"a//b/", "/a//b/"),
        (b"a%20b", "/a b"),
        (b"%C3%A9", "/é"),
        (b"100%25", "/100%"),
        (b"%2541", "/%41"),
        (b"a...b/..c/c..", "/a...b/..c/c.."),
        (b"a;b=1/~c,d:e@f!g$h'i(j)*", "/a;b=1/~c,d:e@f!g$h'i(j)*"),
    ],
)
def test_what_is_sent_on(raw: bytes, path: str) -> None:
    """What every server reads in the same way passes, decoded once for the rules."""
    assert decoded(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        *(b"..", b"a/../b", b".", b"a/.", b"%2e%2e", b".%2E/x", b"%252e%252e/x", b"%25252e%25252e", b"..;x/y", b".;/y"),
        *(b"%2e%2e%3bx", b"a%2fb", b"a%252Fb", b"a%5cb", b"a%255cb", b"a\\b", b"/evil.example", b"//x", b"a%00b"),
        *(b"a%0d%0ab", b"a%2500", b"a\x00", b"a b", b"\xc3\xa9", b"%c0%ae%c0%ae/x", b"%c0%af", b"%ff", b"%zz", b"a%"),
        *(b"a%2", b"a#b", b"a?b", b"%7f", b"%25" + b"25" * 10 + b"2e"),
    ],
)
def test_what_is_not_sent_on(raw: bytes) -> None:
    """Ways up, hidden slashes, control characters and what is no UTF-8 are refused, however often they are encoded."""
    with pytest.raises(Unfit):
        decoded(raw)


@pytest.mark.parametrize("raw", [b"a b", b"\xff", b"a#b", b"\r\n", b"\x00"])
def test_queries_that_would_not_arrive(raw: bytes) -> None:
    """A query passes as it is or not at all."""
    with pytest.raises(Unfit):
        check_query(raw)


@pytest.mark.parametrize(
    ("base", "raw", "query", "whole"),
    [
        ("https://h/v1", b"a/b", b"", b"/v1/a/b"),
        ("https://h/v1/", b"a/b", b"x=%2F&&y", b"/v1/a/b?x=%2F&&y"),
        ("https://h", b"", b"", b"/"),
        ("https://h/mcp", b"", b"", b"/mcp"),
        ("https://h/mcp/", b"", b"q", b"/mcp/?q"),
    ],
)
def test_what_is_asked_for(base: str, raw: bytes, query: bytes, whole: bytes) -> None:
    """Base and path are put together; the base alone stays as it was written."""
    assert target(urlsplit(base), raw, query) == whole


@pytest.mark.parametrize(
    ("location", "back"),
    [
        ("/v1/x?a#f", "/proxy/me/x?a#f"),
        ("https://h/v1", "/proxy/me"),
        ("https://h/v1x", "https://h/v1x"),
        ("https://h:8443/v1/x", "https://h:8443/v1/x"),
        ("http://h/v1/x", "http://h/v1/x"),
        ("?page=2", "/proxy/me/a/b?page=2"),
        ("https://h/v1/../x", "https://h/v1/../x"),
        ("https://h/v1/%2e%2E/x", "https://h/v1/%2e%2E/x"),
        ("///proxy/you", "https://h/proxy/you"),
        ("app://x", "app://x"),
    ],
)
def test_where_a_redirection_leads(location: str, back: str) -> None:
    """Below the base it is the proxy's; elsewhere it is told whole."""
    assert redirected(location, urlsplit("https://h/v1"), b"/v1/a/b?x", "/proxy/me") == back


@pytest.mark.parametrize(
    "location",
    ["https://[", "http:/proxy/you", "http:x", "/v1/..\\..\\proxy", "http://127.0.0.1:1\\proxy\\you", "//@[x\\y"],
)
def test_redirections_that_are_none(location: str) -> None:
    """What some callers would read as an address of the proxy's own is not told."""
    with pytest.raises(Unfit):
        redirected(location, urlsplit("https://h/v1"), b"/v1/a/b?x", "/proxy/me")
