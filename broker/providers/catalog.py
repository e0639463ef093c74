"""The presets, read strictly, and what becomes of one together with a person's choices.

Called by ``usecases.providers`` and by the verbs and routes that list presets.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from broker.errors import InvalidRequest, UnknownProvider
from broker.providers import presetfiles
from broker.providers.model import Preset, Provider, ProviderConfig
from broker.providers.rules import (
    DeviceRules,
    Endpoints,
    IdentityRules,
    Redirect,
    RefreshPolicy,
    Registration,
    ReplyRules,
    RevocationRules,
    ThrottleRules,
    TokenRequest,
)
from broker.providers.shape import Misshapen, check_shape
from broker.providers.urls import check_endpoint, check_issuer, check_url, host_of

__all__ = [
    "background",
    "check_issuer",
    "check_url",
    "described",
    "needs_discovery",
    "preset",
    "presets",
    "provider_name",
    "resolve",
]

SHIPPED: Final = Path(__file__).parent / "presets"
# Parameters of the authorization request that belong to the flow: a preset must not overrule them.
_RESERVED = frozenset(
    {"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method"}
)
# A name of dots and no scheme is a host as people say it, perhaps with a port and a path.
_HOST_NAME = re.compile(r"[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?")
# A parameter's value stands in host names and paths.
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")


def presets(user_dir: Path | None = None) -> dict[str, Preset]:
    """Return every preset by name: those that come with Keyfob, and over them those of ``user_dir``.

    Files are read once per process.

    Raises:
        CannotStart: a file cannot be read, or holds a key or value that means nothing; file and key are named.
    """
    return {**presetfiles.read(SHIPPED), **(presetfiles.read(user_dir, own=True) if user_dir is not None else {})}


def preset(name: str, user_dir: Path | None = None, *, beside: Iterable[str] = ()) -> Preset:
    """Return one preset.

    Args:
        name: its name.
        user_dir: where a person's own ones are.
        beside: what else could have been meant: the names of configured providers.

    Raises:
        UnknownProvider: none has that name; the hint offers near ones.
    """
    known = presets(user_dir)
    if name in known:
        return known[name]
    import difflib  # noqa: PLC0415 -- only for who misspells

    near = difflib.get_close_matches(name, sorted({*known, *beside}), n=3, cutoff=0.6)
    hint = "See: keyfob provider list, keyfob provider presets"
    if near:
        hint = f"Did you mean {' or '.join(near)}? {hint}"
    if _HOST_NAME.fullmatch(name):
        hint = f"Is it an address? Then: --provider https://{name}"
    raise UnknownProvider(f"There is no provider or preset '{name}'.", hint)


def needs_discovery(config: ProviderConfig, user_dir: Path | None = None) -> str:
    """Return the issuer that has to be asked before ``config`` can be used, or empty text.

    Raises:
        UnknownProvider: its preset is gone.
        InvalidRequest: a base URL or a parameter is missing, or cannot stand in an address.
    """
    _, data = _placed(config, preset(config.preset, user_dir))
    endpoints = data.get("endpoints", {})
    known = bool(endpoints.get("authorization")) and bool(endpoints.get("token"))
    return str(data.get("issuer", "")) if data.get("discovery") and not known else ""


def resolve(config: ProviderConfig, user_dir: Path | None = None) -> Provider:
    """Make a provider: the preset's values, over them what discovery pinned, over them what the person said.

    Raises:
        UnknownProvider: its preset is gone.
        InvalidRequest: a base URL is missing, nothing says where the provider is, a value has the wrong shape, or a
            URL is not allowed.
    """
    source = preset(config.preset, user_dir)
    base_url, data = _placed(config, source)
    issuer = check_issuer(data["issuer"]) if data.get("issuer") else ""
    endpoints = {
        name: check_endpoint(url, what=f"{name} endpoint", private=config.private)
        for name, url in data.get("endpoints", {}).items()
        if url
    }
    if data.get("discovery") and not issuer and not endpoints.get("token"):
        raise InvalidRequest(
            "Nothing says where this provider is.",
            "Give its issuer URL, or its authorization and token endpoints.",
        )
    if reserved := _RESERVED & data.get("authorize_params", {}).keys():
        raise InvalidRequest(f"authorize_params must not set {min(reserved)}.", "Leave it out: Keyfob sets it.")
    title = _title(config, source, base_url or issuer or endpoints.get("token", ""))
    return _built(config, data, title=title, base_url=base_url, issuer=issuer, endpoints=endpoints)


def described(source: Preset) -> Provider:
    """Return what a preset says, as a provider to look at: what a person has to name still stands in braces."""
    values = {name: parameter.default for name, parameter in source.parameters.items() if parameter.default}
    data = _filled(source.data, {**values, **({"base_url": source.base_url} if source.base_url else {})})
    config = ProviderConfig(source.name, source.name, source.base_url, {}, {}, private=False, created_at=0.0)
    return _built(
        config,
        data,
        title=source.title,
        base_url=source.base_url,
        issuer=data.get("issuer", ""),
        endpoints=data.get("endpoints", {}),
    )


def background(config: ProviderConfig, user_dir: Path | None = None) -> Preset:
    """Return the preset that a provider follows, without the doubts about what discovery or the person says instead.

    Raises:
        UnknownProvider: its preset is gone.
    """
    source = preset(config.preset, user_dir)
    said = set()
    for layer in (config.discovered, config.overrides):
        for key, value in layer.items():
            said |= {f"{key}.{inner}" for inner in value} if isinstance(value, Mapping) else {key}
    return replace(source, unverified=tuple(dotted for dotted in source.unverified if dotted not in said))


def _built(
    config: ProviderConfig,
    data: Mapping[str, Any],
    *,
    title: str,
    base_url: str,
    issuer: str,
    endpoints: Mapping[str, str],
) -> Provider:
    return Provider(
        name=config.name,
        title=title,
        preset=config.preset,
        base_url=base_url,
        issuer=issuer,
        endpoints=Endpoints(**endpoints),
        scopes=tuple(data.get("scopes", ())),
        scope_separator=data.get("scope_separator", " "),
        scope_parameter=data.get("scope_parameter", "scope"),
        authorize_params=dict(data.get("authorize_params", {})),
        pkce=data.get("pkce", "S256"),
        pkce_methods=tuple(data.get("pkce_methods", ())),
        grants=tuple(data.get("grants", ())),
        auth_methods=tuple(data.get("auth_methods", ())),
        auth_algs=tuple(data.get("auth_algs", ())),
        client_id=data.get("client_id", ""),
        register_url=data.get("register_url", ""),
        callback_checks=data.get("callback_checks", {}),
        callback_scope=data.get("callback_scope", ""),
        require_par=data.get("require_par", False),
        client_id_metadata=data.get("client_id_metadata", False),
        iss_parameter=data.get("iss_parameter", False),
        id_token_algs=tuple(data.get("id_token_algs", ())),
        redirect=Redirect(**data.get("redirect", {})),
        token=TokenRequest(**data.get("token", {})),
        reply=ReplyRules(**presetfiles.tuples(data.get("reply", {}))),
        revocation=RevocationRules(**presetfiles.tuples(data.get("revocation", {}))),
        device=DeviceRules(**data.get("device", {})),
        registration=_registration(data),
        refresh=RefreshPolicy(**presetfiles.tuples(data.get("refresh", {}))),
        identity=IdentityRules(**presetfiles.tuples(data.get("identity", {}))),
        throttle=ThrottleRules(**presetfiles.tuples(data.get("throttle", {}))),
        api_base=data.get("api_base", ""),
        api_scheme=data.get("api_scheme", "Bearer"),
        api_headers=data.get("api_headers", {}),
        static_token_url=data.get("static_token_url", ""),
        git_username=data.get("git_username", ""),
        private=config.private,
    )


def provider_name(preset: str, base_url: str, issuer: str, values: Mapping[str, str] | None = None) -> str:
    """Return a sane name for a provider: the preset's, and where that can be at many places, its place.

    ``funkwhale-open-audio`` for an instance, ``microsoft-contoso-com`` for a tenant, ``example-com-8443`` for an
    issuer of one's own.
    """
    place = base_url or issuer or " ".join((values or {}).values())
    if not place:
        return preset
    parts = urlsplit(place)
    slug = re.sub(r"[^a-z0-9]+", "-", f"{parts.netloc}{parts.path}".lower()).strip("-")
    name = slug if issuer and not base_url else f"{preset}-{slug}"
    if presetfiles.NAME.fullmatch(name):
        return name
    # Cut, but still one's own: two long addresses that begin alike are two providers.
    return f"{name[:52].strip('-')}-{hashlib.sha256(place.encode()).hexdigest()[:10]}"


def _registration(data: Mapping[str, Any]) -> Registration | None:
    """Return how to register: by the preset's rules, else by RFC 7591 where there is an endpoint for it."""
    if data.get("registration"):
        return Registration(**data["registration"])
    return Registration(kind="rfc7591") if data.get("endpoints", {}).get("registration") else None


