"""Ask once and remember: what an app was not granted becomes a question to the owner, and the answer a grant.

Called by the web API. ``desk`` keeps the open questions.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from broker.challenge import pairing_code
from broker.core.approval import Approval, Asker, Remember, State, Wanted, is_over, merged
from broker.core.policy import App, AppGrant, Ask, Caller, Denied, Stranger, decide, is_opaque
from broker.errors import Conflict, InvalidRequest, UnknownApproval
from broker.events import Kind
from broker.providers.urls import check_resource
from broker.usecases import apps
from broker.usecases.context import Context
from broker.usecases.desk import REST, Waiting
from broker.usecases.get_token import get_token
from broker.usecases.outcomes import Outcome, Ready

LATER = "The owner sees and undoes that: keyfob approvals"
# More accounts than a person grants at one look.
MOST_WANTED = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What the owner says to a request.

    Attributes:
        allow: yes or no.
        remember: for how long that counts.
        expires_at: of a yes that ends: when, epoch seconds.
        scope: in the place of the scopes that were asked for; None to take those.
        mode: ``token``, or ``proxy`` for an app that never sees the token; None for what it asked for.
        name: of a pairing: the app's name in the place of the one that the program gave itself.
        accounts: of a pairing: the accounts, in the place of those that were asked for; empty to take those.
    """

    allow: bool
    remember: Remember = "always"
    expires_at: float | None = None
    scope: tuple[str, ...] | None = None
    mode: str | None = None
    name: str = ""
    accounts: tuple[str, ...] = ()


async def ask_token(
    ctx: Context,
    caller: Caller,
    ask: Ask,
    asker: Callable[[], Asker],
    *,
    min_ttl: float | None = None,
    id_token: bool = False,
) -> Outcome:
    """Answer a request for a token, as ``get_token`` does; what only a grant is missing for becomes a question.

    Args:
        ctx: the collaborators.
        caller: who asks.
        ask: for what.
        asker: finds out where from, for the owner to see: the kernel is asked only where there is a question.
        min_ttl: seconds for which the token must still live; None for the usual.
        id_token: the ID token is wanted instead.

    Raises:
        KeyfobError: as ``get_token`` does.
    """
    outcome = await get_token(ctx, caller, ask, min_ttl=min_ttl, id_token=id_token)
    if not isinstance(outcome, Denied) or not isinstance(caller, App) or not outcome.app:
        return outcome
    if await apps.still(ctx, caller) is None:
        return outcome
    granted = await ctx.store.account(ask.account)
    if granted is not None:

        def fits(grant: AppGrant) -> bool:
            asking = replace(caller, grants=(grant,))
            known = (granted.scope, granted.resource, ctx.clock(), granted.audience)
            return not isinstance(decide(asking, ask, *known, uuid=granted.uuid), Denied)

        permit = ctx.desk.take(caller.name, fits, ctx.steady())
        if permit is not None and permit.grant is not None:
            return await _once(ctx, caller, permit, permit.grant, ask, min_ttl=min_ttl, id_token=id_token)
    return await _asked(ctx, caller, ask, asker, outcome)


async def _once(
    ctx: Context, caller: App, permit: Waiting, grant: AppGrant, ask: Ask, *, min_ttl: float | None, id_token: bool
) -> Outcome:
    """Use a yes that is good for one token. It is used up by a token, and by nothing less."""
    handed_out = False
    try:
        # No hash of a key: the grants must not be read again in the place of this one.
        outcome = await get_token(ctx, App(caller.name, (grant,)), ask, min_ttl=min_ttl, id_token=id_token)
        if await apps.still(ctx, caller) is None:
            return Denied("this app was removed, or its key replaced, while it waited", caller.name, ask.account)
        handed_out = isinstance(outcome, Ready)
        return outcome
    finally:
        if not handed_out:
            ctx.desk.put_back(permit)


