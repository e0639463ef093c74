"""The token endpoint: one call per function, and every answer told apart.

Called by ``usecases.login``, ``usecases.refresh``, ``usecases.accounts`` and ``device``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import quote, urlsplit

from broker.core.login import Client
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import Misconfigured
from broker.oauth import assertion
from broker.oauth.http import AnswerLost, Http, NotSent, Reply, Throttling
from broker.oauth.proof import Basic, proven
from broker.oauth.reply import (
    OK,
    Answered,
    Faulty,
    Lost,
    NoToken,
    Outcome,
    Refused,
    Throttled,
    Unreachable,
    describe,
    hides_refresh_token,
    member,
    read_reply,
    refresh_token_in,
    refusal_in,
)
from broker.providers.model import TOKEN_EXCHANGE, Provider

__all__ = [
    "ACCESS_TOKEN_TYPE",
    "Answered",
    "Faulty",
    "Lost",
    "NoToken",
    "Outcome",
    "Refused",
    "Throttled",
    "Unreachable",
    "client_credentials",
    "exchange_code",
    "exchange_token",
    "hides_refresh_token",
    "member",
    "push",
    "read_reply",
    "refresh",
    "refresh_token_in",
    "revoke",
]

# RFC 8693 3.
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- the name of a type


async def exchange_code(  # noqa: PLR0913 -- one argument per parameter of RFC 6749 4.1.3
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    code: Secret,
    verifier: Secret,
    redirect_uri: str,
    resource: str | None,
) -> Outcome:
    """Exchange an authorization code (RFC 6749 4.1.3, RFC 7636 4.5), in the words of the provider.

    Args:
        http: the way out.
        provider: whose quirks count.
        client: who asks.
        secret: its secret, or None for a public client.
        token_endpoint: the one that was fixed when the login began.
        code: from the callback.
        verifier: of this login's PKCE challenge; empty where the provider knows none.
        redirect_uri: string-equal to the one at authorize time.
        resource: RFC 8707, or None.
    """
    form: dict[str, str | Secret] = {
        **provider.token.code_params,
        "grant_type": provider.token.code_grant,
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return await _ask(http, provider, client, secret, token_endpoint, form, resource)


async def refresh(  # noqa: PLR0913 -- one argument per parameter of RFC 6749 6
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    refresh_token: Secret,
    redirect_uri: str,
    resource: str | None = None,
    scope: tuple[str, ...] = (),
) -> Outcome:
    """Spend a refresh token (RFC 6749 6), once.

    Args:
        http: the way out.
        provider: whose quirks count.
        client: who asks.
        secret: its secret, or None for a public client.
        token_endpoint: the one that was fixed at the login; a refresh endpoint of its own has to stand beside it.
        refresh_token: what is spent.
        redirect_uri: of the login, for providers that want it repeated.
        resource: RFC 8707, or None.
        scope: of a narrower token, and only where the provider takes that for this one time: elsewhere it could narrow
            the grant for ever. Empty names none.

    Raises:
        Misconfigured: the refresh endpoint is at another place, or the client cannot prove itself; nothing was sent.
    """
    form: dict[str, str | Secret] = {
        **provider.token.refresh_params,
        "grant_type": provider.token.refresh_grant,
        "refresh_token": refresh_token,
    }
    if provider.token.redirect_uri_on_refresh:
        form["redirect_uri"] = redirect_uri
    if scope:
        form["scope"] = provider.scope_separator.join(scope)
    provider = provider.at_refresh()
    return await _ask(http, provider, client, secret, _refresh_endpoint(provider, token_endpoint), form, resource)


async def exchange_token(
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    access_token: Secret,
    wish: Wish,
) -> Outcome:
    """Ask for another access token in exchange for one (RFC 8693 2.1); that one lives on."""
    form: dict[str, str | Secret] = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": access_token,
        "subject_token_type": ACCESS_TOKEN_TYPE,
        "requested_token_type": ACCESS_TOKEN_TYPE,
        "audience": wish.audience or "",
        "scope": provider.scope_separator.join(wish.scope),
    }
    return await _ask(http, provider, client, secret, token_endpoint, form, wish.resource)


async def push(
    http: Http, provider: Provider, client: Client, secret: Secret | None, *, request: Mapping[str, str | Secret]
) -> Reply | NoToken:
    """Push an authorization request (RFC 9126 2.1), with the client's authentication as at the token endpoint.

    It is a form everywhere, whatever else the provider's token endpoint wants: the request is that of the browser.

    Returns:
        The reply where it tells success; what is in it is not judged here.
    """
    form, basic = proven(provider, client, secret, request, http.now())
    url = provider.endpoints.pushed_authorization
    reply = await _deliver(http, provider, url, form, body="form", headers={}, basic=basic)
    if not isinstance(reply, Reply) or reply.status in OK:
        return reply
    match read_reply(reply, provider, _secrets(secret, request)):
        case Answered():
            return Faulty(describe(reply))
        case outcome:
            return outcome


async def client_credentials(
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    scope: tuple[str, ...],
    audience: str,
    resource: str | None,
) -> Outcome:
    """Ask for a token of the client's own (RFC 6749 4.4); ``audience`` is the parameter of that name, or empty."""
    form: dict[str, str | Secret] = {"grant_type": "client_credentials"}
    if scope:
        form[provider.scope_parameter] = provider.scope_separator.join(scope)
    if audience:
        form["audience"] = audience
    return await _ask(http, provider, client, secret, token_endpoint, form, resource)


