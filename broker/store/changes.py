"""Whether anybody has committed anything to the database since a moment, without asking SQLite.

Used by ``engine``. The header of the index of the write-ahead log is what SQLite's own readers look at to learn of new
commits: its first 48 bytes are in memory that all its connections share, and every commit, of whichever process,
changes them (https://www.sqlite.org/walformat.html, 2.1 and 2.2).
"""

import contextlib
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

HEADER_BYTES = 48
# iChange: a native 32-bit number that grows by one with each commit.
COMMITS = slice(8, 12)


class Changes:
    """How often the database was changed, as far as it matters.

    Args:
        database: the database file.
    """

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-shm"
        self._header: mmap.mmap | None = None
        self._inode = 0
        self._seen = b""
        self._times = 0
        # The header from before a commit of our own that changes nothing that matters, while that is under way.
        self._before: bytes | None = None

    def mark(self) -> int | None:
        """Return a number that is another one after each change; None where nobody can tell."""
        if self._header is None:
            return None
        header = self._header[:]
        if header != self._seen and not (self._before == self._seen and _commits(self._seen, header) == 1):
            self._seen = header
            self._times += 1
        return self._times

    def new_mark(self) -> int | None:
        """Return :meth:`mark`, by the file that is there now: SQLite makes it anew once all connections were closed."""
        try:
            inode = os.stat(self._path).st_ino  # noqa: PTH116 -- no Path is made for each request
            if inode != self._inode or self._header is None:
                self.close()
                self._open()
        except (OSError, ValueError):
            self.close()  # it is not there, or empty: nobody has opened the database yet
        return self.mark()

    @contextlib.contextmanager
    def harmless(self) -> Iterator[None]:
        """Leave the mark as it is, whatever is committed in this block by the transaction that it is within.

        That has the write lock, so nobody else commits between its begin and its end; what comes after it is seen.
        """
        known = self.mark() is not None
        self._before = self._seen if known else None
        try:
            yield
            if known and self._header is not None and _commits(self._seen, header := self._header[:]) == 1:
                self._seen = header
        finally:
            self._before = None

    def close(self) -> None:
        """Let go of it."""
        if self._header is not None:
            self._header.close()
        self._header = None

    def _open(self) -> None:
        with open(self._path, "rb") as file:  # noqa: PTH123 -- as above
            self._header = mmap.mmap(file.fileno(), HEADER_BYTES, prot=mmap.PROT_READ)
            self._inode = os.fstat(file.fileno()).st_ino
        self._times += 1


def _commits(before: bytes, after: bytes) -> int:
    """Return how many commits lie between two headers."""
    first, last = (int.from_bytes(header[COMMITS], sys.byteorder) for header in (before, after))
    return (last - first) % 2**32
