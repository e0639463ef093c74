"""The emergency journal: where an answer that the database cannot take now outlives this process.

Used by ``refreshes``. A file beside the database, filled with zeros ahead of time, so that a full disk has room for
it. What is put there is sealed by the caller. File systems that never overwrite in place (btrfs, ZFS) may refuse all
the same when they are full to the last block.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from broker.errors import CannotStart
from broker.store.files import FILE_MODE, private_file, sync_directory

log = logging.getLogger(__name__)

TAIL = ".answers"
MAGIC = b"keyfob-answers 1"
LENGTH_BYTES = 4
# As many of the largest answers (256 KiB, sealed and padded) as may be in the air by default: 8.
SIZE = 8 * 264 * 1024


def beside(database: Path) -> Path:
    """Return where the journal of a database is."""
    return database.with_name(f"{database.name}{TAIL}")


def keep_aside(path: Path, entries: Sequence[bytes]) -> Path:
    """Copy entries that cannot be read to a file of their own, in the place of those that were kept aside before.

    Raises:
        OSError: they could not be copied, or the copy may not survive. What was kept before may still be there.
    """
    aside = path.with_name(f"{path.name}.unread")
    draft = aside.with_name(f"{aside.name}.new")
    draft.unlink(missing_ok=True)  # of a start that did not come to its end
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            _write(handle, MAGIC + b"".join(map(_framed, entries)), 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        draft.replace(aside)
    except OSError:
        draft.unlink()  # it takes room, which may be what is missing
        raise
    sync_directory(path.parent)
    return aside


def is_empty(path: Path) -> bool:
    """Whether the journal at that place has no entry."""
    return not _read(path.read_bytes())[0]


class Journal:
    """The open journal of the database in use.

    Attributes:
        entries: what an earlier process left in it, in order, as it was put there; the last may have been cut off.
    """

    def __init__(self, handle: int, entries: list[bytes], end: int) -> None:
        self._handle = handle
        self._end = end
        # Up to here it may hold more than zeros: an entry that was not taken may stand in the file all the same.
        self._touched = end
        self._turn = threading.Lock()
        self.entries = entries

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal, making it where it is missing.

        Raises:
            CannotStart: it is a link, another user's, or cannot be opened or read.
        """
        try:
            if private_file(path, create=True):
                sync_directory(path.parent)
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                entries, end = _read(os.pread(handle, os.fstat(handle).st_size, 0))
                journal = cls(handle, entries, end)
                journal._fill()
            except BaseException:
                os.close(handle)
                raise
        except OSError as exc:
            # Not passed over: what may stand in it would be taken for lost, and the token before it sent again.
            raise CannotStart(f"{path} cannot be read: {exc.strerror}.", "Look at its disk.") from exc
        return journal

    def append(self, blob: bytes) -> None:
        """Add an entry; it survives a power cut when this returns.

        Raises:
            OSError: it could not be written, or may not survive.
        """
        entry = _framed(blob)
        with self._turn:
            self._touched = max(self._touched, self._end + len(entry))
            _write(self._handle, entry, self._end)
            os.fsync(self._handle)
            self._end += len(entry)

    def erase(self) -> None:
        """Overwrite all entries with zeros.

        Raises:
            OSError: they may still be there.
        """
        with self._turn:
            _write(self._handle, bytes(self._touched - len(MAGIC)), len(MAGIC))
            os.fsync(self._handle)
            self._end = self._touched = len(MAGIC)
            self.entries = []

    def close(self) -> None:
        """Close the file; what is being written to it goes first."""
        with self._turn:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def _fill(self) -> None:
        """Take the room, if there is some: later there may be none."""
        missing = SIZE - os.fstat(self._handle).st_size
        if missing <= 0:
            return
        try:
            _write(self._handle, bytes(missing), SIZE - missing)
            _write(self._handle, MAGIC, 0)
            os.fsync(self._handle)
        except OSError as exc:
            log.warning("the emergency journal could not take its %d KiB ahead: %s", SIZE // 1024, exc.strerror)


def _write(handle: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, at)
        view, at = view[written:], at + written


def _framed(blob: bytes) -> bytes:
    return len(blob).to_bytes(LENGTH_BYTES) + blob


def _read(text: bytes) -> tuple[list[bytes], int]:
    """Split the file into its entries; return them and where the next one goes."""
    entries: list[bytes] = []
    at = len(MAGIC)
    while length := int.from_bytes(text[at : at + LENGTH_BYTES]):
        at += LENGTH_BYTES
        entries.append(text[at : at + length])
        at = min(at + length, len(text))
    return entries, at