def _title(config: ProviderConfig, source: Preset, place: str) -> str:
    if config.overrides.get("title"):
        return str(config.overrides["title"])
    if source.data.get("discovery") and not source.data.get("issuer") and not config.base_url:
        return host_of(place)  # a preset for anybody: its own name would say nothing
    return f"{source.title} at {host_of(place)}" if config.base_url else source.title


def _placed(config: ProviderConfig, source: Preset) -> tuple[str, dict[str, Any]]:
    """Return the base URL, or empty text, and the layers over each other, with it and the parameters filled in."""
    if source.needs_base_url and not config.base_url:
        raise InvalidRequest(
            f"{source.title} runs at many addresses.", "Name yours with --base-url https://its.address."
        )
    place = config.base_url or source.base_url
    base_url = check_url(place, what="base URL", private=config.private) if place else ""
    merged = _merged(config, source)
    return base_url, _filled(merged, {"base_url": base_url, **_values(source, merged.pop("values", {}))})


def _merged(config: ProviderConfig, source: Preset) -> dict[str, Any]:
    """Lay the three layers over each other, tables field by field."""
    merged: dict[str, Any] = dict(source.data)
    for layer in (config.discovered, config.overrides):
        try:
            check_shape(layer, file=False)
        except Misshapen as exc:
            raise InvalidRequest(f"The description of the provider is not usable: {exc}", "Correct that.") from exc
        for key, value in layer.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged


