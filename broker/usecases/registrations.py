"""The clients that Keyfob registered itself: made once, kept, changed when its address changes, renewed, deleted.

Called by ``clients`` when a login needs one, by ``providers`` when a provider is removed, and by the scheduler.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.account import Account, Destination
from broker.core.login import Client, Management, Registered
from broker.core.secret import Secret
from broker.errors import KeyfobError, Locked, LoginFailed, ProviderUnavailable, StoreUnavailable
from broker.oauth import management, registered, registration
from broker.providers import catalog
from broker.providers.model import Provider
from broker.usecases import ration, refusedclients
from broker.usecases.context import Context

log = logging.getLogger(__name__)

# A secret is renewed so long before it ends, or in the second half of its life where that is shorter.
RENEW_AHEAD = 3 * 86_400.0
# Seconds between two tries to write a changed registration down: it is lost if we give up, so we never do.
KEEP_PAUSE = 1.0
_PORT = re.compile(r"^(http://(?:127\.0\.0\.1|localhost|\[::1\])):\d+/")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What became of a registration when its provider was removed.

    Attributes:
        client_id: of the client.
        deleted: it is gone at the provider.
        detail: what happened there, for people.
    """

    client_id: str
    deleted: bool
    detail: str


def wanted_uris(provider: Provider, redirect_uri: str) -> list[str]:
    """Return what to register: a loopback URI, without its port where that is taken, and an out-of-band one."""
    uri = _PORT.sub(r"\1/", redirect_uri) if provider.redirect.register_without_port else redirect_uri
    return [uri, *([provider.redirect.out_of_band] if provider.redirect.out_of_band else [])]


async def register(ctx: Context, provider: Provider, redirect_uri: str, scope: Sequence[str]) -> Client:
    """Register a client and keep it. The caller holds ``ctx.registering`` of this provider.

    Raises:
        InvalidRequest, LoginFailed: as ``oauth.registration.register``.
        ProviderUnavailable: as that; or Keyfob registered itself too often lately, or was told to wait: until when.
    """
    now, key = ctx.steady(), f"registration at {provider.name}"
    if (until := ctx.ration.left_alone_until(key, now)) is not None:
        raise _wait(ctx, provider, f"{provider.title} allows no further registration before", until)
    if (until := ctx.ration.full_until(now)) is not None:
        said = f"Keyfob registered itself {ration.MOST} times within the hour; it does not do so again before"
        raise _wait(ctx, provider, said, until)
    ctx.ration.registered.append(now)
    try:
        made = await registration.register(
            ctx.http, provider, redirect_uris=wanted_uris(provider, redirect_uri), scope=scope
        )
    except ProviderUnavailable as exc:
        wait = exc.extra.get("retry_after")
        if not isinstance(wait, int | float):
            raise
        until = ctx.ration.leave_alone(key, now, wait)
        raise _wait(ctx, provider, f"{provider.title} allows no further registration before", until) from exc
    return await _keep(ctx, provider, made)


async def current(
    ctx: Context, provider: Provider, client: Client, redirect_uri: str, scope: Sequence[str]
) -> Client | None:
    """Return a kept client as it can be used now, changed at the provider where that is needed and possible.

    Returns:
        None where it cannot serve: it was registered for another address or less scope, or its secret has ended, and
        the provider does not change that.

    Raises:
        ProviderUnavailable: the provider cannot be asked to change it now.
    """
    if client.origin != "registered":
        return client
    ended = client.secret_expires_at is not None and client.secret_expires_at <= ctx.clock()
    fits = _fits(provider, client, redirect_uri)
    more = set(scope) - set(client.scope) if client.scope else set()
    if fits and not ended and not more:
        return client
    if client.registration_uri:
        wider = (*client.scope, *sorted(more)) if more else ()
        try:
            return await _update(ctx, provider, client, wanted_uris(provider, redirect_uri), wider)
        except LoginFailed as exc:
            log.warning("the registration at %s could not be changed: %s", provider.name, exc.detail)
    elif more and provider.registration is not None and provider.registration.carries_scope:
        # What a client was registered for is all that it may ask for (RFC 7591 2), and servers hold it to that.
        return None
    # Whether more scope than that may be asked for all the same is the provider's to say.
    return client if fits and not ended else None


async def renew_due(ctx: Context) -> None:
    """Begin to renew the registrations whose secrets end soon; each in a task of its own, so that nobody waits."""
    now = ctx.steady()
    for client in await ctx.unchanged("expiring clients", ctx.store.expiring_clients):
        end = client.secret_expires_at or 0.0
        due = end - min(RENEW_AHEAD, max(0.0, end - client.created_at) / 2)
        key = f"renewal of {client.uuid}"
        if ctx.clock() >= due and ctx.ration.left_alone_until(key, now) is None:
            ctx.ration.leave_alone(key, now)
            task = asyncio.create_task(_renew(ctx, client))
            ctx.finishing.add(task)
            task.add_done_callback(ctx.finishing.discard)


