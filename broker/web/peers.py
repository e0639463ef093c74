"""Whose program is at the other end of a connection on this machine, as the kernel says.

Called by the browser door's handlers: a port is open to every user of the machine, a login is one user's. And by those
of the app doors, so that the owner sees who asks; of the sockets, it decides who that is.
"""

import asyncio
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.types import Scope

from broker import challenge
from broker.core.approval import Asker

# proc_pid_net(5): one line a socket; IPv4 programs are in the first, those that write 127.0.0.1 in IPv6 in the second.
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
# The columns of a line, counted from the local address.
_UID, _INODE = 6, 8
# In a uid's place: the program has closed its end. What is left of that is the kernel's, which says root.
GONE = -1
# struct ucred: pid, uid, gid (unix(7)).
_UCRED = struct.Struct("3i")

Address = tuple[str, int]


def uid_of(client: Address | None, server: Address | None) -> int | None:
    """Return the uid of the program that connected, GONE where it did and is off, None where the kernel does not tell.

    Args:
        client: address and port at its end.
        server: address and port at ours.
    """
    if client is None or server is None:
        return None
    for table, long in zip(TABLES, (False, True), strict=True):
        wanted = _written(client, long=long), _written(server, long=long)
        try:
            lines = table.read_bytes()
        except OSError:
            continue  # another system than Linux, or no IPv6
        _, found, rest = lines.partition(" {} {} ".format(*wanted).encode())
        if found:
            fields = (found + rest[:200]).split()
            return int(fields[_UID]) if int(fields[_INODE]) else GONE
    return None


def uid_at(scope: Scope) -> int | None:
    """Return the same for a request at a port; the kernel's table of connections is read once for each of them.

    It takes milliseconds on a busy machine, and whose program connected does not change.
    """
    known: list[int] = scope["state"].setdefault("whose", [])
    if not known and (uid := uid_of(scope["client"], scope["server"])) is not None:
        known.append(uid)
    return known[0] if known else None


def peer_of(transport: asyncio.BaseTransport) -> tuple[int, int] | None:
    """Return (pid, uid) of the process at the other end of a Unix socket, as the kernel says."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def asker_of(request: Request) -> Callable[[], Asker]:
    """Return what finds out where a request at an app door came from, as far as the kernel tells.

    Its table of connections is not read where nobody is asked.
    """

    def asker() -> Asker:
        peer = request.scope["state"].get("peer")
        if peer is None:
            uid = uid_at(request.scope)
            return Asker("port", None if uid == GONE else uid)
        return asker_at(peer)

    return asker


def asker_at(peer: tuple[int, int]) -> Asker:
    """Return where a request on a Unix socket came from."""
    pid, uid = peer
    return Asker("socket", uid, pid, executable_of(pid))


def address_of(request: Request) -> str:
    """Return where this very connection arrived, as the kernel says and both sides write it."""
    host, port = request.scope["server"]
    return challenge.SOCKET if port is None else challenge.written(host, port)


def is_foreign(request: Request) -> bool:
    """Whether the kernel says that the program at the other end of a port is another user's.

    Root may do everything here anyway; where the kernel does not tell (a container), nobody is foreign.
    """
    return uid_at(request.scope) not in (None, 0, os.getuid())


def is_own(request: Request) -> bool:
    """Whether the kernel says that the program at the other end of a port is the owner's own, or root's."""
    return uid_at(request.scope) in (0, os.getuid())


def executable_of(pid: int) -> str:
    """Return the file that a process runs (proc_pid_exe(5)), empty where the kernel does not tell. Never trusted."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""  # it is gone, it is another user's, or there is no /proc


def _written(address: Address, *, long: bool) -> str:
    """Write an address as the kernel does: 32-bit words in its own byte order, in hexadecimal."""
    host = ipaddress.ip_address(address[0])
    packed = ipaddress.IPv6Address(f"::ffff:{host}").packed if long and host.version == 4 else host.packed  # noqa: PLR2004 -- IPv4
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"
