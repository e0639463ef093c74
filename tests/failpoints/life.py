"""One life of the real daemon that can be ended in the middle of a step, as a power cut would, from outside its code.

``stage`` runs ``live`` in a child process. The child is ``broker.daemon.serve`` on uvloop with its doors, its database
file and its way out; nothing in ``broker`` knows of failpoints. They are put at seams: the statements of the driver,
the network backend of httpcore2, and public methods of the store and the events. A failpoint ends the process with
``os._exit``: nothing is flushed, closed, rolled back or said.
"""

import asyncio
import contextlib
import contextvars
import functools
import mmap
import os
import sqlite3
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import httpcore2
import uvloop
from sqlalchemy import Engine, event

from broker import daemon, settings
from broker.clock import boottime
from broker.events import Event, Events, Kind
from broker.oauth import wire
from broker.oauth.sockets import Sockets
from broker.store.store import Store

P = ParamSpec("P")
T = TypeVar("T")
# Around a statement: what comes before and after it.
Passing = Callable[[str], contextlib.AbstractContextManager[None]]

# The exit status of a daemon that a failpoint has ended; its own are 0 to 4.
ABORTED = 99
# Each failpoint, in the order in which a refresh passes them.
FAILPOINTS = (
    "before the intent",  # the row was read again, the refresh is still wanted
    "before the intent's commit",
    "after the intent's commit",
    "before the first byte",  # connected, nothing written
    "after half of the request",  # the head is written, the form with the refresh token is not
    "when the answer has arrived",  # in this process, and nobody has looked at it
    "when the answer was read",  # the new refresh token is found
    "before the answer's commit",
    "after the answer's commit",
    "when the answer was judged",
    "before the closing commit",
    "after the closing commit",
    "before the publication",
    "after the publication",
    "before the app's answer",
)
TRANSACTIONS = {
    "begin_refresh": "the intent's commit",
    "keep_answer": "the answer's commit",
    "swap": "the closing commit",
}
# What the first and the second write of a request are: the head, and the form with the refresh token.
WRITES = ("before the first byte", "after half of the request")
# Statements that change nothing: to die before one is to die after the one before.
HARMLESS = ("SELECT", "PRAGMA")
# The fields of the board: each has its own form and place, so that no side overwrites what the other has written.
SLEPT, ARMED, NUMBER, COUNT, NAME = ("<d", 0), ("<?", 8), ("<q", 16), ("<q", 24), ("<32s", 32)
SIZE = 64


