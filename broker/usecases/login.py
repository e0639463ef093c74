"""A browser login, from the start URL to the account. ``begin`` and ``finish`` stand together on purpose.

Called by the web API (start, poll), by the browser door (start page, callback), by ``paste`` and by ``outcomes``,
which points a refused caller to a login.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from broker.core.account import Account, NeedsLogin
from broker.core.login import LOGIN_LIFETIME, Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, LoginFailed, UnknownLogin
from broker.oauth import authcode, wire
from broker.providers.flows import first_offered
from broker.providers.model import Provider
from broker.store.store import TakenLogin
from broker.usecases import clients, derived, providers, push, refusedclients
from broker.usecases.activate import activate, read_answer
from broker.usecases.context import Context, Moment
from broker.usecases.identify import identify
from broker.usecases.newlogin import NewLogin, holding, holds_name, prepare, wanted


@dataclass(frozen=True, slots=True)
class Finished:
    """How a login ended: the account, or why there is none."""

    login: Login
    account: Account | None
    provider: Provider
    reason: str = ""


def start_url(ctx: Context, login_id: str) -> str:
    """Return the page that begins a login in the browser that opens it first."""
    return f"{ctx.browser_url}/login/{login_id}"


def start_url_of(ctx: Context, begun: Login) -> str:
    """Return the same page under the name at which the answer comes in: only there will a cookie of it be shown."""
    host = urlsplit(begun.redirect_uri).hostname
    return start_url(ctx, begun.id).replace("127.0.0.1", "localhost" if host == "localhost" else "127.0.0.1")


def redirect_uri(ctx: Context, provider: Provider) -> str:
    """Return the redirect URI of a provider: an address of ours, and a path of its own (RFC 9700 4.4.2.2).

    It is what a client made by hand is registered with, and what a refresh repeats where a provider wants that.
    """
    origin = ctx.browser_url.replace("127.0.0.1", provider.redirect.host)
    return f"{origin}/callback/{provider.name}"


@holds_name
async def begin(ctx: Context, new: NewLogin, *, ask_again: bool = True) -> Login:
    """Begin a browser or paste login: state, verifier and URL are made together and kept for ten minutes.

    Raises:
        as ``prepare``, Locked when nothing can be sealed, and LoginFailed where the provider does not take the request.
    """
    provider, account, resource = await prepare(ctx, new, ask_again=ask_again)
    first_offered(provider, new.flow)
    _check_pkce(provider)
    scope = wanted(new, provider, account)
    callback = redirect_uri(ctx, provider)
    brought = await clients.brought(ctx, provider, account, new.client_id, new.client_secret, new.auth_method)
    await clients.check_secret(ctx, provider, brought, auth_method=new.auth_method)
    client = brought[0] if brought else await clients.kept(ctx, provider, callback, new.client_id, account, scope=scope)
    if new.flow == "paste" and provider.redirect.out_of_band:
        callback = provider.redirect.out_of_band
    if urlsplit(callback).hostname == "localhost":
        _check_localhost(ctx, provider)
    request = authcode.begin(
        provider,
        client_id=client.client_id,
        redirect_uri=callback,
        scope=scope,
        resource=resource,
        authorization_endpoint=provider.endpoints.authorization,
        openid="openid" in scope,
        public=not client.has_secret,
    )
    now = ctx.clock()
    url, expires_at = request.url, now + LOGIN_LIFETIME
    if push.is_pushed(provider) and new.flow == "paste":
        held = await push.pushed(ctx, provider, url, client, brought)
        url, expires_at = held.url, min(expires_at, now + held.expires_in)
    login = Login(
        id=secrets.token_urlsafe(24),
        account=new.account,
        replaces=account.uuid if account is not None else None,
        provider=provider.name,
        client=client.uuid,
        flow=new.flow,
        destination=clients.destination(provider, client.client_id),
        redirect_uri=callback,
        scope=scope,
        resource=resource,
        nonce=request.nonce,
        authorization_url=url,
        state="pending",
        reason="",
        created_at=now,
        expires_at=expires_at,
    )
    await ctx.store.put_login(login, state=request.state, verifier=request.verifier, brought=brought)
    ctx.publish("login-started", login.account, detail=provider.title, login=login.id)
    return login


def _check_localhost(ctx: Context, provider: Provider) -> None:
    """Refuse a login whose code could come to another program: ``localhost`` is 127.0.0.1 and ::1 (RFC 8252 8.3)."""
    if ctx.localhost_squatted:
        raise InvalidRequest(
            f"{provider.title} sends the answer to http://localhost, and another program listens there on [::1].",
            f"See which: ss -ltnp 'sport = :{urlsplit(ctx.browser_url).port}' - stop it and restart Keyfob, or move "
            "Keyfob with --browser-port (and register the new address).",
        )


def _check_pkce(provider: Provider) -> None:
    """Refuse a server that announces weaker proofs only: they would be sent in S256's place (RFC 7636 7.2)."""
    if provider.pkce.startswith("S256") and provider.pkce_methods and "S256" not in provider.pkce_methods:
        raise InvalidRequest(
            f"{provider.title} announces only weaker proofs of its logins than S256 "
            f"({', '.join(provider.pkce_methods)}), and Keyfob does not fall back to them.",
            "Ask its administrator to allow the code challenge method S256.",
        )


