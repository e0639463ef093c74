"""A practice provider that behaves as a preset says: the preset's rules in the practice provider's own words.

Imported by the tests beside it. Only addresses are changed, and the few things that come with an address: everything
else is the preset's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.core.login import PUBLIC
from broker.practice.settings import PracticeSettings
from broker.practice.shape import Activation, Person, Revocation, Shape
from broker.providers import catalog
from broker.providers.model import Preset, Provider, ProviderConfig

# Where the practice provider listens, by the name that a preset file has for it.
PLACES = {
    "authorization": "/authorize",
    "token": "/token",
    "refresh": "/refresh",
    "revocation": "/revoke",
    "userinfo": "/userinfo",
    "jwks": "/jwks",
    "device_authorization": "/device_authorization",
}
METHODS = ("client_secret_basic", "client_secret_post")
NOWHERE = "http://127.0.0.1:9"
# Presets of providers that do not exist: between them they have every dimension that is odd.
ODD = Path(__file__).parent / "odd"


@dataclass(frozen=True, slots=True)
class Contract:
    """One preset, and what it promises.

    Attributes:
        preset: the file.
        provider: resolved as it stands, at no address in particular.
        values: a value for every parameter that has to be named.
    """

    preset: Preset
    provider: Provider
    values: Mapping[str, str]

    @property
    def refreshes(self) -> bool:
        """Whether it gives refresh tokens: not where it announces other grants only."""
        return not self.provider.grants or "refresh_token" in self.provider.grants


def methods_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return how a client proves itself by a preset: every way without a secret, and one with, where it takes them."""
    known = data.get("auth_methods") or METHODS
    with_secret = [method for method in known if method in METHODS]
    return (*(method for method in PUBLIC if method in known), *with_secret[:1])


def contract_of(preset: Preset, user_dir: Path) -> Contract:
    """Read what a preset promises."""
    values = {
        name: (parameter.choices or ("somewhere",))[0]
        for name, parameter in preset.parameters.items()
        if not parameter.default
    }
    base_url = NOWHERE if preset.needs_base_url else ""
    overrides: dict[str, Any] = {"values": values}
    if preset.data.get("discovery"):
        overrides |= {"issuer": preset.data.get("issuer") or NOWHERE}
    config = ProviderConfig(preset.name, preset.name, base_url, overrides, {}, private=False, created_at=0.0)
    return Contract(preset, catalog.resolve(config, user_dir), values)


def moved(contract: Contract, url: str) -> dict[str, Any]:
    """Return the overrides that move a preset to the practice provider at ``url``."""
    provider, data = contract.provider, contract.preset.data
    openid = "openid" in provider.scopes
    announced = {"authorization", "token", *(("jwks", "userinfo", "revocation") if data.get("discovery") else ())}
    known = {name for name in PLACES if getattr(provider.endpoints, name)} | announced
    endpoints = {name: url + path if name in known else "" for name, path in PLACES.items()}
    endpoints |= {"registration": "", "pushed_authorization": ""}  # a client made by hand pushes nothing
    if "{client_id}" in provider.endpoints.revocation:
        endpoints["revocation"] = f"{url}/revoke/{{client_id}}"
    if at_token(provider):
        endpoints["revocation"] = endpoints["token"]
    if endpoints["userinfo"] and not openid:
        endpoints["userinfo"] = f"{url}/identity"
    changes: dict[str, Any] = {"endpoints": endpoints, "require_par": False, "api_base": ""}
    if provider.identity.url:
        changes["identity"] = {"url": f"{url}/identity"}
    if provider.issuer:
        changes |= {"issuer": url, "id_token_algs": ["ES256"]}
    return changes


def at_token(provider: Provider) -> bool:
    """Whether tokens are revoked at the token endpoint itself."""
    return bool(provider.endpoints.token) and provider.endpoints.revocation == provider.endpoints.token


