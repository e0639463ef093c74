"""Targets: addresses and times as people, and providers, write them.

Used by ``targets``.
"""

import argparse
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

from broker.cli import arguments
from broker.errors import InvalidRequest
from broker.providers import urls
from tests.fuzz.target import Target, picked, repeated, text_of


def _url(data: bytes) -> None:
    how, data = picked(data, (0, 1, 2, 3))
    url = text_of(data)
    if how == 0:
        assert urlsplit(urls.check_endpoint(url, what="endpoint", private=False)).scheme in ("http", "https")
        assert urls.host_of(url)
    elif how == 1:
        assert "#" not in urls.check_resource(url)
    elif how == 2:
        assert "?" not in urls.check_issuer(url)
    else:
        checked = urls.check_url(url, what="base URL", private=False)
        assert urls.check_url(checked, what="base URL", private=False) == checked
        assert not checked.endswith("/")


READERS: tuple[Callable[[str], str | float], ...] = (arguments.end, arguments.begin, arguments.span, arguments.seconds)


def _times(data: bytes) -> None:
    read, data = picked(data, READERS)
    found = read(text_of(data))
    if isinstance(found, str):
        datetime.fromisoformat(found)
    else:
        assert found >= 0


PEOPLE = (
    Target(
        "url",
        "addresses: endpoints, resources, issuers, instances",
        _url,
        (InvalidRequest,),
        (
            b"\0https://as.example:8443/token?a=b",
            b"\0http://[::1]:80/",
            b"\x01urn:x:y",
            b"\x02https://as.example/t",
            b"\x03HTTPS://A.Example:443/a//",
            b"\x03https://\xc3\xa4.example/",
            b"\0http://127.1/",
            b"\x03https://a.example/ /",
            b"\0https://[::ffff:10.0.0.1]/",
        ),
        (
            *(repeated(head + b"https://", b"a") for head in (b"\0", b"\x01", b"\x02", b"\x03")),
            repeated(b"\x03https://", b"\xc3\xa4"),
            repeated(b"\x03https://", b"a."),
            repeated(b"\x03https://a/", b"../"),
            repeated(b"\0https://[", b":"),
            repeated(b"\x03https://a", b"/"),
            repeated(b"\x03https://", b"\xe2\x84\xa1"),
        ),
        (b"https://", b"http://localhost", b"@", b"[::1]", b"%25", b"\xef\xbc\x8f", b"\xe3\x80\x82", b":0", b"/../"),
        examples=400,
    ),
    Target(
        "times",
        "dates and lengths of time on the command line",
        _times,
        (argparse.ArgumentTypeError,),
        (
            b"\x002030-01-31",
            b"\x0190d",
            b"\x02999999999w",
            b"\x031.5h",
            b"\x000001-01-01T00:00:00+23:59",
            b"\x009999-12-31T23:59:59-23:59",
            b"\x02\xc2\xb2",
        ),
        (repeated(b"\0", b"1"), repeated(b"\x021.", b"1")),
        (b"w", b"T00:00:00", b"+23:59", b"Z", b"\xd9\xa3"),
        examples=300,
    ),
)
