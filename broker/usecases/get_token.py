"""An app asks for a token: account, policy, freshness, one shared refresh, hand out. It never waits for a human.

Called by ``web.api`` for both app doors.
"""

import asyncio
import logging
from dataclasses import replace

from broker.core import policy, timing
from broker.core.account import Account, Active, NeedsLogin, Pending, Static
from broker.core.policy import App, Ask, Caller, Denied, Narrow
from broker.core.token import Token, Wish
from broker.errors import InvalidRequest, KeyfobError, Locked, UnknownAccount
from broker.oauth import idtoken
from broker.usecases import again, apps, audit, login, newlogin, refresh
from broker.usecases.context import Context
from broker.usecases.narrower import Held, No, bring, kept, unable
from broker.usecases.outcomes import MustLogin, Outcome, Ready, Unavailable, offer, refused

# A narrower token is tried for again where the row changed under it: once for a refresh and once for a login.
TRIES = 3

log = logging.getLogger(__name__)


async def get_token(
    ctx: Context, caller: Caller, ask: Ask, *, min_ttl: float | None = None, id_token: bool = False
) -> Outcome:
    """Answer a request for a token: what :func:`obtain` brings is handed out."""
    outcome = await obtain(ctx, caller, ask, min_ttl=min_ttl, id_token=id_token)
    if isinstance(outcome, Ready):
        if ctx.store.locked:  # it was locked while this was on its way
            raise Locked(ctx.store.locked, ctx.store.locked_hint)
        audit.handed_out(ctx, caller, outcome.account, outcome.now)
    return outcome


async def obtain(
    ctx: Context, caller: Caller, ask: Ask, *, min_ttl: float | None = None, id_token: bool = False
) -> Outcome:
    """Bring the token that a caller may have; nothing is handed out by that.

    Args:
        ctx: the collaborators.
        caller: who asks.
        ask: the account, and the scope, resource and audience that the caller names.
        min_ttl: seconds for which the token must still live; None for the usual.
        id_token: the ID token is wanted instead.

    Raises:
        UnknownAccount: the owner named an account that does not exist. (An app is told ``Denied``: names are not its
            business.)
        InvalidRequest: an account of a program was asked for an ID token, which tells who a person is.
        Locked, StoreUnavailable: the token cannot be read.
    """
    account = await ctx.store.account(ask.account)
    if account is None:
        return await _absent(ctx, caller, ask)
    decision = decide(caller, ask, account, ctx.clock())
    if isinstance(decision, Denied):
        return decision
    if id_token and account.is_machine:
        raise InvalidRequest(f"Account '{account.name}' is a program's: such an account has no ID token.")
    waited = False
    if isinstance(decision, Narrow):
        if id_token and not decision.own_will_do:
            return Denied(decision.reason, caller.name, ask.account, lacks=decision.lacks)
        narrower = None if id_token else await _narrowed(ctx, caller, ask, account, decision, min_ttl)
        if narrower is not None:
            return narrower
        waited, account = True, await ctx.store.account_by_uuid(account.uuid)
        if account is None:
            return await _absent(ctx, caller, ask)
    held = await _held(ctx, account, id_token=id_token)
    now = ctx.clock()
    fresh = held is not None and timing.is_fresh(held.facts, now, min_ttl)
    if held is not None and fresh and _may_serve(account, held.facts, now, min_ttl) and not waited:
        return _standing(_ready(account, held, now), caller, min_ttl)
    if not (fresh and waited) and (not id_token or _may_bring_id_token(account, now)):
        account = await refresh.renewed(ctx, account)
        if account is None:
            return await _absent(ctx, caller, ask)
    return await _answer(ctx, caller, ask, account, min_ttl, id_token=id_token)


async def _narrowed(
    ctx: Context, caller: Caller, ask: Ask, account: Account, narrow: Narrow, min_ttl: float | None
) -> Outcome | None:
    """Answer with a token that carries less, or is for another resource; None where the account's own has to do.

    Whoever may have the account's own gets that where no other can be had, for whatever reason. Whoever may not is
    told what is missing.
    """
    held = None
    try:
        held = await kept(ctx, account, narrow.wish)
        if held is not None and timing.is_fresh(held.facts, ctx.clock(), min_ttl):
            found = _narrow_one(ctx, ask, account, narrow, held)
            return _standing(found, caller, min_ttl) if isinstance(found, Ready) else found
        problem = await _bring(ctx, caller, account, narrow.wish)
    except KeyfobError as exc:
        if held is None and not narrow.own_will_do:
            raise
        log.info("'%s': a narrower token cannot be had now: %s", account.name, exc)
        if held is None:
            return None
        problem = None  # what is kept is handed out while it lives, as the account's own would be
    current = await ctx.store.account_by_uuid(account.uuid)
    if current is None:
        return await _absent(ctx, caller, ask)
    held = await kept(ctx, current, narrow.wish)
    if held is None:
        if narrow.own_will_do:
            return None
        return _cannot(caller, current, narrow, problem) if problem else await refused(ctx, current, caller)
    # What the login has and what the owner has granted may be other things after the wait.
    asking = await apps.still(ctx, caller)
    if asking is None:
        return _gone(caller, ask)
    judged = decide(asking, ask, current, ctx.clock())
    if judged != narrow:
        return judged if isinstance(judged, Denied) else Unavailable(current.name, "The account has just changed.", 1.0)
    return _narrow_one(ctx, ask, current, narrow, held)