def _values(source: Preset, given: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every parameter: the person's, or its default.

    Raises:
        InvalidRequest: one is missing, unknown, or cannot stand in an address.
    """
    if unknown := sorted(set(given) - set(source.parameters)):
        known = f"Known there: {', '.join(source.parameters)}." if source.parameters else "It has none."
        raise InvalidRequest(f"{source.title} has no parameter '{unknown[0]}'.", known)
    values = {}
    for name, parameter in source.parameters.items():
        value = given.get(name) or parameter.default
        if not value:
            raise InvalidRequest(
                f"{source.title} needs its {name}: {parameter.what}.", f"Name it: --param {name}=VALUE"
            )
        if parameter.choices and value not in parameter.choices:
            raise InvalidRequest(
                f"The {name} of {source.title} cannot be '{value}'.", f"Choose one of {', '.join(parameter.choices)}."
            )
        if not _VALUE.fullmatch(value):
            raise InvalidRequest(
                f"The {name} of {source.title} cannot be '{value}'.", "Use letters, digits, dots and dashes."
            )
        values[name] = value
    return values


def _filled(value: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401 -- a value of a preset file, whatever its shape
    """Put base URL and parameters into every text that asks for them."""
    if isinstance(value, str):
        return presetfiles.TEMPLATE.sub(lambda found: values.get(found[1], found[0]), value)
    if isinstance(value, Mapping):
        return {key: _filled(item, values) for key, item in value.items()}
    return [_filled(item, values) for item in value] if isinstance(value, list | tuple) else value
