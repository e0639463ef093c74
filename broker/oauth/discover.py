"""Asking an issuer what it is: its metadata, wherever it keeps them.

Called by ``locate`` and ``usecases.rediscovery``; ``providers.discovery`` judges what is found here.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from broker.errors import InvalidRequest, ProviderUnavailable
from broker.oauth import strict
from broker.oauth.http import AnswerLost, Http, NotAllowed, NotSent
from broker.providers import discovery

# HTTP statuses (RFC 9110 15).
_OK = 200
_NOT_FOUND = range(400, 429)


async def discover(http: Http, issuer: str, *, private: bool) -> dict[str, Any]:
    """Return what an issuer publishes about itself, in the shape of a preset file.

    OpenID Connect's document counts first, RFC 8414's fills its gaps: they may differ.

    Args:
        http: the way out.
        issuer: exactly as the issuer writes itself.
        private: special-purpose addresses are allowed.

    Raises:
        InvalidRequest: it is no issuer, publishes nothing, or publishes what is not believed.
        ProviderUnavailable: it cannot be asked now.
    """
    places = discovery.well_known_urls(issuer)
    answers = await asyncio.gather(*(fetch(http, url, private=private) for _, url in places))
    found: dict[str, Any] | None = None
    distrust: InvalidRequest | None = None
    for (kind, _), document in zip(places, answers, strict=True):
        if isinstance(document, dict):
            try:
                judged = discovery.read_document(kind, issuer, document)
            except InvalidRequest as exc:
                distrust = distrust or exc
            else:
                found = judged if found is None else discovery.merge(found, judged)
    if found is not None and (found["endpoints"].get("token")):
        return found
    if distrust is not None:
        raise distrust
    troubles = [answer for answer in answers if isinstance(answer, Trouble)]
    if found is None and troubles:
        waits = [trouble.retry_after for trouble in troubles if trouble.retry_after is not None]
        raise ProviderUnavailable(
            f"The issuer {issuer} could not be asked about itself: {troubles[0].reason}.",
            "Check the address; if it is right, try again later.",
            retry_after=max(waits, default=None),
        )
    raise InvalidRequest(
        f"The issuer {issuer} does not say where its endpoints are: there is no usable document at {places[0][1]} "
        f"or {places[1][1]}.",
        "Check the issuer URL, or give the authorization and token endpoints yourself.",
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a server could not be asked, and after how many seconds it may be, where it says so."""

    reason: str
    retry_after: float | None = None


async def fetch(http: Http, url: str, *, private: bool) -> dict[str, Any] | Trouble | None:
    """Return a document; or why the server could not be asked; or None where it has none there."""
    try:
        reply = await http.send("GET", url, private=private)
    except NotAllowed as exc:
        raise InvalidRequest(f"The issuer is not asked: {exc.reason}.", "Do so if you trust that network.") from exc
    except (NotSent, AnswerLost) as exc:
        return Trouble(exc.reason)
    if reply.status in _NOT_FOUND or reply.status in range(300, 400):
        return None
    if reply.status != _OK:
        return Trouble(f"HTTP {reply.status}", reply.retry_after)
    try:
        return strict.loads(reply.body)
    except ValueError:
        # Many servers answer every path with their start page.
        return None
