"""Whether anybody has committed anything to the database since a moment, without asking SQLite.

Used by ``engine``. The header of the index of the write-ahead log is what SQLite's own readers look at to learn of new
commits: its first 48 bytes are in memory that all its connections share, and every commit, of whichever process,
changes them (https://www.sqlite.org/walformat.html, 2.1 and 2.2).
"""

import contextlib
import mmap
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

# Tells what others have committed: another number after each of their commits, None where it cannot be had.
Others = Callable[[], int | None]
HEADER_BYTES = 48
# iChange: a native 32-bit number that grows by one with each commit.
COMMITS = slice(8, 12)
# What one transaction of ours, within which nobody else commits, does to that: a log may begin anew before its commit.
OURS = (0, 1)
# Of so many accounts it is known when they were changed last. Of one more, all count as changed.
MOST = 10_000


class Changes:
    """How often the database was changed, as far as it matters.

    The file is opened once and stays open: to close any descriptor of it would end all locks that this process has on
    it (fcntl(2)), SQLite's own included, and the next program that opens the database would make the index anew under
    our feet (https://www.sqlite.org/howtocorrupt.html, 2.2).

    Args:
        database: the database file.
    """

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-shm"
        self._file: BinaryIO | None = None
        self._header: mmap.mmap | None = None
        self._seen = b""
        self._times = 0
        # How often we have changed an account, and for each account the number of its last change.
        self._moment = 0
        self._touched: dict[str, int] = {}
        # The header from before a commit of our own that changes nothing that matters, while that is under way.
        self._before: bytes | None = None
        # The event loop looks, and so does the thread that commits.
        self._turn = threading.Lock()

    def mark(self) -> int | None:
        """Return a number that is another one after each change; None where nobody can tell."""
        if self._header is None:
            return None
        if self._header[:] != self._seen:
            with self._turn:
                header = self._header[:]
                if header != self._seen and not (self._before == self._seen and _commits(self._seen, header) in OURS):
                    self._seen = header
                    self._times += 1
        return self._times

    def new_mark(self) -> int | None:
        """Return :meth:`mark`, to be compared with later ones; None also where the file was taken away."""
        try:
            if self._file is None:
                self._file = open(self._path, "rb")  # noqa: PTH123, SIM115 -- no Path for each request; see the class
            if self._header is None:
                self._header = mmap.mmap(self._file.fileno(), HEADER_BYTES, prot=mmap.PROT_READ)
            ours, there = os.fstat(self._file.fileno()), os.stat(self._path)  # noqa: PTH116 -- as above
        except (OSError, ValueError):
            return None  # it is not there, or empty: nobody has opened the database yet
        return self.mark() if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) else None

    @contextlib.contextmanager
    def harmful(self, _others: Others) -> Iterator[None]:
        """Make the mark another one once this block, which is our own transaction, has committed.

        That goes without the header, so what we do counts at once whatever somebody does to the file.
        """
        yield
        with self._turn:
            self._times += 1

    @property
    def moment(self) -> int:
        """A number that grows with each change of an account that leaves the mark as it is."""
        return self._moment

    def touched(self, account: str) -> int:
        """Return what :attr:`moment` became by the last such change of an account (its uuid); 0 where none is known."""
        return self._touched.get(account, 0)

    @contextlib.contextmanager
    def harmless(self, others: Others, *, accounts: Collection[str] = ()) -> Iterator[None]:
        """Leave the mark as it is, whatever is committed in this block by the transaction that it is within.

        That has the write lock, so nobody else commits between its begin and its end; what comes after it is seen.

        Args:
            others: tells whether somebody else has committed. A transaction that wrote nothing commits nothing: what
                another process commits right after it would be the one commit that is taken for ours.
            accounts: the uuids of those that it does change: of them it is known by :meth:`touched`.
        """
        before = None if self.mark() is None else self._seen
        self._before = before
        known = others()
        try:
            yield
            header = b"" if self._header is None else self._header[:]
            alone = known is not None and others() == known  # asked after the header was read
            with self._turn:
                if alone and header and before is not None and before == self._seen and _commits(before, header) == 1:
                    self._seen = header
                self._touch(accounts)
        finally:
            self._before = None

    def _touch(self, accounts: Collection[str]) -> None:
        for account in accounts:
            self._moment += 1
            self._touched[account] = self._moment
        if len(self._touched) > MOST:
            self._times += 1  # first: whoever looks between the two finds that everything has changed
            self._touched.clear()

    def close(self) -> None:
        """Let go of it, after all connections are closed."""
        header, self._header = self._header, None
        if header is not None:
            header.close()
        if self._file is not None:
            self._file.close()
            self._file = None


def _commits(before: bytes, after: bytes) -> int:
    """Return how many commits lie between two headers."""
    first, last = (int.from_bytes(header[COMMITS], sys.byteorder) for header in (before, after))
    return (last - first) % 2**32
