"""What the store's tests are made of: real stores in temporary places, sample values, a look behind the scenes.

Imported by the tests beside it.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event, select

from broker.core.account import Account, Active, Destination, Identity
from broker.core.login import Login
from broker.core.secret import Secret
from broker.core.token import Grant, Token
from broker.providers.model import ProviderConfig
from broker.store import seal
from broker.store.bindings import bind, of_account_before
from broker.store.keys import FileKey, KeySource
from broker.store.seal import Record, open_record
from broker.store.store import Store

NOW = 1_700_000_000.0
ISSUER = "https://id.example.org"
DESTINATION = Destination(ISSUER, f"{ISSUER}/token", "client-1")
PROVIDER = ProviderConfig(
    "example", "generic", "", {"scopes": ["read"]}, {"issuer": ISSUER}, private=False, created_at=NOW
)
ME = Identity(ISSUER, "sub-1", "Alice")
# Makes of the present schema what the thirteenth one was.
TO_0013 = (
    *(
        f"DROP INDEX {name}"
        for name in ("account_notable", "account_calm", "account_ends", "audit_growing", "audit_link")
    ),
    "CREATE UNIQUE INDEX audit_link ON audit (link)",
    "UPDATE alembic_version SET version_num = '0013'",
)
# Makes of the present schema what the twelfth one was.
TO_0012 = (
    *TO_0013,
    *(f"DROP INDEX account_{name}" for name in ("due", "due_late", "idle", "person", "parent")),
    *(f"ALTER TABLE account DROP COLUMN {column}" for column in ("due_at", "due_late_at")),
    "CREATE INDEX account_provider ON account (provider)",
    "UPDATE alembic_version SET version_num = '0012'",
)
# Makes of the present schema what the eleventh one was.
TO_0011 = (
    *TO_0012,
    "ALTER TABLE app_grant DROP COLUMN rate_share",
    "UPDATE alembic_version SET version_num = '0011'",
)
# Makes of the present schema what the tenth one was.
TO_0010 = (
    *TO_0011,
    "ALTER TABLE account DROP COLUMN api_base",
    "ALTER TABLE app_grant DROP COLUMN rules",
    "UPDATE alembic_version SET version_num = '0010'",
)
# Makes of the present schema what the ninth one was.
TO_0009 = (
    *TO_0010,
    "ALTER TABLE app_grant DROP COLUMN token_file",
    "UPDATE alembic_version SET version_num = '0009'",
)
# Makes of the present schema what the seventh one was; ``made_older`` does what takes the key.
TO_0007 = (
    *TO_0009,
    "DROP TABLE refusal",
    *(f"ALTER TABLE app DROP COLUMN {column}" for column in ("epoch", "listed", "seal")),
    *(f"ALTER TABLE {table} DROP COLUMN binding" for table in ("client", "login")),
    "DROP TABLE app_register",
    "UPDATE alembic_version SET version_num = '0007'",
)
# Makes of the present schema what the fifth one was.
TO_0005 = (
    *TO_0007,
    *(f"DROP INDEX audit_{name}" for name in ("account", "link", "unlinked")),
    *(f"ALTER TABLE audit DROP COLUMN {column}" for column in ("link", "hash", "late")),
    "DROP TABLE audit_head",
    "DROP TABLE audit_key",
    *(f"ALTER TABLE instance DROP COLUMN {column}" for column in ("kdf", "unlock_failures", "unlock_failed_at")),
    "UPDATE alembic_version SET version_num = '0005'",
)
# Makes of the present schema what the first one was.
TO_0001 = (
    *TO_0005,
    "DROP TABLE derived_token",
    "ALTER TABLE refresh_intent DROP COLUMN wish",
    "ALTER TABLE instance DROP COLUMN sequence",
    "ALTER TABLE instance DROP COLUMN line",
    "ALTER TABLE account DROP COLUMN logged_in_at",
    "ALTER TABLE provider DROP COLUMN binding",
    "ALTER TABLE account DROP COLUMN renewal",
    "ALTER TABLE account DROP COLUMN renewal_subject",
    "ALTER TABLE account DROP COLUMN renewal_audience",
    "ALTER TABLE provider DROP COLUMN discovered_at",
    *(
        f"ALTER TABLE client DROP COLUMN {column}"
        for column in ("redirect_uris", "scope", "secret_expires_at", "registration_uri")
    ),
    "UPDATE alembic_version SET version_num = '0001'",
)


def database(place: Path) -> Path:
    """Return where the database of ``place`` is."""
    return place / "state" / "keyfob.db"


def key_file(place: Path) -> Path:
    """Return where the key of ``place`` is."""
    return place / "config" / "key"


@contextlib.asynccontextmanager
async def opened(place: Path, now: float = NOW, key: KeySource | None = None, **more: int) -> AsyncIterator[Store]:
    """Open the store of ``place`` for one block, with a key file unless told otherwise.

    ``most_entries`` limits the audit.
    """
    store = await Store.open(f"sqlite:///{database(place)}", key=key or FileKey(key_file(place)), now=now, **more)
    try:
        yield store
    finally:
        await store.close()


def grant(mark: str, *, refresh: str | None = None, id_token: str | None = None, at: float = NOW) -> Grant:
    """Make a grant whose tokens are told by ``mark``."""
    return Grant(
        Token("Bearer", ("read",), at, at + 3600.0),
        Secret(f"access-{mark}"),
        Secret(refresh) if refresh else None,
        Secret(id_token) if id_token else None,
    )


async def with_account(
    store: Store, name: str = "me", first: Grant | None = None, secret: str | None = None
) -> Account:
    """Make the provider, its client and one account."""
    await store.put_provider(PROVIDER)
    client = await store.add_client(
        provider=PROVIDER.name,
        client_id=DESTINATION.client_id,
        secret=Secret(secret) if secret else None,
        auth_method="client_secret_basic" if secret else "none",
        origin="given",
        destination=DESTINATION,
        now=NOW,
    )
    return await store.create_account(
        name=name,
        provider=PROVIDER.name,
        client=client.uuid,
        destination=DESTINATION,
        identity=ME,
        asked_scope=("read",),
        resource=None,
        state=Active(NOW),
        grant=first or grant("1", refresh="refresh-1", id_token="id-1"),
        now=NOW,
    )


def pending_login(id: str = "login-1", client: str = "", **changes: Any) -> Login:  # noqa: A002, ANN401 -- Login's own field; any field
    """Make a browser login that is good for ten minutes."""
    values: dict[str, Any] = {
        "id": id,
        "account": "me",
        "replaces": None,
        "provider": PROVIDER.name,
        "client": client,
        "flow": "browser",
        "destination": DESTINATION,
        "redirect_uri": "http://127.0.0.1:8400/callback/example",
        "scope": ("read", "write"),
        "resource": "https://api.example.org",
        "nonce": "nonce-1",
        "authorization_url": f"{ISSUER}/authorize?state=state-1",
        "state": "pending",
        "reason": "",
        "created_at": NOW,
        "expires_at": NOW + 600.0,
    }
    return Login(**(values | changes))


def behind(place: Path, statement: str, *values: object) -> list[Any]:
    """Run one statement on the database as somebody would who is not Keyfob."""
    with contextlib.closing(sqlite3.connect(database(place), isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


@contextlib.contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Note what is asked of SQLite."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def gone_through(place: Path, asked: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Return which of these statements go through all accounts: how SQLite says so, and the statement."""
    plans = []
    with contextlib.closing(sqlite3.connect(database(place))) as connection:
        for statement, values in asked:
            steps = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            assert steps, f"there is no plan for {statement}"
            plans += [(step[3], statement) for step in steps]
    return [plan for plan in plans if plan[0].startswith("SCAN account")]


