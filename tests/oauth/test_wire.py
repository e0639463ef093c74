"""The token endpoint: what is sent, and every kind of answer told apart (security.md M12-M14, R18-R19, R31-R37)."""

import asyncio
import json
from dataclasses import replace
from urllib.parse import parse_qsl, quote

import pytest

from broker.core.login import Client
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.oauth import wire
from broker.oauth.grant import BadReply, read_grant
from broker.oauth.http import Reply
from broker.oauth.reply import HIDDEN
from broker.providers.model import Provider
from broker.providers.rules import Endpoints, ThrottleRules
from tests.oauth.loopback import CLIENT, Loopback, http

PROVIDER = Provider(name="p", title="P", preset="generic", throttle=ThrottleRules(statuses=(500,)))
PUBLIC = Client("u", "p", "id", "none", "given", has_secret=False, created_at=0.0)
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt2"}


def refresh(
    server: Loopback,
    *,
    client: Client = PUBLIC,
    secret: Secret | None = None,
    refresh_token: Secret = Secret("rt1"),  # noqa: B008 -- it never changes
) -> wire.Outcome:
    """Refresh at the server."""
    return asyncio.run(
        wire.refresh(
            CLIENT,
            PROVIDER,
            client,
            secret,
            token_endpoint=server.url + "/token",
            refresh_token=refresh_token,
            redirect_uri="http://127.0.0.1:8400/callback/p",
        )
    )


def outcome(answer: bytes) -> wire.Outcome:
    """Refresh at a server that gives this answer."""
    with Loopback(answer=answer) as server:
        return refresh(server)


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_refresh_names_no_scope(server: Loopback) -> None:
    """A scope at refresh could only narrow the grant for ever, or fail after a partial consent (R32)."""
    server.default = http("200 OK", GOOD)
    refresh(server)
    assert parse_qsl(server.form()) == [("grant_type", "refresh_token"), ("refresh_token", "rt1"), ("client_id", "id")]


def test_a_narrower_refresh_names_what_it_wants(server: Loopback) -> None:
    """Scopes with the provider's separator, and the resource (RFC 6749 6, RFC 8707 2.2)."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.refresh(
            CLIENT,
            replace(PROVIDER, scope_separator=","),
            PUBLIC,
            None,
            token_endpoint=server.url,
            refresh_token=Secret("rt1"),
            redirect_uri="http://127.0.0.1/callback/x",
            resource="https://api.example/",
            scope=("a", "b"),
        )
    )
    assert dict(parse_qsl(server.form())) == {
        "grant_type": "refresh_token",
        "refresh_token": "rt1",
        "scope": "a,b",
        "resource": "https://api.example/",
        "client_id": "id",
    }


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        (Wish(("a",), None), {"scope": "a"}),
        (Wish((), "https://api.example/"), {"resource": "https://api.example/"}),
        (Wish(("a", "b"), "https://api.example/"), {"scope": "a b", "resource": "https://api.example/"}),
        (Wish((), None, "billing"), {"audience": "billing"}),
        (Wish(("a",), "urn:x", "billing"), {"scope": "a", "resource": "urn:x", "audience": "billing"}),
    ],
)
def test_an_exchange_says_what_it_brings_and_wants(server: Loopback, wish: Wish, named: dict[str, str]) -> None:
    """An access token for an access token (RFC 8693 2.1), and no actor token."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.exchange_token(
            CLIENT, PROVIDER, PUBLIC, None, token_endpoint=server.url, access_token=Secret("whole"), wish=wish
        )
    )
    access_token = "urn:ietf:params:oauth:token-type:access_token"
    assert dict(parse_qsl(server.form())) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "whole",
        "subject_token_type": access_token,
        "requested_token_type": access_token,
        "client_id": "id",
        **named,
    }