async def jwt_bearer(  # noqa: PLR0913 -- one argument per parameter of RFC 7523 2.1 and claim of 3
    http: Http,
    provider: Provider,
    client: Client,
    key: Secret,
    *,
    token_endpoint: str,
    subject: str,
    audience: str,
    scope: tuple[str, ...],
    resource: str | None,
) -> Outcome:
    """Ask for a token by an assertion that the client signs (RFC 7523 2.1).

    It proves the client as well, so nothing else does, where the server does not insist: client authentication beside
    it is optional there (RFC 7521 4.1). A server that announces the client's method and not ``none`` takes no request
    of a client that does not authenticate (Keycloak), and gets another assertion for that, signed with the same key.
    """
    asked = provider.scope_separator.join(scope)
    signed = assertion.grant(provider, client, key, subject=subject, audience=audience, scope=asked, now=http.now())
    form: dict[str, str | Secret] = {"grant_type": assertion.GRANT, "assertion": signed}
    if scope:
        form[provider.scope_parameter] = asked
    insists = client.auth_method in provider.auth_methods and "none" not in provider.auth_methods
    return await _ask(http, provider, client if insists else None, key, token_endpoint, form, resource)


async def ask(
    http: Http,
    provider: Provider,
    client: Client | None,
    secret: Secret | None,
    endpoint: str,
    form: Mapping[str, str | Secret],
) -> tuple[Reply | None, Outcome]:
    """Send a token request as ``client``, or as whom the form itself proves, in the provider's shape.

    Called also by ``device``, whose grant has answers of its own.

    Returns:
        the reply, if one came, and what it is.
    """
    form, basic = (form, None) if client is None else proven(provider, client, secret, form, http.now())
    rules = provider.token
    reply = await _deliver(http, provider, endpoint, form, body=rules.body, headers=rules.headers, basic=basic)
    if not isinstance(reply, Reply):
        return None, reply
    outcome = read_reply(reply, provider, _secrets(secret, form))
    # What a wrong signature is called where the form was signed: as a grant, or to prove the client.
    names = ("invalid_grant", "invalid_client") if "assertion" in form else ("invalid_client",)
    signed = {"assertion", "client_assertion"} & form.keys()
    if signed and isinstance(outcome, Refused) and outcome.error in names:
        return reply, _by_another_clock(reply, outcome)
    return reply, outcome