def _narrow_one(ctx: Context, ask: Ask, account: Account, narrow: Narrow, held: Held) -> Ready | Denied:
    """Hand it out if it carries what was asked for: a provider may give less than that (RFC 6749 5.1)."""
    if not set(ask.scope) <= set(held.facts.scope):
        granted = " ".join(held.facts.scope)
        reason = f"asked for the scope '{' '.join(ask.scope)}', granted was '{granted}'"
        return Denied(reason, "", account.name, lacks="scope")
    return _ready(account, held, ctx.clock(), narrow.wish)


async def _bring(ctx: Context, caller: Caller, account: Account, wish: Wish) -> No | MustLogin | Unavailable | None:
    """Get such a token, after a refresh of the account's own where that has to come first."""
    if (no := await unable(ctx, account, wish)) is not None:
        return no
    current: Account | None = account
    for _ in range(TRIES):
        now = ctx.clock()
        if current is not None and not (isinstance(current.state, Active | Static) and _lives(current, now)):
            current = await refresh.renewed(ctx, current)
        if current is None:
            return None
        if not (isinstance(current.state, Active | Static) and _lives(current, ctx.clock())):
            return await refused(ctx, current, caller)
        try:
            async with asyncio.timeout(refresh.PATIENCE):
                no = await bring(ctx, current, wish)
        except TimeoutError:
            return Unavailable(current.name, "A refresh is under way and takes long.", 5.0)
        if no is not None or await kept(ctx, current, wish) is not None:
            return no
        current = await ctx.store.account_by_uuid(account.uuid)
    return None


def _lives(account: Account, now: float) -> bool:
    return account.token is not None and timing.is_fresh(account.token, now)


def _cannot(
    caller: Caller, account: Account, narrow: Narrow, problem: No | MustLogin | Unavailable
) -> Denied | MustLogin | Unavailable:
    """Say why there is no such token, and what would help."""
    if not isinstance(problem, No):
        return problem
    reason = f"{narrow.reason}, and {problem.reason}"
    if narrow.wish.audience not in (None, account.audience):
        hint = problem.hint or "Look at what its client may ask for there."
        return Denied(reason, "", account.name, hint, lacks="target")
    if narrow.wish.resource != account.resource:
        new = f"keyfob login NAME --provider {account.provider} --resource {narrow.wish.resource}"
        return Denied(reason, "", account.name, f"Log in for that resource under another name: {new}", lacks="target")
    scope = " ".join(narrow.wish.scope)
    new = f"keyfob login NAME --provider {account.provider} --scope {scope}"
    granted = f"keyfob app grant {caller.name} --account {account.name}"
    hint = f"Log in with just that scope under another name ({new}), or grant the whole account: {granted}"
    return Denied(reason, caller.name, account.name, hint, lacks="scope")


def _gone(caller: Caller, ask: Ask) -> Denied:
    return Denied("this app was removed, or its key replaced, while it waited", caller.name, ask.account)


async def _held(ctx: Context, account: Account, *, id_token: bool) -> Held | None:
    """Return the wanted token of this generation; None where there is none, or the row has moved on."""
    if account.token is None:
        return None
    if not id_token:
        secret = await ctx.store.access_token(account)
        return None if secret is None else Held(secret, account.token)
    secret = await ctx.store.id_token(account)
    if secret is None:
        return None
    # An ID token has a life of its own, and may be older than the access token that it once came with.
    issued_at, expires_at = idtoken.life(secret)
    off = account.token.issued_at - issued_at
    if abs(off) > idtoken.ISSUED_WITHIN and account.id_token_generation == account.token_generation:
        # It was believed by the provider's clock, and ours was another: what counts here is by ours.
        issued_at, expires_at = issued_at + off, expires_at + off
    return Held(secret, replace(account.token, issued_at=issued_at, expires_at=expires_at))


