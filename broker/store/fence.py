"""The fence: a small file beside the database that tells an older or a copied database from the one in use here.

Used by ``Store``, whose every change of a refresh token it follows, and by ``copies``. A provider that lets each
refresh token be used once ends the login when a spent one comes back, so a copy must be known before it asks.

The database is the truth and the file only an echo: it is written after the commit and not synced, and one that is
behind means nothing. One that is ahead, is missing, or tells of another line means that the database is not the one
that was here last. It also tells how far the audit has come, so that one whose end was cut off is seen: see ``chain``;
and how far the register of apps, so that a grant that was taken away and is put back is seen: see ``register``.
"""

import ctypes
import logging
import os
import re
import secrets
import struct
from pathlib import Path
from typing import Self

from broker.errors import CannotStart
from broker.store.files import FILE_MODE, private_file, sync_directory

log = logging.getLogger(__name__)

# Of fixed width, so that a newer text covers the older one whole. 32 digits of chance, the rest decimal.
FORM = "keyfob-fence 1 {line} {sequence:020d} {inode:020d} {birth:020d} {audit:020d} {apps:020d}\n"
# Before schema 0006 nothing was told about the audit, and before 0008 nothing about apps.
READ = re.compile(rb"keyfob-fence 1 ([0-9a-f]{32}) (\d{20}) (\d{20}) (\d{20})(?: (\d{20}))?(?: (\d{20}))?\n")
LINE_BYTES = 16
# Longer than the form, so that anything after it is seen and refused.
MOST_BYTES = 512
# The line of a fence that no database continues: written by a restore.
RESTORED = "0" * (2 * LINE_BYTES)
# statx(2): the file itself rather than a name in it, its birth time, and where in the answer that stands.
AT_EMPTY_PATH, STATX_BTIME, STATX_BYTES, BTIME_AT = 0x1000, 0x800, 256, 80
NANOSECONDS = 10**9

SPENT = "so the refresh token in it may have been used up elsewhere."
OLDER = f"The database is older than the one that was last in use here, {SPENT}"
COPIED = f"The database is a copy from another place, {SPENT}"
PUT_BACK = f"The database was put back from a backup, {SPENT}"


def beside(database: Path) -> Path:
    """Return where the fence of a database is."""
    return database.with_name(f"{database.name}.fence")


def why_copied(database: Path, line: str | None, sequence: int) -> str:
    """Say why the database is not the one that was last in use here; empty where it is.

    Args:
        database: the file.
        line: what the database calls itself, or None where it never had a fence (it is new, or of schema 0001).
        sequence: how often a refresh token in it was sent or replaced.

    Raises:
        CannotStart: the fence cannot be looked at.
    """
    path = beside(database)
    private_file(path, create=False)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return "" if line is None else COPIED
    try:
        found = READ.fullmatch(os.pread(handle, MOST_BYTES, 0))
        inode, birth = _identity(handle)
    finally:
        os.close(handle)
    if found is None:
        return COPIED
    its_line, its_sequence, its_inode, its_birth = found[1].decode(), *map(int, found.group(2, 3, 4))
    if its_line == RESTORED:
        return PUT_BACK
    if line is None:
        # One of sequence 0 was made for this very database, which was about to learn its line when the power went.
        return OLDER if its_sequence else ""
    if its_line != line or its_inode != inode or (its_birth and birth and its_birth != birth):
        return COPIED
    return OLDER if its_sequence > sequence else ""


