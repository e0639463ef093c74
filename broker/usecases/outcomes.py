"""What becomes of a request for a token, and who can help where that is none.

Told by ``get_token`` and whoever else needs a token; ``web.refusals`` has the errors that stand for it.
"""

from dataclasses import dataclass

from broker.core import advice
from broker.core.account import Account, Misconfigured, NeedsLogin, RefreshingFailed, Suspect, Uncertain
from broker.core.policy import Caller, Denied, Owner
from broker.core.secret import Secret
from broker.core.token import Token
from broker.usecases import derived, login
from broker.usecases.context import Context


@dataclass(frozen=True, slots=True)
class Ready:
    """Here it is.

    Attributes:
        account: as it was read.
        access_token: the token, or the ID token where that was asked for.
        facts: what is known about it.
        now: the clock when the remaining life was judged.
        resource: the RFC 8707 resource that it is for, or None.
        audience: whom it is for (RFC 8693 2.1), or None.
        until: as long as nothing changes, the same request has the same answer until then, epoch seconds; 0 where
            nobody knows.
    """

    account: Account
    access_token: Secret
    facts: Token
    now: float
    resource: str | None
    audience: str | None = None
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class MustLogin:
    """Only a person can help, by ``login_url`` where that is not empty; ``hint`` is a step that is not a mere login.

    Another account may be the one to log in to; then the hint names it.
    """

    account: str
    reason: str
    login_url: str
    misconfigured: bool = False
    confirm: bool = False
    pending: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No token that lives, and none to be had now.

    Attributes:
        account: the account's name.
        reason: why, for people.
        retry_after: seconds that may help.
        own_pause: it is Keyfob's own back-off that has to pass, not a wait that the provider asked for.
    """

    account: str
    reason: str
    retry_after: float
    own_pause: bool = False


Outcome = Ready | MustLogin | Denied | Unavailable


async def offer(ctx: Context, account: Account, caller: Caller, scope: tuple[str, ...] = ()) -> str:
    """Return where a login can be begun. Whoever opens that first finishes it, with whatever session it likes.

    So an app is shown it only where the account knows its person, and anybody else who comes back is refused.
    """
    return await login.offer(ctx, account, scope) if isinstance(caller, Owner) or account.identity is not None else ""


async def refused(ctx: Context, account: Account, caller: Caller) -> MustLogin | Unavailable:
    """Say who can help an account that has no living token, or whose forced refresh did not succeed."""
    now = ctx.clock()
    step = await derived.next_step(ctx, account) if account.is_derived else ""
    match account.state:
        case Misconfigured(reason=reason):
            return MustLogin(account.name, reason, "", misconfigured=True, hint=step)
        case NeedsLogin(reason=reason):
            if step:
                return MustLogin(account.name, reason, await offer(ctx, account, caller), hint=step)
            return await _login_needed(ctx, account, caller, reason)
        case RefreshingFailed(reason=reason, retry_at=retry_at, throttled_until=until):
            wait = max(1.0, account.quiet_until - now)
            return Unavailable(account.name, reason, wait, own_pause=until <= now < retry_at)
        case Uncertain(reason=reason):
            return Unavailable(account.name, reason, max(1.0, account.quiet_until - now))
        case Suspect(reason=reason):
            return MustLogin(account.name, reason, await offer(ctx, account, caller), confirm=True)
    if account.renewable:
        return Unavailable(account.name, "A refresh is under way and takes long.", 5.0)
    reason = "The token has expired and the provider gave no refresh token."
    if account.by_hand:
        reason = "The token has expired, and nothing can renew one that was made by hand."
    return await _login_needed(ctx, account, caller, reason)


async def _login_needed(ctx: Context, account: Account, caller: Caller, reason: str) -> MustLogin:
    bring = advice.step("needs-login-static", account.name) if account.by_hand else ""
    return MustLogin(account.name, reason, await offer(ctx, account, caller), hint=bring)