def _sealer(place: Path, connection: sqlite3.Connection) -> tuple[seal.Sealer, Record, bytes]:
    columns = "instance_id, key_id, master_generation, master"
    record = Record(*connection.execute(f"SELECT {columns} FROM instance").fetchone())  # noqa: S608 -- our own names
    kek = FileKey(key_file(place)).load()
    return open_record(kek, record), record, kek


def as_keyfob(place: Path, table: Table, statement: str) -> None:
    """Run one statement on the database, and authenticate what it wrote in a table as Keyfob would."""
    behind(place, statement)
    with contextlib.closing(sqlite3.connect(database(place))) as connection:
        sealer, _, _ = _sealer(place, connection)
    engine = create_engine(f"sqlite:///{database(place)}")
    with engine.begin() as tx:
        for key in tx.execute(select(*table.primary_key)).scalars().all():
            bind(tx, sealer, table, key)
    engine.dispose()


def made_older(place: Path, statements: Iterable[str], file: Path | None = None) -> None:
    """Make of a database, or of a copy of it, what an older program would have written; with the key of ``place``."""
    with contextlib.closing(sqlite3.connect(file or database(place), isolation_level=None)) as connection:
        sealer, record, kek = _sealer(place, connection)
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM account").fetchall():
            before = of_account_before(sealer, dict(row))
            connection.execute("UPDATE account SET binding = ? WHERE uuid = ?", (before, row["uuid"]))
        wrapping = seal._derive(kek, "broker/v1/wrap", record.instance_id)  # noqa: SLF001 -- as it was wrapped then
        parts = (record.instance_id, str(record.generation))
        master = seal._decrypt(wrapping, record.master, seal.WHOLE, *parts)  # noqa: SLF001 -- the same
        early = seal._encrypt(seal.GCM, wrapping, master, seal.EARLY, *parts)  # noqa: SLF001 -- the same
        connection.execute("UPDATE instance SET master = ?", (early,))
        for statement in statements:
            connection.execute(statement)


def stored_bytes(place: Path) -> bytes:
    """Return every byte that the database and its companions hold on disk."""
    return b"".join(file.read_bytes() for file in sorted(database(place).parent.iterdir()) if file.is_file())


def reveal(secret: Secret | None) -> str | None:
    """Return the text of a secret that may be missing."""
    return None if secret is None else secret.reveal()