def test_a_code_goes_with_verifier_and_redirect_uri(server: Loopback) -> None:
    """The exchange carries all that ties the code to this login (RFC 6749 4.1.3, RFC 7636 4.5, RFC 8707)."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.exchange_code(
            CLIENT,
            PROVIDER,
            PUBLIC,
            None,
            token_endpoint=server.url,
            code=Secret("c/d"),
            verifier=Secret("v"),
            redirect_uri="http://127.0.0.1:8400/callback/p",
            resource="https://api.example",
        )
    )
    assert dict(parse_qsl(server.form())) == {
        "grant_type": "authorization_code",
        "code": "c/d",
        "code_verifier": "v",
        "redirect_uri": "http://127.0.0.1:8400/callback/p",
        "resource": "https://api.example",
        "client_id": "id",
    }


def test_a_client_asks_for_a_token_of_its_own(server: Loopback) -> None:
    """Client credentials with scope (RFC 6749 4.4)."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.client_credentials(
            CLIENT,
            PROVIDER,
            PUBLIC,
            None,
            token_endpoint=server.url,
            scope=("a", "b"),
            audience="https://api.example",
            resource="https://api.example/v1",
        )
    )
    assert dict(parse_qsl(server.form())) == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "https://api.example",
        "resource": "https://api.example/v1",
        "client_id": "id",
    }


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_a_token_is_an_answer_kept_whole() -> None:
    """The raw reply and the new refresh token come out, nothing judged yet."""
    assert outcome(http("200 OK", GOOD)) == wire.Answered(Secret(json.dumps(GOOD)), Secret("rt2"))


@pytest.mark.parametrize("new", ["", None, 5, [], {}, "a\r\nb", "é", " "])
def test_a_refresh_token_that_is_not_plainly_there_keeps_the_old_one(new: object) -> None:
    """Empty, null and nonsense count as left out (M13, R31, RFC 6749 6)."""
    answer = outcome(http("200 OK", {**GOOD, "refresh_token": new}))
    assert isinstance(answer, wire.Answered)
    assert answer.refresh_token is None


UNSOUND = {
    "NaN": b'{"access_token": "a", "expires_in": NaN, "refresh_token": "rt2"}',
    "overflow": b'{"access_token": "a", "expires_in": 1e999, "refresh_token": "rt2"}',
    "a scope twice": b'{"access_token": "a", "scope": "a", "scope": "b", "refresh_token": "rt2"}',
    "no access token": b'{"refresh_token": "rt2"}',
    "an integer access token": b'{"access_token": 5, "refresh_token": "rt2"}',
    "half a character": rb'{"access_token": "a", "user": "\ud800", "refresh_token": "rt2"}',
}


@pytest.mark.parametrize("body", UNSOUND.values(), ids=UNSOUND.keys())
def test_a_new_refresh_token_survives_slips_beside_it(body: bytes) -> None:
    """The refresh token comes out before anything else is judged; only then is the reply refused (M14, M16)."""
    answer = outcome(http("200 OK", body))
    assert isinstance(answer, wire.Answered)
    assert answer.refresh_token == Secret("rt2")
    with pytest.raises(BadReply):
        read_grant(answer.raw, provider=PROVIDER, issued_at=0.0, asked_scope=())


