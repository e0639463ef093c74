"""A database is made, migrated after a backup copy, or refused: never replaced."""

import asyncio
import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from broker.core.account import BY_REFRESH_TOKEN
from broker.core.secret import Secret
from broker.errors import CannotStart, StoreUnavailable
from broker.store.copies import back_up, put_back
from broker.store.fence import OLDER, Fence, beside
from broker.store.migrate import prepare, scripts_directory
from broker.store.store import Verdict, database_path
from broker.store.tables import REVISION, metadata
from tests.store.made import NOW, TO_0001, TO_0005, behind, database, made_older, opened, reveal, with_account
from tests.store.record import counted, old_fence, recorded, store_account, summary, write

NEXT = '''"""The next schema."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{down}"


def upgrade() -> None:
    """Add something."""
    op.create_table("addition", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("account") as batch:
        batch.add_column(sa.Column("addition", sa.String, nullable=True))
    {more}
'''


def next_scripts(place: Path, more: str = "") -> Path:
    """Copy the migrations and add one."""
    scripts = shutil.copytree(scripts_directory(), place / "100% migrations", ignore=shutil.ignore_patterns("__pyc*"))
    (scripts / "versions" / "9999_next.py").write_text(NEXT.format(down=REVISION, more=more))
    return scripts


def filled(place: Path) -> None:
    """Make a database with one account."""

    async def story() -> None:
        async with opened(place) as store:
            await with_account(store)

    asyncio.run(story())


def details(path: Path) -> dict[str, object]:
    """Return all that SQLite knows of each table and index, in no order of columns."""
    with closing(sqlite3.connect(path)) as connection:

        def rows(question: str) -> list[tuple[Any, ...]]:
            return connection.execute(question).fetchall()

        tables = rows("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        indexes = rows("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in indexes} | {
            name: (
                {row[1:] for row in rows(f"PRAGMA table_xinfo('{name}')")},
                {row[2:] for row in rows(f"PRAGMA foreign_key_list('{name}')")},
                {  # an index that a constraint made has a name with a number in it
                    (*kind, *(row[2] for row in rows(f"PRAGMA index_info('{index}')")))
                    for _, index, *kind in rows(f"PRAGMA index_list('{name}')")
                },
                "AUTOINCREMENT" in sql,
                "CHECK" in sql,
            )
            for name, sql in tables
        }


