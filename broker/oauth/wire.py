"""The token endpoint: one call per function, and every answer told apart.

Called by ``usecases.login``, ``usecases.refresh`` and ``usecases.accounts``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, unquote

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import Misconfigured
from broker.oauth import assertion, strict
from broker.oauth.http import AnswerLost, Http, NotSent, Reply
from broker.providers.model import Provider
from broker.providers.rules import ThrottleRules

# A token named as a JSON member, or as a form's field: not every endpoint answers in the form that it should.
_ANY_TOKEN = re.compile(rb'"((?:access|refresh)_token)"\s*:|(?:^|&)\s*((?:access|refresh)_token)=')
_REFRESH_TOKEN = re.compile(rb'"(refresh_token)"\s*:|(?:^|&)\s*(refresh_token)=')
# What stands in an error text for a secret that it repeated; and what a piece of one looks like: long, without blanks.
HIDDEN = "[hidden]"
LEAST_SECRET = 8
_RUN = re.compile(r"[A-Za-z0-9._~+/=%-]{12,}")
# HTTP statuses (RFC 9110 15) by what they mean here; 408 and 425 say "later", not "no".
_OK = range(200, 300)
_CLIENT_ERRORS = range(400, 500)
_TOO_EARLY = (408, 425)
_THROTTLED = 429
_UNAVAILABLE = 503
# A gateway passed the request on and got no answer (520, 524: Cloudflare's): what came of it, it cannot say.
_NO_WORD = (504, 520, 524)
_SERVER_ERRORS = range(500, 600)


@dataclass(frozen=True, slots=True)
class Answered:
    """The endpoint gave a token. Not validated yet: what counts is that ``raw`` is written down first.

    Attributes:
        raw: the reply, whole.
        refresh_token: the new one, where one is plainly there; None keeps the old one (RFC 6749 6).
    """

    raw: Secret
    refresh_token: Secret | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint answered with an OAuth error (RFC 6749 5.2); the texts are safe to show."""

    error: str
    description: str
    status: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too fast. ``retry_after`` is in seconds, or None where the provider gives none."""

    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Surely nothing was sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Faulty:
    """Something answered, but not a token endpoint in its right mind."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """It was sent, and no answer came: nobody knows what it did."""

    reason: str


NoToken = Refused | Throttled | Unreachable | Faulty | Lost
Outcome = Answered | NoToken


async def exchange_code(  # noqa: PLR0913 -- one argument per parameter of RFC 6749 4.1.3
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    code: Secret,
    verifier: Secret,
    redirect_uri: str,
    resource: str | None,
) -> Outcome:
    """Exchange an authorization code (RFC 6749 4.1.3, RFC 7636 4.5).

    Args:
        http: the way out.
        provider: whose quirks count.
        client: who asks.
        secret: its secret, or None for a public client.
        token_endpoint: the one that was fixed when the login began.
        code: from the callback.
        verifier: of this login's PKCE challenge.
        redirect_uri: string-equal to the one at authorize time.
        resource: RFC 8707, or None.
    """
    form: dict[str, str | Secret] = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return await _ask(http, provider, client, secret, token_endpoint, form, resource)


async def refresh(
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    refresh_token: Secret,
    resource: str | None = None,
) -> Outcome:
    """Spend a refresh token (RFC 6749 6), once. Never names a scope: that could only narrow the grant for ever."""
    form: dict[str, str | Secret] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return await _ask(http, provider, client, secret, token_endpoint, form, resource)


async def client_credentials(
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    scope: tuple[str, ...],
    audience: str,
    resource: str | None,
) -> Outcome:
    """Ask for a token of the client's own (RFC 6749 4.4); ``audience`` is the parameter of that name, or empty."""
    form: dict[str, str | Secret] = {"grant_type": "client_credentials"}
    if scope:
        form[provider.scope_parameter] = provider.scope_separator.join(scope)
    if audience:
        form["audience"] = audience
    return await _ask(http, provider, client, secret, token_endpoint, form, resource)


async def jwt_bearer(  # noqa: PLR0913 -- one argument per parameter of RFC 7523 2.1 and claim of 3
    http: Http,
    provider: Provider,
    client: Client,
    key: Secret,
    *,
    token_endpoint: str,
    subject: str,
    audience: str,
    scope: tuple[str, ...],
    resource: str | None,
) -> Outcome:
    """Ask for a token by an assertion that the client signs (RFC 7523 2.1), which proves the client as well."""
    asked = provider.scope_separator.join(scope)
    signed = assertion.grant(provider, client, key, subject=subject, audience=audience, scope=asked, now=http.now())
    form: dict[str, str | Secret] = {"grant_type": assertion.GRANT, "assertion": signed}
    if scope:
        form[provider.scope_parameter] = asked
    return await _ask(http, provider, None, key, token_endpoint, form, resource)


