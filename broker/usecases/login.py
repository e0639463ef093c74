"""A browser login, from the start URL to the account. ``begin`` and ``finish`` stand together on purpose.

Called by the web API (start, poll), by the browser door (start page, callback), by ``paste`` and by ``get_token``,
which points a refused caller to a login.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from broker.core.account import ACCOUNT_NAME, Account
from broker.core.login import LOGIN_LIFETIME, Flow, Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, LoginFailed, UnknownLogin
from broker.oauth import authcode, wire
from broker.providers.flows import first_offered
from broker.providers.model import Provider
from broker.providers.urls import check_resource
from broker.store.store import TakenLogin
from broker.usecases import clients, providers, rediscovery
from broker.usecases.activate import activate, read_answer
from broker.usecases.context import Context, Moment
from broker.usecases.identify import identify
from broker.usecases.providers import NewProvider


@dataclass(frozen=True, slots=True)
class NewLogin:
    """What a login should be.

    Attributes:
        provider: name of a provider or preset, or a URL: an issuer, a site, or a protected resource. Empty where an
            account logs in again, or ``resource`` says where.
        account: the name to give, or empty for a sane default.
        base_url: the instance, where the preset needs one.
        parameters: what else stands in the preset's addresses, such as a tenant.
        scope: what to ask; empty for the provider's default.
        flow: how the person logs in.
        client_id: a client registered by hand, or empty.
        client_secret: its secret, or None.
        auth_method: how the client authenticates, or empty.
        resource: RFC 8707 resource, or None for what the account or a resource's URL says.
        private: special-purpose addresses are allowed for a provider that is new.
        subject: for whom the flow ``jwt-bearer`` asks, or empty.
        audience: for whom the token of a program's account shall be, or how its provider wants to be called; or empty.
    """

    provider: str
    account: str = ""
    base_url: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    scope: tuple[str, ...] = ()
    flow: Flow = "browser"
    client_id: str = ""
    client_secret: Secret | None = None
    auth_method: str = ""
    resource: str | None = None
    private: bool = False
    subject: str = ""
    audience: str = ""


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


async def prepare(
    ctx: Context, new: NewLogin, *, ask_again: bool = True
) -> tuple[Provider, Account | None, str | None]:
    """Find or add the provider, the account that would log in again, and the resource that the login is for.

    Args:
        ctx: the collaborators.
        new: what the login should be.
        ask_again: an issuer that was asked about itself long ago is asked again; nobody has to wait for that.

    Raises:
        InvalidRequest, Conflict, UnknownProvider, ProviderUnavailable: with the next step.
    """
    if new.account and not ACCOUNT_NAME.fullmatch(new.account):
        raise InvalidRequest(
            f"'{new.account}' cannot be an account's name.",
            "Use letters, digits and . _ @ - (the first a letter or digit), 64 at the most.",
        )
    if new.resource is not None:
        check_resource(new.resource)
    known = rediscovery.fresh if ask_again else providers.find
    account = await ctx.store.account(new.account) if new.account else None
    if account is not None and not new.base_url and not new.parameters:
        provider = await providers.find(ctx, account.provider)
        if new.provider in ("", provider.name, provider.preset):
            return await known(ctx, provider.name), account, new.resource or account.resource
    if not new.provider and new.resource is None:
        begun = [found for found in await first_logins(ctx) if new.account and found.account == new.account]
        if not begun:
            raise InvalidRequest("Which provider?", "Name it with --provider; see: keyfob provider presets")
        return await known(ctx, begun[-1].provider), None, None
    is_url = "://" in new.provider
    reached = await providers.reach(
        ctx,
        NewProvider(
            preset="" if is_url else new.provider,
            issuer=new.provider if is_url else "",
            resource="" if new.provider else new.resource or "",
            base_url=new.base_url,
            parameters=new.parameters,
            private=new.private,
        ),
    )
    provider = reached.provider
    if account is not None and account.provider != provider.name:
        raise Conflict(
            f"Account '{account.name}' is at provider '{account.provider}', not at '{provider.name}'.",
            "Choose another account name, or log that one out first.",
        )
    if not reached.discovered:
        provider = await known(ctx, provider.name)
    # What leads to the server is named as it names itself; a resource beside a provider is what the person says.
    said = (new.resource if new.provider else None) or reached.resource or new.resource
    return provider, account, said or (account.resource if account is not None else None)


async def begin(ctx: Context, new: NewLogin, *, ask_again: bool = True) -> Login:
    """Begin a browser or paste login: state, verifier and URL are made together and kept for ten minutes.

    Raises:
        as ``prepare``, and Locked when nothing can be sealed.
    """
    provider, account, resource = await prepare(ctx, new, ask_again=ask_again)
    first_offered(provider, new.flow)
    _check_pkce(provider)
    scope = wanted(new, provider, account)
    callback = redirect_uri(ctx, provider)
    brought = await clients.brought(ctx, provider, account, new.client_id, new.client_secret, new.auth_method)
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
        authorization_url=request.url,
        state="pending",
        reason="",
        created_at=now,
        expires_at=now + LOGIN_LIFETIME,
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


def wanted(new: NewLogin, provider: Provider, account: Account | None) -> tuple[str, ...]:
    """Return the scope to ask for: what is said now, else what the account asked for, else the provider's.

    Raises:
        InvalidRequest: an ID token would be asked for that nobody could check.
    """
    scope = new.scope or (account.asked_scope if account is not None else ()) or provider.scopes
    if "openid" in scope and not provider.endpoints.jwks:
        raise InvalidRequest(
            f"{provider.title} shows no keys, so an ID token of it cannot be checked.",
            "Leave the scope 'openid' out (--scope ...), or configure the provider with its jwks_uri.",
        )
    return scope


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


async def first_logins(ctx: Context) -> list[Login]:
    """Return the logins under way that would make an account of a chosen name, oldest first."""
    now = ctx.clock()
    pending = await ctx.store.logins_pending()
    return [found for found in pending if found.account and found.replaces is None and found.expires_at > now]


async def cancel(ctx: Context, login_id: str) -> None:
    """Give a pending login up.

    Raises:
        UnknownLogin: there is none.
        Conflict: its code is being exchanged; how that ends is not known yet.
    """
    login = await ctx.store.login(login_id)
    if login is None:
        raise UnknownLogin("There is no such login.")
    if login.state != "pending":
        return
    if login.expires_at > ctx.clock() and await ctx.store.take_login(id=login_id, now=ctx.clock()) is None:
        raise Conflict("This login is being finished right now.", "See how it ends: keyfob accounts")
    await _fail(ctx, login, "The login was cancelled.")


async def offer(ctx: Context, account: Account) -> str:
    """Return a URL at which a person can log this account in again; empty where that cannot be offered.

    One unopened login per account is enough, however often it is asked for. An account of a program has no person who
    could log in.
    """
    if account.is_machine:
        return ""
    async with ctx.offering.setdefault(account.uuid, asyncio.Lock()):
        known = ctx.offers.get(account.uuid)
        login = await ctx.store.login(known) if known is not None else None
        if login is not None and login.state == "pending" and login.expires_at - ctx.clock() > LOGIN_LIFETIME / 2:
            return start_url(ctx, login.id)
        try:
            login = await begin(ctx, NewLogin(provider="", account=account.name), ask_again=False)
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
    """
    login = await ctx.store.login(login_id)
    if login is None or login.state != "pending" or login.expires_at <= ctx.clock():
        raise UnknownLogin("This login is unknown, finished already, or too old.", "Start it again.")
    if not await ctx.store.claim_login(login_id, browser):
        raise Conflict("This login was opened in another browser first.", "Go on there, or start it again here.")
    for uuid, offered in list(ctx.offers.items()):
        if offered == login_id:
            del ctx.offers[uuid]
    return login


async def expire(ctx: Context) -> None:
    """End the logins whose time is over."""
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
    task = asyncio.create_task(_complete(ctx, taken, params, pasted_code=pasted_code))
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
    return await land(ctx, taken, provider, outcome, sent)


async def land(ctx: Context, taken: TakenLogin, provider: Provider, outcome: wire.Outcome, sent: Moment) -> Finished:
    """Turn the answer to the last request of a login into an account: validate -> who is it -> activate.

    Args:
        ctx: the collaborators.
        taken: the login; nobody else may be finishing it.
        provider: where it is.
        outcome: what came.
        sent: when that was asked for.
    """
    login = taken.login
    try:
        async with ctx.landing():
            grant = read_answer(provider, outcome, ctx.when(sent), login.scope)
            grant, who = await identify(
                ctx, provider, grant, login.destination.client_id, login.scope, login.nonce or None
            )
            if taken.brought is not None:
                login = replace(login, client=(await clients.keep(ctx, provider, *taken.brought)).uuid)
            account = await activate(ctx, login, provider, grant, who)
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