def test_the_migrations_make_what_the_code_expects(tmp_path: Path) -> None:
    """Migrated from the first on or made at once, the schema is the tables of the code; the newest is looked for."""
    prepare(tmp_path / "made.db", NOW)
    prepare(tmp_path / "migrated.db", NOW, head="0001")
    prepare(tmp_path / "migrated.db", NOW)
    for name in ("made", "migrated"):
        engine = create_engine(f"sqlite:///{tmp_path}/{name}.db")
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()
    made, migrated = details(tmp_path / "made.db"), details(tmp_path / "migrated.db")
    assert len(made) > 15
    assert made == migrated
    config = Config()
    config.set_main_option("script_location", str(scripts_directory()))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_migrating_says_and_configures_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, and logging is as it was."""
    before = (list(logging.root.handlers), logging.root.level)
    assert prepare(tmp_path / "keyfob.db", NOW) is None
    assert prepare(tmp_path / "keyfob.db", NOW) is None
    assert capfd.readouterr() == ("", "")
    assert (list(logging.root.handlers), logging.root.level) == before


def test_a_start_does_not_import_alembic(tmp_path: Path) -> None:
    """Where nothing is to be migrated, the first start or a later one, Alembic's import is not paid for."""
    program = (
        "import pathlib, sys; from broker.store import store, migrate; path = pathlib.Path(sys.argv[1]);"
        "migrate.prepare(path, 0.0); migrate.prepare(path, 0.0); sys.exit('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "keyfob.db")], check=False)
    assert done.returncode == 0


def test_an_older_schema_is_copied_and_migrated(tmp_path: Path) -> None:
    """The copy is complete, private and of the old schema; the migrated database keeps every row."""
    filled(tmp_path)
    copy = prepare(database(tmp_path), NOW, scripts=next_scripts(tmp_path), head="next")
    assert copy == database(tmp_path).with_name("keyfob.db.before-next-20231114T221320Z")
    assert copy.stat().st_mode & 0o7777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
        assert connection.execute("SELECT name FROM account").fetchall() == [("me",)]
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'addition'").fetchall() == []
    assert behind(tmp_path, "SELECT version_num FROM alembic_version") == [("next",)]
    assert behind(tmp_path, "SELECT name, addition FROM account") == [("me", None)]
    assert behind(tmp_path, "PRAGMA foreign_key_check") == []
    assert behind(tmp_path, "SELECT count(*) FROM secret") == [(3,)]
    assert not [path for path in database(tmp_path).parent.iterdir() if path.name.startswith(f"{copy.name}-")]


def made_0001(place: Path) -> None:
    """Turn the database of ``place`` into what the first schema's program would have written."""
    made_older(place, TO_0001)
    beside(database(place)).unlink()


def shape(path: Path) -> dict[str, set[tuple[object, ...]]]:
    """Return every table with its columns, whatever their order."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: {tuple(row[1:]) for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}


def test_a_database_of_the_first_schema(tmp_path: Path) -> None:
    """Accounts, secrets and a refresh under way come through, nothing is suspected, and the login's time is unknown."""

    async def before() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store, secret="client-secret")
            assert account.logged_in_at == NOW
            intended = await store.begin_refresh(account, NOW + 5.0)
            assert intended is not None
            await store.keep_answer(intended, Secret("{}"), Secret("refresh-2"))

    async def after() -> None:
        async with opened(tmp_path, NOW + 60.0) as store:
            assert store.copied == ""
            account = await store.account("me")
            assert account is not None
            assert account.logged_in_at is None
            assert account.renewal == BY_REFRESH_TOKEN
            assert reveal(await store.access_token(account)) == "access-1"
            assert reveal(await store.refresh_token(account)) == "refresh-2"
            assert reveal((await store.client_of(account))[1]) == "client-secret"
            assert [(found.name, at, kept) for found, at, kept in await store.open_intents()] == [
                ("me", NOW + 5.0, True)
            ]
            assert reveal(await store.kept_answer(account)) == "{}"
            assert await store.provider(account.provider) is not None

    asyncio.run(before())
    made_0001(tmp_path)
    prepare(tmp_path / "first.db", NOW, head="0001")
    assert shape(database(tmp_path)) == shape(tmp_path / "first.db")

    asyncio.run(after())
    asyncio.run(after())

    (copy,) = database(tmp_path).parent.glob(f"keyfob.db.before-{REVISION}-*")
    assert shape(copy) == shape(tmp_path / "first.db")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM secret").fetchone() == (
            behind(tmp_path, "SELECT count(*) FROM secret")[0][0],
        )


def test_a_crash_right_after_the_migration(tmp_path: Path) -> None:
    """A first schema's database whose new fence it has not learned of yet is still no copy."""
    filled(tmp_path)
    made_0001(tmp_path)
    prepare(database(tmp_path), NOW)
    Fence.build(database(tmp_path), 0).close()

    async def story() -> str:
        async with opened(tmp_path) as store:
            return store.copied

    assert asyncio.run(story()) == ""


def test_the_copy_before_the_migration_in_its_place(tmp_path: Path) -> None:
    """A first schema's database that somebody puts back by hand over a newer one is older, and is told so."""
    filled(tmp_path)
    made_0001(tmp_path)
    saved = shutil.copy(database(tmp_path), tmp_path / "saved.db")

    async def story(now: float) -> str:
        async with opened(tmp_path, now) as store:
            account = await store.account("me")
            assert account is not None
            await store.begin_refresh(account, now)
            return store.copied

    assert asyncio.run(story(NOW)) == ""
    shutil.copy(saved, database(tmp_path))
    assert asyncio.run(story(NOW + 1.0)) == OLDER


