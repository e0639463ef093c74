"""Token files: APP/ACCOUNT below one directory, for programs that read their token from a file.

Used by ``usecases.tokenfiles``. Nobody chooses a path: it follows from two names, and the directories are Keyfob's own.
Nothing is synchronised with a disk: the place is meant to be a tmpfs, and what a power cut takes is written anew. So
each of these takes microseconds, and none needs a thread.
"""

import contextlib
import os
from collections.abc import Container, Iterator
from pathlib import Path

from broker.core.account import ACCOUNT_NAME
from broker.core.secret import Secret
from broker.errors import CannotStart
from broker.store.files import FILE_MODE, private_directory

# An app and an account.
Key = tuple[str, str]
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TokenFiles:
    """The files below one directory.

    Args:
        directory: where; made when the first file is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, key: Key, token: Secret) -> None:
        """Put a token in the place of the one before, in one step: who reads sees the one or the other, and whole.

        There is no newline after it: some readers take the file as it is.

        Raises:
            CannotStart: a directory is a link, no directory or another user's; or a name can be none of a file.
            OSError: the file cannot be written; the one before is still there.
        """
        app, account = key
        for name in key:
            if not ACCOUNT_NAME.fullmatch(name):  # every name of an app would do for an account, too
                raise CannotStart(f"{name!r} can be no file's name.", "Make the app or the account under another name.")
        for directory in (self._directory.parent, self._directory, self._directory / app):
            private_directory(directory)
        with _opened(self._directory / app) as place:
            beside = f".{account}"  # no account's name begins like that
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=place)  # a crash left it
            try:
                handle = os.open(beside, _NEW, FILE_MODE, dir_fd=place)
                with open(handle, "wb") as file:  # noqa: PTH123 -- a descriptor
                    os.fchmod(handle, FILE_MODE)
                    file.write(token.reveal().encode())
                os.replace(beside, account, src_dir_fd=place, dst_dir_fd=place)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(beside, dir_fd=place)
                raise

    def remove(self, key: Key) -> None:
        """Remove a file; no error where there is none.

        Raises:
            OSError: it cannot be removed.
        """
        app, account = key
        with contextlib.suppress(FileNotFoundError), _opened(self._directory) as top, _opened(app, top) as place:
            os.unlink(account, dir_fd=place)

    def keep_places(self, apps: Container[str]) -> None:
        """Remove the empty directories of all other apps. Those of these stay: a container may have one mounted.

        Raises:
            OSError: that cannot be seen.
        """
        with contextlib.suppress(FileNotFoundError), _opened(self._directory) as top:
            for app in _names(top):
                if app not in apps:
                    with contextlib.suppress(OSError):  # it is not empty, or is no directory
                        os.rmdir(app, dir_fd=top)

    def there(self) -> set[Key]:
        """Return whose files there are; and, as an account's, what else lies in an app's directory.

        Raises:
            OSError: that cannot be seen.
        """
        found = set()
        with contextlib.suppress(FileNotFoundError), _opened(self._directory) as top:
            for app in _names(top):
                with contextlib.suppress(NotADirectoryError), _opened(app, top) as place:  # a link is none, either
                    found |= {(app, account) for account in _names(place)}
        return found


@contextlib.contextmanager
def _opened(path: Path | str, within: int | None = None) -> Iterator[int]:
    """Hold a directory open that is no link."""
    handle = os.open(path, _DIRECTORY, dir_fd=within)
    try:
        yield handle
    finally:
        os.close(handle)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]
