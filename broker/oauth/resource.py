"""Asking a protected resource which authorization server it belongs to (RFC 9728).

Called by ``locate``.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from broker.errors import InvalidRequest
from broker.oauth.discover import fetch
from broker.oauth.http import AnswerLost, Http, NotAllowed, NotSent
from broker.providers.discovery import may_lead
from broker.providers.urls import check_endpoint, check_resource, split

WELL_KNOWN = "/.well-known/oauth-protected-resource"
# HTTP statuses (RFC 9110 15).
_UNAUTHORIZED = 401
# RFC 9110 11.2: a parameter of a challenge, its value a quoted text or a token. A name is looked for where one begins,
# and nothing of it is given back: trying again from every letter of a long word would take minutes.
_PARAMETER = re.compile(r'(?<![A-Za-z0-9_-])([A-Za-z0-9_-]++)\s*+=\s*+(?:"([^"]*)"|([^\s",]+))')
_POINTER = "resource_metadata"  # RFC 9728 5.1


@dataclass(frozen=True, slots=True)
class Protected:
    """What a protected resource says about itself.

    Attributes:
        resource: its identifier: what tokens for it are asked with (RFC 8707).
        authorization_server: issuer of the first authorization server that it names.
    """

    resource: str
    authorization_server: str


async def protected(http: Http, url: str, *, private: bool) -> Protected | None:
    """Return what a protected resource says about itself; None where nothing is published for it.

    Asked are the two well-known places (RFC 9728 3.1), then the resource itself, without a token: its refusal may
    name the place (RFC 9728 5.1).

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
    distrust: InvalidRequest | None = None
    for document in await asyncio.gather(*(fetch(http, place, private=private) for place in places)):
        if isinstance(document, dict):
            try:
                return _read(document, url)
            except InvalidRequest as exc:
                # The origin may hold the document of another resource beside this one.
                distrust = distrust or exc
    pointer = await _challenged(http, url, private=private)
    document = await fetch(http, pointer, private=private) if pointer else None
    if isinstance(document, dict):
        return _read(document, url)
    if distrust is not None:
        raise distrust
    return None


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
    first = servers[0] if isinstance(servers, list) and servers else None
    if not isinstance(first, str):
        raise InvalidRequest(
            f"The resource {said} does not say which authorization server it belongs to.",
            "Name that with --provider.",
        )
    split(first, what=f"authorization server of the resource {said}")
    if not may_lead(url, first):
        raise InvalidRequest(
            f"The resource {said} points to this machine, which a server elsewhere has no reason to do.",
            "If the authorization server is your own, name it with --provider.",
        )
    return Protected(said, first)


def _is_resource(said: str) -> bool:
    try:
        check_resource(said)
    except InvalidRequest:
        return False
    return True


async def _challenged(http: Http, url: str, *, private: bool) -> str:
    """Ask for the resource without a token; return the place that its refusal names, or empty text."""
    try:
        reply = await http.send("GET", url, private=private)
    except NotAllowed as exc:
        raise InvalidRequest(f"The resource is not asked: {exc.reason}.", "Do so if you trust that network.") from exc
    except (NotSent, AnswerLost):
        # It may be one that answers other methods only, or without an end: then its well-known places were all.
        return ""
    said = reply.headers.get("www-authenticate", "") if reply.status == _UNAUTHORIZED else ""
    values = [quoted or token for name, quoted, token in _PARAMETER.findall(said) if name.lower() == _POINTER]
    if not values:
        return ""
    pointer = check_endpoint(values[0], what="resource metadata of the resource", private=private)
    if not may_lead(url, pointer):
        raise InvalidRequest("The resource points to this machine.", "Name its authorization server with --provider.")
    return pointer
