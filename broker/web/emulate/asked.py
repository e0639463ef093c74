"""What the emulated endpoints share: who asks, what becomes of a question, and the words for a refusal.

Called by ``oauth``, ``azure`` and ``google``, each of which writes the answer in its own protocol.
"""

import math
from typing import Final

from starlette.requests import Request

from broker.core.policy import App, Ask, Caller, Denied
from broker.errors import InvalidRequest, KeyfobError
from broker.usecases import approvals, audit, target
from broker.usecases.context import Context
from broker.usecases.outcomes import Outcome, Ready
from broker.web import callers, peers, told

# What is told of a lifetime that nobody knows, where a protocol wants a number: clients ask before each request then.
UNKNOWN_LIFE = 60
# A real metadata server refuses what somebody passed on to it: nobody is to be led here by a server in between.
PASSED_ON = "x-forwarded-for"
# What an error may say: visible ASCII, and of that only what stands in a quoted string of RFC 6749 5.2 too.
PLAIN: Final = str.maketrans({'"': "'", "\\": "/", "…": "..."})


async def app_of(request: Request, ctx: Context, key: str, name: str | None = None, *, capability: bool = False) -> App:
    """Return the app that a key is of, which may ask now; it is the request's caller from then on.

    Raises:
        Unauthorized, TooManyRequests, Locked, SecretChanged: see ``callers``.
    """
    app = await callers.app_of(ctx, request.scope, key, name, capability=capability)
    request.scope["state"]["caller"] = app
    callers.check_rate(ctx, app)
    return app


def check_direct(request: Request, header: str, value: str) -> None:
    """Refuse what a program that knows the protocol would not send, as the real servers do.

    Raises:
        InvalidRequest: the header is missing or says something else, or a proxy passed the request on.
    """
    if [one.strip().lower() for one in request.headers.getlist(header)] != [value.lower()]:
        raise InvalidRequest(f"The header '{header}: {value}' is missing.", "Programs that know this protocol send it.")
    check_not_passed_on(request)


def check_not_passed_on(request: Request) -> None:
    """Refuse what came through a proxy.

    Raises:
        InvalidRequest: it did.
    """
    if PASSED_ON in request.headers:
        raise InvalidRequest("This request was passed on by a proxy.", "Ask from this machine, without a proxy.")


async def outcome_of(
    request: Request,
    ctx: Context,
    caller: Caller,
    ask: Ask | target.Unclear | Denied,
    *,
    min_ttl: float | None,
    id_token: bool = False,
) -> Outcome:
    """Return what becomes of a question; a refusal is in the record.

    Raises:
        InvalidRequest: no account can be told from it.
        KeyfobError: as ``approvals.ask_token`` does.
    """
    if isinstance(ask, target.Unclear):
        raise InvalidRequest(ask.reason, ask.hint, error="invalid_target")
    outcome: Outcome
    if isinstance(ask, Denied):
        outcome = ask
    else:
        who = peers.asker_of(request)
        outcome = await approvals.ask_token(ctx, caller, ask, who, min_ttl=min_ttl, id_token=id_token)
    if isinstance(outcome, Denied):
        audit.refused(ctx, caller, outcome.account or None, outcome.reason)
    return outcome


def life_of(outcome: Ready) -> int:
    """Return the whole seconds that are left of a token's life."""
    if outcome.facts.expires_at is None:
        return UNKNOWN_LIFE
    return max(0, math.floor(outcome.facts.expires_at - outcome.now))


def words_of(error: KeyfobError) -> str:
    """Return what happened and what to do, in plain ASCII: it ends in the exception of some library."""
    said = f"{error.detail} {told.next_step(error)}".strip()
    return "".join(c if " " <= c <= "~" else "?" for c in said.translate(PLAIN))
