"""Hosts: the same one however it is written, and another one however like it looks."""

import pytest

from broker.integrations.places import Place, is_loopback


@pytest.mark.parametrize(
    ("asked", "url", "same"),
    [
        ("git.example.org", "https://git.example.org/api/v4", True),
        ("GIT.Example.org:443", "https://git.example.org", True),
        ("git.example.org", "https://git.example.org:443/", True),
        ("git.example.org:8443", "https://git.example.org:8443", True),
        ("git.example.org:8443", "https://git.example.org", False),
        ("git.example.org", "https://git.example.org.evil.example/", False),
        ("git.example.org", "https://evil.example/git.example.org", False),
        ("git.example.org", "https://evil.example?git.example.org", False),
        ("git.example.org", "https://evil.example#@git.example.org", False),
        ("git.example.org", "https://git.example.org@evil.example/", False),
        ("example.org", "https://git.example.org", False),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443/", True),
        ("", "", False),
    ],
)
def test_whose_host(asked: str, url: str, *, same: bool) -> None:
    """Host and port are compared as a whole; a protocol's own port may be left out."""
    assert Place("https", asked).is_of([None, url]) is same


def test_hosts_that_a_person_named() -> None:
    """They are compared in the same way."""
    place = Place("https", "git.example.org")

    assert place.is_among(["x.example", "Git.Example.org:443"])
    assert not place.is_among(["git.example.org:8443"])
    assert not place.is_among([])


@pytest.mark.parametrize(
    ("path", "base", "depth"),
    [
        ("org/repo.git", "https://h.example", 0),
        ("org/repo.git", "https://h.example/org/", 3),
        ("org", "https://h.example/org", 3),
        ("organ/repo.git", "https://h.example/org", -1),
        ("", "https://h.example/org", 0),
        ("org/repo.git", "https://other.example/org", 0),
        ("org/repo.git", "", 0),
    ],
)
def test_how_deep_below(path: str, base: str, depth: int) -> None:
    """Where git told a path, it lies below an instance's or it does not."""
    assert Place("https", "h.example", path).depth_below(base) == depth


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:3000", "127.1.2.3", "[::1]", "[::1]:80"])
def test_this_machine(host: str) -> None:
    """What never leaves this machine needs no TLS."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["127.evil.example", "127.0.0.evil:80", "localhost.evil.example", "10.0.0.1", "1.127.0.0", "::1", "[::2]"]
)
def test_not_this_machine(host: str) -> None:
    """What only looks like it."""
    assert not is_loopback(host)
