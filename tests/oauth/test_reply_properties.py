"""Whatever a provider answers, in whatever shape: the parsers say what it is, lose no token, and break at nothing."""

import json
import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.secret import Secret
from broker.oauth import identity, shapes, strict, wire
from broker.oauth.grant import BadReply, read_grant
from broker.oauth.http import Reply
from broker.practice.shape import put
from broker.providers.model import Provider
from broker.providers.rules import IdentityRules, ReplyRules
from tests.fuzz.replies import RULES, WHOSE

PLAIN = Provider(name="p", title="P", preset="generic")
providers = st.sampled_from(RULES).map(lambda rules: replace(PLAIN, reply=rules, identity=WHOSE))
# Names that mean something to a parser come up often; so do values at the edge.
names = st.sampled_from(
    ("access_token", "refresh_token", "token_type", "expires_in", "expires", "scope", "id_token", "error", "status",
     "ok", "body", "authed", "users", "errors", "type", "data", "id", "name", "refresh_token_expires_in")
) | st.text(max_size=8)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(("Bearer", "user", "0", "3600", "a b", "a,b", 0, 0.0, 10**30, "\ud800", "x\r\ny"))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=15
)
objects = st.dictionaries(names, values, max_size=6)
tokens = st.text(string.ascii_letters + string.digits + "-._~+/=", min_size=1, max_size=60)
bodies = (
    st.binary(max_size=200)
    | values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=10)).map(lambda f: urlencode(f).encode())
    | st.tuples(objects, st.integers(0, 200)).map(lambda cut: json.dumps(cut[0]).encode()[: cut[1]])
)
statuses = st.sampled_from((200, 201, 204, 302, 400, 401, 403, 408, 429, 500, 503, 504))


def answer(body: bytes, status: int = 200) -> Reply:
    """Return an answer as it comes from the wire."""
    return Reply(status, {"content-type": "application/json"}, body, 0.0)


@given(bodies, statuses, providers)
@example(b'{"status": 0, "body": {"access_token": "a"}, "error": 5}', 200, replace(PLAIN, reply=RULES[2]))
def test_every_answer_is_something(body: bytes, status: int, provider: Provider) -> None:
    """Reading an answer never breaks; a token comes under a good status only, and is judged by one kind of error."""
    told = wire.read_reply(answer(body, status), provider)

    assert isinstance(told, wire.Answered | wire.Refused | wire.Throttled | wire.Faulty | wire.Lost)
    if not isinstance(told, wire.Answered):
        return
    assert status in range(200, 300)
    assert told.refresh_token == wire.refresh_token_in(told.raw, provider.reply)
    try:
        grant = read_grant(told.raw, provider=provider, issued_at=0.0, asked_scope=())
    except BadReply:
        return
    for token in filter(None, (grant.access_token, grant.refresh_token, grant.id_token)):
        assert strict.is_printable(token.reveal()), "a token that cannot be sent"
    assert grant.refresh_token == told.refresh_token
    assert grant.token.expires_at is None or grant.token.expires_at >= 0
    assert all(strict.is_printable(scope) for scope in grant.token.scope)


@given(objects, objects, tokens, st.sampled_from(RULES))
def test_a_refresh_token_that_is_plainly_there_is_not_lost(
    junk: dict[str, Any], around: dict[str, Any], token: str, rules: ReplyRules
) -> None:
    """Whatever stands beside it and around it: the answer is kept, and the token comes out of it as it is."""
    if rules.codec == "form":
        body = urlencode({**{k: v for k, v in junk.items() if _is_text(k) and _is_text(v)}, "refresh_token": token})
    else:
        steps = rules.path.partition(".")[0]
        whole: dict[str, Any] = {k: v for k, v in around.items() if k != steps} if rules.path else {}
        inner = {**junk, "refresh_token": token}
        if rules.path:
            put(whole, rules.path, inner)
        body = json.dumps(whole if rules.path else inner)

    told = wire.read_reply(answer(body.encode()), replace(PLAIN, reply=rules))

    assert isinstance(told, wire.Answered)
    assert told.refresh_token == Secret(token)
    assert not wire.hides_refresh_token(told.raw, rules) or body.count("refresh_token") > 1


@given(tokens, st.sampled_from(RULES), st.sampled_from((json.dumps, urlencode, lambda fields: json.dumps([fields]))))
def test_what_speaks_of_a_refresh_token_at_another_place_is_kept_all_the_same(
    token: str, rules: ReplyRules, write: Callable[[dict[str, str]], str]
) -> None:
    """In another codec, at another depth: perhaps it is the only copy, so it is kept, and known to hide one."""
    told = wire.read_reply(answer(write({"refresh_token": token}).encode()), replace(PLAIN, reply=rules))

    assert isinstance(told, wire.Answered)
    assert told.refresh_token == Secret(token) or wire.hides_refresh_token(told.raw, rules)


@given(objects, statuses, providers, st.text(string.ascii_letters, min_size=12, max_size=40))
def test_an_error_is_told_in_words_that_can_be_shown(
    fields: dict[str, Any], status: int, provider: Provider, secret: str
) -> None:
    """No control character and no secret of the request comes out of an error, wherever the provider puts it."""
    rules = provider.reply
    whole = {k: v for k, v in fields.items() if k not in ("errors", "error", "status", "ok", "access_token", "body")}
    whole.pop("refresh_token", None)
    put(whole, rules.error, f"bad\x1b[2J {secret}")
    put(whole, rules.description, f"{secret} was\r\nrefused")
    told = wire.read_reply(answer(json.dumps(whole).encode(), status), provider, (Secret(secret),))

    if isinstance(told, wire.Refused):
        shown = told.error + told.description
        assert secret not in shown
        assert shown.isprintable()


@given(bodies, st.sampled_from((WHOSE, IdentityRules(), IdentityRules(subject="", label=("0.1", "..", "")))))
def test_who_it_is_comes_out_clean_or_not_at_all(body: bytes, rules: IdentityRules) -> None:
    """An identity has a subject that fits and a label that can be shown; an answer without one is one plain error."""
    provider = replace(PLAIN, identity=rules)
    try:
        told = identity.read(provider, body)
    except ValueError as exc:
        told, said = None, str(exc)
    else:
        said = "it is in order"
    assert said.startswith("it ")
    if told is not None:
        assert 0 < len(told.subject) <= identity.SUBJECT_CAP
        assert told.label
        assert told.label.isprintable()


@given(objects, st.text("ab.0129-", max_size=12))
def test_a_path_leads_somewhere_or_nowhere(fields: dict[str, Any], path: str) -> None:
    """Following a path never breaks, whatever stands in its way."""
    assert shapes.at(fields, "") is fields
    assert shapes.at({"a": [{"b": fields}]}, f"a.0.b.{path}" if path else "a.0.b") is shapes.at(fields, path)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and "token" not in value
