"""Asking a protected resource which authorization server it belongs to (RFC 9728).

Called by ``locate``.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

from broker.core import bearer
from broker.errors import InvalidRequest
from broker.oauth.discover import fetch
from broker.oauth.http import AnswerLost, Http, NotAllowed, NotSent
from broker.providers.discovery import may_lead
from broker.providers.urls import check_endpoint, check_resource, split

WELL_KNOWN = "/.well-known/oauth-protected-resource"
# HTTP statuses (RFC 9110 15).
_UNAUTHORIZED = 401
_POINTER = "resource_metadata"  # RFC 9728 5.1
# Seconds in which a resource that is asked without a token has to refuse. One that is open to everybody may begin a
# stream in the place of that.
_REFUSAL_WAIT = 5.0
# So many authorization servers of a list are looked at.
MOST_SERVERS = 5


@dataclass(frozen=True, slots=True)
class Protected:
    """What a protected resource says about itself.

    Attributes:
        resource: its identifier: what tokens for it are asked with (RFC 8707).
        authorization_servers: issuers of those that it names, at least one, in its order.
        scopes: what to ask for: what its refusal names, else what it supports (RFC 9728 2); empty where it tells
            neither.
        supported: what it supports, that among it or not.
    """

    resource: str
    authorization_servers: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    supported: tuple[str, ...] = ()


async def protected(http: Http, url: str, *, private: bool) -> Protected | None:
    """Return what a protected resource says about itself; None where nothing is published for it.

    Asked are the two well-known places (RFC 9728 3.1) and the resource itself, without a token: its refusal may name
    another place (RFC 9728 5.1), and the scopes that a token has to have (RFC 6750 3).

    Raises:
        InvalidRequest: it is no resource, or must not be asked; or what is published speaks for another one, names
            no authorization server, or points to this machine from elsewhere.
    """
    parts = urlsplit(check_resource(url))
    if parts.scheme not in ("http", "https"):
        return None
    check_endpoint(url, what="resource", private=private)
    origin = f"{parts.scheme}://{parts.netloc}"
    places = list(dict.fromkeys((f"{origin}{WELL_KNOWN}{_below(parts)}", f"{origin}{WELL_KNOWN}")))
    refusal, *documents = await asyncio.gather(
        _refusal(http, url, private=private), *(fetch(http, place, private=private) for place in places)
    )
    needed = bearer.scopes(refusal.get("scope", "").split())
    distrust: InvalidRequest | None = None
    for document in documents:
        if isinstance(document, dict):
            try:
                return _needing(needed, _read(document, url))
            except InvalidRequest as exc:
                # The origin may hold the document of another resource beside this one.
                distrust = distrust or exc
    pointer = _pointer(refusal, url, private=private)
    document = await fetch(http, pointer, private=private) if pointer else None
    if isinstance(document, dict):
        return _needing(needed, _read(document, url))
    if distrust is not None:
        raise distrust
    return None


def _needing(needed: tuple[str, ...], said: Protected) -> Protected:
    """Return it with what a refusal has named, where it has: that is what a request needs, and the rest what may be."""
    return replace(said, scopes=needed) if needed else said


def speaks_for(said: str, url: str) -> bool:
    """Whether a resource identifier covers a URL: the same, or the same server and a path above it (RFC 9728 3.3)."""
    mine, theirs = urlsplit(url), urlsplit(said)
    if (theirs.scheme, theirs.netloc.lower()) != (mine.scheme, mine.netloc.lower()) or "#" in said:
        return False
    if theirs.query:
        return (theirs.path, theirs.query) == (mine.path, mine.query)
    above = theirs.path.rstrip("/")
    return mine.path.rstrip("/") == above or mine.path.startswith(f"{above}/")


def _below(parts: SplitResult) -> str:
    """Return path and query of a resource, which go behind the well-known part; a final slash alone does not."""
    return parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")


def _read(document: dict[str, Any], url: str) -> Protected:
    said, servers = document.get("resource"), document.get("authorization_servers")
    if not isinstance(said, str) or not _is_resource(said) or not speaks_for(said, url):
        raise InvalidRequest(
            f"What is published for the resource {url} speaks for another one, so it is not believed (RFC 9728 3.3).",
            "Check the URL, or name the authorization server with --provider.",
        )
    supported = document.get("scopes_supported")
    scopes = bearer.scopes(supported) if isinstance(supported, list) else ()
    return Protected(said, _servers(said, url, servers if isinstance(servers, list) else []), scopes, scopes)


def _servers(said: str, url: str, listed: list[object]) -> tuple[str, ...]:
    """Return those authorization servers of a list that a resource may name."""
    found: list[str] = []
    why: InvalidRequest | None = None
    for one in listed[:MOST_SERVERS]:
        if not isinstance(one, str):
            continue
        try:
            _check_server(said, url, one)
            found.append(one)
        except InvalidRequest as exc:
            why = why or exc
    if not found:
        raise why or InvalidRequest(
            f"The resource {said} does not say which authorization server it belongs to.",
            "Name that with --provider.",
        )
    return tuple(found)


def _check_server(said: str, url: str, server: str) -> None:
    split(server, what=f"authorization server of the resource {said}")
    if not may_lead(url, server):
        raise InvalidRequest(
            f"The resource {said} points to this machine, which a server elsewhere has no reason to do.",
            "If the authorization server is your own, name it with --provider.",
        )


def _is_resource(said: str) -> bool:
    try:
        check_resource(said)
    except InvalidRequest:
        return False
    return True


async def _refusal(http: Http, url: str, *, private: bool) -> dict[str, str]:
    """Ask for the resource without a token; return what its refusal says, nothing where it is no refusal."""
    try:
        async with asyncio.timeout(_REFUSAL_WAIT):
            reply = await http.send("GET", url, private=private)
    except NotAllowed as exc:
        raise InvalidRequest(f"The resource is not asked: {exc.reason}.", "Do so if you trust that network.") from exc
    except (NotSent, AnswerLost, TimeoutError):
        # It may be one that answers other methods only, or without an end: then its well-known places are all.
        return {}
    said = reply.headers.get("www-authenticate", "") if reply.status == _UNAUTHORIZED else ""
    return bearer.parameters(said)


def _pointer(refusal: dict[str, str], url: str, *, private: bool) -> str:
    """Return the place that a refusal names, or empty text."""
    if _POINTER not in refusal:
        return ""
    pointer = check_endpoint(refusal[_POINTER], what="resource metadata of the resource", private=private)
    if not may_lead(url, pointer):
        raise InvalidRequest("The resource points to this machine.", "Name its authorization server with --provider.")
    return pointer
