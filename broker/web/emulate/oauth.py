"""OAuth itself: Keyfob as a small authorization server, for every program that can ask one for a token.

Put behind the app doors by ``asgi``. Client credentials (RFC 6749 4.4) with an app's name and key, token exchange
(RFC 8693) with the key as subject token, and metadata (RFC 8414) by which libraries configure themselves. Never a
refresh token: whoever needs another token asks again.
"""

import base64
import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.responses import Response

from broker.core.policy import Ask, Caller, Denied, Lack, Owner
from broker.core.secret import Secret
from broker.errors import InvalidRequest, KeyfobError, Unauthorized
from broker.providers.urls import check_resource
from broker.usecases import target
from broker.usecases.context import Context
from broker.usecases.outcomes import Ready
from broker.web import refusals, render, told
from broker.web.body import Query, check_audience, check_words
from broker.web.emulate import asked
from broker.web.form import Form
from broker.web.guards import check_unlocked

CLIENT_CREDENTIALS = "client_credentials"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- a type (RFC 8693 3), not a token
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 -- the same
# What an app key may be called: programs let their users choose among few names.
SUBJECT_TYPES = (ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt")
# Our code -> OAuth's (RFC 6749 5.2, RFC 8707 2, and 4.1.2.1 for what passes).
ERRORS: Mapping[str, str] = {
    "invalid_request": "invalid_request",
    "unauthorized": "invalid_client",
    "not_granted": "unauthorized_client",
    "unknown_account": "invalid_target",
    "login_needed": "invalid_grant",
    "misconfigured": "invalid_grant",
    "confirm_needed": "invalid_grant",
    "conflict": "invalid_grant",
    "locked": "temporarily_unavailable",
    "too_many_requests": "temporarily_unavailable",
    "provider_unavailable": "temporarily_unavailable",
    "store_unavailable": "temporarily_unavailable",
}
LACKING: Mapping[Lack, str] = {"grant": "unauthorized_client", "scope": "invalid_scope", "target": "invalid_target"}
# A token endpoint answers what the request got wrong with 400 (RFC 6749 5.2).
WRONG = (404, 409)
WWW_AUTHENTICATE = 'Basic realm="keyfob", Bearer realm="keyfob"'


async def metadata(request: Request, ctx: Context) -> Response:
    """``GET /.well-known/oauth-authorization-server`` (RFC 8414), in the name by which the door was called."""
    del ctx
    Query(request)
    here = f"http://{request.headers['host'].lower()}"
    return render.answer(
        {
            "issuer": here,
            "token_endpoint": f"{here}/oauth/token",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "grant_types_supported": [CLIENT_CREDENTIALS, EXCHANGE],
            "response_types_supported": [],  # required, and there is no authorization endpoint
        }
    )


async def token(request: Request, ctx: Context) -> Response:
    """``POST /oauth/token``."""
    query = Query(request, "account")
    form = await Form.read(request)
    grant_type = form.text("grant_type")
    caller = request.scope["state"]["caller"] = await _caller(request, ctx, form, exchange=grant_type == EXCHANGE)
    issued = _issued(form, grant_type)
    named = _ask(query, form)
    min_ttl = form.seconds("min_ttl")
    check_unlocked(ctx)
    ask = await target.choose(ctx, caller, named)
    if isinstance(ask, Ask):
        with _called("invalid_target"):
            _check_target(ask)
    outcome = await asked.outcome_of(request, ctx, caller, ask, min_ttl=min_ttl, id_token=issued == ID_TOKEN)
    if isinstance(outcome, Ready):
        return _handed_out(outcome, issued if grant_type == EXCHANGE else "")
    refusal = refusals.refusal(outcome)
    return _answer(refusal, LACKING[outcome.lacks], 400) if isinstance(outcome, Denied) else problem(refusal)


async def _caller(request: Request, ctx: Context, form: Form, *, exchange: bool) -> Caller:
    """Return who asks: by HTTP Basic, by the fields of the form, by a subject token, or by its socket.

    Raises:
        Unauthorized, TooManyRequests: nobody whom we know.
        InvalidRequest: it says so in two ways (RFC 6749 2.3).
    """
    name, key = form.text("client_id") or None, form.secret("client_secret")
    if key is not None and name is None:
        raise Unauthorized("'client_id' is missing.", "The client id is the app's name, the client secret its key.")
    if request.headers.getlist("authorization"):
        if key is not None:
            raise InvalidRequest("The client proves itself in two ways.", "Use HTTP Basic, or 'client_secret'.")
        said, key = of_header(request)
        if said is not None and name not in (None, said):
            raise InvalidRequest("'client_id' and the Authorization header name different clients.")
        name = said if said is not None else name
    if exchange:
        subject = _subject(form)
        if key not in (None, subject):
            raise InvalidRequest("The client and the subject token are two apps.", "Send one app's key, as either.")
        key = subject
    if key is None:
        peer = request.scope["state"].get("peer")
        if peer is not None and name is None:
            return Owner(pid=peer[0])
        raise Unauthorized(
            "The name and the key of an app are missing.",
            "Send them as client id and client secret; get them: keyfob pair, or keyfob app add NAME --account A",
        )
    return await asked.app_of(request, ctx, key.reveal(), name)


def of_header(request: Request) -> tuple[str | None, Secret]:
    """Take name and key from the Authorization header: Basic (RFC 6749 2.3.1), or Bearer as everywhere here."""
    given = request.headers.getlist("authorization")
    scheme, _, value = given[0].partition(" ")
    if len(given) == 1 and scheme.lower() == "bearer":
        return None, Secret(value.strip())
    if len(given) == 1 and scheme.lower() == "basic":
        with contextlib.suppress(ValueError):  # no base64, or no ASCII
            name, colon, key = base64.b64decode(value.strip(), validate=True).decode("ascii").partition(":")
            if colon:
                return unquote_plus(name), Secret(unquote_plus(key))
    raise Unauthorized("The Authorization header is neither 'Basic' with an app's name and key, nor 'Bearer kf_...'.")


def _subject(form: Form) -> Secret:
    """Take the subject token of an exchange (RFC 8693 2.1), which is the app key."""
    kind, subject = form.text("subject_token_type"), form.secret("subject_token")
    if subject is None:
        raise InvalidRequest("'subject_token' is missing.", "Send the app key as the subject token.")
    if kind not in SUBJECT_TYPES:
        raise InvalidRequest("'subject_token_type' is missing or unknown.", f"Use one of: {', '.join(SUBJECT_TYPES)}")
    if form.text("actor_token"):
        raise InvalidRequest("Nobody acts for another here.", "Leave 'actor_token' out.")
    return subject


def _issued(form: Form, grant_type: str) -> str:
    """Return the type of token that is wanted."""
    if not grant_type:
        raise InvalidRequest("'grant_type' is missing.", f"Use {CLIENT_CREDENTIALS}.")
    if grant_type not in (CLIENT_CREDENTIALS, EXCHANGE):
        hint = "There are no codes and no refresh tokens here: ask again whenever a token is needed."
        raise InvalidRequest(f"Use the grant type {CLIENT_CREDENTIALS}.", hint, error="unsupported_grant_type")
    wanted = form.text("requested_token_type") or ACCESS_TOKEN
    if grant_type == EXCHANGE and wanted not in (ACCESS_TOKEN, ID_TOKEN):
        raise InvalidRequest("There is no token of that type here.", f"Use one of: {ACCESS_TOKEN}, {ID_TOKEN}")
    return wanted if grant_type == EXCHANGE else ACCESS_TOKEN


def _ask(query: Query, form: Form) -> Ask:
    """Return what is asked for. ``account`` may stand in the endpoint's address, where libraries keep it."""
    account, scope = form.text("account"), form.words("scope")
    if account and query.text("account") not in (None, account):
        raise InvalidRequest("'account' is given twice.", "Give it once.")
    with _called("invalid_scope"):
        check_words("scope", scope)
    with _called("invalid_target"):
        resource, audience = form.text("resource") or None, form.text("audience") or None
    return Ask(account or query.text("account") or "", scope, resource, audience)


def _check_target(ask: Ask) -> None:
    if ask.resource is not None:
        check_resource(ask.resource)
    if ask.audience is not None:
        check_audience(ask.audience)


@contextlib.contextmanager
def _called(error: str) -> Iterator[None]:
    """Give what is refused the name that OAuth has for it."""
    try:
        yield
    except InvalidRequest as exc:
        raise InvalidRequest(exc.detail, exc.hint, error=error) from exc


def _handed_out(outcome: Ready, issued: str) -> Response:
    """Return a token as RFC 6749 5.1 and RFC 8693 2.2.1 have it: what is not known is left out."""
    body: dict[str, Any] = {"access_token": outcome.access_token.reveal(), "token_type": outcome.facts.token_type}
    if issued:
        body["issued_token_type"] = issued
    if issued == ID_TOKEN:
        body["token_type"] = "N_A"  # noqa: S105 -- a type (RFC 8693 2.2.1), not a token
    if outcome.facts.expires_at is not None:
        body["expires_in"] = asked.life_of(outcome)
    if outcome.facts.scope:
        body["scope"] = " ".join(outcome.facts.scope)
    return render.answer(body)


def problem(error: KeyfobError) -> Response:
    """Return an error in OAuth's form (RFC 6749 5.2)."""
    return _answer(error, name_of(error), 400 if error.status in WRONG else error.status)


def name_of(error: KeyfobError) -> str:
    """Return OAuth's name for an error."""
    return str(error.extra.get("error") or ERRORS.get(error.code, "server_error"))


def _answer(error: KeyfobError, name: str, status: int) -> Response:
    body: dict[str, Any] = {"error": name, "error_description": asked.words_of(error), "code": error.code}
    headers = {}
    if url := told.help_url(error):
        body["error_uri"] = url
    if (retry_after := error.extra.get("retry_after")) is not None:
        body["retry_after"] = math.ceil(float(retry_after))
        headers["retry-after"] = str(body["retry_after"])
    if status == 401:  # noqa: PLR2004 -- RFC 9110 15.5.2: a 401 names the schemes
        headers["www-authenticate"] = WWW_AUTHENTICATE
    return render.answer(body, status, headers)
