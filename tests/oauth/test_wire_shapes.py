"""The token endpoint asked and read in other words than RFC 6749's: what goes out, and how errors are told.

That each dimension is spoken from end to end is proven by the contract of the presets; here are the edges.
"""

import asyncio
import json
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import Misconfigured
from broker.oauth import wire
from broker.oauth.grant import BadReply, read_grant
from broker.oauth.reply import HIDDEN
from broker.providers.model import Provider
from broker.providers.rules import Endpoints, ReplyRules, RevocationRules, TokenRequest
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

PROVIDER = Provider(name="p", title="P", preset="generic")
POST = Client("u", "p", "id/1", "client_secret_post", "given", has_secret=True, created_at=0.0)
SECRET = Secret("the client's secret")
CALLBACK = "http://127.0.0.1:8400/callback/p"
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt2"}


def refresh(server: Loopback, provider: Provider, token_endpoint: str = "") -> wire.Outcome:
    """Refresh at the server."""
    return asyncio.run(
        wire.refresh(
            CLIENT,
            provider,
            POST,
            SECRET,
            token_endpoint=token_endpoint or server.url + "/token",
            refresh_token=Secret("the refresh token"),
            redirect_uri=CALLBACK,
        )
    )


def outcome(answer: bytes, rules: ReplyRules) -> wire.Outcome:
    """Refresh at a server that gives this answer and speaks so."""
    with Loopback(answer=answer) as server:
        return refresh(server, replace(PROVIDER, reply=rules))


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_code_goes_without_a_verifier_where_none_was_made(server: Loopback) -> None:
    """A provider that knows no PKCE may stumble over an empty parameter; it gets none."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.exchange_code(
            CLIENT,
            PROVIDER,
            POST,
            SECRET,
            token_endpoint=server.url,
            code=Secret("c"),
            verifier=Secret(""),
            redirect_uri=CALLBACK,
            resource=None,
        )
    )
    assert "code_verifier" not in dict(parse_qsl(server.form(), keep_blank_values=True))


def test_a_json_body_holds_the_client_too(server: Loopback) -> None:
    """Form fields become members of one object, the client's authentication among them, and the headers come along."""
    server.default = http("200 OK", GOOD)
    token = TokenRequest(body="json", client_id_field="app", params={"v": "1"}, headers={"X-Version": "2"})
    refresh(server, replace(PROVIDER, token=token))
    assert json.loads(server.form()) == {
        "grant_type": "refresh_token",
        "v": "1",
        "refresh_token": "the refresh token",
        "app": "id/1",
        "client_secret": "the client's secret",
    }
    headers = headers_of(server.head())
    assert (headers["content-type"], headers["x-version"]) == ("application/json", "2")


def test_a_narrower_refresh_is_put_in_the_same_words(server: Loopback) -> None:
    """The provider's names, parameters, body and endpoint, and the redirect URI where it is repeated."""
    server.default = http("200 OK", GOOD)
    token = TokenRequest(body="json", grant_field="action", refresh_grant="renew", redirect_uri_on_refresh=True)
    asyncio.run(
        wire.refresh(
            CLIENT,
            replace(PROVIDER, token=token, scope_separator=",", endpoints=Endpoints(refresh=server.url + "/again")),
            POST,
            SECRET,
            token_endpoint=server.url + "/token",
            refresh_token=Secret("the refresh token"),
            redirect_uri=CALLBACK,
            resource="https://api.example/",
            scope=("a", "b"),
        )
    )
    assert server.head().startswith("POST /again ")
    assert json.loads(server.form()) == {
        "action": "renew",
        "refresh_token": "the refresh token",
        "redirect_uri": CALLBACK,
        "scope": "a,b",
        "resource": "https://api.example/",
        "client_id": "id/1",
        "client_secret": "the client's secret",
    }


def test_a_member_is_read_where_the_token_is() -> None:
    """From the object that holds the token, in the provider's form; None where there is none."""
    assert wire.member(Secret('{"data": {"kind": "a"}, "kind": "b"}'), "kind", ReplyRules(path="data")) == "a"
    assert wire.member(Secret("kind=a&access_token=x"), "kind", ReplyRules(codec="form")) == "a"
    assert wire.member(Secret('{"kind": "b"}'), "kind", ReplyRules(path="data")) is None
    assert wire.member(Secret("no reply"), "kind", ReplyRules()) is None


def test_a_preset_cannot_overrule_what_belongs_to_the_flow(server: Loopback) -> None:
    """Further parameters stand beside grant and tokens, never in their place."""
    server.default = http("200 OK", GOOD)
    mine = {"grant_type": "password", "refresh_token": "other", "client_id": "other"}
    refresh(server, replace(PROVIDER, token=TokenRequest(params=mine, refresh_params=mine)))
    sent = dict(parse_qsl(server.form()))
    assert (sent["grant_type"], sent["refresh_token"], sent["client_id"]) == (
        "refresh_token",
        "the refresh token",
        "id/1",
    )


