"""What oidc-agent answers, answered by Keyfob: tokens for programs that ask where ``OIDC_SOCK`` points.

Asked by ``oidc_door``. Who comes is the owner: the kernel has said so. What a request says of the program
(``application_hint``) is its own word, and is not read.
"""

import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from broker.core.policy import Ask, Denied, Owner
from broker.errors import InvalidRequest, KeyfobError, Locked, UnknownAccount
from broker.usecases import approvals, audit, locking, target
from broker.usecases.context import Context
from broker.usecases.outcomes import Ready
from broker.web import peers, refusals, told
from broker.web.body import MOST_SECONDS, Fields, check_audience
from broker.web.guards import check_unlocked

log = logging.getLogger(__name__)
access = logging.getLogger("broker.access")

# oidc-agent's own words: by them its clients know that another agent may have the account, and ask that one next.
UNKNOWN = "No account configured with that short name"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        what: its name.
        account: the account's name; it counts before the issuer, as oidc-agent has it.
        issuer: the only account of this issuer, where no account is named.
        scope: scopes.
        audience: whom the token is to be for, or None.
        min_ttl: seconds for which it must still live; None for the usual.
        peer: (pid, uid) of who asks.
    """

    what: str
    account: str
    issuer: str
    scope: tuple[str, ...]
    audience: str | None
    min_ttl: float | None
    peer: tuple[int, int]

    @classmethod
    def read(cls, values: dict[str, Any], peer: tuple[int, int]) -> Self:
        """Take a request apart. What else it says is for oidc-agent only.

        Raises:
            InvalidRequest: a member is not what it should be.
        """
        fields = Fields(values)
        audience = fields.text("audience")
        if audience:
            check_audience(audience)
        return cls(
            fields.text("request"),
            fields.text("account"),
            fields.text("issuer"),
            fields.words("scope"),
            audience or None,
            _min_ttl(values.get("min_valid_period")),
            peer,
        )


def _min_ttl(value: object) -> float | None:
    """Return for how long a token has to live. Both stock clients send 0 where nobody said anything.

    Less than that asks for a new token: one that lives as long as they come, which causes a refresh where the last one
    was not just now.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest("'min_valid_period' must be a number of seconds.")
    return MOST_SECONDS if value < 0 else min(value, MOST_SECONDS) or None


async def answer(ctx: Context, values: dict[str, Any], peer: tuple[int, int]) -> dict[str, Any]:
    """Answer a request.

    Args:
        ctx: the collaborators.
        values: the request, as it was read.
        peer: (pid, uid) of who asks.
    """
    began, what = time.perf_counter(), ""
    try:
        asked = Asked.read(values, peer)
        what = asked.what
        said = {"status": "success", **await _answered(ctx, asked)}
    except KeyfobError as exc:
        # Of an error at an ID token, oidc-token shows nothing but the error.
        said = failure(exc, in_one=what == "id_token")
    except Exception:
        log.exception("a request of oidc-agent broke")
        said = failure(told.BROKEN)
    took = (time.perf_counter() - began) * 1000
    access.info("oidc %s %s %.1f ms %s", what if what in ANSWERS else "-", said["status"], took, Owner.name)
    return said


async def _answered(ctx: Context, asked: Asked) -> dict[str, Any]:
    if asked.what not in ANSWERS:
        raise InvalidRequest(
            f"Keyfob answers oidc-agent's requests for tokens, and not '{asked.what[:50]}'.",
            "Accounts are made and changed with Keyfob's own command; see: keyfob --help",
        )
    locking.watch(ctx)
    return await ANSWERS[asked.what](ctx, asked)


def failure(error: KeyfobError, *, in_one: bool = False) -> dict[str, str]:
    """Return an error in oidc-agent's form: what happened, and in ``info`` the next step; or both at once."""
    said, step = error.detail, told.next_step(error)
    if isinstance(error, UnknownAccount):
        said, step = UNKNOWN, f"{error.detail} {step}"
    elif isinstance(error, Locked):
        said = f"{error.title}. {error.detail}"
    if in_one:
        said, step = f"{said}. {step}" if said == UNKNOWN else f"{said} {step}".strip(), ""
    return {"status": "failure", "error": told.printable(said)} | ({"info": told.printable(step)} if step else {})


async def _access_token(ctx: Context, asked: Asked) -> dict[str, Any]:
    """Hand out an access token. Its end is 0 where nobody knows it, as oidc-agent has it: who keeps it asks again."""
    ready = await _token(ctx, asked)
    return {
        "access_token": ready.access_token.reveal(),
        "issuer": ready.account.issuer,
        "expires_at": math.floor(ready.facts.expires_at or 0),
    }


async def _id_token(ctx: Context, asked: Asked) -> dict[str, Any]:
    ready = await _token(ctx, asked, id_token=True)
    return {"id_token": ready.access_token.reveal(), "issuer": ready.account.issuer}


async def _token(ctx: Context, asked: Asked, *, id_token: bool = False) -> Ready:
    check_unlocked(ctx)
    caller = Owner(pid=asked.peer[0])
    ask = Ask(await _account(ctx, asked), asked.scope, audience=asked.audience)
    asker = functools.partial(peers.asker_at, asked.peer)
    outcome = await approvals.ask_token(ctx, caller, ask, asker, min_ttl=asked.min_ttl, id_token=id_token)
    if isinstance(outcome, Ready):
        return outcome
    if isinstance(outcome, Denied):
        audit.refused(ctx, caller, outcome.account, outcome.reason)
    raise refusals.refusal(outcome)


async def _account(ctx: Context, asked: Asked) -> str:
    if asked.account:
        return asked.account
    if not asked.issuer:
        raise InvalidRequest("The request names neither an account nor an issuer.", "See: keyfob accounts")
    found = await target.of_issuer(ctx, asked.issuer)
    if isinstance(found, target.Unclear):
        raise InvalidRequest(found.reason, found.hint)
    return found


async def _loaded_accounts(ctx: Context, _: Asked) -> dict[str, Any]:
    return {"info": await ctx.store.account_names()}


async def _account_info(ctx: Context, _: Asked) -> dict[str, Any]:
    """Return the accounts of each issuer; all are loaded, and clients that anybody may use are none of ours."""
    found: dict[str, Any] = {}
    for account in await ctx.store.accounts():
        of_issuer = found.setdefault(account.issuer, {"pubclient": False, "accounts": {}})
        of_issuer["accounts"][account.name] = True
    return {"info": found}


ANSWERS: Mapping[str, Callable[[Context, Asked], Awaitable[dict[str, Any]]]] = {
    "access_token": _access_token,
    "id_token": _id_token,
    "loaded_accounts": _loaded_accounts,
    "account_info": _account_info,
}
