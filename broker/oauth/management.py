"""Changing and deleting a registration of Keyfob's own (RFC 7592).

Called by ``usecases.registrations``.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from broker.core.login import Management, Registered
from broker.core.secret import Secret
from broker.errors import LoginFailed, ProviderUnavailable
from broker.oauth import registered, strict
from broker.oauth.http import AnswerLost, Http, NotSent, Reply
from broker.providers.model import Provider
from broker.providers.rules import Registration

# HTTP statuses (RFC 9110 15).
_OK = 200
# RFC 7592 2.3: done; and what a server says of one that is gone already.
_DELETED = (200, 202, 204)
_GONE = (404, 410)
_UNAUTHORIZED = 401


async def update(
    http: Http,
    provider: Provider,
    client: Registered,
    *,
    redirect_uris: Sequence[str],
    scope: Sequence[str],
) -> registered.Made:
    """Change a registration: all of its metadata is sent, with the secret that it has now (RFC 7592 2.2).

    Whatever comes of it is to be kept. Where the answer is not what was asked for, that is the client as it was, with
    the secret and the registration token of the answer: those of before are good no more.

    Args:
        http: the way out.
        provider: where it is.
        client: as it is registered now, with what manages it.
        redirect_uris: where answers may go from now on.
        scope: what it may ask for from now on; empty leaves that as it is.

    Raises:
        LoginFailed: the provider refuses, or answered with another client.
        ProviderUnavailable: no proper answer came.
    """
    management = _needed(client)
    asked: dict[str, Any] = {
        # What was answered as null is left out, which means the same (RFC 7592 2.2).
        **{name: value for name, value in management.metadata.items() if value is not None},
        "client_id": client.client_id,
        "redirect_uris": list(redirect_uris),
        **({"scope": " ".join(scope)} if scope else {}),
        **({"client_secret": client.client_secret} if client.client_secret is not None else {}),
    }
    reply = await _send(http, provider, "PUT", management, asked)
    if reply.status != _OK:
        raise registered.refusal(provider, reply, "change the registration of Keyfob")
    rules = provider.registration or Registration(kind="rfc7591")
    made = registered.read(provider, rules, reply, asked=asked, redirect_uris=redirect_uris, before=client)
    if made.client.client_id != client.client_id:
        raise not_used(provider, made)
    return replace(made, client=_renewed(client, made.client)) if made.mismatch else made


def not_used(provider: Provider, made: registered.Made) -> LoginFailed:
    """Return what to say of a registration that is not what was asked for."""
    return LoginFailed(f"{provider.title} {made.mismatch}, so that is not used.", "Log in again to register anew.")


def _renewed(before: Registered, after: Registered) -> Registered:
    """Return a client as it was, with the secret and the registration token that it has now."""
    managed = after.management or before.management
    if managed is not None and before.management is not None:
        managed = replace(managed, metadata=before.management.metadata)
    if after.client_secret is None:
        return replace(before, management=managed)
    return replace(
        before, client_secret=after.client_secret, secret_expires_at=after.secret_expires_at, management=managed
    )


async def delete(http: Http, provider: Provider, management: Management) -> str:
    """Delete a registration (RFC 7592 2.3); return empty text when it is gone there, else why not."""
    try:
        reply = await _send(http, provider, "DELETE", management, None)
    except ProviderUnavailable as exc:
        return exc.detail.rstrip(".")
    if reply.status in (*_DELETED, *_GONE):
        return ""
    if reply.status == _UNAUTHORIZED:
        return "it does not take the registration access token (any more)"
    fields = strict.peek(reply.body) or {}
    said = strict.clean(fields.get("error_description")) or strict.clean(fields.get("error"))
    return f"it answered HTTP {reply.status}" + (f" ({said.rstrip('.')})" if said else "")


def _needed(client: Registered) -> Management:
    if client.management is None:
        raise ValueError(client.client_id)
    return client.management


async def _send(
    http: Http, provider: Provider, method: str, management: Management, body: dict[str, Any] | None
) -> Reply:
    bearer = Secret(f"Bearer {management.token.reveal()}")
    try:
        return await http.send(
            method, management.uri, private=provider.private, json=body, headers={"Authorization": bearer}
        )
    except (NotSent, AnswerLost) as exc:
        raise ProviderUnavailable(
            f"{provider.title} could not be asked about the registration: {exc.reason}.", "Try again later."
        ) from exc