def test_a_refresh_endpoint_has_to_be_where_the_login_was_made(server: Loopback) -> None:
    """The refresh token was sealed for one host: whoever changes the address of the refresh does not get it."""
    server.default = http("200 OK", GOOD)
    provider = replace(PROVIDER, endpoints=Endpoints(refresh=server.url + "/again"))
    refresh(server, provider)
    assert server.head().startswith("POST /again ")
    for elsewhere in ("https://token.example/token", server.url.replace("127.0.0.1", "localhost") + "/token"):
        with pytest.raises(Misconfigured, match="another host"):
            refresh(server, provider, elsewhere)
    assert len(server.requests) == 1


# --- errors -----------------------------------------------------------------------------------------------------------

NAMED = ReplyRules(error="errors.0.type", description="errors.0.text", error_codes={"old_token": "invalid_grant"})
BARE = ReplyRules(status_errors={"403": "invalid_grant", "401": "invalid_client"})
NUMBERED = ReplyRules(
    path="body", error="status", success_field="status", success_value=0, error_codes={"401": "invalid_grant"}
)
SAID = ReplyRules(success_field="ok", error_codes={"token_gone": "invalid_grant"})
FORM = ReplyRules(codec="form")
WORDS = ReplyRules(error="message", error_codes={"Invalid refresh token": "invalid_grant"})