def settings_of(contract: Contract) -> dict[str, Any]:
    """Return the practice provider's settings."""
    rules = contract.provider.refresh
    rotation = {"never": "keep", "sometimes": "rotate", "always": "single-use"}[rules.rotation]
    return {
        "rotation": rotation if contract.refreshes else "none",
        "grace": rules.reuse_grace_s,
        "kills_old_access_token": rules.kills_old_access_token,
        "ttl": contract.provider.reply.assumed_lifetime_s or PracticeSettings().ttl,
        "shape": shape_of(contract.provider),
    }


def shape_of(provider: Provider) -> Shape:
    """Return how a practice provider has to speak to be this one."""
    token, reply = provider.token, provider.reply
    own_names = {name: own for own, name in reversed(list(reply.error_codes.items()))}
    dead = provider.refresh.dead_grant_errors[0]
    if "invalid_grant" not in provider.refresh.dead_grant_errors:
        own_names["invalid_grant"] = own_names.get(dead, dead)
    statuses = {name: int(status) for status, name in reversed(list(reply.status_errors.items()))}
    return Shape(
        scopes=provider.scopes,
        scope_separator=provider.scope_separator,
        scope_parameter=provider.scope_parameter,
        authorize_params=provider.authorize_params,
        pkce=provider.pkce,
        callback_params=provider.callback_checks,
        callback_scope=provider.callback_scope,
        sends_iss=provider.iss_parameter,
        body=token.body,
        grant_field=token.grant_field,
        code_grant=token.code_grant,
        refresh_grant=token.refresh_grant,
        client_id_field=token.client_id_field,
        params=token.params,
        code_params=token.code_params,
        refresh_params=token.refresh_params,
        headers=token.headers,
        redirect_uri_on_refresh=token.redirect_uri_on_refresh,
        refresh_endpoint=bool(provider.endpoints.refresh),
        codec=reply.codec,
        path=reply.path,
        refresh_path=reply.path if reply.refresh_path is None else reply.refresh_path,
        expires_in="" if reply.assumed_lifetime_s is not None else reply.expires_in,
        expires_factor=1000 if reply.expires_unit == "ms" else 1,
        endless=reply.zero_is_endless,
        reply_scope_separator=reply.scope_separator or provider.scope_separator or " ",
        token_type=(*reply.bearer_names, "Bearer")[0],
        error=reply.error,
        description=reply.description,
        success_field=reply.success_field,
        success_value=reply.success_value,
        errors=own_names,
        # An error that has a code is told by it; a status alone is for the others.
        statuses={name: status for name, status in statuses.items() if name not in own_names},
        reply_subject=provider.identity.reply_subject,
        reply_label=(*provider.identity.reply_label, "")[0],
        revocation=_revocation(provider),
        person=_person(provider),
        activation=Activation(
            client_secret=provider.device.client_secret,
            scope_parameter=provider.device.scope_parameter or provider.scope_parameter,
            scope_at_poll=provider.device.scope_at_poll,
        ),
    )


def _revocation(provider: Provider) -> Revocation:
    rules = provider.revocation
    kinds = {"refresh": ("refresh_token",), "access": ("access_token",), "both": ("refresh_token", "access_token")}
    return Revocation(
        method=rules.method,
        body=rules.body,
        auth=rules.auth,
        token_field=rules.token_field,
        hint=rules.hint and rules.body != "none",
        takes=kinds[rules.which],
        params=rules.params if rules.body != "none" else {},
        ends_login=rules.ends_login,
        at_token=at_token(provider),
    )


def _person(provider: Provider) -> Person:
    rules = provider.identity
    api = bool(rules.url)
    return Person(
        method=rules.method if api else "GET",
        body=json.loads(rules.body) if api and rules.body else None,
        scheme=provider.api_scheme if api else "Bearer",
        headers={name: value.replace("{client_id}", CLIENT_ID) for name, value in provider.api_headers.items()}
        if api
        else {},
        subject=rules.subject,
        label=(*rules.label, "")[0],
    )


CLIENT_ID = "made-by-hand"