async def is_changing(ctx: Context, account: Account, client: Client, proof: Secret | None) -> bool:
    """Whether a client that the provider refused is just being changed there, or is another one by now.

    The server has the new secret as soon as it has read the change, and Keyfob only with its answer (RFC 7592 2.2):
    what was sent meanwhile says nothing about the client.

    Args:
        ctx: the collaborators.
        account: whose client it is.
        client: as it was when the request was sent.
        proof: what was sent with it.
    """
    lock = ctx.registering.get(account.provider)
    if client.origin == "registered" and lock is not None and lock.locked():
        return True
    now, held = await ctx.store.client_of(account)
    return (now.auth_method, held) != (client.auth_method, proof)


async def read_management(ctx: Context, provider: str) -> list[tuple[Client, Management | None]]:
    """Return the registered clients of a provider, and what manages each.

    Raises:
        Locked: something does, and there is no key.
    """
    found = [client for client in await ctx.store.clients(provider) if client.origin == "registered"]
    return [(client, await ctx.store.management(client.uuid)) for client in found]


async def withdraw(
    ctx: Context, provider: Provider, clients: Sequence[tuple[Client, Management | None]]
) -> list[Withdrawn]:
    """Delete registrations at the provider, which is forgotten here already; tell what became of each."""
    done = []
    for client, managed in clients:
        if managed is None:
            why = f"{provider.title} lets nobody delete it; the client remains there, unused"
        else:
            failed = await management.delete(ctx.http, provider, managed)
            why = f"it could not be deleted at {provider.title}: {failed}" if failed else ""
        done.append(Withdrawn(client.client_id, not why, f"{why}." if why else f"Deleted at {provider.title}."))
    return done


async def _renew(ctx: Context, client: Client) -> None:
    """Renew a registration before its secret ends; one that does not succeed is tried again in an hour."""
    try:
        async with ctx.registering.setdefault(client.provider, asyncio.Lock()):
            config, kept = await ctx.store.provider(client.provider), await ctx.store.client(client.uuid)
            if config is None or kept is None:
                return
            # As it is now: a login may have changed it while this waited.
            provider = catalog.resolve(config, ctx.presets_dir)
            renewed = await _update(ctx, provider, kept[0], kept[0].redirect_uris, ())
    except KeyfobError as exc:
        log.warning("the registration at %s could not be renewed: %s", client.provider, exc.detail)
    else:
        if renewed.secret_expires_at == client.secret_expires_at:
            log.warning("%s did not renew the secret of its client %s", client.provider, client.client_id)


async def _update(
    ctx: Context, provider: Provider, client: Client, uris: Sequence[str], scope: Sequence[str]
) -> Client:
    """Change a registration, and keep what came of it; to the end even when the caller goes away.

    Raises:
        LoginFailed, ProviderUnavailable: as ``oauth.management.update``; or it was changed to something else.
        StoreUnavailable: nothing can be written, so nothing was sent.
    """
    task = asyncio.create_task(_change(ctx, provider, client, uris, scope))
    ctx.finishing.add(task)
    task.add_done_callback(ctx.finishing.discard)
    return await asyncio.shield(task)


async def _change(
    ctx: Context, provider: Provider, client: Client, uris: Sequence[str], scope: Sequence[str]
) -> Client:
    kept = await ctx.store.client(client.uuid)
    before = Registered(
        client.client_id,
        kept[1] if kept is not None else None,
        client.auth_method,
        client.redirect_uris,
        client.scope,
        client.secret_expires_at,
        await ctx.store.management(client.uuid),
    )
    # Nothing is sent that could not be written down: the server tells its new secret and token once.
    await ctx.store.ping(ctx.clock())
    made = await management.update(ctx.http, provider, before, redirect_uris=uris, scope=scope)
    while True:
        try:
            changed = await _keep(ctx, provider, made.client)
            break
        except (StoreUnavailable, Locked) as exc:
            log.warning("the registration at %s could not be written down yet: %s", provider.name, exc)
        await asyncio.sleep(KEEP_PAUSE)
    if made.mismatch:
        raise management.not_used(provider, made)
    return changed


async def _keep(ctx: Context, provider: Provider, made: Registered) -> Client:
    there = Destination(provider.identity_issuer, provider.endpoints.token, made.client_id)
    kept = await ctx.store.add_client(
        provider=provider.name,
        client_id=made.client_id,
        secret=made.client_secret,
        auth_method=made.auth_method,
        origin="registered",
        destination=there,
        now=ctx.clock(),
        registered=made,
    )
    await refusedclients.mended(ctx, there)
    return kept


def _fits(provider: Provider, client: Client, redirect_uri: str) -> bool:
    """Whether a client was registered for a redirect URI; for one of before anybody wrote that down, it was."""
    if not client.redirect_uris:
        return True
    wanted, known = set(wanted_uris(provider, redirect_uri)), set(client.redirect_uris)
    if provider.redirect.any_port:
        wanted, known = ({_PORT.sub(r"\1/", uri) for uri in uris} for uris in (wanted, known))
    return wanted <= known


def _wait(ctx: Context, provider: Provider, said: str, until: float) -> ProviderUnavailable:
    """Say until when, by the clock as it shows now, and what a person can do meanwhile."""
    shown = ration.moment(until + ctx.schedule.moved)
    return ProviderUnavailable(f"{said} {shown}.", registered.limited(provider), retry_after=until - ctx.steady())