async def revoke(
    http: Http, provider: Provider, client: Client, secret: Secret | None, *, token: Secret, hint: str
) -> str | None:
    """Revoke a token (RFC 7009 2). Done is done, even where the provider did not know it (RFC 7009 2.2).

    Returns:
        None when it is done, else why not, in words that are safe to show.
    """
    if not provider.endpoints.revocation:
        return "the provider has no way to revoke a token"
    form, basic = _proven(http, provider, client, secret, {"token": token, "token_type_hint": hint})
    match await _send(http, provider, provider.endpoints.revocation, form, basic):
        case Reply() as reply if reply.status in _OK:
            return None
        case Reply() as reply:
            match read_reply(reply, provider.throttle, _secrets(secret, form)):
                case Refused(error=error, description=description):
                    return f"{error}: {description}" if description else error
                case Throttled(reason=reason) | Faulty(reason=reason) | Lost(reason=reason):
                    return reason
                case _:
                    return f"it answered with HTTP {reply.status}"
        case Unreachable(reason=reason) | Lost(reason=reason):
            return reason


async def _ask(
    http: Http,
    provider: Provider,
    client: Client | None,
    secret: Secret | None,
    endpoint: str,
    form: Mapping[str, str | Secret],
    resource: str | None,
) -> Outcome:
    """Ask the token endpoint, as ``client``, or as whom the form itself proves."""
    if resource is not None:
        form = {**form, "resource": resource}
    form, basic = (form, None) if client is None else _proven(http, provider, client, secret, form)
    reply = await _send(http, provider, endpoint, form, basic)
    if not isinstance(reply, Reply):
        return reply
    outcome = read_reply(reply, provider.throttle, _secrets(secret, form))
    # What a wrong signature is called where the form was signed: as a grant, or to prove the client.
    names = ("invalid_grant", "invalid_client") if client is None else ("invalid_client",)
    signed = {"assertion", "client_assertion"} & form.keys()
    if signed and isinstance(outcome, Refused) and outcome.error in names:
        return _by_another_clock(reply, outcome)
    return outcome


def _by_another_clock(reply: Reply, refused: Refused) -> Refused | Faulty:
    """Tell a signature that was refused for its dates from one that is wrong: a clock that is set mends the first.

    A machine whose clock is wrong at its start must not lose a client that is in order.
    """
    if abs(reply.ahead) < assertion.LIFETIME / 2:
        return refused
    which = "ahead of" if reply.ahead > 0 else "behind"
    return Faulty(
        f"{refused.error}, to what Keyfob signed while this machine's clock is {abs(reply.ahead):.0f} s {which} its own"
    )


Basic = tuple[str, str | Secret] | None


def _proven(
    http: Http, provider: Provider, client: Client, secret: Secret | None, form: Mapping[str, str | Secret]
) -> tuple[Mapping[str, str | Secret], Basic]:
    """Add the client's authentication: in the header or in the form, never both (RFC 6749 2.3)."""
    method = client.auth_method
    if method == "client_secret_basic" and secret is not None:
        # Form-encoded before base64 (RFC 6749 2.3.1); Authlib leaves that out, and odd ids then fail.
        return form, (quote_plus(client.client_id), Secret(quote_plus(secret.reveal())))
    if method == "client_secret_post" and secret is not None:
        return {**form, "client_id": client.client_id, "client_secret": secret}, None
    if method in assertion.METHODS and secret is not None:
        return {**form, **assertion.client_fields(provider, client, secret, http.now())}, None
    if method == "none" or (method.startswith("client_secret_") and secret is None):
        return {**form, "client_id": client.client_id}, None
    raise Misconfigured(
        f"Keyfob does not know the client authentication '{method}'.",
        "Configure the client as none, client_secret_basic, client_secret_post, client_secret_jwt or private_key_jwt.",
    )


