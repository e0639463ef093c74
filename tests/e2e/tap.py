"""A tap on the wire between Keyfob and a provider: collects every secret that really passes.

Used by ``test_private``.
"""

import json
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What travels there and is worth stealing (RFC 6749, 7636, 7009, OpenID Connect Core).
NAMES = ("code", "state", "code_verifier", "access_token", "refresh_token", "id_token", "token")


class Tap:
    """Stands before the provider's app, changes nothing, and writes down what comes and goes.

    Attributes:
        found: name -> every value that it had.
    """

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = {name: set() for name in NAMES}

    def before(self, app: ASGIApp) -> ASGIApp:
        """Return the app with the tap before it."""

        async def tapped(scope: Scope, receive: Receive, send: Send) -> None:
            asked, answered = bytearray(scope["query_string"] + b"&"), bytearray()

            async def received() -> Message:
                message = await receive()
                asked.extend(message.get("body", b""))
                return message

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._note(_query_of(dict(message["headers"]).get(b"location", b"")))
                answered.extend(message.get("body", b""))
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    # Before the answer goes out: what Keyfob has seen has been written down.
                    self._note(parse_qsl(asked.decode()))
                    self._note(_members_of(bytes(answered)))
                await send(message)

            await app(scope, received, sent)

        return tapped

    def _note(self, pairs: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
        for name, value in pairs:
            if name in self.found:
                self.found[name].add(value)


def _query_of(location: bytes) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(location.decode()).query)


def _members_of(body: bytes) -> list[tuple[str, str]]:
    try:
        members = json.loads(body)
    except ValueError:
        return []
    return (
        [(name, value) for name, value in members.items() if isinstance(value, str)]
        if isinstance(members, dict)
        else []
    )
