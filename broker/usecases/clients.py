"""The client that Keyfob is at a provider: brought by a person, registered by itself, or the preset's own.

Called by the logins and by ``providers``. A client that comes with a login is kept once that login has succeeded, so
that a mistyped one neither stands in the way of the next login nor takes the place of one that works.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from broker.core.account import Account, Destination
from broker.core.login import BY_ID, BY_KEY, PROGRAMS, PUBLIC, Client, Flow
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import assertion, registration
from broker.providers import catalog, words
from broker.providers.model import Provider
from broker.providers.urls import split
from broker.usecases import refusedclients, registrations
from broker.usecases.context import Context

log = logging.getLogger(__name__)

AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", *assertion.METHODS, BY_ID)
Brought = tuple[Client, Secret | None]


async def brought(
    ctx: Context,
    provider: Provider,
    account: Account | None,
    client_id: str,
    client_secret: Secret | None,
    auth_method: str,
) -> Brought | None:
    """Return the client that a person brings to a login, or None where it is one that is kept already.

    Args:
        ctx: the collaborators.
        provider: where the login is.
        account: the account that logs in again: a secret alone is one for its client.
        client_id: as a person gave it, or empty.
        client_secret: its secret, or None.
        auth_method: how it authenticates, or empty.

    Raises:
        InvalidRequest: there is no such way to authenticate, a secret of nobody, or a key that was made only now.
    """
    known = await ctx.store.clients(provider.name)
    if client_id and client_secret is None and not auth_method:
        if any(client_id == client.client_id for client in known):
            return None
    elif not client_id and account is not None:
        client_id = account.destination.client_id if client_secret is not None or auth_method else ""
    if client_id and client_secret is None and auth_method in ("", BY_KEY):
        if any((client_id, BY_KEY) == (client.client_id, client.auth_method) for client in known):
            return None
        waiting = await ctx.store.waiting_key(provider.name)
        if waiting is not None:
            return Client(
                "", provider.name, client_id, BY_KEY, "given", has_secret=True, created_at=ctx.clock()
            ), waiting
        if (auth_method or _best_method(provider, has_secret=False)) == BY_KEY:
            await _make_known(ctx, provider, client_id)
    return await described(provider, client_id, client_secret, auth_method=auth_method, now=ctx.clock())


async def check_secret(ctx: Context, provider: Provider, brought: Brought | None, *, auth_method: str) -> None:
    """Refuse a client without its secret where its preset knows that one is needed: nobody has to log in for that.

    A device login needs no such look: the provider is asked, and refuses, before anybody does anything.

    What only an issuer's metadata says is not enough: many servers that take public clients do not announce ``none``.

    Raises:
        InvalidRequest: the secret is missing.
    """
    config = await ctx.store.provider(provider.name)
    if brought is None or config is None or auth_method or brought[0].auth_method != "none":
        return
    about = catalog.background(config, ctx.presets_dir)
    if words.client_secret(catalog.described(about)) == "needed" and "auth_methods" not in about.unverified:
        raise InvalidRequest(
            f"A client of {provider.title} has a secret, and none came with '{brought[0].client_id}'.",
            "Add it: --client-secret-file FILE (of one that has none, say: --token-endpoint-auth-method none)",
        )


async def _make_known(ctx: Context, provider: Provider, client_id: str) -> NoReturn:
    """Make a key, keep it until a login with it succeeds, and send the person to the provider with it first.

    Raises:
        InvalidRequest: always: a key that nobody knows opens nothing.
    """
    made = await described(provider, "", None, auth_method=BY_KEY, now=ctx.clock())
    if made is not None:
        await keep(ctx, provider, *made)
    raise InvalidRequest(
        f"Keyfob has made a key for client '{client_id}', and {provider.title} does not know it yet.",
        f"Give its public half to {provider.title} (keyfob provider show {provider.name}), then log in again.",
    )


async def described(
    provider: Provider, client_id: str, client_secret: Secret | None, *, auth_method: str, now: float
) -> Brought | None:
    """Return a client as a person describes it, not kept yet; None where nothing is said.

    One with a key gets a new one. It may have no id yet: many providers give one in return for the key.

    Raises:
        InvalidRequest: as :func:`brought`.
    """
    if auth_method and auth_method not in AUTH_METHODS:
        raise InvalidRequest(
            f"'{auth_method}' is no client authentication method.", f"Use one of {', '.join(AUTH_METHODS)}."
        )
    if auth_method == BY_KEY:
        if client_secret is not None:
            raise InvalidRequest(
                f"A client secret does not go with {BY_KEY}: Keyfob makes the key itself.", "Leave the secret out."
            )
        key = await asyncio.to_thread(assertion.new_key, assertion.algorithm(provider))
        return Client("", provider.name, client_id, BY_KEY, "given", has_secret=True, created_at=now), key
    if not client_id:
        if client_secret is not None or auth_method:
            raise InvalidRequest("There is a client secret and no client.", "Give the client id that it belongs to.")
        return None
    if auth_method == BY_ID and client_secret is not None:
        raise InvalidRequest(
            f"A client secret does not go with {BY_ID}, which is for clients without one.",
            "Leave the secret out, or use client_secret_basic.",
        )
    method = auth_method or _best_method(provider, has_secret=client_secret is not None)
    if method == assertion.BY_SECRET:
        assertion.check_secret(provider, client_secret)
    return Client("", provider.name, client_id, method, "given", client_secret is not None, now), client_secret


async def public_keys(ctx: Context, provider: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the public half of every key that Keyfob has at a provider, as a JWK set, with its client's id.

    Each is derived from the private key: what stood in the database in plain could be exchanged for a stranger's.

    Raises:
        Locked: there is no key to open them with.
    """
    found = []
    for client in await ctx.store.clients(provider):
        kept = await ctx.store.client(client.uuid) if client.auth_method == BY_KEY else None
        if kept is not None and kept[1] is not None:
            found.append((client.client_id, assertion.public_jwks(kept[1])))
    waiting = await ctx.store.waiting_key(provider)
    return found if waiting is None else [*found, ("", assertion.public_jwks(waiting))]


