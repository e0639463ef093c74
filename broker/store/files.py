"""Private directories and files, and the lock that keeps a second daemon away.

Called by ``daemon``, ``keys`` and ``migrate``. Modes are set on the open file, so that the umask does not matter.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.errors import CannotStart

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
# Longer than any process id; what else a lock file holds is not ours.
PID_BYTES = 32


def private_directory(path: Path) -> Path:
    """Make ``path`` (and its parents), or tighten it, so that only its owner can look inside.

    Raises:
        CannotStart: it is a symbolic link, no directory, another user's, everybody's, or cannot be made.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        if path.is_symlink():
            raise CannotStart(f"{path} is a symbolic link.", "Name the directory itself, or remove the link.") from exc
        raise CannotStart(
            f"The directory {path} cannot be used: {exc.strerror}.", "Mend that, or set another directory."
        ) from exc
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid():
            raise CannotStart(
                f"The directory {path} belongs to user {found.st_uid}, not to user {os.geteuid()} who runs Keyfob.",
                "Run Keyfob as that user, or set another directory.",
            )
        if found.st_mode & (stat.S_IWOTH | stat.S_ISVTX):
            raise CannotStart(
                f"{path} is a directory that everybody may use.",
                f"Name one of Keyfob's own, such as {path / 'keyfob'}.",
            )
        if stat.S_IMODE(found.st_mode) != DIRECTORY_MODE:
            os.fchmod(handle, DIRECTORY_MODE)
    finally:
        os.close(handle)
    return path


def private_file(path: Path, *, create: bool) -> bool:
    """Make sure that ``path`` is a regular file of ours with mode 0600; return whether it was made now.

    Args:
        path: the file; a missing one is made empty if ``create`` and left missing if not.
        create: make a missing file.

    Raises:
        CannotStart: it is a symbolic link, no regular file, another user's, or cannot be made.
    """
    try:
        handle, made = _open_private(path, create=create)
    except FileNotFoundError as exc:
        if create:
            raise CannotStart(f"The directory {path.parent} does not exist.", "Create it, or set another.") from exc
        return False
    except OSError as exc:
        link = exc.errno == errno.ELOOP
        raise CannotStart(
            f"{path} {'is a symbolic link' if link else f'cannot be used: {exc.strerror}'}.",
            "Name the file itself." if link else "Mend that, or set another file.",
        ) from exc
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise CannotStart(f"{path} is not a regular file.", "Set another file.")
        if found.st_uid != os.geteuid():
            raise CannotStart(
                f"{path} belongs to user {found.st_uid}, not to user {os.geteuid()} who runs Keyfob.",
                "Run Keyfob as that user, or set another file.",
            )
        if stat.S_IMODE(found.st_mode) != FILE_MODE:
            os.fchmod(handle, FILE_MODE)
    finally:
        os.close(handle)
    return made


def _open_private(path: Path, *, create: bool) -> tuple[int, bool]:
    # O_NONBLOCK: a FIFO in the file's place must not hold the start for ever.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    if create:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE), True
        except FileExistsError:
            pass  # then it is opened as it is
    return os.open(path, flags), False


def sync_file(path: Path) -> None:
    """Make what was written to a file by others (SQLite, a copy) survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Make the names of files just made in ``path`` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Held(CannotStart):
    """Another process holds the lock of the state directory or of the database."""


class StateLock:
    """A held lock of a state directory or a database; leaving the ``with`` block or the process releases it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def release(self) -> None:
        """Let another daemon have the directory. The file stays: removing it would let two hold "the" lock."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_state_directory(path: Path) -> StateLock:
    """Take the lock that makes this process the one daemon of the state directory ``path``.

    Raises:
        Held: another process holds it.
        CannotStart: the lock file cannot be used.
    """
    return _locked(path / "lock", path)


def lock_database(database: Path) -> StateLock:
    """Take the lock that keeps away whoever has another state directory and yet uses this database.

    Raises:
        as ``lock_state_directory``.
    """
    if not database.parent.exists():
        private_directory(database.parent)
    return _locked(database.with_name(f"{database.name}.lock"), database)


def _locked(file: Path, path: Path) -> StateLock:
    private_file(file, create=True)
    handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except BlockingIOError as exc:
        holder = os.read(handle, PID_BYTES).decode("ascii", "replace").strip()
        os.close(handle)
        raise Held(
            f"Another keyfob daemon (pid {holder or 'unknown'}) already uses {path}.",
            "Use that one (keyfob status), stop it, or set another KEYFOB_STATE_DIR.",
        ) from exc
    except OSError as exc:
        os.close(handle)
        raise CannotStart(
            f"{file} cannot be locked: {exc.strerror}.", "Set a KEYFOB_STATE_DIR on a local disk."
        ) from exc
    return StateLock(handle)