async def _send(
    http: Http, provider: Provider, endpoint: str, form: Mapping[str, str | Secret], basic: Basic
) -> Reply | Unreachable | Lost:
    try:
        return await http.send("POST", endpoint, private=provider.private, form=form, basic=basic)
    except NotSent as exc:
        return Unreachable(exc.reason)
    except AnswerLost as exc:
        return Lost(exc.reason)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_reply(
    reply: Reply, throttle: ThrottleRules, sent: tuple[Secret, ...] = ()
) -> Answered | Refused | Throttled | Faulty | Lost:
    """Tell what an answer is, from its status first: a body cannot turn a refusal into a token.

    Args:
        reply: the answer.
        throttle: what the provider says "too fast" with.
        sent: the secrets of the request: some providers repeat them in their error texts.
    """
    status = reply.status
    if status in _OK:
        return _read_success(reply, sent)
    if status == _THROTTLED or (status == _UNAVAILABLE and "retry-after" in reply.headers):
        return Throttled(f"it answered HTTP {status}", reply.retry_after)
    if status in throttle.statuses and reply.headers.get(throttle.header.lower(), "").strip() == "0":
        return Throttled(f"it answered HTTP {status} and nothing is left of the allowance", reply.retry_after)
    if status in _CLIENT_ERRORS and status not in _TOO_EARLY:
        refusal = _refusal(strict.peek(reply.body), status, sent)
        if refusal is not None:
            return refusal
    return Lost(_describe(reply)) if status in _NO_WORD else Faulty(_describe(reply))


def _read_success(reply: Reply, sent: tuple[Secret, ...]) -> Answered | Refused | Faulty:
    fields = strict.peek(reply.body)
    # Whatever else is wrong with it: what speaks of a token may be the only copy of a rotated one, so it is kept.
    if (fields or {}).get("access_token") or (fields or {}).get("refresh_token") or _hides(_ANY_TOKEN, reply.body):
        # Bytes that are not UTF-8 become \x..: readable for people, and never valid JSON again.
        raw = Secret(reply.body.decode("utf-8", "backslashreplace"))
        return Answered(raw, refresh_token_in(raw))
    if fields is None:
        return Faulty(_describe(reply))
    return _refusal(fields, reply.status, sent) or Faulty(f"HTTP {reply.status} with no token in it")


def _hides(name: re.Pattern[bytes], body: bytes) -> bool:
    """Whether a reply speaks of a token at a place where ``peek`` finds none: twice, nested, as a form, cut off.

    Zero bytes are left out to see through UTF-16, which is refused later.
    """
    fields = strict.peek(body) or {}
    spoken = [match[1] or match[2] for match in name.finditer(body.replace(b"\0", b""))]
    return len(spoken) > len({token.decode() for token in spoken} & fields.keys())


def hides_refresh_token(raw: Secret) -> bool:
    """Whether a reply speaks of a refresh token that cannot be taken from it: the only copy of it, perhaps."""
    return _hides(_REFRESH_TOKEN, raw.reveal().encode())


def refresh_token_in(raw: Secret) -> Secret | None:
    """Return the refresh token that is plainly there in a reply, whatever else may be wrong with it."""
    fields = strict.peek(raw.reveal().encode())
    new = fields.get("refresh_token") if fields is not None else None
    return Secret(new) if isinstance(new, str) and strict.is_printable(new) else None


def _refusal(fields: Mapping[str, Any] | None, status: int, sent: tuple[Secret, ...]) -> Refused | None:
    if fields is None:
        return None
    error, description = (strict.clean(_without(fields.get(name), sent)) for name in ("error", "error_description"))
    return Refused(error, description, status) if error else None


def _secrets(secret: Secret | None, form: Mapping[str, str | Secret]) -> tuple[Secret, ...]:
    return tuple(value for value in (secret, *form.values()) if isinstance(value, Secret))


def _without(text: object, secrets: tuple[Secret, ...]) -> object:
    """Return an error text without the secrets that it repeats, whole, in parts or percent-encoded."""
    if not isinstance(text, str):
        return text
    # No real secret is shorter than a password, and a shorter one would be found in innocent words.
    plain = [value for secret in secrets if len(value := secret.reveal()) >= LEAST_SECRET]
    for value in sorted(plain, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _RUN.sub(lambda run: HIDDEN if any(unquote(run[0]) in value for value in plain) else run[0], text)


def _describe(reply: Reply) -> str:
    text = f"HTTP {reply.status}"
    if reply.status in range(300, 400):
        return f"{text}, a redirect; those are not followed with secrets in hand"
    if not reply.body.strip():
        return f"{text} with nothing in it"
    if reply.body.lstrip()[:1] == b"<" or "html" in reply.headers.get("content-type", ""):
        return f"{text} with a web page instead of JSON"
    return text if reply.status in _SERVER_ERRORS else f"{text}, but not in OAuth's form"
