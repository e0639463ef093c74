"""Where the key comes from that opens the stored secrets: a file, a systemd credential, a keyring, a command, a person.

Made by ``daemon`` from the settings, used by ``Store.open``. Exactly the configured source is asked: there is no
fallback, because a silent second choice would be a way to plant a key.
"""

import base64
import binascii
import contextlib
import os
import re
import secrets
import shlex
import stat
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from broker.errors import CannotStart, Locked
from broker.store.files import FILE_MODE, private_directory, sync_directory
from broker.store.keyring import SecretServiceKey
from broker.store.passphrase import SET, UNLOCK, UNSET, WAITS
from broker.store.seal import KEY_BYTES

KEY_SOURCES = ("file", "systemd", "secret-service", "command", "passphrase")
CREDENTIAL = "keyfob-key"
# A password manager that asks its agent answers in well under a second; one that waits for a person must not hold the
# daemon's start for ever.
COMMAND_TIMEOUT = 10.0
# Any accepted spelling of 32 bytes is shorter; a larger file is the wrong file.
KEY_TEXT_BYTES = 1024
FORMS = "64 hexadecimal digits, or base64 of 32 bytes"


class KeySource(Protocol):
    """One way to get the key."""

    name: str

    def load(self) -> bytes:
        """Return the 32 bytes of the key.

        Raises:
            Locked: it is not at hand; the detail says why and the hint what to do.
        """

    def others(self) -> list[bytes]:
        """Return further keys of this source: those that a rotation made and had no time to put in their place."""

    def can_create(self) -> bool:
        """Whether there is no key yet and :meth:`create` can make one."""

    def create(self) -> None:
        """Make a key where there is none.

        Raises:
            Locked: it cannot be written.
        """

    def stage(self) -> bytes:
        """Return a key to come, made beside the present one where the source can; it lasts when this returns.

        Raises:
            Locked: there is none to be had.
        """

    def settle(self, key: bytes) -> None:
        """Make ``key`` the one that :meth:`load` returns, and remove what else a rotation made.

        Raises:
            Locked: it cannot be put in its place now; :meth:`others` still returns it.
        """


def parse_key(text: bytes, where: str) -> bytes:
    """Read the text form of a key: 64 hexadecimal digits or base64 of 32 bytes, white space around it allowed.

    Raises:
        Locked: it is neither.
    """
    trimmed = text.strip()
    if re.fullmatch(rb"[0-9a-fA-F]{64}", trimmed):
        return bytes.fromhex(trimmed.decode())
    with contextlib.suppress(binascii.Error, ValueError):
        standard = trimmed.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        key = base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
        if len(key) == KEY_BYTES:
            return key
    raise Locked(f"{where} does not hold a key.", f"A key is {FORMS}.")


class GivenKey(ABC):
    """What the sources have in common whose keys are made and changed elsewhere."""

    @abstractmethod
    def load(self) -> bytes:
        """Return the key; each source has its own way."""

    def others(self) -> list[bytes]:
        """Return none."""
        return []

    def stage(self) -> bytes:
        """Return the key that the source gives now: whoever rotates puts a new one there first."""
        return self.load()

    def settle(self, key: bytes) -> None:  # noqa: B027 -- nothing to do is the answer, and not a gap
        """Do nothing: it is where it belongs."""


class FileKey:
    """A key in a file that only its owner may read.

    While it is rotated the new one stands beside it under the name with ``.next``.
    """

    name = "file"

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _next(self) -> Path:
        return self.path.with_name(f"{self.path.name}.next")

    def others(self) -> list[bytes]:
        """Return the key that a rotation left beside the file, if it did."""
        if not os.path.lexists(self._next):
            return []
        try:
            return [FileKey(self._next).load()]
        except Locked:
            return []  # a draft that was cut off; the next rotation writes it anew

    def stage(self) -> bytes:
        """Write a new key beside the file, and return it."""
        beside = FileKey(self._next)
        try:
            self._sweep()
            self._next.unlink(missing_ok=True)
        except OSError as exc:
            raise beside.unwritable(exc) from exc
        beside.create()
        return beside.load()

    def settle(self, key: bytes) -> None:
        """Put the key beside the file in its place, if it is that one; else remove what stands there."""
        try:
            if key in self.others():
                self._next.replace(self.path)
            else:
                self._next.unlink(missing_ok=True)
            self._sweep()
            sync_directory(self.path.parent)
        except OSError as exc:
            raise self.unwritable(exc) from exc

    def _sweep(self) -> None:
        """Remove the drafts that a kill left: each may hold a key. Whoever has the database is alone here."""
        if not self.path.parent.exists():
            return  # a change to this kind of key makes it
        draft = re.compile(rf"\.{re.escape(self.path.name)}(\.next)?\.[0-9a-f]{{16}}")
        for path in self.path.parent.iterdir():
            if draft.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def load(self) -> bytes:
        """Read the file, and refuse one that others could have read or written."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as exc:
            raise Locked(
                f"The key file {self.path} does not exist.",
                "Put the key back from your backup, or set KEYFOB_KEY_FILE to where it is.",
            ) from exc
        except OSError as exc:
            why = "is a symbolic link" if self.path.is_symlink() else f"cannot be read: {exc.strerror}"
            raise Locked(f"The key file {self.path} {why}.", "Set KEYFOB_KEY_FILE to the file itself.") from exc
        try:
            self._check(os.fstat(handle))
            return parse_key(os.read(handle, KEY_TEXT_BYTES), f"The key file {self.path}")
        except OSError as exc:
            raise Locked(f"The key file {self.path} cannot be read: {exc.strerror}.", "Look at its disk.") from exc
        finally:
            os.close(handle)

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise Locked(f"{self.path} is not a regular file.", "Set KEYFOB_KEY_FILE to the key file.")
        if found.st_uid != os.geteuid():
            raise Locked(
                f"The key file {self.path} belongs to user {found.st_uid}, not to user {os.geteuid()}.",
                f"Make it yours, if it is: `chown {os.geteuid()} {shlex.quote(str(self.path))}`.",
            )
        if found.st_mode & 0o077:
            raise Locked(
                f"The key file {self.path} is open to other users.",
                f"Close it, if no other user can have read it: `chmod 600 {shlex.quote(str(self.path))}`.",
            )

    def can_create(self) -> bool:
        """Whether there is nothing at the path: not even a dangling link."""
        return not os.path.lexists(self.path)

    def create(self) -> None:
        """Write a fresh key, whole or not at all, and never over anything."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            if not self.path.parent.exists():
                private_directory(self.path.parent)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                with open(handle, "wb") as file:  # noqa: PTH123 -- a descriptor has no path
                    os.fchmod(handle, FILE_MODE)
                    file.write(f"{secrets.token_hex(KEY_BYTES)}\n".encode())
                    file.flush()
                    os.fsync(handle)
                # A link fails where the name is taken; a rename would replace what somebody else just made.
                os.link(draft, self.path, follow_symlinks=False)
            finally:
                draft.unlink()
            sync_directory(self.path.parent)
        except OSError as exc:
            raise self.unwritable(exc) from exc

    def unwritable(self, exc: OSError) -> Locked:
        """Say that the file cannot be written."""
        hint = "Make its directory writable, or set KEYFOB_KEY_FILE."
        return Locked(f"The key file {self.path} cannot be made: {exc.strerror}.", hint)


