"""Rules of the proxy: what is one, and which requests fit it."""

import time

import pytest

from broker.core.rules import MOST_LENGTH, Passage, allow, written


@pytest.mark.parametrize(
    ("rule", "method", "path", "fits"),
    [
        ("GET /api/v1/**", "GET", "/api/v1/a/b", True),
        ("GET /api/v1/**", "GET", "/api/v1", True),
        ("GET /api/v1/**", "GET", "/api/v1/", True),
        ("GET /api/v1/**", "GET", "/api/v10", False),
        ("GET /api/v1/**", "POST", "/api/v1/a", False),
        ("GET /api/v1/**", "get", "/api/v1/a", False),
        ("GET,POST /issues/*", "POST", "/issues/7", True),
        ("GET,POST /issues/*", "POST", "/issues/", False),
        ("GET,POST /issues/*", "POST", "/issues/7/x", False),
        ("* /a/*/c", "DELETE", "/a/b/c", True),
        ("* /a/*/c", "DELETE", "/a//c", False),
        ("* /a/*/c", "DELETE", "/a/b/c/", False),
        ("GET /", "GET", "/", True),
        ("GET /**", "GET", "/", True),
        ("GET /A", "GET", "/a", False),
        ("read-only", "HEAD", "/x", True),
        ("read-only", "TRACE", "/x", False),
        ("read-only", "POST", "/x", False),
    ],
)
def test_what_fits(rule: str, method: str, path: str, fits: object) -> None:
    """A rule lets its own methods and paths pass, and nothing beside them."""
    assert written(rule) == rule
    assert allow([rule], Passage(method, path)) is fits
    assert allow(["PUT /only-this", rule], Passage(method, path)) is fits


def test_no_rules_are_no_limit() -> None:
    """Where there is no rule, every request may pass."""
    assert allow([], Passage("DELETE", "/x"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "GET", "/v1", "GET v1", "GET /a b", "GET /a/**/b", "GET /a*", "GET /%61", "GET /a?x", "GET /../a"),
        *("GET, /a", "read-only /a", "G3T /a", "GET /a\\b", f"GET /{'a' * MOST_LENGTH}"),
    ],
)
def test_what_is_no_rule(text: str) -> None:
    """What could never fit, or would mean something else than it seems to, is refused with the reason."""
    with pytest.raises(ValueError, match=r"^(it|its path|'\*') "):
        written(text)


def test_a_rule_has_one_form() -> None:
    """Small letters and spaces make no other rule."""
    assert written("  get,Post   /v1/* ") == "GET,POST /v1/*"
    assert written(" read-only ") == "read-only"


def test_matching_takes_no_time() -> None:
    """The worst pattern and the longest path that there can be are looked at once each."""
    rules = [written("GET " + "/*" * 240 + "/x")] * 50
    began = time.perf_counter()

    assert not allow(rules, Passage("GET", "/a" * 16_000))
    assert not allow(rules, Passage("GET", "/a" * 241))
    assert time.perf_counter() - began < 0.5