async def _asked(ctx: Context, caller: App, ask: Ask, asker: Callable[[], Asker], denied: Denied) -> Denied:
    """Put it to the owner, where a yes would help and no answer is known; return the refusal, with what became of it.

    Whether there is such an account makes no difference here: names are not the app's business.
    """
    old = next((grant for grant in caller.grants if grant.account == ask.account), None)
    wanted = Wanted(ask.account, ask.scope, ask.resource, "token" if ask.passage is None else "proxy")
    more = merged(old, wanted, ctx.clock(), mode=_mode(None, old, wanted), expires_at=None)
    gains = old is None or is_over(old, ctx.clock()) or replace(more, expires_at=old.expires_at) != old
    if ask.audience is not None or not gains or is_opaque([ask.account, *ask.scope]):
        return denied  # no grant can say that, or the app has all of it already; or it is a token that came by mistake
    if await ctx.store.is_refused(caller.name, ask.account):
        return replace(denied, reason=f"the owner refused account '{ask.account}' to app '{caller.name}'", hint=LATER)
    now = ctx.clock()
    waiting = ctx.desk.file(caller.name, wanted, asker(), now, ctx.steady())
    if waiting is None:
        return denied  # it asked for so much else that the owner has to answer that first
    approval = waiting.approval
    if approval.state == "denied":
        reason = f"the owner has just refused account '{ask.account}' to app '{caller.name}'"
        return replace(denied, reason=reason, hint=f"Ask again after {REST / 60:.0f} minutes.")
    if approval.count == 1:
        _tell(ctx, waiting)
    return replace(denied, approval_url=url(ctx, approval))


def url(ctx: Context, approval: Approval) -> str:
    """Return where the owner can answer a request. Whoever else opens it sees nothing there."""
    return f"{ctx.browser_url}/ui/approvals/{approval.id}"


async def pair(
    ctx: Context, stranger: Stranger, address: str, name: str, wanted: Sequence[Wanted], asker: Asker
) -> Approval:
    """Ask the owner to make an app of a program, by a key that it made for itself. Once more: the same request.

    Args:
        ctx: the collaborators.
        stranger: the program.
        address: where its connection leads to, see :func:`broker.challenge.pairing_code`.
        name: how it wants to be called.
        wanted: what it wants.
        asker: where from, for the owner to see.

    Raises:
        InvalidRequest: the name or what is wanted cannot be.
        TooManyRequests: too many others wait.
        Conflict: another request has the same code.
    """
    apps.check_name(name)
    if len({one.account for one in wanted}) != len(wanted) or len(wanted) > MOST_WANTED:
        raise InvalidRequest(f"Name each account once, {MOST_WANTED} at the most.")
    for one in wanted:
        if is_opaque([one.account, *one.scope]):
            raise InvalidRequest("What is wanted looks like a token, and not like an account or a scope.")
        if one.resource is not None:
            check_resource(one.resource)
    if (known := ctx.desk.pairing(stranger.key_hash, ctx.steady())) is not None:
        return known.approval
    ctx.desk.check_room(asker, ctx.steady())
    code = await asyncio.to_thread(pairing_code, stranger.key_hash, address)
    if (known := ctx.desk.pairing(stranger.key_hash, ctx.steady())) is not None:
        return known.approval  # it asked twice at the same time
    waiting = ctx.desk.file_pairing(stranger.key_hash, code, name, wanted, asker, ctx.clock(), ctx.steady())
    _tell(ctx, waiting)
    return waiting.approval


def pairing_of(ctx: Context, stranger: Stranger) -> Approval:
    """Return how a program's own request stands.

    Raises:
        UnknownApproval: there is none with that key, or it is too old.
    """
    waiting = ctx.desk.pairing(stranger.key_hash, ctx.steady())
    if waiting is None:
        raise UnknownApproval("No request to become an app waits with this key.", "Ask again: POST /v1/pairing")
    return waiting.approval


def end_pairing(ctx: Context, stranger: Stranger) -> None:
    """Take a program's own request back; no error where there is none."""
    if (waiting := ctx.desk.pairing(stranger.key_hash, ctx.steady())) is not None:
        ctx.desk.drop(waiting)


async def listed(ctx: Context) -> list[Approval]:
    """Return what waits for the owner, oldest first, then what was answered a short while ago or refused for good."""
    found = [waiting.approval for waiting in ctx.desk.all(ctx.steady())]
    return [*sorted(found, key=lambda one: one.state != "pending"), *await _never(ctx)]


