"""Targets: the bodies that providers answer with - token replies, metadata, keys, ID tokens, codes, registrations.

Used by ``targets``.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from broker.core.login import Registered
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import authcode, identity, registered, shapes, strict, wire
from broker.oauth.grant import BadReply, read_grant
from broker.oauth.http import Reply
from broker.oauth.reply import hides_refresh_token, member
from broker.providers import catalog, discovery
from broker.providers.model import Provider, ProviderConfig
from broker.providers.rules import Endpoints, IdentityRules, Registration, ReplyRules
from tests.fuzz.target import CANARY, Target, around, picked, repeated, text_of

NOW = 1_800_000_000.0
HOME = "https://as.example"
PLAIN = Provider(name="p", title="P", preset="generic", issuer=HOME, endpoints=Endpoints(registration=f"{HOME}/reg"))
# A secret of the request, which some providers repeat in their errors.
SENT = "sp3nt-refresh-token-0123456789"
RULES = (
    ReplyRules(),
    ReplyRules(codec="form", expires_in="expires", scope_separator=","),
    ReplyRules(path="body", expires_unit="ms", error="status", success_field="status", success_value=0),
    ReplyRules(path="authed.users.0", bearer_names=("user",), success_field="ok", zero_is_endless=True),
    ReplyRules(
        error="errors.0.type",
        description="errors.0.message",
        assumed_lifetime_s=60.0,
        error_codes={"old": "invalid_grant"},
        status_errors={"403": "invalid_grant"},
    ),
)
WHOSE = IdentityRules(
    url="https://api.example/me",
    subject="data.0.id",
    label=("data.0.name", "name"),
    reply_subject="users.0.id",
    reply_label=("users.0.name",),
)
STATUSES = (200, 201, 204, 302, 400, 401, 403, 408, 429, 500, 503, 504)
TOKEN_WORDS = tuple(
    f'"{word}":'.encode()
    for word in (
        "access_token",
        "refresh_token",
        "token_type",
        "expires_in",
        "scope",
        "id_token",
        "error",
        "status",
        "ok",
        "body",
        "users",
        "errors",
        "error_description",
    )
)
GOOD = {
    "access_token": CANARY,
    "refresh_token": f"r.{CANARY}",
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": "a b",
}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _token_reply(data: bytes) -> None:
    rules, data = picked(data, RULES)
    status, body = picked(data, STATUSES)
    provider = replace(PLAIN, reply=rules, identity=WHOSE)
    told = wire.read_reply(Reply(status, {"content-type": "application/json"}, body, NOW), provider, (Secret(SENT),))
    if isinstance(told, wire.Refused):
        assert SENT not in f"{told.error} {told.description}"
        assert (told.error + told.description).isprintable()
    if not isinstance(told, wire.Answered):
        return
    assert status in range(200, 300)
    assert told.refresh_token == wire.refresh_token_in(told.raw, rules)
    hides_refresh_token(told.raw, rules)
    member(told.raw, "scope", rules)
    grant = read_grant(told.raw, provider=provider, issued_at=NOW, asked_scope=())
    for token in filter(None, (grant.access_token, grant.refresh_token, grant.id_token)):
        assert strict.is_printable(token.reveal()), "a token that cannot be sent"
    assert grant.token.expires_at is None or NOW <= grant.token.expires_at < 1e12
    assert all(strict.is_printable(scope) for scope in grant.token.scope)


def _strict(data: bytes) -> None:
    fields = strict.loads(data)
    assert strict.loads(json.dumps(fields).encode()) == fields, "what was read cannot be read again"
    assert strict.peek(data) == json.loads(data, parse_int=float), "a glance sees something else"


def _form(data: bytes) -> None:
    rules = RULES[1]
    fields = shapes.loads(data, rules)
    if not data.lstrip().startswith(b"{"):
        assert shapes.peek(data, rules) == fields


def _metadata(data: bytes) -> None:
    kind: discovery.Kind
    kind, data = picked(data, ("openid", "oauth"))
    found = discovery.read_document(kind, HOME, strict.loads(data))
    assert discovery.merge(found, found) == found
    assert discovery.strangers(found, found) == []
    config = ProviderConfig("p", "generic", "", {}, found, private=False, created_at=0.0)
    made = catalog.resolve(config)
    assert made.issuer == HOME


def _callback(data: bytes) -> None:
    params = parse_qsl(text_of(data), keep_blank_values=True)
    told = authcode.read_callback(params, issuer=HOME, iss_required=False, checks={"location": "eu"})
    if isinstance(told, authcode.CallbackError):
        assert (told.error + told.description).isprintable()
    else:
        assert strict.is_printable(told.code.reveal())
    assert set(authcode.granted(replace(PLAIN, callback_scope="scope"), params, ("a", "b"))) <= {"a", "b"}


def _identity(data: bytes) -> None:
    found = identity.read(replace(PLAIN, identity=WHOSE), data)
    assert found is None or (found.subject.isprintable() and found.label.isprintable())


BEFORE = Registered("c", Secret("s"), "client_secret_basic", ("http://127.0.0.1/cb",))


def _registration(data: bytes) -> None:
    status, data = picked(data, STATUSES)
    before, data = picked(data, (None, BEFORE))
    reply = Reply(status, {}, data, NOW)
    if status not in (200, 201):
        raise registered.refusal(PLAIN, reply, "register Keyfob")
    asked = {"token_endpoint_auth_method": "none"}
    made = registered.read(PLAIN, Registration(), reply, asked=asked, redirect_uris=BEFORE.redirect_uris, before=before)
    assert strict.is_printable(made.client.client_id)
    assert made.mismatch.isprintable()
    if made.client.management is not None:
        place = urlsplit(made.client.management.uri)
        assert (place.scheme, place.hostname, place.port or 443) == ("https", "as.example", 443), (
            "its token goes elsewhere"
        )


def _with_head(head: bytes, *bodies: object) -> Iterable[bytes]:
    return (head + (body if isinstance(body, bytes) else _json(body)) for body in bodies)


def _metadata_seed(**more: object) -> dict[str, Any]:
    where = {field: f"{HOME}/{key}" for field, key in discovery.ENDPOINTS.items()}
    algorithms = {"id_token_signing_alg_values_supported": ["RS256"], "scopes_supported": ["openid"]}
    return {"issuer": HOME, **where, **algorithms, **more}


DEEP = (
    repeated(b'{"a":', b'{"a":'),
    repeated(b'{"a":"', b"\\"),
    repeated(b'{"a":"', b'\\"'),
    repeated(b"", b'"'),
    repeated(b'{"a":', b"9", b"}"),
    repeated(b'{"a":[', b"1,", b"1]}"),
    repeated(b'{"a":"', b"[", b'"}'),
    repeated(b"{", b'"a":1,', b'"b":1}'),
)
FLAT = around(b"\0\0", DEEP)
FORMS = (
    repeated(b"a=", b"%41"),
    repeated(b"", b"a&"),
    repeated(b"", b"a=b&"),
    repeated(b"a=", b"+"),
    repeated(b"", b" "),
)
ERROR = {"error": "invalid_grant", "error_description": f"the token {SENT} is spent"}

REPLIES = (
    Target(
        "token-reply",
        "a token endpoint's answer, JSON or a form, in five providers' shapes",
        _token_reply,
        (BadReply,),
        (
            *_with_head(b"\0\0", GOOD, {**GOOD, "expires_in": "3599.9", "id_token": "a.b.c"}, {"error": "slow_down"}),
            *_with_head(b"\x01\0", b"access_token=a&refresh_token=b&expires=60&scope=a%2Cb", b"error=no"),
            *_with_head(b"\x02\0", {"status": 0, "body": GOOD}, {"status": 401, "error": "x"}),
            *_with_head(b"\x03\0", {"ok": True, "authed": {"users": [{**GOOD, "token_type": "user"}]}}),
            *_with_head(b"\x04\x04", {"errors": [{"type": "old", "message": SENT}]}, ERROR),
            *_with_head(b"\0\x08", {}, b"<html>"),
        ),
        (
            *FLAT,
            *around(b"\x01\0", FORMS),
            *around(b"\0\x04" + b'{"error":"', FORMS, b'"}'),
        ),
        (*TOKEN_WORDS, SENT.encode(), b"access_token=", b"&refresh_token="),
        examples=300,
    ),
    Target(
        "json",
        "every JSON object from outside",
        _strict,
        (ValueError,),
        (_json(GOOD), b'{"a": [1, -2.5e3, "\\u00e9\\n", null, true, {"b": {}}]}', b'{"a":1,"a":2}', b'{"a":"\\ud800"}'),
        DEEP,
        TOKEN_WORDS,
        examples=300,
    ),
    Target(
        "form",
        "answers as forms",
        _form,
        (ValueError,),
        (b"access_token=a&scope=b+c", b"", b'{"error":"x"}', b"a=%zz"),
        FORMS,
        (b"access_token=", b"%ff", b";"),
        examples=150,
    ),
    Target(
        "metadata",
        "discovery documents (OpenID Connect Discovery, RFC 8414)",
        _metadata,
        (ValueError, InvalidRequest),
        tuple(
            _with_head(
                b"\0",
                _metadata_seed(),
                _metadata_seed(token_endpoint="http://127.0.0.1/t"),
                _metadata_seed(app_registration_endpoint=f"{HOME}/apps"),
                {"issuer": HOME},
                {},
            )
        ),
        around(b"\0", DEEP),
        (
            HOME.encode(),
            b'"token_endpoint":',
            b'"issuer":',
            b"http://127.0.0.1",
            b"http://[::1]:0/",
            b"//@",
            b"https://\xc3\xa9",
        ),
    ),
    Target(
        "callback",
        "the query with which a browser comes back",
        _callback,
        (LoginFailed,),
        (
            f"code={CANARY}&state=s&iss={HOME}".encode(),
            b"error=access_denied&error_description=no%0a",
            b"code=a&location=us",
            b"code=a&code=b",
            b"code=%00",
            b"scope=a+b&code=x",
        ),
        FORMS,
        (b"&code=", b"&iss=", b"&error=", b"&location=eu"),
        examples=200,
    ),
    Target(
        "identity",
        "user information answers",
        _identity,
        (ValueError,),
        (_json({"data": [{"id": 5, "name": "Ann"}]}), _json({"data": [{"id": "a\u202eb"}], "name": "x"}), b"{}"),
        DEEP,
        (b'"data":', b'"id":', b'"name":'),
    ),
    Target(
        "registration",
        "registration and management answers (RFC 7591, RFC 7592), and refusals of both",
        _registration,
        (LoginFailed, ProviderUnavailable),
        (
            *_with_head(
                b"\0\0",
                {"client_id": "c", "client_secret": CANARY, "redirect_uris": list(BEFORE.redirect_uris)},
                {
                    "client_id": "c",
                    "redirect_uris": "a b",
                    "client_secret_expires_at": 1.5e9,
                    "client_secret": "s",
                    "token_endpoint_auth_method": "private_key_jwt",
                    "registration_access_token": CANARY,
                    "registration_client_uri": f"{HOME}/reg/c",
                    "grant_types": ["implicit"],
                    "scope": "a",
                },
            ),
            b"\x04\0" + _json(ERROR),
            b"\x08\0{}",
        ),
        FLAT,
        (
            b'"client_id":',
            b'"registration_client_uri":',
            b'"client_secret_expires_at":',
            b"https://as.example:443/",
            b"http://[",
        ),
    ),
)
