"""What systemd and the daemon say to each other: readiness, the watchdog, and sockets that systemd opened for us.

Used by ``daemon`` only; standard library only. Outside systemd all of it does nothing, so the caller need not ask.
Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

import contextlib
import logging
import os
import socket
from collections.abc import Mapping, MutableMapping

from broker.errors import CannotStart

# sd_listen_fds(3): SD_LISTEN_FDS_START, behind stdin, stdout and stderr.
FIRST_FD = 3
LOOPBACK = "127.0.0.1"
# The doors by their FileDescriptorName=, and what each may be. The app socket's rights are those of a file; a port's
# are an app key or nothing, so a name in the wrong place would be a hole.
DOORS: Mapping[str, tuple[int, ...]] = {
    "app": (socket.AF_UNIX,),
    "app-port": (socket.AF_INET,),
    "browser": (socket.AF_INET,),
}
MICROSECONDS = 1_000_000
# systemd reads its queue within milliseconds. A READY=1 that is given up at once would get the service killed; a longer
# wait would hold up the event loop.
QUEUE_WAIT = 1.0
HINT = "Use the units that 'keyfob service install --print' shows."

log = logging.getLogger(__name__)


class Notifier:
    """The line to the service manager; outside systemd it leads nowhere.

    Args:
        environ: the process's environment. ``NOTIFY_SOCKET`` is removed from it, so that no child (a key command) can
            speak for the daemon.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")

    def ready(self, status: str) -> bool:
        """Say that the doors are open, and in one sentence how things are."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """Say in one sentence how things are; ``systemctl status`` shows it."""
        return self._send(_status(text))

    def watchdog(self) -> bool:
        """Say that the daemon is alive. Call it only after having looked."""
        return self._send("WATCHDOG=1")

    def stopping(self, status: str = "Stopping") -> bool:
        """Say that the end has begun."""
        return self._send("STOPPING=1", _status(status))

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for so many seconds more, counted from now, before a start or stop counts as hung."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS)}")

    def reloading(self, monotonic: float) -> bool:
        """Say that the settings are read anew; ``ready`` ends it.

        Args:
            monotonic: seconds of CLOCK_MONOTONIC; systemd tells by it which reload is meant.
        """
        return self._send("RELOADING=1", f"MONOTONIC_USEC={int(monotonic * MICROSECONDS)}")

    def _send(self, *lines: str) -> bool:
        """Send one datagram; return whether it went out. A deaf service manager is no reason to stop working."""
        if not self._address:
            return False
        # A leading "@" stands for the zero byte of the abstract namespace.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(QUEUE_WAIT)
                line.sendto("\n".join(lines).encode(), address)
        except OSError as exc:
            log.warning("The service manager cannot be told %s: %s", lines[0], exc.strerror or exc)
            return False
        return True


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds the watchdog wants to hear of us, None where there is none.

    This is half of the unit's ``WatchdogSec=``, as sd_watchdog_enabled(3) advises.
    """
    meant_for = environ.get("WATCHDOG_PID", str(pid))
    timeout = environ.get("WATCHDOG_USEC", "")
    if meant_for != str(pid) or not (timeout.isascii() and timeout.isdigit()) or int(timeout) == 0:
        return None
    return int(timeout) / MICROSECONDS / 2


def listen_fds(environ: MutableMapping[str, str], pid: int, *, first: int = FIRST_FD) -> dict[str, socket.socket]:
    """Take over the listening sockets that systemd opened, by name; empty without socket activation.

    The variables are removed, so that no child takes the sockets for its own.

    Args:
        environ: the process's environment; changed.
        pid: this process.
        first: the first inherited descriptor.

    Raises:
        CannotStart: a descriptor is not what its name promises.
    """
    meant_for = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    environ.pop("LISTEN_PIDFDID", None)
    if meant_for != str(pid):
        return {}
    if not (count.isascii() and count.isdigit()):
        raise CannotStart(f"LISTEN_FDS is {count!r}, which is no number.", HINT)
    named = names.split(":") if names else []
    if len(named) != int(count):
        raise CannotStart(f"systemd hands over {count} sockets but names {len(named)}.", HINT)
    if len(set(named)) != len(named):
        raise CannotStart(f"systemd hands over two sockets of one name ({names}).", HINT)
    with contextlib.ExitStack() as undo:
        taken = {name: undo.enter_context(_adopt(number, name)) for number, name in enumerate(named, start=first)}
        undo.pop_all()  # all are right: nothing to close
    return taken


def _adopt(number: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(number, False)  # noqa: FBT003 -- the standard library takes it by position only
        listener = socket.socket(fileno=number)
    except OSError as exc:
        raise CannotStart(f"Descriptor {number} from systemd ('{name}') is not a socket.", HINT) from exc
    wrong = _what_is_wrong(listener, name)
    if wrong:
        listener.close()
        raise CannotStart(f"The socket '{name}' from systemd {wrong}.", HINT)
    if listener.family != socket.AF_UNIX:
        # Accepted connections inherit it; answers are small and must not wait for more (Nagle).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _what_is_wrong(listener: socket.socket, name: str) -> str:
    if name not in DOORS:
        return f"is not known; FileDescriptorName= is one of {', '.join(DOORS)}"
    if listener.family not in DOORS[name]:
        return f"is of the wrong family ({listener.family})"
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "is not a listening stream socket (ListenStream=, Accept=no)"
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        # An abstract or unnamed socket has no file rights: every user of the machine could connect.
        return "" if isinstance(address, str) and address.startswith("/") else "has no path in the file system"
    # The redirect URIs and the Host check name this address, so no other loopback address would do.
    return "" if address[0] == LOOPBACK else f"listens on {address[0]}, not on {LOOPBACK}"


def _status(text: str) -> str:
    """Keep it to one line: each further line would be a command to the service manager."""
    return "STATUS=" + " ".join(text.split())
