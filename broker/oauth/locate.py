"""From any URL to the authorization server behind it: an issuer, a site, or a protected resource.

Called by ``usecases.providers``.
"""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from broker.errors import InvalidRequest
from broker.oauth.discover import discover, fetch
from broker.oauth.http import Http
from broker.oauth.resource import protected
from broker.providers import discovery
from broker.providers.urls import URL_CAP


@dataclass(frozen=True, slots=True)
class Found:
    """An authorization server.

    Attributes:
        data: what it publishes about itself, in the shape of a preset file.
        resource: the protected resource that led to it, or None.
        scopes: what that wants a token to have; empty where it does not say.
        supported: what it may want of another request.
    """

    data: dict[str, Any]
    resource: str | None = None
    scopes: tuple[str, ...] = ()
    supported: tuple[str, ...] = ()

    @property
    def issuer(self) -> str:
        """Its issuer, to the letter."""
        return str(self.data["issuer"])


async def locate(http: Http, url: str, *, private: bool) -> Found:
    """Find the authorization server behind a URL: as an issuer, else as its site, else as a protected resource.

    Args:
        http: the way out.
        url: what a person gave.
        private: special-purpose addresses are allowed.

    Raises:
        InvalidRequest: it is none of the three, or publishes what is not believed; what is told is what it is not
            as an issuer.
        ProviderUnavailable: it cannot be asked now.
    """
    try:
        return Found(await discover(http, url, private=private))
    except InvalidRequest as exc:
        why = exc
    for issuer in await _named_by_site(http, url, private=private):
        try:
            # A site gives a hint only: what is used is what that issuer says about itself (RFC 8414 3.3).
            return Found(await discover(http, issuer, private=private))
        except InvalidRequest:
            continue
    try:
        found = await _behind(http, url, private=private)
    except InvalidRequest:
        raise why from None
    if found is None:
        raise why
    return found


async def locate_for(http: Http, resource: str, *, private: bool) -> Found:
    """Find the authorization server of a protected resource.

    Where it publishes nothing, its own site may be one: before RFC 9728 that was the custom.

    Raises:
        InvalidRequest: nothing says which that is, or what does is not believed.
        ProviderUnavailable: resource or server cannot be asked now.
    """
    found = await _behind(http, resource, private=private)
    if found is not None:
        return found
    parts = urlsplit(resource)
    try:
        return Found((await locate(http, f"{parts.scheme}://{parts.netloc}", private=private)).data, resource)
    except InvalidRequest as exc:
        raise InvalidRequest(
            f"The resource {resource} does not say which authorization server it belongs to (RFC 9728).",
            "Name that with --provider.",
        ) from exc


async def _behind(http: Http, url: str, *, private: bool) -> Found | None:
    said = await protected(http, url, private=private)
    if said is None:
        return None
    refusals: list[InvalidRequest] = []
    for issuer in said.authorization_servers:
        # Some libraries put a slash behind a host that its server does not have. Either way it has to confirm it.
        for spelled in (issuer, issuer.rstrip("/") if issuer.endswith("/") else f"{issuer}/"):
            try:
                found = await discover(http, spelled, private=private)
                return Found(found, said.resource, said.scopes, said.supported)
            except InvalidRequest as exc:
                # The next one may be a server. One that is only down is not passed over: it is the one that is meant.
                refusals.append(exc)
    raise refusals[0]


async def _named_by_site(http: Http, url: str, *, private: bool) -> list[str]:
    """Return the other issuers that the documents at a URL's origin speak for.

    Of the documents at the URL itself only one that differs in a final slash counts: a path is a tenant, and one
    tenant's document has no word about another's issuer.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    places = [(place, "") for _, place in discovery.well_known_urls(origin)]
    places += [(place, url.rstrip("/")) for _, place in discovery.well_known_urls(url)]
    answers = await asyncio.gather(*(fetch(http, place, private=private) for place, _ in places))
    named: dict[str, None] = {}
    for (_, only), answer in zip(places, answers, strict=True):
        said = answer.get("issuer") if isinstance(answer, dict) else None
        if not isinstance(said, str) or len(said) > URL_CAP or said == url or not _leads(url, said):
            continue
        if not only or said.rstrip("/") == only:
            named[said] = None
    return list(named)


def _leads(url: str, issuer: str) -> bool:
    try:
        return discovery.may_lead(url, issuer)
    except ValueError:
        return False  # no URL at all