async def _absent(ctx: Context, caller: Caller, ask: Ask) -> Outcome:
    """No such account; perhaps its first login is under way."""
    decision = policy.decide(caller, ask, (), ask.resource, ctx.clock())
    if isinstance(decision, Denied):
        return decision
    if (pending := await first_login(ctx, ask.account)) is not None:
        return pending
    raise UnknownAccount(
        f"No account is called '{ask.account}'.",
        f"Log in first: keyfob login {ask.account} --provider NAME (see: keyfob accounts)",
    )


async def first_login(ctx: Context, name: str) -> MustLogin | None:
    """Say how the first login of an account that is not there yet is finished; None where none is under way."""
    begun = await newlogin.under_way(ctx, name)
    if not begun:
        return None
    url, hint = login.start_url(ctx, begun[-1].id), await again.command(ctx, begun[-1])
    return MustLogin(name, Pending.reason, url, pending=True, hint=hint)


async def _answer(
    ctx: Context, caller: Caller, ask: Ask, account: Account, min_ttl: float | None, *, id_token: bool
) -> Outcome:
    """Hand out what lives; otherwise say who can help."""
    current: Account | None = account
    while current is not None:
        held = await _held(ctx, current, id_token=id_token)
        now = ctx.clock()
        if held is not None:
            if not _may_serve(current, held.facts, now, min_ttl):
                break
            # What came of the wait may carry more than before, and the owner may have changed the grants meanwhile.
            asking = await apps.still(ctx, caller)
            if asking is None:
                return _gone(caller, ask)
            decision = decide(asking, ask, current, now)
            if isinstance(decision, Denied):
                return decision
            if isinstance(decision, Narrow) and not decision.own_will_do:
                return Denied(decision.reason, caller.name, ask.account, lacks=decision.lacks)
            return _ready(current, held, now)
        # No secret under that generation: either the row moved on between two reads, or there is none of that kind.
        seen, current = current, await ctx.store.account_by_uuid(current.uuid)
        if current is not None and current.generation == seen.generation:
            break
    if current is not None and id_token and (why := _no_id_token(current)):
        if current.id_token_generation is not None:
            return MustLogin(current.name, why, await offer(ctx, current, caller))
        return MustLogin(current.name, why, "", hint=f"Log in with it: keyfob login {current.name} --scope openid")
    return await refused(ctx, current or account, caller)


def decide(caller: Caller, ask: Ask, account: Account, now: float) -> policy.Allowed | Narrow | Denied:
    """Decide whether a caller may have of this account what it asks for."""
    return policy.decide(caller, ask, account.scope, account.resource, now, account.audience, uuid=account.uuid)


def _ready(account: Account, held: Held, now: float, wish: Wish | None = None) -> Ready:
    resource, audience = (account.resource, account.audience) if wish is None else (wish.resource, wish.audience)
    return Ready(account, held.secret, held.facts, now, resource, audience)


def _standing(ready: Ready, caller: Caller, min_ttl: float | None) -> Ready:
    """Say until when the same request has the same answer, as far as time alone decides.

    A dead grant, and one that is in doubt, are looked at each time.
    """
    once = isinstance(caller, App) and not caller.key_hash  # a yes that was good for one token
    if once or not isinstance(ready.account.state, Active | Static):
        return ready
    fresh_until = timing.fresh_until(ready.facts, ready.now, min_ttl)
    return replace(ready, until=min(fresh_until, policy.ends_at(caller, ready.now)))


def _may_bring_id_token(account: Account, now: float) -> bool:
    """Whether a refresh can help: not where the last one brought no ID token, or has just brought one that is stale."""
    recent = account.token is not None and 0 <= now - account.token.issued_at < timing.LEAST_BETWEEN_REFRESHES
    return account.id_token_generation == account.generation and not recent


def _no_id_token(account: Account) -> str:
    """Return why there is no living ID token although the account is well; empty where the account says it itself."""
    if account.id_token_generation is None:
        return f"Account '{account.name}' has no ID token: its login did not ask for the scope 'openid'."
    if isinstance(account.state, Active):
        return f"The ID token of account '{account.name}' has expired, and no refresh brought one that lives."
    return ""


def _may_serve(account: Account, token: Token, now: float, min_ttl: float | None) -> bool:
    if timing.is_expired(token, now):
        return False
    # With a dead grant the rest of the token's life is all there is, so a wish that it cannot fill means "log in".
    return not isinstance(account.state, NeedsLogin) or timing.satisfies(token, now, min_ttl)
