"""Hosts: which one another program asks about, and whether that is an account's.

Called by the credential helpers beside it. ``urllib.parse`` would cost more than a whole answer.
"""

from __future__ import annotations

from collections.abc import Iterable

DEFAULT_PORTS = {"https": ":443", "http": ":80"}
# RFC 1122 3.2.1.3, RFC 6761 6.3: what leads to this machine.
LOOPBACK_NAMES = ("localhost", "[::1]")
LOOPBACK_NET = "127"
OCTETS = 4


class Place:
    """A host that a program wants to go to.

    Attributes:
        protocol: ``https`` or ``http``.
        host: in small letters, with its port where that is not the protocol's own.
        path: without a slash in front; empty where the program did not tell.
    """

    __slots__ = ("host", "path", "protocol")

    def __init__(self, protocol: str, host: str, path: str = "") -> None:
        self.protocol = protocol
        self.host = host.lower().removesuffix(DEFAULT_PORTS.get(protocol, "\0"))
        self.path = path.lstrip("/")

    def __str__(self) -> str:
        return f"{self.protocol}://{self.host}"

    def is_of(self, urls: Iterable[str | None]) -> bool:
        """Whether one of these URLs has this host and port."""
        return any(place_of(url).host == self.host for url in urls if url)

    def is_among(self, hosts: Iterable[str]) -> bool:
        """Whether a person named this host, with its port where it has one."""
        return any(Place(self.protocol, host).host == self.host for host in hosts)

    def depth_below(self, url: str) -> int:
        """Return how long a base URL's path is; 0 where that is at another host or no path was told, -1 outside it."""
        base = place_of(url)
        path = base.path.rstrip("/")
        if not self.path or base.host != self.host or not path:
            return 0
        return len(path) if f"{self.path}/".startswith(f"{path}/") else -1


def place_of(url: str) -> Place:
    """Return what a URL leads to."""
    protocol, _, rest = url.partition("://")
    authority, _, path = rest.partition("#")[0].partition("?")[0].partition("/")
    return Place(protocol.lower(), authority.rpartition("@")[2], path)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without its port, is this machine, so that nothing sent there leaves it."""
    name, colon, port = host.rpartition(":")
    name = name if colon and port.isdigit() else host
    octets = name.split(".")
    numbers = len(octets) == OCTETS and all(octet.isascii() and octet.isdigit() for octet in octets)
    return name in LOOPBACK_NAMES or (numbers and octets[0] == LOOPBACK_NET)
