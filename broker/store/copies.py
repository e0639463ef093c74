"""Copies of the whole database: one that is made while it is in use, and one that is put in its place.

Called by ``keyfob backup`` and ``keyfob restore``. Secrets stay sealed in a copy, and the key is not in it. Nothing
takes its final name before it has passed SQLite's integrity check and is on the disk.
"""

import contextlib
import os
import secrets
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO

from broker.errors import CannotStart, InvalidRequest, Locked, StoreUnavailable
from broker.store import journal
from broker.store.engine import BUSY_TIMEOUT
from broker.store.fence import distrust
from broker.store.files import FILE_MODE, private_file, sync_directory, sync_file
from broker.store.keys import KeySource
from broker.store.migrate import RESTORE, connect, known_revisions
from broker.store.seal import Broken, Record, key_id, open_record

# How every SQLite file begins.
MAGIC = b"SQLite format 3\0"
TAILS = ("-wal", "-shm", "-journal")
ANOTHER_BACKUP = (
    "Name another one: a file that keyfob backup made, or a copy of keyfob.db that was made while no daemon ran."
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a copy holds.

    Attributes:
        revision: its schema.
        accounts: how many accounts are in it.
        record: its master key's record, or None where it never had a key.
    """

    revision: str
    accounts: int
    record: Record | None


def back_up(database: Path, file: Path, *, force: bool = False) -> Contents:
    """Write a consistent copy of a database that may be in use, as a private file of its own.

    Args:
        database: the database.
        file: the copy; it appears whole or not at all.
        force: a backup that has that name already may be replaced.

    Raises:
        CannotStart: there is no database, or it is another user's.
        InvalidRequest: the copy cannot have that name.
        StoreUnavailable: the database is damaged or cannot be read, or the copy cannot be written.
    """
    _check_source(database)
    _check_target(database, file, force=force)
    with _draft(file) as draft:
        try:
            with contextlib.closing(_reader(database)) as connection:
                connection.execute("VACUUM INTO ?", (str(draft),))
            found = _examine(draft)
        except sqlite3.DatabaseError as exc:
            raise StoreUnavailable(f"The database {database} cannot be copied: {exc}.", _what_helps(exc)) from exc
        sync_file(draft)
        _check_target(database, file, force=force)
        draft.replace(file)
    return found


def put_back(
    file: Path, database: Path, key: KeySource | None, now: float, stream: BinaryIO | None = None
) -> tuple[Contents, Path | None]:
    """Put a copy in the place of the database. The caller holds the lock of the state directory.

    The next start takes what is there then for a copy: see ``fence``.

    Args:
        file: the copy; it is only read.
        database: where it goes. What is there is kept aside under a dated name, its write-ahead log too.
        key: the key at hand, which must open the copy; None to put it there unseen.
        now: epoch seconds, for that name.
        stream: where the copy is read from, if not from ``file``, which is only its name then.

    Returns:
        What the copy holds, and where the database of before is now, or None where there was none.

    Raises:
        CannotStart: ``file`` is no backup of Keyfob, is damaged, or is newer than this program.
        Locked: the key at hand is none, or another.
        StoreUnavailable: something cannot be written; the database is as it was.
    """
    if stream is None and database.exists() and file.exists() and database.samefile(file):
        raise InvalidRequest(f"{file} is the database itself.", ANOTHER_BACKUP)
    with _draft(database) as draft:
        _read_into(file, draft, stream)
        try:
            with contextlib.closing(connect(draft)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")  # its log becomes part of it
                _check_tables(connection)
            found = _examine(draft)
        except sqlite3.DatabaseError as exc:
            raise CannotStart(f"{file} is damaged, or no backup of Keyfob: {exc}.", ANOTHER_BACKUP) from exc
        if found.revision not in known_revisions():
            raise CannotStart(
                f"{file} was written by a newer Keyfob (schema {found.revision}).", "Install the newer Keyfob again."
            )
        if key is not None:
            _check_key(file, found, key)
        sync_file(draft)
        aside = _keep_aside(database, now)
        distrust(database)
        # An old log beside the new file would be played into it. The copy that was just made has it.
        for tail in (*TAILS, journal.TAIL):
            database.with_name(database.name + tail).unlink(missing_ok=True)
        draft.replace(database)
    return found, aside


def _check_source(database: Path) -> None:
    try:
        owner = database.stat().st_uid
    except OSError as exc:
        raise CannotStart(
            f"The database {database} cannot be read: {exc.strerror}.",
            "Set KEYFOB_STATE_DIR or KEYFOB_DATABASE_URL as the daemon has it.",
        ) from exc
    if os.geteuid() not in (owner, 0):
        # SQLite makes files beside a database that it reads; only those of root are given to the owner.
        raise CannotStart(f"The database {database} belongs to user {owner}.", "Run this as that user.")


def _check_target(database: Path, file: Path, *, force: bool) -> None:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise InvalidRequest(f"{file} cannot be written: {exc.strerror}.", "Name another file.") from exc
    if stat.S_ISDIR(found.st_mode):
        raise InvalidRequest(f"{file} is a directory.", f"Name a file in it, such as {file / 'keyfob-backup.db'}")
    if not force:
        raise InvalidRequest(f"{file} exists already.", "Name another file, or add --force to replace this backup.")
    if not stat.S_ISREG(found.st_mode) or file.samefile(database) or not _looks_like_sqlite(file):
        raise InvalidRequest(f"{file} is no backup, so it is not replaced.", "Name another file.")


def _looks_like_sqlite(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError as exc:
        raise InvalidRequest(f"{file} cannot be read: {exc.strerror}.", "Name another file.") from exc


@contextlib.contextmanager
def _draft(file: Path) -> Iterator[Path]:
    """Make an empty private file beside ``file`` to work on; whatever is left of it at the end is removed."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    except OSError as exc:
        raise InvalidRequest(
            f"{file} cannot be written: {exc.strerror}.", "See that its directory exists and is yours."
        ) from exc
    try:
        try:
            os.fchmod(handle, FILE_MODE)
        finally:
            os.close(handle)
        yield draft
        sync_directory(file.parent)
    except OSError as exc:
        raise StoreUnavailable(f"{file} cannot be written: {exc.strerror}.", "Look at its disk.") from exc
    finally:
        for tail in ("", *TAILS):
            draft.with_name(draft.name + tail).unlink(missing_ok=True)


def _reader(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT / 1000, isolation_level=None
    )


def _read_into(file: Path, draft: Path, stream: BinaryIO | None) -> None:
    """Copy byte for byte, so that a file on a medium that cannot be written will do; its log too, where it has one."""
    try:
        if stream is not None:
            with draft.open("wb") as target:
                shutil.copyfileobj(stream, target)
            return
        shutil.copyfile(file, draft)
        log = file.with_name(f"{file.name}-wal")
        if log.exists():
            private_file(copy := draft.with_name(f"{draft.name}-wal"), create=True)
            shutil.copyfile(log, copy)
    except OSError as exc:
        raise CannotStart(f"{file} cannot be read: {exc.strerror or exc}.", "Name the file of a backup.") from exc


def _check_tables(connection: sqlite3.Connection) -> None:
    """Refuse what would act or count without an end as soon as somebody looks into it: Keyfob has tables only.

    Raises:
        sqlite3.DatabaseError: there is more.
    """
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type IN ('view', 'trigger') LIMIT 1").fetchone():
        raise sqlite3.DatabaseError("it has views or triggers")


def _examine(copy: Path) -> Contents:
    """Look whether a copy is sound and Keyfob's own.

    Raises:
        sqlite3.DatabaseError: it is not.
    """
    with contextlib.closing(connect(copy)) as connection:
        fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok":
            raise sqlite3.DatabaseError(fault)
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if revision is None:
            raise sqlite3.DatabaseError("it has no schema")
        (accounts,) = connection.execute("SELECT count(*) FROM account").fetchone()
        row = connection.execute("SELECT instance_id, key_id, master_generation, master FROM instance").fetchone()
        return Contents(str(revision[0]), accounts, None if row is None else Record(*row))


def _check_key(file: Path, found: Contents, key: KeySource) -> None:
    if found.record is None:
        return
    hint = "Put the key that belongs to this backup in its place first. With --without-key it is not looked at now."
    try:
        kek = key.load()
    except Locked as exc:
        raise Locked(exc.detail, f"{exc.hint} {hint}") from exc
    try:
        if key_id(kek, found.record.instance_id) != found.record.key_id:
            raise Locked(f"The key at hand is not the one that {file} was sealed with.", hint)
        open_record(kek, found.record)
    except Broken as exc:
        raise CannotStart(f"The record of the master key in {file} was changed.", ANOTHER_BACKUP) from exc


def _keep_aside(database: Path, now: float) -> Path | None:
    """Copy the database of before, sound or not, byte for byte under a dated name, its log and journal too."""
    private_file(database, create=False)
    if not database.exists():
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    names = (f"{database.name}.replaced-{stamp}{f'-{number}' if number > 1 else ''}" for number in count(1))
    aside = next(path for path in map(database.with_name, names) if not os.path.lexists(path))
    made: list[Path] = []
    try:
        for tail in ("", "-wal", journal.TAIL):
            source, target = (path.with_name(path.name + tail) for path in (database, aside))
            if not source.exists() or (tail == journal.TAIL and journal.is_empty(source)):
                continue
            if not tail or source.stat().st_size:
                private_file(target, create=True)
                made.append(target)
                shutil.copyfile(source, target)
                sync_file(target)
    except BaseException:
        for target in made:  # half a copy would only take space
            target.unlink()
        raise
    sync_directory(database.parent)
    return aside


def _what_helps(exc: sqlite3.DatabaseError) -> str:
    if isinstance(exc, sqlite3.OperationalError):
        return "See that there is space, and that the file and its directory are yours."
    return RESTORE