async def revoke(
    http: Http, provider: Provider, client: Client, secret: Secret | None, *, token: Secret, hint: str
) -> str | None:
    """Revoke a token, as RFC 7009 2 or as the provider wants it.

    Done is done, even where the provider did not know the token (RFC 7009 2.2).

    Returns:
        None when it is done, else why not, in words that are safe to show.
    """
    rules = provider.revocation
    if not provider.endpoints.revocation:
        return "the provider has no way to revoke a token"
    sends_secret = secret is not None and client.auth_method not in assertion.METHODS
    if rules.auth == "basic" and not sends_secret:  # what signs is never sent itself
        return "only a client with a secret may revoke there"
    form: Mapping[str, str | Secret] = {}
    if rules.body != "none":  # a token never stands in an address (RFC 6750 2.3)
        named: dict[str, str | Secret] = {**rules.params}
        named |= {rules.token_field: token} if rules.token_field else {}
        form = named | ({"token_type_hint": hint} if rules.hint else {})
    sent = _secrets(secret, {**form, "": token})
    headers: dict[str, str | Secret] = {}
    basic: Basic = None
    match rules.auth:
        case "bearer":
            headers["Authorization"] = Secret(f"Bearer {token.reveal()}")
        case "basic":
            form, basic = proven(provider, replace(client, auth_method="client_secret_basic"), secret, form, http.now())
        case "client":
            form, basic = proven(provider, client, secret, form, http.now())
        case "none":
            pass
    url = provider.endpoints.revocation.replace("{client_id}", quote(client.client_id, safe=""))
    reply = await _deliver(
        http, provider, url, form, method=rules.method, body=rules.body, headers=headers, basic=basic
    )
    if not isinstance(reply, Reply):
        return reply.reason
    told = refusal_in(reply, provider.reply, sent) if reply.status in OK else read_reply(reply, provider, sent)
    match told:
        case None:
            return None
        case Refused(error=error, description=description):
            return f"{error}: {description}" if description else error
        case Throttled(reason=reason) | Faulty(reason=reason) | Lost(reason=reason):
            return reason
        case _:
            return f"it answered with HTTP {reply.status}"


def _refresh_endpoint(provider: Provider, token_endpoint: str) -> str:
    """Return where to refresh: the secrets of a login go to the host that they were sealed for, and nowhere else."""
    own = provider.endpoints.refresh
    if own and urlsplit(own)[:2] != urlsplit(token_endpoint)[:2]:
        raise Misconfigured(
            f"{provider.title} is said to refresh at another host than the one that this login was made with.",
            "Log in again.",
        )
    return own or token_endpoint


async def _ask(
    http: Http,
    provider: Provider,
    client: Client | None,
    secret: Secret | None,
    endpoint: str,
    form: Mapping[str, str | Secret],
    resource: str | None,
) -> Outcome:
    """Ask the token endpoint in the provider's words, as ``client``, or as whom the form itself proves."""
    rules = provider.token
    if resource is not None:
        form = {**form, "resource": resource}
    kind = {rules.grant_field: form["grant_type"]}
    named = kind | {**rules.params, **{name: value for name, value in form.items() if name != "grant_type"}} | kind
    form = {name: value for name, value in named.items() if name and value}
    _, outcome = await ask(http, provider, client, secret, endpoint, form)
    return outcome


def _by_another_clock(reply: Reply, refused: Refused) -> Refused | Faulty:
    """Tell a signature that was refused for its dates from one that is wrong: a clock that is set mends the first.

    A machine whose clock is wrong at its start must not lose a client that is in order.
    """
    if abs(reply.ahead) < assertion.LIFETIME / 2:
        return refused
    which = "ahead of" if reply.ahead > 0 else "behind"
    return Faulty(
        f"{refused.error}, to what Keyfob signed while this machine's clock is {abs(reply.ahead):.0f} s {which} its own"
    )


async def _deliver(
    http: Http,
    provider: Provider,
    url: str,
    form: Mapping[str, str | Secret],
    *,
    method: str = "POST",
    body: Literal["form", "json", "none"],
    headers: Mapping[str, str | Secret],
    basic: Basic,
) -> Reply | Throttled | Unreachable | Lost:
    try:
        return await http.send(
            method,
            url,
            private=provider.private,
            form=form if body == "form" else None,
            json=form if body == "json" else None,
            headers=headers,
            basic=basic,
        )
    except Throttling as exc:
        return Throttled(exc.reason, exc.retry_after)
    except NotSent as exc:
        return Unreachable(exc.reason)
    except AnswerLost as exc:
        return Lost(exc.reason)


def _secrets(secret: Secret | None, form: Mapping[str, str | Secret]) -> tuple[Secret, ...]:
    return tuple(value for value in (secret, *form.values()) if isinstance(value, Secret))