@pytest.mark.parametrize(
    "more",
    [
        'op.execute("INSERT INTO nowhere VALUES (1)")',
        """op.execute("INSERT INTO secret VALUES ('u', 'nobody', 'k', 1, x'00')")""",
    ],
)
def test_a_migration_that_fails_undoes_itself(tmp_path: Path, more: str) -> None:
    """After a failing step, or one that leaves loose ends, the database is the old one and opens; the copy is there."""
    filled(tmp_path)
    schema = behind(tmp_path, "SELECT sql FROM sqlite_master ORDER BY name")
    with pytest.raises(CannotStart, match="cannot be migrated"):
        prepare(database(tmp_path), NOW, scripts=next_scripts(tmp_path, more), head="next")
    assert behind(tmp_path, "SELECT sql FROM sqlite_master ORDER BY name") == schema
    assert database(tmp_path).with_name("keyfob.db.before-next-20231114T221320Z").exists()

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await store.account("me")
            assert account is not None
            assert reveal(await store.access_token(account)) == "access-1"

    asyncio.run(story())


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a newer Keyfob is not touched, and the message says what to do."""
    filled(tmp_path)
    behind(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    before = database(tmp_path).read_bytes()
    with pytest.raises(CannotStart, match="newer Keyfob"):
        filled(tmp_path)
    assert database(tmp_path).read_bytes() == before
    assert [path.name for path in database(tmp_path).parent.glob("*before*")] == []


@pytest.mark.parametrize("where", ["head", "middle", "cut"])
def test_a_damaged_database_is_refused_and_kept(tmp_path: Path, where: str) -> None:
    """A database with a bad header, a bad page or its second half gone stays byte for byte as it was found."""
    filled(tmp_path)
    whole = database(tmp_path).read_bytes()
    page = behind(tmp_path, "SELECT rootpage FROM sqlite_master WHERE name = 'account'")[0][0]
    damage = {
        "head": b"x" * 100 + whole[100:],
        "middle": whole[: (page - 1) * 4096] + b"\xff" * 4096 + whole[page * 4096 :],
        "cut": whole[: len(whole) // 2],
    }[where]
    database(tmp_path).write_bytes(damage)
    with pytest.raises(CannotStart, match=r"damaged|cannot be used") as caught:
        filled(tmp_path)
    assert "keyfob restore FILE" in caught.value.hint
    assert database(tmp_path).read_bytes() == damage


def test_garbage_that_sqlite_does_not_see(tmp_path: Path) -> None:
    """Bytes that changed inside a sealed value leave SQLite content; the value is refused all the same."""
    filled(tmp_path)
    whole = database(tmp_path).read_bytes()
    ((sealed,),) = behind(tmp_path, "SELECT sealed FROM secret WHERE kind = 'access_token'")
    assert whole.count(sealed[8:40]) == 1
    database(tmp_path).write_bytes(whole.replace(sealed[8:40], bytes(32)))

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await store.account("me")
            assert account is not None
            with pytest.raises(StoreUnavailable, match=r"does not open.*keyfob restore FILE"):
                await store.access_token(account)
            assert reveal(await store.refresh_token(account)) == "refresh-1"

    asyncio.run(story())


def test_a_schema_that_is_no_text(tmp_path: Path) -> None:
    """What SQLite says of such a schema is no text either: a start, a restore and a backup tell of the damage."""
    filled(tmp_path)
    path = database(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE account", b"CREATE \xe4ABLE account"))

    with pytest.raises(CannotStart, match="cannot be used: its schema is damaged"):
        prepare(path, NOW)
    with pytest.raises(CannotStart, match="is damaged, or no backup of Keyfob: its schema is damaged"):
        put_back(path, tmp_path / "other.db", None, NOW)
    with pytest.raises(StoreUnavailable, match="cannot be copied"):
        back_up(path, tmp_path / "copy.db")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file that is not Keyfob's stays as it was."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE other (id)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(CannotStart, match="another program"):
        prepare(tmp_path / "other.db", NOW)
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_database_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A link and a directory in the database's place are refused."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "directory").mkdir()
    for name in ("link", "directory"):
        with pytest.raises(CannotStart):
            prepare(tmp_path / name, NOW)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "postgresql://localhost/x"]
)
def test_only_a_sqlite_file_will_do(url: str) -> None:
    """Other databases are refused with an example of what is accepted."""
    with pytest.raises(CannotStart, match="sqlite:////"):
        database_path(url)


def test_both_spellings_of_the_url_are_understood() -> None:
    """The driver may be named or not."""
    assert database_path("sqlite:////srv/keyfob.db") == Path("/srv/keyfob.db")
    assert database_path("sqlite:////srv/keyfob.db") == Path("/srv/keyfob.db")


def test_a_record_from_before_there_was_a_chain(tmp_path: Path) -> None:
    """Old entries stay and are shown, none is grown or sealed, and the chain says that it begins after them."""
    recorded(tmp_path)
    made_older(tmp_path, TO_0005)
    old_fence(tmp_path)

    async def after() -> None:
        async with opened(tmp_path) as store:
            assert summary(await store.verify_audit()) == Verdict(old=11)
            await write(store, 10, 10)
            await store.note_counts([counted(store_account(tmp_path))])
            assert summary(await store.verify_audit()) == Verdict(2, 1, 1, begins_at=NOW + 10, old=11)
            seen = await store.audit()
            assert [(entry.app, entry.count) for entry in seen if entry.count] == [("app", 3), ("other", 3), ("app", 3)]
            assert len(seen) == 13

    async def pruned() -> Verdict:
        async with opened(tmp_path, most_entries=5) as store:
            await write(store, 11, 18)
            return summary(await store.verify_audit())

    asyncio.run(after())
    assert asyncio.run(pruned()) == Verdict(6, 5, 9, begins_at=NOW + 14)