class Fence:
    """The open fence of the database in use.

    Attributes:
        audit: the number of the newest entry of the audit that it was told of; 0 where there is none.
        apps: the epoch of the register of apps that it was told of; 0 where there is none.
    """

    def __init__(self, handle: int, line: str, sequence: int, audit: int = 0, apps: int = 0) -> None:
        self._handle = handle
        self._inode, self._birth = _identity(handle)
        self._line = line
        self._sequence = sequence
        self.audit = audit
        self.apps = apps
        self._behind = False

    @classmethod
    def take(cls, database: Path, line: str, sequence: int) -> Self:
        """Open the fence that belongs to the database (:func:`why_copied` said so) and bring it up to date."""
        handle = os.open(beside(database), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = READ.fullmatch(os.pread(handle, MOST_BYTES, 0))
        fence = cls(handle, line, 0, *(int(found[place] or 0) if found else 0 for place in (5, 6)))
        fence.follow(sequence)
        return fence

    @classmethod
    def build(cls, database: Path, sequence: int, *, line: str = "", audit: int = 0, apps: int = 0) -> Self:
        """Put a new fence in the place of whatever was there; the database is to learn its :attr:`line`.

        Args:
            database: the file.
            sequence: where the database stands.
            line: a fixed one; else one by chance.
            audit: the number of the newest entry of its audit.
            apps: the epoch of its register of apps.

        Raises:
            CannotStart: it cannot be written.
        """
        path = beside(database)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            fence = cls(handle, line or secrets.token_hex(LINE_BYTES), sequence, audit, apps)
            try:
                os.fchmod(handle, FILE_MODE)
                fence._write(sequence, audit, apps)
                # Synced once: what is written over it later may be lost in a power cut, but not torn from the disk.
                os.fsync(handle)
                draft.replace(path)
            except BaseException:
                fence.close()
                draft.unlink(missing_ok=True)
                raise
            sync_directory(path.parent)
        except OSError as exc:
            raise CannotStart(f"{path} cannot be written: {exc.strerror}.", "Look at its disk.") from exc
        return fence

    @property
    def line(self) -> str:
        """What the database has to call itself."""
        return self._line

    def follow(self, sequence: int) -> None:
        """Write down how far the database has come. A disk that refuses leaves the fence behind, which is harmless."""
        if sequence > self._sequence:
            self._tell(sequence, self.audit, self.apps)

    def follow_audit(self, number: int) -> None:
        """Write down how far its audit has come; a disk that refuses as in :meth:`follow`."""
        if number > self.audit:
            self._tell(self._sequence, number, self.apps)

    def follow_apps(self, epoch: int) -> None:
        """Write down how far its register of apps has come; a disk that refuses as in :meth:`follow`."""
        if epoch > self.apps:
            self._tell(self._sequence, self.audit, epoch)

    def _tell(self, sequence: int, audit: int, apps: int) -> None:
        try:
            self._write(sequence, audit, apps)
        except OSError as exc:
            if not self._behind:
                log.warning("the fence of the database cannot be written: %s; an older copy may go unnoticed", exc)
            self._behind = True
        else:
            self._sequence, self.audit, self.apps, self._behind = sequence, audit, apps, False

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write(self, sequence: int, audit: int, apps: int) -> None:
        where = {"line": self._line, "inode": self._inode, "birth": self._birth}
        os.pwrite(self._handle, FORM.format(**where, sequence=sequence, audit=audit, apps=apps).encode(), 0)


def distrust(database: Path) -> None:
    """Leave a fence that no database continues, so that the next start takes whatever is there for a copy.

    Raises:
        CannotStart: it cannot be written.
    """
    Fence.build(database, 0, line=RESTORED).close()


def _identity(handle: int) -> tuple[int, int]:
    """Return what a copy of a file does not share with it: its number and its time of birth in ns (0: not known).

    The number alone is not enough: a directory that is removed and copied back gets the very same numbers on ext4.
    """
    found = os.fstat(handle)
    born = getattr(found, "st_birthtime", None)  # macOS and the BSDs
    if born is not None:
        return found.st_ino, int(born * NANOSECONDS)
    answer = ctypes.create_string_buffer(STATX_BYTES)
    statx = getattr(ctypes.CDLL(None), "statx", None)
    if statx is None or statx(handle, b"", AT_EMPTY_PATH, STATX_BTIME, answer) != 0:
        return found.st_ino, 0
    (known,) = struct.unpack_from("I", answer, 0)
    seconds, nanoseconds = struct.unpack_from("qI", answer, BTIME_AT)
    return found.st_ino, seconds * NANOSECONDS + nanoseconds if known & STATX_BTIME else 0
