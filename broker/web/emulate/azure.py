"""What programs in Azure ask for a token: App Service's endpoint (``IDENTITY_ENDPOINT``), and the machine's (IMDS).

Put behind the app doors by ``asgi``. The first shows an app key in a header; the second shows nothing, so that its
address is the secret: a capability key. The libraries' users see the words of an error, and nothing else of it.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from broker.core.policy import App
from broker.errors import InvalidRequest, KeyfobError, NotGranted, TooManyRequests, Unauthorized
from broker.usecases import target
from broker.usecases.context import Context
from broker.usecases.outcomes import Ready
from broker.web import refusals, render
from broker.web.emulate import asked, oauth
from broker.web.form import Form
from broker.web.guards import check_unlocked

KEY_HEADER = "x-identity-header"
# The libraries take a token for expired that has less than five minutes left, and ask again: some seconds more, so that
# one which has just come is kept.
LEAST_LIFE = 310.0
# Where an identity may be chosen, by whichever name it has there: here it has one, the account's.
IDENTITY = ("client_id", "mi_res_id", "msi_res_id", "object_id", "principal_id")
CHOOSE = "client_id=NAME, which most programs take from AZURE_CLIENT_ID"
# The libraries ask again for minutes where they find any other status; and for as long where they find a Retry-After.
AT_ONCE = (400, 403, 409, 423)


async def token(request: Request, ctx: Context) -> Response:
    """``GET /azure/token``: as App Service answers ``IDENTITY_ENDPOINT``."""
    asked.check_not_passed_on(request)
    keys = request.headers.getlist(KEY_HEADER)
    if len(keys) != 1:
        raise Unauthorized(
            "The app key is missing.", "Send it once, as X-IDENTITY-HEADER; programs read IDENTITY_HEADER."
        )
    return await _token(request, ctx, await asked.app_of(request, ctx, keys[0].strip()), problem)


async def machine_token(request: Request, ctx: Context) -> Response:
    """``GET /imds/{capability}/metadata/identity/oauth2/token``: as the instance metadata service answers."""
    asked.check_direct(request, "Metadata", "true")
    app = await asked.app_of(request, ctx, request.path_params["capability"], capability=True)
    return await _token(request, ctx, app, machine_problem)


async def _token(request: Request, ctx: Context, app: App, refuse: Callable[[KeyfobError], Response]) -> Response:
    query = Form(request.query_params.multi_items())
    resource, names = query.text("resource"), {query.text(field) for field in IDENTITY} - {""}
    if len(names) > 1:
        raise InvalidRequest("The identity is named in several ways.", "Name one account, once.")
    check_unlocked(ctx)
    ask = await target.choose_for_api(ctx, app, "".join(names), resource, CHOOSE)
    outcome = await asked.outcome_of(request, ctx, app, ask, min_ttl=LEAST_LIFE)
    if not isinstance(outcome, Ready):
        return refuse(refusals.refusal(outcome))
    left = asked.life_of(outcome)
    # All of it is text there.
    return render.answer(
        {
            "access_token": outcome.access_token.reveal(),
            "expires_in": str(left),
            "expires_on": str(int(outcome.now) + left),
            "resource": resource,
            "token_type": outcome.facts.token_type,
        }
    )


def problem(error: KeyfobError) -> Response:
    """Return an error as App Service has it; its ``statusCode`` is Keyfob's own."""
    return render.answer({"statusCode": error.status, "message": asked.words_of(error)}, _status(error))


def machine_problem(error: KeyfobError) -> Response:
    """Return an error as IMDS has it, which is OAuth's form."""
    return render.answer({"error": oauth.name_of(error), "error_description": asked.words_of(error)}, _status(error))


def _status(error: KeyfobError) -> int:
    if error.status in (Unauthorized.status, TooManyRequests.status):
        return NotGranted.status  # a 401 would have to name a scheme (RFC 9110 15.5.2), and this is none
    return error.status if error.status in AT_ONCE else InvalidRequest.status