async def finish(
    ctx: Context, provider_name: str, params: Sequence[tuple[str, str]], cookie_of: Callable[[str], Secret | None]
) -> Finished:
    """Finish a login at the callback. Whatever comes, the state is used up by it (RFC 9700 4.7.1).

    Args:
        ctx: the collaborators.
        provider_name: from the redirect path.
        params: what the browser brought, in order.
        cookie_of: tells the cookie that the browser shows for a login id, or None where it shows none.

    Raises:
        LoginFailed: there is no live login for this, or it belongs to another browser or provider.
    """
    states = [value for name, value in params if name == "state"]
    taken = await ctx.store.take_login(state=Secret(states[0]), now=ctx.clock()) if states else None
    if taken is None:
        raise LoginFailed(
            "This answer belongs to no login that is under way: it was finished already, is too old, or was not "
            "started here.",
            "Start the login again.",
        )
    if taken.login.provider != provider_name:
        return await _fail(
            ctx, taken.login, "The answer came to the address of another provider. Nothing was sent to it."
        )
    browser = cookie_of(taken.login.id)
    if browser is None or not await ctx.store.opened_by(taken.login.id, browser):
        return await _fail(ctx, taken.login, "The answer came in another browser than the one that began this login.")
    return await complete(ctx, taken, params)


async def cancel(ctx: Context, login_id: str) -> None:
    """Give a pending login up.

    Raises:
        UnknownLogin: there is none.
        Conflict: its code is being exchanged; how that ends is not known yet.
    """
    login = await ctx.store.login(login_id)
    if login is None:
        raise UnknownLogin("There is no such login.", "See: keyfob accounts")
    if login.state != "pending":
        return
    if login.expires_at > ctx.clock() and await ctx.store.take_login(id=login_id, now=ctx.clock()) is None:
        raise Conflict("This login is being finished right now.", "See how it ends: keyfob accounts")
    await end_cancelled(ctx, login)


async def end_cancelled(ctx: Context, login: Login) -> None:
    """Note that a login was given up which nobody is finishing."""
    await _fail(ctx, login, "The login was cancelled.")


async def whose_helps(ctx: Context, account: Account) -> Account | None:
    """Return the account whose login would help one that is in trouble; None where no login does.

    An account of a program has no person who could log in, and one with a token made by hand was not made by a login;
    for one that is derived, it is the login of that other account which may help.
    """
    if account.is_derived:
        parent = await derived.parent_of(ctx, account)
        helps = parent is not None and not parent.is_derived and isinstance(parent.state, NeedsLogin)
        return await whose_helps(ctx, parent) if parent is not None and helps else None
    return None if account.is_machine or account.by_hand else account


async def offer(ctx: Context, account: Account, scope: tuple[str, ...] = ()) -> str:
    """Return a URL at which a person can log this account in again; empty where that cannot be offered.

    With ``scope`` it asks for that, too. One unopened login per account is enough, however often it is asked for.
    """
    whom = await whose_helps(ctx, account)
    if whom is None:
        return ""
    account, scope = whom, scope if whom is account else ()
    async with ctx.offering.setdefault(account.uuid, asyncio.Lock()):
        known = ctx.offers.get(account.uuid)
        login = await ctx.store.login(known) if known is not None else None
        lives = login is not None and login.state == "pending" and login.expires_at - ctx.clock() > LOGIN_LIFETIME / 2
        if login is not None and lives and set(scope) <= set(login.scope):
            return start_url(ctx, login.id)
        # It may have got another name while another login was offered for it.
        account = await ctx.store.account_by_uuid(account.uuid) or account
        try:
            login = await begin(ctx, NewLogin(provider="", account=account.name, scope=scope), ask_again=False)
        except KeyfobError:
            # The refusal that carries this URL is the answer; a provider that cannot be prepared now must not hide it.
            return ""
        ctx.offers[account.uuid] = login.id
        return start_url(ctx, login.id)


async def opened(ctx: Context, login_id: str, browser: Secret) -> Login:
    """The start page was opened: the first browser owns the login.

    Raises:
        UnknownLogin: it is not pending (any more).
        Conflict: another browser opened it first.
        LoginFailed: the provider does not take the request; the login has ended, and says why.
    """
    login = await ctx.store.login(login_id)
    if login is None or login.state != "pending" or login.expires_at <= ctx.clock():
        raise UnknownLogin("This login is unknown, finished already, or too old.", "Start it again.")
    if not await ctx.store.claim_login(login_id, browser):
        raise Conflict("This login was opened in another browser first.", "Go on there, or start it again here.")
    for uuid, offered in list(ctx.offers.items()):
        if offered == login_id:
            del ctx.offers[uuid]
    provider = await providers.find(ctx, login.provider)
    try:
        return replace(login, authorization_url=await push.browser_url(ctx, provider, login))
    except LoginFailed as exc:
        await _fail(ctx, login, str(exc))
        raise


