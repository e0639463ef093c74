"""Brings the database file to the schema of this program: makes it, checks it, backs it up, migrates it.

Called by ``Store.open`` in a thread, before any other connection exists. Alembic is imported only when there is
something to migrate: it costs more than the whole rest of a start, and 12 MB for as long as the daemon runs. So a new
database is made of the tables as they are now, and a test holds that equal to what all the migrations make.
"""

import contextlib
import functools
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from broker.errors import CannotStart
from broker.store.engine import BUSY_TIMEOUT, PRAGMAS
from broker.store.fence import beside
from broker.store.files import private_directory, private_file, sync_directory, sync_file
from broker.store.tables import REVISION, metadata

if TYPE_CHECKING:
    from alembic.config import Config

# What Alembic makes to keep a schema's revision in.
VERSION_TABLE = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""
# What helps where a database is damaged, lost, or not what it should be.
RESTORE = (
    "Put back a backup: keyfob restore FILE (what is there now is kept aside). Keyfob never replaces it by itself."
)


def scripts_directory() -> Path:
    """Return where the migrations are: in the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def prepare(path: Path, now: float, *, scripts: Path | None = None, head: str = REVISION) -> Path | None:
    """Make or migrate the database file.

    Args:
        path: the file; made with mode 0600 where it is missing, tightened to it where it is not.
        now: epoch seconds, for the name of the backup copy.
        scripts: where the migrations are, if not :func:`scripts_directory`.
        head: the revision that this program wants.

    Returns:
        The backup copy that was made of an older schema, or None.

    Raises:
        CannotStart: the file is no Keyfob database, is damaged, lost, newer than this program, or cannot be used.
    """
    if not path.parent.exists():
        private_directory(path.parent)
    if not (path.exists() and path.stat().st_size):  # looked at before SQLite, which would remove an orphaned log
        _refuse_loss(path)
    if private_file(path, create=True):
        sync_directory(path.parent)
    for tail in ("-wal", "-shm", "-journal"):
        private_file(path.with_name(path.name + tail), create=False)
    try:
        with contextlib.closing(connect(path)) as connection:
            revision = _inspect(connection, path)
            if revision is None:
                _refuse_loss(path)
            connection.execute("PRAGMA journal_mode = WAL")  # only now: another program's database stays as it was
            if revision is None and head == REVISION:
                _make(connection)
            elif revision != head:
                return _migrate(connection, path, revision, now, scripts or scripts_directory(), head)
    except sqlite3.Error as exc:
        raise CannotStart(f"The database {path} cannot be used: {exc}.", RESTORE) from exc
    return None


def _refuse_loss(path: Path) -> None:
    """Refuse to begin with an empty database where there was a full one; only its fence still knows."""
    fence = beside(path)
    if os.path.lexists(fence):
        raise CannotStart(
            f"The database {path} is gone or empty, but {fence.name} beside it tells of one.",
            f"{RESTORE} Only if you mean to begin anew, without any login: remove {fence}.",
        )


def connect(path: Path) -> sqlite3.Connection:
    """Open a database file, with the pragmas of every connection."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT / 1000, isolation_level=None)
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    except UnicodeDecodeError as exc:
        # What SQLite says of a schema that is no text repeats its bytes, and so is no text either.
        connection.close()
        raise sqlite3.DatabaseError("its schema is damaged") from exc
    return connection


def _inspect(connection: sqlite3.Connection, path: Path) -> str | None:
    """Return the schema's revision, or None for an empty database."""
    fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        raise CannotStart(f"The database {path} is damaged: {fault}.", RESTORE)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    row = None
    if "alembic_version" in tables:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise CannotStart(f"{path} is a database of another program.", "Set KEYFOB_DATABASE_URL to another file.")
    return str(row[0])


@functools.cache
def _schema() -> tuple[str, ...]:
    """Return what makes the tables as they are."""
    dialect = sqlite.dialect()
    made: list[CreateTable | CreateIndex] = []
    for table in metadata.sorted_tables:
        made += [CreateTable(table), *(CreateIndex(index) for index in sorted(table.indexes, key=str))]
    return (*(str(each.compile(dialect=dialect)) for each in made), VERSION_TABLE)


def _make(connection: sqlite3.Connection) -> None:
    """Make the schema in an empty database: all of it or, where that fails, nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _schema():
            connection.execute(statement)
        connection.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migrate(
    connection: sqlite3.Connection, path: Path, revision: str | None, now: float, scripts: Path, head: str
) -> Path | None:
    from alembic.util import CommandError  # noqa: PLC0415 -- see the module's docstring
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 -- the same

    try:
        if revision is not None and revision not in known_revisions(scripts):
            raise CannotStart(
                f"The database {path} was written by a newer Keyfob (schema {revision}; this one knows {head}).",
                f"Install the newer Keyfob again, or put back a backup copy ({path.name}.before-*).",
            )
        copy = None if revision is None else _backup(connection, path, head, now)
        _upgrade(_config(scripts), connection, path, head)
    except (CommandError, SQLAlchemyError) as exc:
        raise CannotStart(f"The database {path} cannot be migrated: {exc}.", RESTORE) from exc
    return copy


def known_revisions(scripts: Path | None = None) -> set[str]:
    """Return every schema that this program can read or migrate."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 -- see the module's docstring

    directory = ScriptDirectory.from_config(_config(scripts or scripts_directory()))
    return {script.revision for script in directory.walk_revisions()}


def _config(scripts: Path) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 -- see the module's docstring

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _upgrade(config: "Config", connection: sqlite3.Connection, path: Path, head: str) -> None:
    from alembic import command  # noqa: PLC0415 -- see the module's docstring
    from sqlalchemy import create_engine  # noqa: PLC0415 -- the same
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415 -- the same

    # Alembic works on the connection that looked, and neither begins, commits nor rolls back by itself.
    engine = create_engine(
        "sqlite://",
        creator=lambda: connection,
        poolclass=StaticPool,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
    )
    # A migration that rebuilds a table would trip over keys that point at it; they are checked at the end instead.
    connection.execute("PRAGMA foreign_keys = OFF")
    with engine.connect() as migrating:  # before BEGIN: SQLAlchemy's first look at a database ends in a rollback
        config.attributes["connection"] = migrating
        # One transaction around all steps: all or nothing. Begun through SQLAlchemy, so that Alembic sees it and keeps
        # its hands off.
        migrating.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            command.upgrade(config, head)
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
            if broken is not None:
                raise CannotStart(f"The database {path} cannot be migrated: table {broken[0]} has loose ends.", RESTORE)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _backup(connection: sqlite3.Connection, path: Path, head: str, now: float) -> Path:
    """Copy the whole database, write-ahead log included, beside it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    copy = path.with_name(f"{path.name}.before-{head}-{stamp}")
    if not private_file(copy, create=True):
        raise CannotStart(f"The backup copy {copy} exists already.", "Move it away and start again.")
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
        connection.backup(target)
    sync_file(copy)
    sync_directory(copy.parent)
    return copy