async def keep(ctx: Context, provider: Provider, client: Client, secret: Secret | None) -> Client:
    """Keep a client; one of the same id takes on its secret, for every account that uses it.

    Those for which the provider refused the client are asked for again at once.
    """
    there = destination(provider, client.client_id)
    made = await ctx.store.add_client(
        provider=provider.name,
        client_id=client.client_id,
        secret=secret,
        auth_method=client.auth_method,
        origin=client.origin,
        destination=there,
        now=client.created_at,
    )
    await refusedclients.mended(ctx, there)
    return made


def destination(provider: Provider, client_id: str) -> Destination:
    """Return where the secrets of a client and of its accounts may go, as the provider is known now."""
    return Destination(provider.identity_issuer, provider.endpoints.token, client_id)


async def kept(
    ctx: Context,
    provider: Provider,
    redirect_uri: str,
    client_id: str = "",
    account: Account | None = None,
    *,
    scope: Sequence[str] = (),
    may_register: bool = True,
) -> Client:
    """Return the client to log in with: the one named, else the account's own, the newest, or one registered now.

    The newest is one of those with which persons log in; what a program brought for itself is not among them.

    Args:
        ctx: the collaborators.
        provider: where the login is.
        redirect_uri: where its answer will go.
        client_id: the one named, or empty.
        account: the account that logs in again.
        scope: what will be asked for, so that a client is registered for it.
        may_register: a new one will do.

    Raises:
        InvalidRequest: there is none and the provider does not register one by itself.
        LoginFailed, ProviderUnavailable: it refuses to, or not now; as ``registrations.register``.
    """
    own = own_id(provider, redirect_uri)
    # A client id that is our address is good for the login that comes back to that address, and for no other.
    wanted = client_id or (own if own != provider.client_id else "")
    wanted = wanted or (account.destination.client_id if account is not None else "")
    async with ctx.registering.setdefault(provider.name, asyncio.Lock()):
        used = await ctx.store.client_ids(provider.name)
        known = [
            client
            for client in await ctx.store.clients(provider.name)
            if client.origin != PROGRAMS or client.client_id in {wanted, *used}
        ]
        meant = [client for client in known if wanted in ("", client.client_id)]
        # The others serve where the one that is meant does not any more, and nobody insists on it.
        for client in (*meant, *(client for client in known if meant and not client_id and client not in meant)):
            usable = await registrations.current(ctx, provider, client, redirect_uri, scope)
            if usable is not None:
                return usable
        if meant and client_id:
            raise InvalidRequest(
                f"The client '{client_id}' was registered for another address, or its secret has ended.",
                "Leave --client-id out, so that Keyfob registers anew.",
            )
        if meant:
            wanted = ""
        if own and wanted in ("", own):
            new = Client("", provider.name, own, "none", "preset", has_secret=False, created_at=ctx.clock())
            return await keep(ctx, provider, new, None)
        if wanted:
            raise InvalidRequest(f"Provider '{provider.name}' has no client '{wanted}'.", "Give its secret too.")
        if provider.registration is None or not may_register:
            raise by_hand(provider, redirect_uri)
        try:
            return await _registered(ctx, provider, redirect_uri, tuple(scope or provider.scopes))
        except (InvalidRequest, LoginFailed, ProviderUnavailable) as exc:
            # Where it is refused, or not allowed now, a person can make a client; an outage only has to pass.
            if not isinstance(exc, ProviderUnavailable) or "retry_after" in exc.extra:
                exc.extra |= {**by_hand(provider, redirect_uri).extra, "registration": exc.detail}
            raise


