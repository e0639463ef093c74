"""An API wants more scope than a login has (RFC 6750 3.1): who is told, and what brings it.

Called by ``forward`` when a request was refused for that, and by ``accounts`` to show it. What is missing is remembered
until a login has come since, and not beyond a restart: the next request that is refused tells it again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from broker.core import advice, bearer
from broker.core.account import Account
from broker.core.approval import Asker
from broker.core.policy import Ask, Caller, Denied
from broker.usecases import approvals, outcomes
from broker.usecases.context import Context, Lacking

# RFC 6750 3.1 says 403; some say it with a 401.
_STATUSES = (401, 403)
# An API may name something else each time: from so many scopes on, the owner hears of no further one.
MOST_SCOPES = 20
_MOST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a refusal says.

    Attributes:
        scopes: what the request needs; empty where it names none.
        words: the API's own, for people; or empty.
    """

    scopes: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class TooLittle:
    """The login has too little scope for a request.

    Attributes:
        account: its name.
        missing: what the API wants beside what the login has; empty where it did not say.
        words: the API's own; or empty.
        login_url: where a person can log in for that; empty where that cannot be offered to this caller.
        step: what a person can do, in words that end with a command.
    """

    account: str
    missing: tuple[str, ...]
    words: str
    login_url: str
    step: str


def wanted(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Wanted | None:
    """Return what an answer says that it wants; None where it was not refused for want of scope."""
    if status not in _STATUSES:
        return None
    said = b", ".join(value for name, value in headers if name.lower() == b"www-authenticate").decode("latin-1")
    parameters = bearer.parameters(said)
    if parameters.get("error") != bearer.INSUFFICIENT:
        return None
    scopes = bearer.scopes(parameters.get("scope", "").split())
    return Wanted(scopes, parameters.get("error_description", "")[:_MOST_WORDS])


async def refused(
    ctx: Context, caller: Caller, ask: Ask, account: Account, want: Wanted, asker: Callable[[], Asker]
) -> TooLittle | Denied | None:
    """Tell the owner what is missing, once, and return what the caller is told; None where nothing here would help.

    Where the login has it all and the app was granted less, it is the owner's grant that is missing.
    """
    missing = tuple(scope for scope in want.scopes if scope not in account.scope)
    if want.scopes and not missing:
        outcome = await approvals.ask_token(ctx, caller, replace(ask, scope=want.scopes), asker)
        return outcome if isinstance(outcome, Denied) else None
    step = advice.more_scope(account, missing)
    known = noted(ctx, account)
    had = known.scopes if known is not None else ()
    if known is None or (set(missing) - set(had) and len(had) < MOST_SCOPES):
        now = ctx.clock() if known is None else known.since
        ctx.lacking[account.uuid] = Lacking(now, tuple(dict.fromkeys((*had, *missing)))[:MOST_SCOPES])
        named = f"'{' '.join(missing)}'" if missing else "more scope than it has"
        ctx.publish("scope-needed", account.name, app=caller.name, detail=f"its API wants {named}", next_step=step)
    url = await outcomes.offer(ctx, account, caller, missing) if missing else ""
    return TooLittle(account.name, missing, want.words, url, step)


def noted(ctx: Context, account: Account) -> Lacking | None:
    """Return what the API of an account was found to want; None once a login has come since, or has it all."""
    found = ctx.lacking.get(account.uuid)
    if found is None:
        return None
    has_all = bool(found.scopes) and set(found.scopes) <= set(account.scope)
    if has_all or (account.logged_in_at or 0.0) > found.since:
        del ctx.lacking[account.uuid]
        return None
    return found


async def lacking(ctx: Context) -> tuple[str, ...]:
    """Return the uuids of the accounts of which :func:`noted` tells something."""
    known = await ctx.store.accounts_of([*ctx.lacking])
    return tuple(account.uuid for account in known if noted(ctx, account) is not None)
