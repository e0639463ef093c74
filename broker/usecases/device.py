"""A device login (RFC 8628): a code for the person, and polls until the person has decided.

Called by the web API (start) and by the scheduler, which lets it look which polls are due. Every poll is a task of its
own, so that a provider that dawdles holds up nothing else. What is polled for stands in the store: after a restart the
polling goes on.
"""

import asyncio
import contextlib
import logging
import secrets
from dataclasses import replace

from broker.core.login import DevicePrompt, Login, LoginState
from broker.core.secret import Secret
from broker.errors import KeyfobError, LoginFailed, ProviderUnavailable, UnknownProvider
from broker.oauth import device, wire
from broker.providers.flows import first_offered
from broker.providers.model import Provider
from broker.store.store import TakenLogin
from broker.usecases import clients, login, providers
from broker.usecases.activate import give_back, read_answer
from broker.usecases.context import Context, Moment, Poll
from broker.usecases.identify import identify
from broker.usecases.login import redirect_uri
from broker.usecases.newlogin import NewLogin, holding, holds_name, prepare, wanted

log = logging.getLogger(__name__)

# RFC 8628 3.5: what a slow_down adds, for all polls that follow.
SLOWER = 5.0
# Between two polls of a provider that does not answer: the code is not good for long enough to wait longer.
LONGEST_WAIT = 60.0


@holds_name
async def begin(ctx: Context, new: NewLogin) -> Login:
    """Ask for the codes and keep them: the device code sealed, the user code for the person.

    Raises:
        as ``newlogin.prepare``; Locked when nothing can be sealed; LoginFailed where the provider refuses;
        ProviderUnavailable where it gives no proper answer.
    """
    provider, account, resource = await prepare(ctx, new)
    first_offered(provider, "device")
    scope = wanted(new, provider, account)
    brought = await clients.brought(ctx, provider, account, new.client_id, new.client_secret, new.auth_method)
    if brought is not None:
        client, secret = brought
    else:
        uri = redirect_uri(ctx, provider)
        kept = await clients.kept(ctx, provider, uri, new.client_id, account, scope=scope)
        client, secret = await ctx.store.client(kept.uuid) or (kept, None)
    codes = _codes(provider, await device.authorize(ctx.http, provider, client, secret, scope=scope, resource=resource))
    now = ctx.clock()
    begun = Login(
        id=secrets.token_urlsafe(24),
        account=new.account,
        replaces=account.uuid if account is not None else None,
        provider=provider.name,
        client=client.uuid,
        flow="device",
        destination=clients.destination(provider, client.client_id),
        redirect_uri="",
        scope=scope,
        resource=resource,
        nonce="",
        authorization_url="",
        state="pending",
        reason="",
        created_at=now,
        expires_at=now + codes.expires_in,
        device=codes.prompt,
    )
    await ctx.store.put_login(begun, state=Secret(""), verifier=codes.device_code, brought=brought)
    ctx.publish("login-started", begun.account, detail=provider.title, login=begun.id)
    ctx.wake.set()
    return begun


async def poll_due(ctx: Context) -> float | None:
    """Begin the polls that are due, each in a task of its own.

    Returns:
        When the next one is due, epoch seconds; None where none is waited for. A poll that ends rings the bell.

    Raises:
        StoreUnavailable: the logins cannot be read.
    """
    if ctx.store.locked:
        return None  # the device codes cannot be opened; after a start with the key the polling goes on
    now = ctx.clock()
    pending = await ctx.store.logins_pending() if await login.matters(ctx) else []
    waiting = {found.id: found for found in pending if found.expires_at > now}
    for gone in ctx.polls.keys() - waiting.keys():
        poll = ctx.polls[gone]
        if poll.answer is not None:
            # Allowed in time: it waits for the database, however long that takes.
            waiting[gone] = replace(poll.answer[0].login, device=poll.prompt)
        elif not poll.flying:
            del ctx.polls[gone]
    due = []
    for begun in waiting.values():
        if begun.device is None:
            continue
        # A first poll at once would find nobody, and after a restart come too soon after the last one.
        interval = begun.device.interval
        poll = ctx.polls.setdefault(begun.id, Poll(ctx.sent(), interval, interval, begun.device))
        if poll.flying:
            continue
        at = ctx.when(poll.since) + poll.wait
        if at > now:
            due.append(at)
            continue
        poll.flying = True
        task = asyncio.create_task(_poll(ctx, begun, begun.device, poll), name=f"poll of login {begun.id[:6]}")
        ctx.finishing.add(task)
        task.add_done_callback(ctx.finishing.discard)
    return min(due, default=None)


def _codes(provider: Provider, answer: device.Codes | wire.NoToken) -> device.Codes:
    match answer:
        case device.Codes():
            return answer
        case wire.Refused(error=error, description=description):
            said = f"{error}: {description}" if description else error
            raise LoginFailed(
                f"{provider.title} gave no code to log in with: {said}.",
                "Its client may not be allowed to use the device flow; allow that there, or use another --flow.",
            )
        case wire.Throttled(reason=reason, retry_after=retry_after):
            raise ProviderUnavailable(
                f"{provider.title} is throttling: {reason}.",
                "Wait a little, then log in again.",
                retry_after=retry_after,
            )
        case wire.Unreachable(reason=reason) | wire.Faulty(reason=reason) | wire.Lost(reason=reason):
            raise ProviderUnavailable(f"{provider.title} gave no code to log in with: {reason}.", "Log in again later.")


