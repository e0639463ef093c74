"""What a provider's data means, in words for people, and how one can log in there.

Called by ``web.render`` and ``usecases.clients``.
"""

from typing import Literal

from broker.core.login import PUBLIC
from broker.providers.model import Provider

ClientSecret = Literal["needed", "optional", "none"]
_HOUR, _MINUTE = 3600, 60


def client_secret(provider: Provider) -> ClientSecret:
    """Return whether a client made by hand there has a secret that Keyfob needs."""
    methods = set(provider.auth_methods)
    if methods and methods <= set(PUBLIC):
        return "none"
    return "optional" if not methods or methods & set(PUBLIC) else "needed"


def rules(provider: Provider) -> list[tuple[str, str]]:
    """Return what is particular about a provider: the key that says so, and a sentence that says it."""
    if not provider.endpoints.token:
        return [
            ("discovery", "Where it listens, and how, is asked of its issuer when it is set up."),
            *_refresh(provider),
        ]
    return [*_client(provider), *_redirect(provider), *_refresh(provider), *_logout(provider), *_api(provider)]


def _client(provider: Provider) -> list[tuple[str, str]]:
    told = []
    if provider.registration is not None:
        told.append(("registration", "Keyfob registers itself there at the first login."))
    elif provider.client_id:
        told.append(("client_id", "Keyfob is known there already: nothing has to be registered."))
    elif provider.auth_methods:
        secret = {
            "none": "A client has no secret.",
            "optional": "A client needs no secret; one with a secret works as well.",
            "needed": "A client needs its secret.",
        }
        told.append(("auth_methods", secret[client_secret(provider)]))
    proof = {
        "S256": "Logins are bound to Keyfob by PKCE (S256).",
        "S256-public": "Logins of a client without a secret are bound to Keyfob by PKCE (S256).",
        "plain": "Logins are bound to Keyfob by PKCE, but only in its plain form.",
        "none": "It knows no PKCE: only state, browser and client bind a login to Keyfob.",
    }
    return [*told, ("pkce", proof[provider.pkce])]


def _redirect(provider: Provider) -> list[tuple[str, str]]:
    rules = provider.redirect
    told = []
    if rules.host == "localhost":
        told.append(("redirect.host", "The redirect URI names 'localhost', not 127.0.0.1."))
    if rules.any_port or rules.register_without_port:
        told.append(("redirect.any_port", "The port of a redirect URI on this machine does not matter there."))
    if rules.out_of_band:
        told.append(("redirect.out_of_band", "With --flow paste it shows the code itself."))
    if provider.callback_scope:
        told.append(("callback_scope", "What you allowed of what was asked is told when the browser comes back."))
    return told


def _refresh(provider: Provider) -> list[tuple[str, str]]:
    rules = provider.refresh
    if provider.grants and "refresh_token" not in provider.grants:
        return [("grants", "It gives no refresh tokens: when a token ends, or is revoked, one logs in again.")]
    rotation = {
        "never": "A refresh leaves the refresh token as it is",
        "sometimes": "A refresh may bring a new refresh token",
        "always": "A refresh brings a new refresh token; each is taken to be good for one use",
    }
    grace = f", but a spent one is accepted for {_span(rules.reuse_grace_s)} more" if rules.reuse_grace_s else ""
    told = [("refresh.rotation", f"{rotation[rules.rotation]}{grace}.")]
    if rules.kills_old_access_token:
        told.append(
            ("refresh.kills_old_access_token", "A refresh ends the old access token at once, so it comes late.")
        )
    if rules.idle_days:
        told.append(("refresh.idle_days", f"A refresh token that is not used for {rules.idle_days:g} days dies."))
    if rules.absolute_days:
        told.append(("refresh.absolute_days", f"A login ends after {rules.absolute_days:g} days, whatever one does."))
    if rules.refreshes_per_10_min:
        told.append(("refresh.refreshes_per_10_min", f"{rules.refreshes_per_10_min} refreshes in 10 minutes at most."))
    if rules.refresh_tokens_per_client:
        many = rules.refresh_tokens_per_client
        told.append(
            ("refresh.refresh_tokens_per_client", f"{many} logins of one person at most; one more ends the first.")
        )
    if rules.narrows and not rules.kills_old_access_token:
        told.append(("refresh.narrows", "A refresh may bring a token with less scope, beside the account's own."))
    if rules.other_resources and not rules.kills_old_access_token:
        told.append(("refresh.other_resources", "A refresh may bring a token for another resource than the login's."))
    if rules.dead_grant_errors != ("invalid_grant",):
        told.append(("refresh.dead_grant_errors", f"A login is over at: {', '.join(rules.dead_grant_errors)}."))
    return told


def _logout(provider: Provider) -> list[tuple[str, str]]:
    if not provider.endpoints.revocation:
        return [("revocation", "It has no address for ending a login: keyfob logout forgets it here only.")]
    if provider.revocation.ends_login:
        return [("revocation.ends_login", "keyfob logout ends the login there, with every token of it.")]
    return [("revocation", "keyfob logout ends the tokens there.")]


def _api(provider: Provider) -> list[tuple[str, str]]:
    identity = provider.identity
    told = []
    if identity.reply_subject:
        told.append(("identity.reply_subject", "It says who is logged in along with the token."))
    elif identity.url:
        told.append(("identity.url", f"Who is logged in is asked at {identity.url}."))
    elif not (provider.endpoints.userinfo or "openid" in provider.scopes):
        told.append(("identity", "It does not say who is logged in."))
    if provider.api_scheme != "Bearer":
        told.append(("api_scheme", f"Its API wants the header 'Authorization: {provider.api_scheme} TOKEN'."))
    if provider.api_headers:
        told.append(("api_headers", f"Its API wants these headers, too: {', '.join(sorted(provider.api_headers))}."))
    return told


def _span(seconds: float) -> str:
    if seconds >= 2 * _HOUR:
        return f"{seconds / _HOUR:g} hours"
    return f"{seconds / _MINUTE:g} minutes" if seconds >= 2 * _MINUTE else f"{seconds:g} seconds"