ERRORS: dict[str, tuple[ReplyRules, bytes, wire.Outcome | type]] = {
    "at its own place, by its own name": (
        NAMED,
        http("400 Bad Request", {"errors": [{"type": "old_token", "text": "Gone"}]}),
        wire.Refused("invalid_grant", "Gone", 400),
    ),
    "its own name is told where it says nothing else": (
        NAMED,
        http("400 Bad Request", {"errors": [{"type": "old_token"}]}),
        wire.Refused("invalid_grant", "old_token", 400),
    ),
    "a name that nobody knows": (
        NAMED,
        http("400 Bad Request", {"errors": [{"type": "new"}]}),
        wire.Refused("new", "", 400),
    ),
    "at the usual place all the same": (
        NAMED,
        http("400 Bad Request", {"error": "invalid_client"}),
        wire.Refused("invalid_client", "", 400),
    ),
    "a sentence": (
        WORDS,
        http("400 Bad Request", {"status": 400, "message": "Invalid refresh token"}),
        wire.Refused("invalid_grant", "Invalid refresh token", 400),
    ),
    "a status alone": (BARE, http("403 Forbidden", {}), wire.Refused("invalid_grant", "HTTP 403", 403)),
    "a status and nothing": (BARE, http("401 Unauthorized"), wire.Refused("invalid_client", "HTTP 401", 401)),
    "a status that a web page has": (BARE, http("403 Forbidden", "<html>", Content_Type="text/html"), wire.Faulty),
    "a status that says later": (ReplyRules(status_errors={"408": "invalid_grant"}), http("408 Later"), wire.Faulty),
    "a status beside a code": (
        BARE,
        http("403 Forbidden", {"error": "access_denied"}),
        wire.Refused("access_denied", "", 403),
    ),
    "a number": (NUMBERED, http("200 OK", {"status": 401, "error": "x"}), wire.Refused("invalid_grant", "401", 200)),
    "success with nothing in it": (NUMBERED, http("200 OK", {"status": 0, "body": {}}), wire.Faulty),
    "a failure in so many words": (
        SAID,
        http("200 OK", {"ok": False, "error": "token_gone"}),
        wire.Refused("invalid_grant", "token_gone", 200),
    ),
    "a failure without a word": (
        SAID,
        http("200 OK", {"ok": False}),
        wire.Refused("error", "it says that it failed (ok)", 200),
    ),
    "in a form": (
        FORM,
        http("200 OK", "error=bad_code&error_description=Too+old"),
        wire.Refused("bad_code", "Too old", 200),
    ),
    "in JSON where a form was due": (
        FORM,
        http("400 Bad Request", {"error": "invalid_grant"}),
        wire.Refused("invalid_grant", "", 400),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "answer", "told"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_found_where_the_provider_puts_it(
    rules: ReplyRules, answer: bytes, told: wire.Outcome | type
) -> None:
    """Its own code becomes OAuth's name for it; a bare status counts only where nothing else is said."""
    found = outcome(answer, rules)
    assert type(found) is told if isinstance(told, type) else found == told


def test_a_number_is_no_error_code_unless_the_provider_is_known_for_it() -> None:
    """RFC 6749 5.2 wants a word; a number there is somebody else's answer."""
    assert isinstance(outcome(http("400 Bad Request", {"error": 400}), ReplyRules()), wire.Faulty)


def test_a_token_in_an_answer_that_says_it_failed_is_kept_and_not_used() -> None:
    """It may be a rotated token all the same; but what is not said to be a success is not handed out."""
    for answer in ({**GOOD, "ok": False}, GOOD):
        kept = outcome(http("200 OK", answer), SAID)
        assert isinstance(kept, wire.Answered)
        assert kept.refresh_token == Secret("rt2")
        with pytest.raises(BadReply, match="success"):
            read_grant(kept.raw, provider=replace(PROVIDER, reply=SAID), issued_at=0.0, asked_scope=())


# --- revocation -------------------------------------------------------------------------------------------------------

BASIC = "Basic aWQlMkYxOnRoZStjbGllbnQlMjdzK3NlY3JldA=="
REVOKED: dict[str, tuple[RevocationRules, str, str, str | None]] = {
    "RFC 7009": (
        RevocationRules(),
        "POST /id/revoke",
        "token=tt&token_type_hint=refresh_token&client_id=id%2F1&client_secret=the+client%27s+secret",
        None,
    ),
    "by the token itself": (RevocationRules(auth="bearer", body="none"), "POST /id/revoke", "", "Bearer tt"),
    "by nobody": (
        RevocationRules(auth="none", token_field="access_token", hint=False),
        "POST /id/revoke",
        "access_token=tt",
        None,
    ),
    "an object, deleted": (
        RevocationRules(method="DELETE", body="json", auth="basic", hint=False, params={"all": "1"}),
        "DELETE /id/revoke",
        '{"all": "1", "token": "tt"}',
        BASIC,
    ),
    "with a GET no token stands in the address": (
        RevocationRules(method="GET", body="none", auth="bearer", params={"x": "y"}),
        "GET /id/revoke",
        "",
        "Bearer tt",
    ),
}


@pytest.mark.parametrize(("rules", "line", "body", "authorization"), REVOKED.values(), ids=REVOKED.keys())
def test_a_token_is_revoked_in_the_providers_way(
    server: Loopback, rules: RevocationRules, line: str, body: str, authorization: str | None
) -> None:
    """Method, body and who asks are the provider's; the client id in the address is escaped."""
    server.default = http("200 OK")
    endpoints = Endpoints(revocation=server.url + "/id/revoke")
    provider = replace(PROVIDER, revocation=rules, endpoints=endpoints)
    assert asyncio.run(wire.revoke(CLIENT, provider, POST, SECRET, token=Secret("tt"), hint="refresh_token")) is None
    assert server.head().startswith(line + " ")
    assert server.form() == body
    assert headers_of(server.head()).get("authorization") == authorization


def test_the_client_stands_in_the_address_escaped(server: Loopback) -> None:
    """An id with a slash in it is one step of the path."""
    server.default = http("204 No Content")
    endpoints = Endpoints(revocation=server.url + "/applications/{client_id}/token")
    provider = replace(PROVIDER, endpoints=endpoints)
    assert asyncio.run(wire.revoke(CLIENT, provider, POST, SECRET, token=Secret("tt"), hint="access_token")) is None
    assert server.head().startswith("POST /applications/id%2F1/token ")


def test_who_has_no_secret_is_not_sent_where_one_is_needed(server: Loopback) -> None:
    """The token stays here, and why is said."""
    endpoints = Endpoints(revocation=server.url)
    provider = replace(PROVIDER, endpoints=endpoints, revocation=RevocationRules(auth="basic"))
    said = asyncio.run(wire.revoke(CLIENT, provider, POST, None, token=Secret("tt"), hint="access_token"))
    assert said == "only a client with a secret may revoke there"
    assert not server.requests


def test_a_revocation_that_says_it_failed_did(server: Loopback) -> None:
    """A good status is not enough where the provider is known to lie with it; the token is not in what is told."""
    server.default = http("200 OK", {"ok": False, "error": "token 0123456789abcdef unknown"})
    provider = replace(PROVIDER, endpoints=Endpoints(revocation=server.url), reply=SAID)
    token = Secret("0123456789abcdef")
    said = asyncio.run(wire.revoke(CLIENT, provider, POST, SECRET, token=token, hint="access_token"))
    assert said == f"token {HIDDEN} unknown"
    server.default = http("200 OK", {"ok": True})
    assert asyncio.run(wire.revoke(CLIENT, provider, POST, SECRET, token=token, hint="access_token")) is None
