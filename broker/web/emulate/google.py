"""A machine's metadata server, as programs in Google's cloud ask one for a token (``GCE_METADATA_HOST``).

Put behind the app doors by ``asgi``. The protocol carries no secret, so that the address is one: a capability key. The
accounts that its app may use are the machine's service accounts; ``default`` is the one of an app that has only one.
"""

import contextlib

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.policy import App, AppGrant, Ask, Denied
from broker.errors import InvalidRequest, KeyfobError, Locked, NotFound, NotGranted, Unauthorized
from broker.usecases import target
from broker.usecases.context import Context
from broker.usecases.outcomes import Ready
from broker.web import refusals, render
from broker.web.body import check_words
from broker.web.emulate import asked
from broker.web.form import Form
from broker.web.guards import check_unlocked

FLAVOR = {"metadata-flavor": "Google"}
# google-auth takes a token for expired that has less than 3:45 minutes left, and asks again: some seconds more, so that
# one which has just come is kept.
LEAST_LIFE = 235.0
DEFAULT = "default"
CHOOSE = "make a key for each (keyfob app add NAME --account A --capability)"


async def ping(request: Request, ctx: Context) -> Response:
    """``GET /google/{capability}``: by this a program finds out whether there is a metadata server."""
    # Nobody can tell now what this app may have; but a library that is told so here says only that it found nothing.
    with contextlib.suppress(Locked):
        await _app(request, ctx)
    return _text("computeMetadata/")


async def unknown(request: Request, ctx: Context) -> Response:
    """``GET .../project/project-id`` and ``.../universe/universe-domain``: what Keyfob has no way to know."""
    await _app(request, ctx)
    raise NotFound("Keyfob does not know that.", "Name the project yourself: GOOGLE_CLOUD_PROJECT=ID")


async def service_account(request: Request, ctx: Context) -> Response:
    """``GET .../instance/service-accounts/{identity}/``, with ``recursive=true`` or without."""
    account, grant = await _account(request, ctx, await _app(request, ctx))
    body = {"email": account.name, "scopes": _scopes(account, grant), "aliases": [DEFAULT]}
    return render.answer(body, headers=FLAVOR)


async def email(request: Request, ctx: Context) -> Response:
    """``GET .../service-accounts/{identity}/email``: the account's name. Whose it is, is not the program's business."""
    account, _ = await _account(request, ctx, await _app(request, ctx))
    return _text(account.name)


async def scopes(request: Request, ctx: Context) -> Response:
    """``GET .../service-accounts/{identity}/scopes``: one a line."""
    account, grant = await _account(request, ctx, await _app(request, ctx))
    return _text("".join(f"{scope}\n" for scope in _scopes(account, grant)))


async def token(request: Request, ctx: Context) -> Response:
    """``GET .../service-accounts/{identity}/token``, with ``scopes=a,b`` where it is to carry no more than that."""
    app = await _app(request, ctx)
    wanted = Form(request.query_params.multi_items()).text("scopes").replace(",", " ").split()
    scope = tuple(dict.fromkeys(wanted))
    check_words("scopes", scope)
    check_unlocked(ctx)
    ask = await _choose(ctx, app, request.path_params["identity"], scope)
    outcome = await asked.outcome_of(request, ctx, app, ask, min_ttl=LEAST_LIFE)
    if not isinstance(outcome, Ready):
        return problem(refusals.refusal(outcome))
    body = {
        "access_token": outcome.access_token.reveal(),
        "expires_in": asked.life_of(outcome),
        "token_type": outcome.facts.token_type,
    }
    return render.answer(body, headers=FLAVOR)


async def identity(request: Request, ctx: Context) -> Response:
    """``GET .../service-accounts/{identity}/identity``: the login's ID token, where that is for this ``audience``."""
    app = await _app(request, ctx)
    audience = Form(request.query_params.multi_items()).text("audience")
    check_unlocked(ctx)
    account, _ = await _account(request, ctx, app)
    # OpenID Connect Core 2: an ID token is for the client of the login. Whoever wants another would refuse this one.
    if audience != account.destination.client_id:
        raise NotFound(
            "There is no ID token for that audience.", f"The one there is has: {account.destination.client_id}"
        )
    outcome = await asked.outcome_of(request, ctx, app, Ask(account.name), min_ttl=None, id_token=True)
    if not isinstance(outcome, Ready):
        return problem(refusals.refusal(outcome))
    return _text(outcome.access_token.reveal())


def problem(error: KeyfobError) -> Response:
    """Return an error as text; a program's library puts it into its own exception."""
    # A 401 would have to name a scheme (RFC 9110 15.5.2), and an address is none.
    status = NotGranted.status if error.status == Unauthorized.status else error.status
    return _text(f"{asked.words_of(error)}\n", status)


async def _app(request: Request, ctx: Context) -> App:
    asked.check_direct(request, "Metadata-Flavor", "Google")
    return await asked.app_of(request, ctx, request.path_params["capability"], capability=True)


async def _choose(ctx: Context, app: App, name: str, scope: tuple[str, ...] = ()) -> Ask | target.Unclear | Denied:
    return await target.choose(ctx, app, Ask("" if name == DEFAULT else name, scope), CHOOSE)


async def _account(request: Request, ctx: Context, app: App) -> tuple[Account, AppGrant]:
    """Return the account that the address names, and what the app may have of it.

    Raises:
        NotFound: the app has none of that name, whether there is one or not.
        NotGranted: it has none at all.
        InvalidRequest: it has several, and the address names none.
    """
    ask = await _choose(ctx, app, request.path_params["identity"])
    if isinstance(ask, target.Unclear):
        raise InvalidRequest(ask.reason, ask.hint)
    if isinstance(ask, Denied):
        raise NotGranted(f"No: {ask.reason}.", f"The owner grants one: keyfob app grant {app.name} --account ACCOUNT")
    account = await ctx.store.account(ask.account)
    grant = None if account is None else next((one for one in app.grants if one.uuid == account.uuid), None)
    if account is None or grant is None:
        raise NotFound("This app has no account of that name.", f"See: keyfob app show {app.name}")
    return account, grant


def _scopes(account: Account, grant: AppGrant) -> list[str]:
    """Return what a token of the account can carry for that app, as far as it is known."""
    return [scope for scope in account.scope or grant.scope if not grant.scope or scope in grant.scope]


def _text(text: str, status: int = 200) -> Response:
    return Response(text, status, {**render.ANSWER_HEADERS, **FLAVOR}, "text/plain; charset=utf-8")