async def _poll(ctx: Context, begun: Login, prompt: DevicePrompt, poll: Poll) -> None:
    """Ask once, and do what the answer says; whatever breaks, the next poll comes later."""
    try:
        async with holding(ctx, begun.account):  # its time may run out meanwhile
            if poll.answer is not None:
                await _take(ctx, await providers.find(ctx, begun.provider), poll, *poll.answer)
                return
            waiting = await ctx.store.waiting_login(id=begun.id, now=ctx.clock())
            if waiting is not None:  # else it was cancelled, or its time is over
                await _ask(ctx, waiting, prompt, poll)
    except UnknownProvider as exc:
        log.warning("a device login is given up: %s", exc)
        poll.answer = None
    except KeyfobError as exc:
        log.warning("a device login could not be polled: %s", exc)
        _back_off(poll)
    except Exception:
        log.exception("a poll broke; the next one comes")
        _back_off(poll)
    finally:
        poll.since, poll.flying = ctx.sent(), False
        ctx.wake.set()


async def _ask(ctx: Context, waiting: TakenLogin, prompt: DevicePrompt, poll: Poll) -> None:
    begun = waiting.login
    provider = await providers.find(ctx, begun.provider)
    used = waiting.brought or await ctx.store.client(begun.client)
    if used is None:
        await _end(ctx, begun, "failed", "the client of this login was removed meanwhile")
        return
    sent = ctx.sent()
    outcome = await device.poll(
        ctx.http,
        provider,
        *used,
        token_endpoint=begun.destination.token_endpoint,
        device_code=waiting.verifier,
        scope=begun.scope,
        resource=begun.resource,
    )
    match outcome:
        case wire.Answered():
            await _take(ctx, provider, poll, waiting, outcome, sent)
        case device.Undecided():
            poll.failures, poll.wait = 0, poll.interval
        case device.TooFast():
            # It counts for all polls that follow (RFC 8628 3.5), those after a restart as well.
            poll.interval += SLOWER
            poll.failures, poll.wait = 0, poll.interval
            await ctx.store.put_prompt(replace(begun, device=replace(prompt, interval=poll.interval)))
        case device.Denied():
            await _end(ctx, begun, "failed", f"{provider.title} says that access was refused there")
        case device.CodeExpired():
            await _end(ctx, begun, "expired", "the code expired before anybody allowed it")
        case wire.Refused():
            await _end(ctx, begun, "failed", _refusal(provider, outcome, poll))
        case wire.Throttled(reason=reason, retry_after=retry_after):
            log.info("%s answered a poll: %s", provider.title, reason)
            _back_off(poll, retry_after or 0.0)
        case wire.Unreachable(reason=reason) | wire.Faulty(reason=reason) | wire.Lost(reason=reason):
            log.info("%s gave no proper answer to a poll: %s", provider.title, reason)
            _back_off(poll)


async def _take(
    ctx: Context, provider: Provider, poll: Poll, waiting: TakenLogin, outcome: wire.Answered, sent: Moment
) -> None:
    """The person said yes: make the account, unless the login was given up while the answer was on its way.

    The code is spent now. While the database refuses, the answer is kept in memory and the next turn tries again.
    """
    begun = waiting.login
    poll.answer = waiting, outcome, sent
    if await ctx.store.take_login(id=begun.id, now=ctx.clock()) is None:
        known = await ctx.store.login(begun.id)
        # One whose time ran out meanwhile was still allowed in time; one that somebody took is being given up.
        if known is None or known.state == "failed" or known.expires_at > ctx.clock():
            poll.answer = None
            await _return(ctx, begun, provider, outcome, sent)
            return
    poll.answer = None
    await login.land(ctx, waiting, provider, outcome, sent, begun.scope)


async def _return(ctx: Context, begun: Login, provider: Provider, outcome: wire.Answered, sent: Moment) -> None:
    """Revoke what came for a login that was given up."""
    try:
        grant = read_answer(provider, outcome, ctx.when(sent), begun.scope)
    except LoginFailed:
        return  # nothing usable came, so there is nothing to give back
    who = None
    with contextlib.suppress(KeyfobError):  # without a name it may be anybody's
        _, who = await identify(ctx, provider, grant, begun.destination.client_id, begun.scope, None)
    await give_back(ctx, begun, provider, grant, who)


def _refusal(provider: Provider, refused: wire.Refused, poll: Poll) -> str:
    said = f"{refused.error}: {refused.description}" if refused.description else refused.error
    lost = "; the answer to an earlier poll was lost, and the login may have been in it" if poll.failures else ""
    return f"{provider.title} refused the login: {said}{lost}"


def _back_off(poll: Poll, least: float = 0.0) -> None:
    """Wait twice as long as before (RFC 8628 3.5), and at least as long as the provider wants."""
    poll.failures += 1
    poll.wait = max(least, poll.wait, min(2 * poll.wait, LONGEST_WAIT))


async def _end(ctx: Context, begun: Login, state: LoginState, reason: str) -> None:
    await ctx.store.end_login(begun.id, state=state, account=begun.account, reason=f"{reason}.")
    ctx.publish("login-failed", begun.account, detail=reason, login=begun.id)