async def _registered(ctx: Context, provider: Provider, redirect_uri: str, scope: tuple[str, ...]) -> Client:
    """Register a client for what is asked for, and for what the resource may want later where the server lets it.

    Servers bind sessions to the client that began them: more scope should not need another one.
    """
    wider = tuple(dict.fromkeys((*scope, *provider.further_scopes)))
    if wider != scope:
        try:
            return await registrations.register(ctx, provider, redirect_uri, wider)
        except LoginFailed as exc:
            log.info("%s registers no client for all that the resource supports: %s", provider.name, exc.detail)
    return await registrations.register(ctx, provider, redirect_uri, scope)


async def is_needed(ctx: Context, provider: Provider, flow: Flow) -> bool:
    """Whether a new account's login by a flow needs a client that a person brings, as far as that is known here.

    Where an issuer has yet to tell how it registers clients, and where a registration is refused, the login itself
    says so.
    """
    if flow in ("token", "token-exchange"):
        return False
    known = await ctx.store.clients(provider.name)
    if flow in ("client-credentials", "jwt-bearer"):
        return not any(client.has_secret for client in known)
    if flow == "device" and provider.device.own_client:
        return True
    if provider.client_id or any(client.origin != PROGRAMS for client in known):
        return False
    if flow == "refresh-token":  # it belongs to the client that it was issued to
        return True
    return bool(provider.endpoints.token) and provider.registration is None


def own_id(provider: Provider, redirect_uri: str) -> str:
    """Return the client id that comes with the provider's preset, or empty text.

    ``{origin}`` in it is where the answer goes, so that client id and redirect URI share host and port.
    """
    parts = urlsplit(redirect_uri)
    return provider.client_id.replace("{origin}", f"{parts.scheme}://{parts.netloc}")


def metadata_document(provider: Provider, client_id: str, redirect_uri: str) -> dict[str, Any]:
    """Return what to host at the address that is to be Keyfob's client id (client-ID metadata documents).

    Raises:
        InvalidRequest: the address cannot be a client id.
    """
    parts = split(client_id, what="client id")
    if parts.scheme != "https" or parts.path in ("", "/"):
        raise InvalidRequest(
            "A client id of this kind is an https:// address with a path.",
            "Name the address at which you will host the document: --client-id https://you.example/keyfob.json",
        )
    uris = registrations.wanted_uris(provider, redirect_uri)
    return {"client_id": client_id, **registration.public_metadata(provider, uris, provider.scopes)}


async def confidential(ctx: Context, provider: Provider, client_id: str, account: Account | None) -> Brought:
    """Return the client to get a token of its own with: the one named, else the account's own, or the newest.

    What a program brought goes before what persons log in with.

    Raises:
        InvalidRequest: there is none.
    """
    client_id = client_id or (account.destination.client_id if account is not None else "")
    for client in sorted(await ctx.store.clients(provider.name), key=lambda client: client.origin != PROGRAMS):
        if client_id == client.client_id or (not client_id and client.has_secret):
            return await ctx.store.client(client.uuid) or (client, None)
    raise InvalidRequest(
        f"Provider '{provider.name}' has no client with a secret or key.",
        "Name it (--client-id), and give its secret (--client-secret-file) or have a key made "
        f"(--token-endpoint-auth-method {BY_KEY}).",
    )


def by_hand(provider: Provider, redirect_uri: str) -> InvalidRequest:
    """Return what to say where only a person can make a client: where, what to paste there, and what to run then."""
    secret = words.client_secret(provider)
    with_secret = {
        "none": "",
        "optional": " (and --client-secret-file FILE, if it has a secret)",
        "needed": " --client-secret-file FILE",
    }
    where = f"at {provider.register_url}" if provider.register_url else "there"
    hosted = (
        f" Or host a document about Keyfob, and give its address as --client-id: "
        f"keyfob provider client-metadata {provider.name}"
        if provider.client_id_metadata
        else ""
    )
    return InvalidRequest(
        f"{provider.title} does not know Keyfob yet: a client id is needed.",
        f"Register a client {where}, with exactly this redirect URI: {redirect_uri} - then run: "
        f"keyfob login --provider {provider.name} --client-id ID{with_secret[secret]}{hosted}",
        provider=provider.name,
        register_url=provider.register_url or None,
        redirect_uri=redirect_uri,
        client_secret=secret,
    )


def _best_method(provider: Provider, *, has_secret: bool) -> str:
    if not has_secret:
        # A public client is what no secret means, wherever the provider may know such; many do not announce it.
        others = [method for method in provider.auth_methods if method in AUTH_METHODS and method != BY_KEY]
        if BY_KEY in provider.auth_methods and not set(others) - {assertion.BY_SECRET}:
            return BY_KEY
        return next((method for method in provider.auth_methods if method in PUBLIC), "none")
    # client_secret_basic is what every server must support (RFC 6749 2.3.1).
    secretless = (*PUBLIC, BY_KEY)
    known = [method for method in provider.auth_methods if method in AUTH_METHODS and method not in secretless]
    return "client_secret_basic" if not known or "client_secret_basic" in known else known[0]