class Board:
    """What a test and the daemon that it watches both see: the time, and where to die. It outlives the daemon.

    Args:
        path: a file; made by whoever comes first.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE)

    def close(self) -> None:
        """Let go of the file."""
        self._memory.close()

    @property
    def slept(self) -> float:
        """For how many seconds, all in all, the machine is said to have slept."""
        return float(self._get(SLEPT))

    def sleep(self, seconds: float) -> None:
        """Let time pass for everybody, as while the machine sleeps."""
        self._put(SLEPT, self.slept + seconds)

    def arm(self, failpoint: str = "", number: int = 0) -> None:
        """From now on die at a failpoint, or at the event of a number, or (without either) only count."""
        self._put(NAME, failpoint.encode())
        self._put(NUMBER, number)
        self._put(COUNT, 0)
        self._put(ARMED, 1)

    def disarm(self) -> int:
        """From now on live; return how many events there were since ``arm``."""
        self._put(ARMED, 0)
        return int(self._get(COUNT))

    def reach(self, failpoint: str) -> None:
        """Die, if this is the place."""
        if self._get(ARMED) and self._get(NAME).rstrip(b"\0").decode() == failpoint:
            os._exit(ABORTED)

    def pass_by(self) -> None:
        """Count an event, and die before it if it is the one."""
        if not self._get(ARMED):
            return
        count = self._get(COUNT) + 1
        if count == self._get(NUMBER):
            os._exit(ABORTED)
        self._put(COUNT, count)

    def _get(self, field: tuple[str, int]) -> Any:  # noqa: ANN401 -- as its form says
        form, place = field
        return struct.unpack_from(form, self._memory, place)[0]

    def _put(self, field: tuple[str, int], value: float | bytes) -> None:
        form, place = field
        struct.pack_into(form, self._memory, place, value)


def live(environ: dict[str, str], board: Path, said: Path) -> None:
    """Be ``keyfob serve`` until the end: the body of a child process.

    Args:
        environ: of the daemon.
        board: the file that the test watches and steers it with.
        said: the file for all that it says.
    """
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    shared = Board(board)
    _put_failpoints(shared)
    # All clocks of the daemon are these two, and neither can tell this from a machine that slept.
    daemon.Daemon = functools.partial(  # type: ignore[assignment, misc]  # what ``serve`` calls
        daemon.Daemon, wall=lambda: time.time() + shared.slept, boot=lambda: boottime() + shared.slept
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(daemon.serve(settings.read(environ), environ))


def _put_failpoints(board: Board) -> None:
    _in_the_store(board)
    _on_the_wire(board)
    _where_it_is_told(board)


def _in_the_store(board: Board) -> None:
    transaction = contextvars.ContextVar("transaction", default="")

    def within(name: str, what: str, work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            if name == "begin_refresh":
                board.reach("before the intent")
            elif name == "swap" and kwargs.get("grant") is not None:
                board.reach("when the answer was judged")
            token = transaction.set(what)
            try:
                return await work(*args, **kwargs)
            finally:
                transaction.reset(token)

        return wrapped

    for name, what in TRANSACTIONS.items():
        setattr(Store, name, within(name, what, getattr(Store, name)))

    @contextlib.contextmanager
    def passing(sql: str) -> Iterator[None]:
        if not sql.startswith(HARMLESS):
            board.pass_by()
        if sql == "COMMIT":
            board.reach(f"before {transaction.get()}")
        yield
        if sql == "COMMIT":
            board.reach(f"after {transaction.get()}")

    def connecting(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        options["factory"] = functools.partial(_Connection, passing=passing)

    event.listen(Engine, "do_connect", connecting)


class _Connection(sqlite3.Connection):
    """A connection to the database, each statement of which is passed."""

    def __init__(self, *args: Any, passing: Passing, **kwargs: Any) -> None:  # noqa: ANN401 -- passed on
        super().__init__(*args, **kwargs)
        self._passing = passing

    def cursor(self, _factory: object = None) -> "_Cursor":  # type: ignore[override]  # whoever asks, for this one
        return super().cursor(functools.partial(_Cursor, passing=self._passing))

    def execute(self, *args: Any) -> "_Cursor":  # noqa: ANN401 -- passed on
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> "_Cursor":  # noqa: ANN401 -- passed on
        return self.cursor().executemany(*args)


class _Cursor(sqlite3.Cursor):
    """Runs the statements of such a connection."""

    def __init__(self, connection: sqlite3.Connection, passing: Passing) -> None:
        super().__init__(connection)
        self._passing = passing

    def execute(self, sql: str, *args: Any) -> Self:  # noqa: ANN401 -- passed on
        with self._passing(sql):
            return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Self:  # noqa: ANN401 -- passed on
        with self._passing(sql):
            return super().executemany(sql, *args)


def _on_the_wire(board: Board) -> None:
    connect = Sockets.connect_tcp

    async def connect_tcp(*args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:  # noqa: ANN401 -- httpcore2's own
        board.pass_by()
        return _Stream(await connect(*args, **kwargs), board)

    Sockets.connect_tcp = connect_tcp  # type: ignore[method-assign]  # its own signature, passed on
    refresh = wire.refresh

    async def read(*args: Any, **kwargs: Any) -> wire.Outcome:  # noqa: ANN401 -- passed on
        outcome = await refresh(*args, **kwargs)
        board.reach("when the answer was read")
        return outcome

    wire.refresh = read


def _where_it_is_told(board: Board) -> None:
    publish, wants = Events.publish, Events.wants

    def published(self: Events, event: Event) -> None:
        if event.kind == "refreshed":
            board.reach("before the publication")
        publish(self, event)
        if event.kind == "refreshed":
            board.reach("after the publication")

    def wanted(self: Events, kind: Kind) -> bool:
        if kind == "handed-out":  # of which nobody is told where nobody listens
            board.reach("before the app's answer")
        return wants(self, kind)

    Events.publish = published  # type: ignore[method-assign]  # the same signature
    Events.wants = wanted  # type: ignore[method-assign]  # likewise


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection to the provider with a failpoint at every step."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, board: Board) -> None:
        self._inner = inner
        self._board = board
        self._refreshes = False
        self._writes = 0

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- the interface
        self._board.pass_by()
        self._refreshes = self._refreshes or buffer.startswith(b"POST /token ")
        if self._refreshes and self._writes < len(WRITES):
            self._board.reach(WRITES[self._writes])
        self._writes += 1
        await self._inner.write(buffer, timeout)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- the same
        self._board.pass_by()
        data = await self._inner.read(max_bytes, timeout)
        self._board.pass_by()
        if self._refreshes:
            self._board.reach("when the answer has arrived")
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:  # noqa: ANN401 -- passed on
        return _Stream(await self._inner.start_tls(*args, **kwargs), self._board)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- the same
        return self._inner.get_extra_info(info)
