"""The hostile replies of security.md M12 to M21, one after the other, at a refresh with a rotating refresh token.

M17 to M19 are not about token replies: the callback, discovery and ID tokens have them in tests of their own.
"""

import asyncio
import gzip
import json

import pytest

from broker.core.login import Client
from broker.core.secret import Secret
from broker.oauth import wire
from broker.oauth.grant import BadReply, read_grant
from broker.providers.model import Provider
from tests.oauth.loopback import CLIENT, Loopback, http

PROVIDER = Provider(name="p", title="P", preset="generic")
PUBLIC = Client("u", "p", "id", "none", "given", has_secret=False, created_at=0.0)
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt2"}
NEW, OLD = "rt2", None
# Epoch seconds at which the request was sent.
SENT_AT = 1000.0


def ok(body: object = None, /, **changes: object) -> bytes:
    """Answer 200 with a good reply, changed in some fields, or with another body."""
    return http("200 OK", {**GOOD, **changes} if body is None else body)


def raw(fields: str) -> bytes:
    """Answer 200 with a good reply into which something is written that no careful writer writes."""
    return http("200 OK", '{"access_token": "at", "token_type": "Bearer", "refresh_token": "rt2", ' + fields + "}")


# What came -> which refresh token holds from now on, and when the access token ends: "refused" where it is not used.
KEPT: dict[str, tuple[bytes, str | None, float | str | None]] = {
    "M13 no new refresh token": (ok(refresh_token=None), OLD, 4600.0),
    "M13 an empty one": (ok(refresh_token=""), OLD, 4600.0),
    "M13 one with a line end": (ok(refresh_token="a\r\nX: b"), OLD, 4600.0),
    "M14 a lifetime that is a word": (ok(expires_in="abc"), NEW, "refused"),
    "M14 one with a point": (ok(expires_in="3600.5"), NEW, 4600.0),
    "M14 NaN": (raw('"expires_in": NaN'), NEW, "refused"),
    "M14 infinity": (raw('"expires_in": Infinity'), NEW, "refused"),
    "M15 none left": (ok(expires_in=0), NEW, SENT_AT),
    "M15 less than none": (ok(expires_in=-60), NEW, SENT_AT),
    "M15 an expires_at of the provider's": (ok(expires_at=9_999_999_999), NEW, 4600.0),
    "M15 beyond all time": (ok(expires_in=1e308), NEW, "refused"),
    "M15 true": (ok(expires_in=True), NEW, "refused"),
    "M15 digits of another script": (ok(expires_in="３６００"), NEW, "refused"),
    "M15 none told": (raw('"scope": "a"'), NEW, None),
    "M16 an access token with a line end": (ok(access_token="at\r\nX-Evil: 1"), NEW, "refused"),
    "M16 a number as access token": (ok(access_token=7), NEW, "refused"),
    "M16 no access token": (ok({"refresh_token": "rt2"}), NEW, "refused"),
    "M16 another kind of token": (ok(token_type="DPoP"), NEW, "refused"),
    "M21 a field twice": (raw('"scope": "a", "scope": "b"'), NEW, "refused"),
    "M21 the refresh token twice": (raw('"refresh_token": "other"'), OLD, "refused"),
    "M21 200,000 levels": (raw('"x": ' + "[" * 100_000 + "]" * 100_000), OLD, "refused"),
    "M21 5,000 digits": (raw('"x": ' + "9" * 5000), NEW, "refused"),
    "M21 UTF-16": (http("200 OK", json.dumps(GOOD).encode("utf-16")), OLD, "refused"),
    "M21 half a character": (raw(r'"x": "\ud800"'), NEW, "refused"),
    "M21 bytes that are no text": (http("200 OK", b'{"access_token": "at", "refresh_token": "rt2", "\xff": 1}'), OLD,
                                   "refused"),
}  # fmt: skip
# What came -> as what it is taken.
NOT_A_TOKEN: dict[str, tuple[bytes, type]] = {
    "M12 nothing in it": (ok({}), wire.Faulty),
    "M12 a token under a status that says no": (http("429 Too Many Requests", GOOD), wire.Throttled),
    "M12 a token under an error": (http("400 Bad Request", GOOD), wire.Faulty),
    "M12 a token under a redirect": (http("302 Found", GOOD, Location="https://x.example"), wire.Faulty),
    "M20 packed": (http("200 OK", gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip"), wire.Lost),
    "M20 packed many times": (http("200 OK", GOOD, Content_Encoding=", ".join(["gzip"] * 200)), wire.Lost),
    "M20 larger than any reply": (http("200 OK", b" " * 300_000 + json.dumps(GOOD).encode()), wire.Lost),
}


def outcome(answer: bytes) -> wire.Outcome:
    """Refresh at a server that gives this answer."""
    with Loopback(answer=answer) as server:
        return asyncio.run(
            wire.refresh(
                CLIENT,
                PROVIDER,
                PUBLIC,
                None,
                token_endpoint=server.url,
                refresh_token=Secret("rt1"),
                redirect_uri="http://127.0.0.1:8400/callback/p",
            )
        )


@pytest.mark.parametrize(("answer", "refresh_token", "ends"), KEPT.values(), ids=KEPT.keys())
def test_a_hostile_reply_costs_no_refresh_token(
    answer: bytes, refresh_token: str | None, ends: float | str | None
) -> None:
    """The reply is kept, the new refresh token is taken from it where one is plainly there, and only then is judged."""
    kept = outcome(answer)

    assert isinstance(kept, wire.Answered)
    assert kept.refresh_token == (None if refresh_token is None else Secret(refresh_token))
    if ends == "refused":
        with pytest.raises(BadReply):
            read_grant(kept.raw, provider=PROVIDER, issued_at=SENT_AT, asked_scope=())
    else:
        assert read_grant(kept.raw, provider=PROVIDER, issued_at=SENT_AT, asked_scope=()).token.expires_at == ends


@pytest.mark.parametrize(("answer", "taken_for"), NOT_A_TOKEN.values(), ids=NOT_A_TOKEN.keys())
def test_a_hostile_reply_is_no_token(answer: bytes, taken_for: type) -> None:
    """Neither an answer without a token nor one that is not taken in becomes one."""
    assert type(outcome(answer)) is taken_for
