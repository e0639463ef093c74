"""Reading a token reply, strictly (security.md M14 to M16, R33 to R35, R53)."""

import json
import math
from dataclasses import replace

import pytest

from broker.core.secret import Secret
from broker.core.token import Grant
from broker.oauth.grant import BadReply, read_grant
from broker.providers.model import Provider

PROVIDER = Provider(name="p", title="P", preset="generic")
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt2"}


def grant(fields: dict[str, object] | str, **provider: str) -> Grant:
    """Read a token reply that was asked for at 1000."""
    raw = Secret(fields if isinstance(fields, str) else json.dumps(fields))
    asked = ("asked",)
    return read_grant(raw, provider=replace(PROVIDER, **provider), issued_at=1000.0, asked_scope=asked)  # type: ignore[arg-type]  # text fields only


def test_a_sound_reply_becomes_a_grant() -> None:
    """Facts and secrets come out, life counted from when the request was sent (R53); unknown fields are ignored."""
    got = grant({**GOOD, "token_type": "bEaReR", "scope": "a b", "id_token": "x.y.z", "extra": {"n": [1]}})
    assert (got.access_token, got.refresh_token, got.id_token) == (Secret("at"), Secret("rt2"), Secret("x.y.z"))
    assert (got.token.token_type, got.token.scope, got.token.expires_at) == ("bEaReR", ("a", "b"), 4600.0)


@pytest.mark.parametrize(
    ("value", "expires_at"),
    [
        (3600, 4600.0),
        ("3600", 4600.0),
        ("3599.9", 4599.0),
        (3599.9, 4599.0),
        (0, 1000.0),
        ("0", 1000.0),
        (-5, 1000.0),
        ("-5.5", 1000.0),
        (None, None),
    ],
)
def test_a_lifetime_is_read_in_every_spelling_in_use(value: object, expires_at: float | None) -> None:
    """Numbers and their texts, rounded down; nothing left means expired, never endless (M14, M15)."""
    assert grant({**GOOD, "expires_in": value}).token.expires_at == expires_at


@pytest.mark.parametrize(
    "value",
    ["abc", "", "1e3", "0x10", "３６００", "inf", " 60", "+60", "60 s", True, False, [], {}, 1e308, 10**30, "9" * 50],
)
def test_a_lifetime_that_is_none_is_refused(value: object) -> None:
    """Garbage, booleans, other scripts' digits and absurd numbers quarantine the token (M14, M15)."""
    with pytest.raises(BadReply, match="expires_in"):
        grant({**GOOD, "expires_in": value})


def test_an_expiry_date_of_the_provider_is_ignored() -> None:
    """Only expires_in counts: an expires_at beside it is by another clock (M15)."""
    assert grant({**GOOD, "expires_at": 9e9}).token.expires_at == 4600.0
    no_lifetime = {name: value for name, value in GOOD.items() if name != "expires_in"}
    assert grant({**no_lifetime, "expires_at": 9e9}).token.expires_at is None


@pytest.mark.parametrize("value", ["a\r\nX: y", "", 5, None, [], True, "a b", "é", "a\0"])
def test_an_access_token_that_cannot_be_sent_is_refused(value: object) -> None:
    """A token is visible ASCII text (M16)."""
    with pytest.raises(BadReply, match="access_token"):
        grant({**GOOD, "access_token": value})


@pytest.mark.parametrize("value", ["DPoP", "mac", "N_A", 5, ["Bearer"], "Bearer "])
def test_another_kind_of_token_is_refused(value: object) -> None:
    """What was asked for is a bearer token (M16, R35)."""
    with pytest.raises(BadReply, match="token_type"):
        grant({**GOOD, "token_type": value})


@pytest.mark.parametrize("reply", [{"access_token": "at"}, {"access_token": "at", "token_type": None}])
def test_a_missing_kind_means_bearer(reply: dict[str, object]) -> None:
    """Providers forget it; nothing else is ever meant."""
    assert grant(reply).token.token_type == "Bearer"


@pytest.mark.parametrize(
    ("value", "scope"),
    [
        ("a b a", ("a", "b")),
        (["a", "b"], ("a", "b")),
        ("", ()),
        (None, ("asked",)),
        ([], ()),
    ],
)
def test_scope_is_read_as_text_or_list(value: object, scope: tuple[str, ...]) -> None:
    """None said means as asked (RFC 6749 5.1); what is said is recorded as it is (R33)."""
    assert grant({**GOOD, "scope": value}).token.scope == scope


def test_a_provider_may_separate_scopes_with_commas() -> None:
    """The preset names the separator."""
    assert grant({**GOOD, "scope": "repo,user"}, scope_separator=",").token.scope == ("repo", "user")


@pytest.mark.parametrize("value", [5, True, {"a": 1}, [1], "a\nb", ["a b"]])
def test_a_scope_that_is_none_is_refused(value: object) -> None:
    """Guessing at rights is worse than refusing."""
    with pytest.raises(BadReply, match="scope"):
        grant({**GOOD, "scope": value})


@pytest.mark.parametrize(
    ("fields", "expires_at"),
    [
        ({"refresh_token_expires_in": 60}, 1060.0),
        ({"refresh_expires_in": "60"}, 1060.0),
        ({"refresh_expires_in": 0}, None),
        ({"refresh_token_expires_in": "soon", "refresh_expires_in": 60}, 1060.0),
        ({}, None),
    ],
)
def test_the_refresh_tokens_end_is_noted_where_it_is_told(fields: dict[str, object], expires_at: float | None) -> None:
    """By either name; zero means no end, and nonsense costs nothing."""
    assert grant({**GOOD, **fields}).refresh_expires_at == expires_at


@pytest.mark.parametrize("value", [5, {}, "a b"])
def test_an_id_token_that_is_none_is_refused(value: object) -> None:
    """An ID token is text or absent."""
    with pytest.raises(BadReply, match="id_token"):
        grant({**GOOD, "id_token": value})


def test_a_refusal_to_read_quotes_nothing() -> None:
    """The reason is shown to people and logged: no part of the reply is in it."""
    with pytest.raises(BadReply) as caught:
        grant('{"access_token": "marker\\n", "token_type": "marker"}')
    assert "marker" not in str(caught.value)


def test_infinity_is_refused_by_both_readers() -> None:
    """A reply with a number that is none is not usable, by whatever spelling (M14)."""
    with pytest.raises(BadReply, match="number"):
        grant(json.dumps({**GOOD, "expires_in": math.inf}))