async def _never(ctx: Context) -> list[Approval]:
    """Return what was refused for good. Nobody waits for it, so it has a name and no code."""
    return [
        Approval(
            f"{one.app}:{one.account}", "grant", one.app, (Wanted(one.account),), None, one.at, one.at, 0, "never", None
        )
        for one in await ctx.store.refusals()
    ]


async def shown(ctx: Context, code: str) -> Approval:
    """Return one by its code, or by its name.

    Raises:
        UnknownApproval: there is none.
    """
    if (waiting := ctx.desk.find(code, ctx.steady())) is not None:
        return waiting.approval
    for one in await _never(ctx):
        if one.id == code:
            return one
    raise _gone()


def _gone() -> UnknownApproval:
    return UnknownApproval(
        "Nothing with that code waits for an answer.",
        "It may be answered already, or too old; then the program has to ask again. See: keyfob approvals",
    )


async def answer(ctx: Context, code: str, said: Answer) -> Approval:
    """Do what the owner said.

    Raises:
        UnknownApproval: nothing with that code waits.
        InvalidRequest: the answer does not fit the request.
        Conflict: it was answered already; or the name of a pairing is taken.
        UnknownAccount: the account does not exist, so that nothing can be granted of it.
        UnknownApp: the app is gone.
    """
    async with ctx.names.changing:  # the names that the owner saw are to mean the same accounts to the end of it
        return await _answer(ctx, code, said)


async def _answer(ctx: Context, code: str, said: Answer) -> Approval:
    approval = await shown(ctx, code)
    _check(approval, said, ctx.clock())
    waiting = ctx.desk.find(approval.id, ctx.steady())
    if waiting is None:
        state = await _reconsider(ctx, approval, said)
    elif approval.state == "allowed":
        raise Conflict("That was answered already.", "See: keyfob approvals")
    else:
        state = await (_pairing if approval.kind == "pairing" else _grant)(ctx, waiting, said)
    word: Kind = "approval-denied" if state in ("denied", "never") else "approval-allowed"
    for one in approval.wanted or (Wanted(""),):
        ctx.publish(word, one.account, app=said.name or approval.app, detail=_words(approval, said))
    if waiting is None:
        return replace(approval, state=state)
    if state == "never" or (state == "allowed" and approval.kind == "grant"):
        ctx.desk.drop(waiting)  # the store remembers it
    elif state != "once":
        waiting = ctx.desk.settle(waiting, state, ctx.clock(), ctx.steady())
    else:
        waiting = ctx.desk.find(approval.id, ctx.steady()) or waiting
    return replace(waiting.approval, state=state)


async def _grant(ctx: Context, waiting: Waiting, said: Answer) -> State:
    approval, wanted = waiting.approval, waiting.approval.wanted[0]
    if not said.allow:
        if said.remember != "always":
            return "denied"
        await ctx.store.put_refusal(approval.app, wanted.account, ctx.clock())
        return "never"
    wanted = wanted if said.scope is None else replace(wanted, scope=said.scope)
    if said.remember != "once":
        return await _allow(ctx, approval.app, wanted, said)
    once = merged(None, wanted, ctx.clock(), mode=_mode(said.mode, None, wanted), expires_at=None)
    await apps.shown(ctx, approval.app)
    account = await apps.check_grant(ctx, once)
    ctx.desk.once(waiting, replace(once, uuid=account.uuid), ctx.clock(), ctx.steady())
    return "once"


async def _allow(ctx: Context, app: str, wanted: Wanted, said: Answer) -> State:
    """Grant it, in addition to what the app has."""
    row = await apps.shown(ctx, app)
    old = next((grant for grant in row.grants if grant.account == wanted.account), None)
    if said.remember == "until" and old is not None and not is_over(old, ctx.clock()):
        raise InvalidRequest(
            f"App '{app}' has a grant of account '{wanted.account}' already, which would end then too.",
            f"Allow it once or always, or replace that grant: keyfob app grant {app} --help",
        )
    mode = _mode(said.mode, old, wanted)
    await apps.grant(ctx, app, merged(old, wanted, ctx.clock(), mode=mode, expires_at=said.expires_at))
    return "allowed"