async def matters(ctx: Context) -> bool:
    """Whether a look has anything to do about logins: one is under way, or ended so long ago that it is forgotten."""
    return await ctx.unchanged("logins", ctx.store.logins_matter_at) <= ctx.clock()


async def expire(ctx: Context) -> None:
    """End the logins whose time is over."""
    if not await matters(ctx):
        return
    for login in await ctx.store.expire_logins(ctx.clock()):
        ctx.publish("login-failed", login.account, detail="nobody finished it in time", login=login.id)


async def complete(
    ctx: Context, taken: TakenLogin, params: Sequence[tuple[str, str]], *, pasted_code: bool = False
) -> Finished:
    """Finish a login that was taken; to the end even when the browser goes away: a code that was sent is spent.

    Args:
        ctx: the collaborators.
        taken: the login.
        params: the authorization response.
        pasted_code: a person copied the code alone, so nothing tells who issued it.
    """

    async def completed() -> Finished:
        async with holding(ctx, taken.login.account):  # its time may run out meanwhile
            return await _complete(ctx, taken, params, pasted_code=pasted_code)

    task = asyncio.create_task(completed())
    ctx.finishing.add(task)
    task.add_done_callback(ctx.finishing.discard)
    return await asyncio.shield(task)


async def _complete(
    ctx: Context, taken: TakenLogin, params: Sequence[tuple[str, str]], *, pasted_code: bool
) -> Finished:
    """Check who answered -> exchange -> land."""
    login = taken.login
    provider = await providers.find(ctx, login.provider)
    try:
        answer = authcode.read_callback(
            params,
            issuer=login.destination.issuer if provider.issuer else "",
            iss_required=provider.iss_parameter and not pasted_code,
            checks=provider.callback_checks,
        )
        if isinstance(answer, authcode.CallbackError):
            return await _fail(ctx, login, _consent_refused(provider, answer))
        outcome, sent = await _exchange(ctx, taken, provider, answer.code)
    except KeyfobError as exc:
        return await _fail(ctx, login, str(exc))
    # A code that was copied alone comes without the words that came with it.
    scope = login.scope if pasted_code else authcode.granted(provider, params, login.scope)
    return await land(ctx, taken, provider, outcome, sent, scope)


async def land(
    ctx: Context,
    taken: TakenLogin,
    provider: Provider,
    outcome: wire.Outcome,
    sent: Moment,
    scope: tuple[str, ...],
) -> Finished:
    """Turn the answer to the last request of a login into an account: validate -> who is it -> activate.

    Args:
        ctx: the collaborators.
        taken: the login; nobody else may be finishing it.
        provider: where it is.
        outcome: what came.
        sent: when that was asked for.
        scope: what counts as granted where the answer names no scope.
    """
    login = taken.login
    try:
        async with ctx.landing():
            grant = read_answer(provider, outcome, ctx.when(sent), scope)
            grant, who = await identify(
                ctx, provider, grant, login.destination.client_id, login.scope, login.nonce or None
            )
            if taken.brought is not None:
                login = replace(login, client=(await clients.keep(ctx, provider, *taken.brought)).uuid)
            account = await activate(ctx, login, provider, grant, who)
            await refusedclients.mended(ctx, login.destination)
    except KeyfobError as exc:
        return await _fail(ctx, login, str(exc))
    await ctx.store.end_login(login.id, state="done", account=account.name, reason="")
    ctx.publish("logged-in", account.name, detail=account.identity.label if account.identity else "", login=login.id)
    ctx.wake.set()
    return Finished(replace(login, state="done", account=account.name), account, provider)


async def _exchange(ctx: Context, taken: TakenLogin, provider: Provider, code: Secret) -> tuple[wire.Outcome, Moment]:
    """Exchange the code at the endpoint that was fixed when the login began; tell also when that was sent."""
    login = taken.login
    used = taken.brought or await ctx.store.client(login.client)
    if used is None:
        raise LoginFailed("The client of this login was removed meanwhile.", "Start the login again.")
    client, secret = used
    sent = ctx.sent()
    outcome = await wire.exchange_code(
        ctx.http,
        provider,
        client,
        secret,
        token_endpoint=login.destination.token_endpoint,
        code=code,
        verifier=taken.verifier,
        redirect_uri=login.redirect_uri,
        resource=login.resource,
    )
    return outcome, sent


async def _fail(ctx: Context, login: Login, reason: str) -> Finished:
    """End a login without an account; an account that wanted to log in again stays as it is."""
    await ctx.store.end_login(login.id, state="failed", account=login.account, reason=reason)
    ctx.publish("login-failed", login.account, detail=reason, login=login.id)
    provider = await providers.find(ctx, login.provider)
    return Finished(replace(login, state="failed", reason=reason), None, provider, reason)


def _consent_refused(provider: Provider, answer: authcode.CallbackError) -> str:
    if answer.error == "access_denied":
        return f"{provider.title} says that access was not allowed. Log in again and choose to allow it."
    said = f"{answer.error}: {answer.description}" if answer.description else answer.error
    return f"{provider.title} refused the login: {said}."