class SystemdCredentialKey(GivenKey):
    """A key that systemd decrypts for the service (``LoadCredentialEncrypted=keyfob-key``)."""

    name = "systemd"

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def load(self) -> bytes:
        """Read the credential. systemd itself guards the directory, so modes are not looked at."""
        if self._directory is None:
            raise Locked(
                "systemd gave this process no credentials ($CREDENTIALS_DIRECTORY is not set).",
                f"Start Keyfob from a unit with LoadCredentialEncrypted={CREDENTIAL}.",
            )
        path = self._directory / CREDENTIAL
        try:
            with path.open("rb") as file:
                return parse_key(file.read(KEY_TEXT_BYTES), f"The systemd credential {CREDENTIAL}")
        except OSError as exc:
            raise Locked(
                f"The systemd credential {CREDENTIAL} cannot be read: {exc.strerror}.",
                f"Give the unit LoadCredentialEncrypted={CREDENTIAL}.",
            ) from exc

    def can_create(self) -> bool:
        """No: systemd makes them."""
        return False

    def create(self) -> None:
        """Refuse."""
        raise Locked("Keyfob cannot make a systemd credential.", "Make one with systemd-creds encrypt.")


class CommandKey(GivenKey):
    """A key that a command prints, as a password manager does."""

    name = "command"

    def __init__(self, command: str) -> None:
        self._command = command

    def load(self) -> bytes:
        """Run the command without a shell and read its output. What it says on stderr is not repeated."""
        hint = "Run KEYFOB_KEY_COMMAND by hand and see what it says."
        try:
            argv = shlex.split(self._command)
        except ValueError as exc:
            raise Locked(f"The key command cannot be understood: {exc}.", "Mend KEYFOB_KEY_COMMAND.") from exc
        if not argv:
            raise Locked("The key source is a command, but none is set.", "Set KEYFOB_KEY_COMMAND.")
        try:
            done = subprocess.run(  # noqa: S603 -- the owner's own setting, split without a shell
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise Locked(f"The key command did not answer within {COMMAND_TIMEOUT:.0f} s.", hint) from exc
        except OSError as exc:
            raise Locked(f"The key command cannot be run: {exc.strerror}.", hint) from exc
        if done.returncode != 0:
            raise Locked(f"The key command failed with exit code {done.returncode}.", hint)
        return parse_key(done.stdout[:KEY_TEXT_BYTES], "The output of the key command")

    def can_create(self) -> bool:
        """No: a command only shows what is there."""
        return False

    def create(self) -> None:
        """Refuse."""
        raise Locked("Keyfob cannot make a key behind a command.", f"Store one there yourself: {FORMS}.")


class PassphraseKey(GivenKey):
    """A key that a person has in mind: this source never gives one by itself."""

    name = "passphrase"

    def load(self) -> bytes:
        """Refuse: a person has to say it."""
        raise Locked(WAITS, UNLOCK)

    def can_create(self) -> bool:
        """No: a person chooses it."""
        return False

    def create(self) -> None:
        """Refuse."""
        raise Locked(UNSET, SET)


def key_source(kind: str, *, file: Path, command: str, credentials_dir: Path | None, database: Path) -> KeySource:
    """Return the configured key source; nothing is read yet.

    Args:
        kind: ``file``, ``systemd``, ``secret-service``, ``command`` or ``passphrase``.
        file: the key file, for ``file``.
        command: the command line, for ``command``.
        credentials_dir: ``$CREDENTIALS_DIRECTORY``, for ``systemd``.
        database: the database's file, for ``secret-service``.

    Raises:
        CannotStart: ``kind`` is none of them.
    """
    match kind:
        case "file":
            return FileKey(file)
        case "systemd":
            return SystemdCredentialKey(credentials_dir)
        case "secret-service":
            return SecretServiceKey(database)
        case "command":
            return CommandKey(command)
        case "passphrase":
            return PassphraseKey()
        case _:
            raise CannotStart(
                f"There is no key source '{kind}'.",
                "Set KEYFOB_KEY_SOURCE to file, systemd, secret-service, command or passphrase.",
            )