UNREADABLE = {
    "bytes that are no text": b'{"access_token": "a", "x": "\xff", "refresh_token": "rt2"}',
    "utf-16": json.dumps(GOOD).encode("utf-16"),
    "too deep": b'{"access_token": "a", "x": ' + b"[" * 100 + b"]" * 100 + b', "refresh_token": "rt2"}',
    "cut off": b'{"access_token": "a", "refresh_token": "rt2"',
    "a list": json.dumps([GOOD]).encode(),
    "every field twice": b'{"access_token": "a", "access_token": "b", "refresh_token": "r", "refresh_token": "s"}',
    "one level down": json.dumps({"ok": True, "data": GOOD}).encode(),
    "a form": b"access_token=at&refresh_token=rt2&token_type=bearer",
    "a form with the refresh token alone": b"refresh_token=rt2&token_type=bearer",
    "a form after a line end": b"\naccess_token=at",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_speaks_of_a_token_is_kept_though_nobody_can_read_it(body: bytes) -> None:
    """It may be the only copy of a rotated token: kept raw, never accepted."""
    answer = outcome(http("200 OK", body))
    assert isinstance(answer, wire.Answered)
    assert answer.refresh_token is None
    with pytest.raises(BadReply):
        read_grant(answer.raw, provider=PROVIDER, issued_at=0.0, asked_scope=())


FAULTY = {
    "an empty object": http("200 OK", {}),
    "an object without a token": http("200 OK", {"status": "ok"}),
    "an empty token": http("200 OK", {"access_token": ""}),
    "a captive portal": http("200 OK", "<!doctype html><title>Welcome to our WiFi</title>", Content_Type="text/html"),
    "nothing": http("204 No Content"),
    "an empty page": http("200 OK"),
    "a list": http("200 OK", ["error"]),
    "a form": http("200 OK", "error=slow_down"),
    "an empty token, and words about one": http("200 OK", {"access_token": "", "message": 'no "access_token": sorry'}),
    "a redirect": http("302 Found", Location="https://login.example/"),
    "a redirect with a token in it": http("301 Moved Permanently", GOOD, Location="https://x.example/"),
    "a web page as error": http("400 Bad Request", "<html>", Content_Type="text/html"),
    "an error of another kind": http("401 Unauthorized", {"error": {"code": 401, "message": "no"}}),
    "a detail": http("403 Forbidden", {"detail": "no"}),
    "a missing page": http("404 Not Found"),
    "a timeout": http("408 Request Timeout", {"error": "invalid_grant"}),
    "too early": http("425 Too Early", {"error": "invalid_grant"}),
    "a server error": http("500 Internal Server Error", "<html>"),
    "a server error that speaks OAuth": http("500 Internal Server Error", {"error": "invalid_grant"}),
    "a server error with a token": http("500 Internal Server Error", GOOD),
    "unavailable": http("503 Service Unavailable", "<html>"),
    "an allowance not spent": http("500 Oops", "<html>", X_RateLimit_Remaining="7", Retry_After="9"),
}


@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout", "520 Unknown Error", "524 A Timeout"])
def test_a_gateway_that_got_no_answer_does_not_know(status: str) -> None:
    """It passed the request on: the provider may have carried it out, as with an answer that was lost on the way."""
    assert isinstance(outcome(http(status, "<html>")), wire.Lost)


@pytest.mark.parametrize("answer", FAULTY.values(), ids=FAULTY.keys())
def test_what_is_no_token_endpoint_in_its_right_mind_changes_nothing(answer: bytes) -> None:
    """None of these is a token (M12), and none means that the grant is dead."""
    assert isinstance(outcome(answer), wire.Faulty)


TOKEN = "rt1-Zm9vYmFy/+=" + "x" * 20
REPEATED = {
    "whole": TOKEN,
    "percent-encoded": quote(TOKEN, safe=""),
    "its beginning": TOKEN[:20],
    "its end": TOKEN[-16:],
    "the client's secret": "the secret of this client",
}


@pytest.mark.parametrize("said", REPEATED.values(), ids=REPEATED.keys())
def test_a_secret_that_the_provider_repeats_is_not_told(server: Loopback, said: str) -> None:
    """Real servers write "Invalid refresh token: ..." with the token in full; texts end in logs and on screens."""
    server.default = http("400 Bad Request", {"error": "invalid_grant", "error_description": f"Invalid ({said})!"})
    client = replace(PUBLIC, auth_method="client_secret_post")
    secret = Secret("the secret of this client")
    answer = refresh(server, client=client, secret=secret, refresh_token=Secret(TOKEN))
    assert answer == wire.Refused("invalid_grant", f"Invalid ({HIDDEN})!", 400)
    where = replace(PROVIDER, endpoints=Endpoints(revocation=server.url + "/revoke"))
    told = asyncio.run(wire.revoke(CLIENT, where, client, secret, token=Secret(TOKEN), hint="refresh_token"))
    assert told == f"invalid_grant: Invalid ({HIDDEN})!"


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "200 OK"])
def test_an_oauth_error_is_a_refusal(status: str) -> None:
    """The error object of RFC 6749 5.2, whatever status a provider gives it; its text fits a sentence (R51)."""
    answer = outcome(http(status, {"error": "invalid_grant", "error_description": 'old\r\n\x1b[2J"token".'}))
    assert answer == wire.Refused("invalid_grant", "old [2J'token'", int(status[:3]))


