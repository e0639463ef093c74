"""Bodies and queries: what is taken, and that every complaint names the field and what it should have been."""

import asyncio
import json
from collections.abc import Callable

import pytest
from starlette.requests import Request
from starlette.types import Message

from broker.errors import InvalidRequest
from broker.web.body import MOST_BODY, Fields, Query

Read = Callable[[Fields], object]


def request(query: str = "", *chunks: bytes) -> Request:
    """Return a request with this query string, whose body comes in these chunks."""
    left = list(chunks)

    async def receive() -> Message:
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    return Request({"type": "http", "query_string": query.encode(), "headers": []}, receive)


def read(*chunks: bytes) -> Fields:
    """Read a body that comes in chunks."""
    return asyncio.run(Fields.read(request("", *chunks)))


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("take", "value", "taken"),
    [
        (lambda body: body.text("f"), "a b é 漢", "a b é 漢"),
        (lambda body: body.text("f"), "", ""),
        (lambda body: body.text("f", "usual"), None, "usual"),
        (lambda body: body.words("f"), ["a", "b", "a"], ("a", "b")),
        (lambda body: body.words("f"), " a  b ", ("a", "b")),
        (lambda body: body.words("f"), [], ()),
        (lambda body: body.words("f"), None, ()),
        (lambda body: body.flag("f"), True, True),
        (lambda body: body.flag("f"), None, False),
        (lambda body: body.time("f"), "2030-01-31T12:00:00Z", 1_896_091_200.0),
        (lambda body: body.time("f"), "2030-01-31T14:00:00.5+02:00", 1_896_091_200.5),
        (lambda body: body.time("f"), 1_896_091_200, 1_896_091_200.0),
        (lambda body: body.time("f"), 0, 0.0),
        (lambda body: body.time("f"), None, None),
        (lambda body: body.table("f"), {"a": 1}, {"a": 1}),
        (lambda body: body.table("f"), None, {}),
        (lambda body: body.objects("f"), None, []),
        (lambda body: [item.text("a") for item in body.objects("f")], [{"a": "x"}, {}], ["x", ""]),
        (lambda body: body.secret("f"), "", None),
        (lambda body: body.secret("f"), None, None),
    ],
)
def test_fields_take(take: Read, value: object, taken: object) -> None:
    """What is said rightly is taken as it is meant; null is as good as nothing."""
    body = read(json.dumps({"f": value}).encode())

    assert take(body) == taken
    body.end()


@pytest.mark.parametrize(
    ("take", "values"),
    [
        (lambda body: body.text("the-field"), [1, True, ["a"], "a\nb", "a\u0000", "\u007f", "\u001b[31m", "\u009b31m"]),
        (lambda body: body.secret("the-field"), [1, True, ["a"], {}]),
        (
            lambda body: body.words("the-field"),
            [1, True, {}, [1], [" a"], ["a b"], [""], [["a"]], ["é"], "a\u0007"],
        ),
        (lambda body: body.flag("the-field"), [1, 0, "true", "", [], {}]),
        (
            lambda body: body.time("the-field"),
            [True, -1, 1e12, "soon", "", [], {}, "2030-01-31", "2030-01-31T12:00:00"],
        ),
        (lambda body: body.time("the-field"), ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "12:00Z"]),
        (lambda body: body.objects("the-field"), [1, 0, "", "a", True, False, {}, {"a": 1}, ["a"], [None], [[]]]),
        (lambda body: body.table("the-field"), [1, 0, "", "a", True, False, [], ["a"]]),
    ],
)
def test_fields_complain(take: Read, values: list[object]) -> None:
    """What is said wrongly is refused by name, and never taken for something near it; its value is not repeated."""
    for value in values:
        body = read(json.dumps({"the-field": value}).encode())
        with pytest.raises(InvalidRequest, match=r"^'the-field' (must|holds)") as refused:
            take(body)
        assert "\x1b" not in str(refused.value)


def test_secret_is_one_at_once() -> None:
    """A secret leaves the body as a Secret, and cannot be printed with it afterwards."""
    body = read(b'{"client_secret":"very-secret"}')

    secret = body.secret("client_secret")

    assert secret is not None
    assert secret.reveal() == "very-secret"
    assert "very-secret" not in f"{secret!r} {secret} {body.__dict__}"


def test_unknown_fields() -> None:
    """What nobody asked for is named - all of it, in order and cut - and an error rather than ignored."""
    body = read(json.dumps({"known": "a", "zeta": 1, "alpha": 2, "x" * 500: 3}).encode())
    body.text("known")

    with pytest.raises(InvalidRequest) as refused:
        body.end()

    assert f"'alpha', '{'x' * 50}', 'zeta'" in refused.value.detail
    assert "'known'" not in refused.value.detail


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"null",
        b'"a"',
        b"{",
        b"{}{}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        '{"a":"b"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"a=b&c=d",
    ],
)
def test_no_json_object(text: bytes) -> None:
    """Whatever is no plain JSON object is refused as such, and not repeated."""
    with pytest.raises(InvalidRequest, match=r"^The body is not a JSON object: "):
        read(text)


