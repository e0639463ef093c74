"""Whether anybody has committed anything to the database since a moment, without asking SQLite.

Used by ``engine``. The header of the index of the write-ahead log is what SQLite's own readers look at to learn of new
commits: its first 48 bytes are in memory that all its connections share, and every commit, of whichever process,
changes them (https://www.sqlite.org/walformat.html, 2.1 and 2.2).
"""

import mmap
import os
from pathlib import Path

HEADER_BYTES = 48


class Changes:
    """The header of one database's WAL index.

    Args:
        database: the database file.
    """

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-shm"
        self._header: mmap.mmap | None = None
        self._inode = 0

    def mark(self) -> bytes | None:
        """Return the header as it is now; None where there is none, so that nobody can tell.

        Two marks are equal only if nothing was committed between them.
        """
        return None if self._header is None else self._header[:]

    def look_again(self) -> bytes | None:
        """Return :meth:`mark`, of the file that is there now: SQLite makes it anew once all connections were closed."""
        try:
            inode = os.stat(self._path).st_ino  # noqa: PTH116 -- no Path is made for each request
            if inode != self._inode or self._header is None:
                self.close()
                self._open()
        except (OSError, ValueError):
            self.close()  # it is not there, or empty: nobody has opened the database yet
        return self.mark()

    def close(self) -> None:
        """Let go of it."""
        if self._header is not None:
            self._header.close()
        self._header = None

    def _open(self) -> None:
        with open(self._path, "rb") as file:  # noqa: PTH123 -- as above
            self._header = mmap.mmap(file.fileno(), HEADER_BYTES, prot=mmap.PROT_READ)
            self._inode = os.fstat(file.fileno()).st_ino