THROTTLED = {
    "429": (http("429 Too Many Requests", "<html>", Retry_After="17"), 17.0),
    "429 with a token": (http("429 Too Many Requests", GOOD), None),
    "429 that speaks OAuth": (http("429 Too Many Requests", {"error": "invalid_grant"}), None),
    "503 with a wait": (http("503 Service Unavailable", Retry_After="3"), 3.0),
    "an allowance spent": (http("500 Oops", "<html>", X_RateLimit_Remaining="0", Retry_After="1800"), 1800.0),
}


@pytest.mark.parametrize(("answer", "wait"), THROTTLED.values(), ids=THROTTLED.keys())
def test_too_fast_is_told_from_broken(answer: bytes, wait: float | None) -> None:
    """A throttle is no outage, no refusal and, with JSON in it, no token."""
    told = outcome(answer)
    assert isinstance(told, wire.Throttled)
    assert told.retry_after == wait


def test_a_wait_on_success_is_not_a_throttle() -> None:
    """Some servers send Retry-After with every answer; it counts on refusals only."""
    assert isinstance(outcome(http("200 OK", GOOD, Retry_After="60", X_RateLimit_Remaining="0")), wire.Answered)


def test_no_connection_is_told_from_no_answer(server: Loopback) -> None:
    """Not sent and sent-but-lost are different: only the second may have spent the token."""
    server.default = b""
    assert isinstance(refresh(server), wire.Lost)
    server.close()
    assert isinstance(refresh(server), wire.Unreachable)


# --- revocation -------------------------------------------------------------------------------------------------------


def revoke(answer: bytes) -> str | None:
    """Revoke at a server that gives this answer."""
    with Loopback(answer=answer) as server:
        provider = replace(PROVIDER, endpoints=Endpoints(revocation=server.url + "/revoke/"))
        said = asyncio.run(wire.revoke(CLIENT, provider, PUBLIC, None, token=Secret("rt"), hint="refresh_token"))
        assert dict(parse_qsl(server.form())) == {
            "token": "rt",
            "token_type_hint": "refresh_token",
            "client_id": "id",
        }
    return said


@pytest.mark.parametrize("answer", [http("200 OK"), http("200 OK", {}), http("204 No Content"), http("200 OK", "<p>")])
def test_done_is_done(answer: bytes) -> None:
    """Success has no body to read (RFC 7009 2.2)."""
    assert revoke(answer) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http("400 Bad Request", {"error": "unsupported_token_type"}), "unsupported_token_type"),
        (http("503 Service Unavailable", Retry_After="5"), "503"),
        (http("500 Oops", "<html>"), "500"),
        (http("302 Found", Location="/login"), "redirect"),
        (b"", "to the end"),
    ],
)
def test_what_was_not_revoked_says_why(answer: bytes, reason: str) -> None:
    """Anything else means that the token may still live (R37)."""
    assert reason in (revoke(answer) or "")


def test_a_provider_without_revocation_says_so() -> None:
    """Nothing is asked where nobody listens."""
    said = asyncio.run(wire.revoke(CLIENT, PROVIDER, PUBLIC, None, token=Secret("t"), hint="access_token"))
    assert "no way" in (said or "")


def test_outcomes_do_not_print_tokens() -> None:
    """An outcome in a log line shows no secret."""
    assert "rt2" not in repr(wire.read_reply(Reply(200, {}, json.dumps(GOOD).encode(), 0.0), PROVIDER))
