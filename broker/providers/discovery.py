"""What a server says about itself, and what of it is believed. No I/O: ``oauth.discover`` fetches.

Called by ``oauth.discover`` and its neighbours, and by ``usecases.rediscovery``.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from broker.errors import InvalidRequest
from broker.providers.urls import check_endpoint, check_issuer, is_loopback

Kind = Literal["openid", "oauth"]

# What a person's broker wants where OpenID Connect is spoken: who it is, and a refresh token.
WANTED_SCOPES = ("openid", "profile", "offline_access")
# Metadata field -> field of ``providers.model.Endpoints`` (RFC 8414 2, OpenID Connect Discovery 3).
ENDPOINTS = {
    "authorization_endpoint": "authorization",
    "token_endpoint": "token",
    "revocation_endpoint": "revocation",
    "userinfo_endpoint": "userinfo",
    "jwks_uri": "jwks",
    "registration_endpoint": "registration",
    "device_authorization_endpoint": "device_authorization",
    "introspection_endpoint": "introspection",
    "pushed_authorization_request_endpoint": "pushed_authorization",
}
# Metadata field -> top-level key of a preset file: what is a list of texts, and what is a yes.
_LISTS = {
    "id_token_signing_alg_values_supported": "id_token_algs",
    "token_endpoint_auth_methods_supported": "auth_methods",
    "token_endpoint_auth_signing_alg_values_supported": "auth_algs",
    "grant_types_supported": "grants",
    "code_challenge_methods_supported": "pkce_methods",
}
_FLAGS = {
    "authorization_response_iss_parameter_supported": "iss_parameter",
    "require_pushed_authorization_requests": "require_par",
    "client_id_metadata_document_supported": "client_id_metadata",
}
# Not of any RFC: servers of the social web announce their own form of registration under this name.
_APP_REGISTRATION = "app_registration_endpoint"
_APP_FORM = {
    "kind": "own",
    "body": "form",
    "fields": {"client_name": "{name}", "redirect_uris": "{redirect_uris}", "scopes": "{scope}"},
}
# The endpoints that get codes, tokens, client secrets, or the client itself.
CONFIDANTS = (
    "token", "revocation", "introspection", "userinfo", "registration", "device_authorization", "pushed_authorization",
)  # fmt: skip


def well_known_urls(issuer: str) -> list[tuple[Kind, str]]:
    """Return where an issuer's metadata may be, in the order in which they count.

    OpenID Connect appends its path to the issuer (Discovery 4.1), RFC 8414 3.1 inserts its own before the issuer's
    path; some servers append that too.

    Raises:
        InvalidRequest: it is no issuer.
    """
    parts = urlsplit(check_issuer(issuer))
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls: list[tuple[Kind, str]] = [
        ("openid", f"{origin}{path}/.well-known/openid-configuration"),
        ("oauth", f"{origin}/.well-known/oauth-authorization-server{path}"),
    ]
    if path:
        urls.append(("oauth", f"{origin}{path}/.well-known/oauth-authorization-server"))
    return urls


def read_document(kind: Kind, issuer: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a metadata document and return what it says in the shape of a preset file.

    Args:
        kind: which of the two specifications it follows.
        issuer: the configured issuer.
        document: what was fetched.

    Raises:
        InvalidRequest: it speaks for another issuer, so nothing of it is used (RFC 8414 3.3); or an endpoint is not
            one that secrets may be sent to (security.md R23).
    """
    said = document.get("issuer")
    if said != issuer:
        shown = f"'{said}'" if isinstance(said, str) and len(said) < len(issuer) + 80 and said.isprintable() else "none"
        raise InvalidRequest(
            f"The server at {issuer} says that its issuer is {shown}. The two have to be the same, to the letter.",
            f"If that is the server you mean, use {shown} as the issuer."
            if shown != "none"
            else "Check the issuer, or give the endpoints one by one.",
        )
    found: dict[str, Any] = {"issuer": issuer, "endpoints": _endpoints(issuer, document)}
    if "registration" not in found["endpoints"] and document.get(_APP_REGISTRATION):
        found["endpoints"] |= _endpoints(issuer, document, {_APP_REGISTRATION: "registration"})
        found["registration"] = _APP_FORM
    found |= {key: True for field, key in _FLAGS.items() if document.get(field) is True}
    found |= {key: values for field, key in _LISTS.items() if (values := _texts(document.get(field)))}
    if revokers := _texts(document.get("revocation_endpoint_auth_methods_supported")):
        found["revocation"] = {"auth_methods": revokers}
    if kind == "openid":
        supported = _texts(document.get("scopes_supported")) or ["openid"]
        found["scopes"] = [scope for scope in WANTED_SCOPES if scope == "openid" or scope in supported]
    return found


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the gaps of one judged document from another of the same issuer; what the first says stays."""
    merged = {**second, **first}
    merged["endpoints"] = {**second["endpoints"], **first["endpoints"]}
    return merged


def may_lead(source: str, target: str) -> bool:
    """Whether a document at one URL may point to another: only this machine may point to this machine."""
    return is_loopback(urlsplit(source).hostname or "") or not is_loopback(urlsplit(target).hostname or "")


def hosts(found: Mapping[str, Any], *endpoints: str) -> set[str]:
    """Return the hosts, with their ports, of some endpoints of a judged document; all that get secrets by default."""
    urls = (found.get("endpoints", {}).get(name, "") for name in endpoints or CONFIDANTS)
    return {urlsplit(url).netloc.lower() for url in urls if url}


def strangers(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the hosts that nobody has agreed to, of a document that replaces an earlier one (security.md R23).

    A token endpoint that moves to another host is one, wherever it moves; elsewhere a host that the earlier document
    knew, or the issuer's own, is none.
    """
    known = hosts(before) | {urlsplit(now["issuer"]).netloc.lower()}
    return sorted((hosts(now) - known) | (hosts(now, "token") - hosts(before, "token")))


def _endpoints(
    issuer: str, document: Mapping[str, Any], fields: Mapping[str, str] = MappingProxyType(ENDPOINTS)
) -> dict[str, str]:
    at_home = is_loopback(urlsplit(issuer).hostname or "")
    endpoints: dict[str, str] = {}
    for field, key in fields.items():
        url = document.get(field)
        if url in (None, ""):
            continue
        if not isinstance(url, str):
            raise InvalidRequest(f"The {field} of {issuer} is not a URL.", "Give the endpoints one by one.")
        check_endpoint(url, what=f"{field} of {issuer}", private=True)  # whether it is, ``catalog`` decides
        if is_loopback(urlsplit(url).hostname or "") and not at_home:
            raise InvalidRequest(
                f"The {field} of {issuer} points to this machine, which a server elsewhere has no reason to do.",
                "Do not use this issuer; if it is your own, give the endpoints one by one.",
            )
        endpoints[key] = url
    return endpoints


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