def _mode(said: str | None, old: AppGrant | None, wanted: Wanted) -> str:
    """Return how an app may use an account: as the owner says, else as it asked, and as it may already."""
    return said or (old.mode if old is not None and old.mode == "token" else wanted.mode)


async def _pairing(ctx: Context, waiting: Waiting, said: Answer) -> State:
    approval = waiting.approval
    if not said.allow:
        return "denied"
    if approval.state != "pending":
        raise _gone()  # the program was told no, and its key may be anywhere
    wanted = tuple(Wanted(name) for name in said.accounts) or approval.wanted
    grants = [
        AppGrant(
            one.account,
            one.scope if said.scope is None else said.scope,
            one.resource,
            said.mode or one.mode,
            said.expires_at,
        )
        for one in wanted
    ]
    await apps.admit(ctx, said.name or approval.app, waiting.key_hash, grants, None)
    return "allowed"


async def _reconsider(ctx: Context, approval: Approval, said: Answer) -> State:
    """Take a remembered no back: by a yes, or by any answer that is not for good."""
    wanted = approval.wanted[0]
    if said.allow:
        return await _allow(ctx, approval.app, replace(wanted, scope=said.scope or ()), said)
    if said.remember == "always":
        return "never"
    await ctx.store.delete_refusal(approval.app, wanted.account)
    return "denied"


def _check(approval: Approval, said: Answer, now: float) -> None:
    """Refuse an answer that does not fit, or of which a part would go unheard.

    Raises:
        InvalidRequest: with what would.
    """
    if (said.remember == "until") != (said.expires_at is not None):
        raise InvalidRequest("'until' and a time go together.", "Give both 'remember': 'until' and 'expires_at'.")
    if said.expires_at is not None and said.expires_at <= now:
        raise InvalidRequest("That time has passed already.", "Give a time that is still to come.")
    if not said.allow:
        if said.remember == "until":
            raise InvalidRequest("A no counts once or always.", "Use 'once' or 'always'.")
        if said.scope or said.mode not in (None, "token") or said.name or said.accounts:
            raise InvalidRequest("Scopes, a mode, a name and accounts go with a yes.", "Leave them out.")
        return
    if approval.kind == "grant" and (said.name or said.accounts):
        raise InvalidRequest(
            "A name and accounts go with a program that wants to become an app; this is one already.",
            f"To let it use more: keyfob app grant {approval.app} --account ACCOUNT",
        )
    if said.remember != "once":
        return
    if approval.kind == "pairing":
        raise InvalidRequest("A program becomes an app for good, or until a time.", "Use 'always' or 'until'.")
    if approval.state == "never":
        raise InvalidRequest(
            "Nobody asks at the moment, so there is nothing to allow once.", "Deny it once: then the app can ask again."
        )
    if said.mode not in (None, "token"):
        raise InvalidRequest("Once is for one token.", "Through the proxy: allow it always, or until a time.")


def _tell(ctx: Context, waiting: Waiting) -> None:
    approval = waiting.approval
    accounts = " ".join(one.account for one in approval.wanted)
    step = f"keyfob approve {approval.id}"
    ctx.publish("approval-asked", accounts, app=approval.app, detail=_words(approval, None), next_step=step)


def _words(approval: Approval, said: Answer | None) -> str:
    """Return a request, or its answer, in a few words for the record."""
    what = "to become an app" if approval.kind == "pairing" else "for more than it was granted"
    parts = [f"{approval.id}: {what}"]
    asker = approval.asker
    if said is None and asker is not None:
        by = f"uid {asker.uid}" if asker.uid is not None else "uid unknown"
        by += f", pid {asker.pid}" if asker.pid is not None else ""
        by += f", {asker.executable}" if asker.executable else ""
        parts.append(f"by the {asker.door}, {by}")
    if said is not None:
        parts.append(f"{'allowed' if said.allow else 'denied'} {said.remember}")
    return "; ".join(parts)