@pytest.mark.parametrize("chunks", [(), (b"",), (b"", b"{", b"}"), (b"{}",)])
def test_nothing_is_no_fields(chunks: tuple[bytes, ...]) -> None:
    """An empty body and an empty object have no fields, in however many chunks."""
    body = read(*chunks)

    body.end()
    assert body.text("anything") == ""


def test_largest_body() -> None:
    """128 KiB are read, and not a byte more, in however many chunks."""
    frame = len('{"a":""}')
    fits = json.dumps({"a": "x" * (MOST_BODY - frame)}, separators=(",", ":")).encode()
    assert len(fits) == MOST_BODY == 128 * 1024

    assert len(read(fits[:1000], fits[1000:]).text("a")) == MOST_BODY - frame
    with pytest.raises(InvalidRequest, match="larger than 128 KiB"):
        read(fits, b" ")


# --- queries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "take", "taken"),
    [
        ("f=a%20b", lambda query: query.text("f"), "a b"),
        ("", lambda query: query.text("f"), None),
        ("f=", lambda query: query.text("f"), ""),
        ("f=a+b,c%20a", lambda query: query.words("f"), ("a", "b", "c")),
        ("", lambda query: query.words("f"), ()),
        ("f=90", lambda query: query.seconds("f"), 90.0),
        ("f=0.5", lambda query: query.seconds("f"), 0.5),
        ("f=0", lambda query: query.seconds("f"), 0.0),
        ("f=1000000000", lambda query: query.seconds("f"), 1e9),
        ("f=1893499200", lambda query: query.time("f"), 1_893_499_200.0),
        ("f=2030-01-31T11:00:00Z", lambda query: query.time("f"), 1_896_087_600.0),
        ("f=2030-01-31T12:00:00%2B01:00", lambda query: query.time("f"), 1_896_087_600.0),
        ("", lambda query: query.time("f"), None),
        ("", lambda query: query.seconds("f"), None),
        ("f=1", lambda query: query.count("f", 7, 9), 1),
        ("f=9", lambda query: query.count("f", 7, 9), 9),
        ("", lambda query: query.count("f", 7, 9), 7),
        ("f=true", lambda query: query.flag("f"), True),
        ("f=1", lambda query: query.flag("f"), True),
        ("f=False", lambda query: query.flag("f"), False),
        ("", lambda query: query.flag("f"), False),
    ],
)
def test_query_takes(query: str, take: Callable[[Query], object], taken: object) -> None:
    """What is said rightly is taken as it is meant."""
    assert take(Query(request(query), "f", "g")) == taken


NO_NUMBERS = [
    "",
    "soon",
    "-1",
    "nan",
    "inf",
    "1e3",
    "1_0",
    "%2010",
    "10%20",
    "+10",
    "%2B10",
    "0x10",
    "%EF%BC%91",
    "1,5",
    "1s",
]


@pytest.mark.parametrize(
    ("take", "values"),
    [
        (lambda query: query.seconds("f"), [*NO_NUMBERS, "1000000001", "1000000000.1", "9" * 400]),
        (lambda query: query.time("f"), [*NO_NUMBERS, "yesterday", "2030-01-31T25:00:00Z"]),
        (
            lambda query: query.count("f", 7, 9),
            [*NO_NUMBERS, "0", "10", "1.0", "00000000019999", "9" * 400, "9" * 5000],
        ),
        (lambda query: query.flag("f"), ["yes", "", "2", "on", "tru%65%20"]),
    ],
)
def test_query_complains(take: Callable[[Query], object], values: list[str]) -> None:
    """What is said wrongly is refused by name, with what it should have been."""
    for value in values:
        query = Query(request(f"f={value}"), "f")
        with pytest.raises(InvalidRequest, match=r"^'f' must be "):
            take(query)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("min_tll=5", "Unknown query parameter 'min_tll'."),
        ("Scope=a", "Unknown query parameter 'Scope'."),
        ("scope=a&scope=b", "The query parameter 'scope' is given twice."),
        ("scope=a&scope=a", "The query parameter 'scope' is given twice."),
        ("scope=&scope=", "The query parameter 'scope' is given twice."),
        (f"{'x' * 500}=a", f"Unknown query parameter '{'x' * 50}'."),
    ],
)
def test_query_parameters_are_known_and_said_once(query: str, says: str) -> None:
    """A misspelt or repeated parameter is an error that names it and what is known, rather than ignored."""
    with pytest.raises(InvalidRequest) as refused:
        Query(request(query), "min_ttl", "scope")

    assert refused.value.detail == says
    if "Unknown" in says:
        assert refused.value.hint == "Known here: min_ttl, scope."


def test_query_without_parameters() -> None:
    """A route that knows no parameter says so."""
    Query(request())

    with pytest.raises(InvalidRequest) as refused:
        Query(request("a=b"))

    assert refused.value.hint == "Known here: none."
