"""Targets: what stands in files and the environment - settings, presets, keys, journal, fence, sealed texts, backups.

Used by ``targets``.
"""

import asyncio
import atexit
import contextlib
import functools
import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from broker import settings
from broker.core.secret import Secret
from broker.errors import CannotStart, InvalidRequest, Locked, StoreUnavailable
from broker.providers import catalog, presetfiles
from broker.providers.model import ProviderConfig
from broker.store import fence, journal
from broker.store.copies import back_up, put_back
from broker.store.fence import Fence, why_copied
from broker.store.journal import Journal
from broker.store.keys import FileKey, parse_key
from broker.store.passphrase import Derivation
from broker.store.seal import Binding, Broken, Record, new_record, open_record
from broker.store.store import Store
from tests.fuzz.target import CANARY, Target, picked, repeated, text_of
from tests.store import made

LINE = "ab" * 16
KEK = bytes(range(32))
WHY = {"", fence.OLDER, fence.COPIED, fence.PUT_BACK}


@functools.cache
def room() -> Path:
    """Return a private directory of this process."""
    place = tempfile.TemporaryDirectory(prefix="kf-fuzz-")
    atexit.register(place.cleanup)
    return Path(place.name)


def _private(name: str, data: bytes) -> Path:
    path = room() / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def _settings(data: bytes) -> None:
    config = _private("config.toml", data)
    found = settings.read({"HOME": str(room()), "KEYFOB_CONFIG": str(config)})
    assert 0 <= found.app_port <= settings.MAX_PORT
    assert found.key_source in settings.KEY_SOURCES


def _environment(data: bytes) -> None:
    pairs = (line.partition(b"=") for line in data.split(b"\0"))
    environ = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    found = settings.read({**environ, "HOME": str(room()), "KEYFOB_CONFIG": str(_private("empty.toml", b""))})
    assert 1 <= found.refreshes_in_all <= settings.MAX_PLACES


def _preset(data: bytes) -> None:
    path = _private("presets/own.toml", data)
    path.parent.chmod(0o700)
    presetfiles.read.cache_clear()
    found = presetfiles.read(path.parent, own=True)["own"]
    shown = catalog.described(found)
    assert shown.title
    config = ProviderConfig("p", "own", "", {}, {}, private=False, created_at=0.0)
    try:
        catalog.resolve(config, path.parent)
    finally:
        presetfiles.read.cache_clear()


def _key(data: bytes) -> None:
    key = parse_key(data, "It")
    assert len(key) == len(KEK)
    assert parse_key(key.hex().encode(), "It") == key


def _derivation(data: bytes) -> None:
    found = Derivation.read(json.loads(data))
    assert Derivation.read(found.written()) == found
    if found.memory <= 64 and found.passes <= 2:
        assert len(found.key(Secret("a"))) == len(KEK)


def _journal(data: bytes) -> None:
    path = _private("answers", data)
    with path.open("r+b") as file:
        file.truncate(max(journal.SIZE, len(data)))
    opened = Journal.open(path)
    try:
        found = opened.entries
        assert journal.is_empty(path) == (not found)
        assert sum(map(len, found)) <= len(data) + journal.SIZE
        opened.append(b"new")
    finally:
        opened.close()
    again = Journal.open(path)
    try:
        # What is there stays; an entry whose end was cut off takes in what follows it, and does not open either way.
        assert again.entries[: len(found[:-1])] == found[:-1]
        assert found or again.entries[0] == b"new"
        again.erase()
    finally:
        again.close()
    assert journal.is_empty(path)


def _fence(data: bytes) -> None:
    database = room() / "fenced"
    _private("fenced.fence", data)
    why = why_copied(database, LINE, 5)
    assert why in WHY
    assert why_copied(database, None, 0) in WHY
    assert why or data.startswith(b"keyfob-fence 1 " + LINE.encode()), "a copy is taken for the original"
    taken = Fence.take(database, LINE, 5)
    taken.follow_audit(taken.audit + 1)
    taken.close()
    Fence.build(database, 7, line=LINE, audit=9).close()
    assert why_copied(database, LINE, 7) == ""
    assert why_copied(database, LINE, 6) == fence.OLDER


BINDING = Binding("o", "r", "refresh_token", 1, made.DESTINATION, "c")


@functools.cache
def _sealed() -> tuple[Record, bytes, bytes, bytes]:
    record = new_record(KEK)
    sealer = open_record(KEK, record)
    wrapped = sealer.new_data_key("o", 1)
    return record, wrapped, sealer.seal(Secret(CANARY), BINDING, 1, wrapped), sealer.seal_entry(Secret(CANARY), LINE)


def _boxes(data: bytes) -> None:
    """Change sealed texts: the bytes say where and how, because no change may be one that opens."""
    which, data = picked(data, (0, 1, 2, 3))
    record, wrapped, token, entry = _sealed()
    parts = [record.master, wrapped, token, entry]
    at, by = int.from_bytes(data[:2]), data[2:]
    whole = parts[which]
    parts[which] = whole[: at % (len(whole) + 1)] + by + whole[at % (len(whole) + 1) + len(by) :] if data else b""
    sealer = open_record(KEK, Record(record.instance_id, record.key_id, 1, parts[0]))
    opened = sealer.open_entry(parts[3], LINE), sealer.open(parts[2], BINDING, 1, parts[1])
    assert parts[which] == whole, "what was changed opens"
    assert opened == (Secret(CANARY), Secret(CANARY))


@functools.cache
def _backup() -> bytes:
    place = room() / "original"

    async def build() -> None:
        store = await Store.open(f"sqlite:///{made.database(place)}", key=FileKey(room() / "key"), now=made.NOW)
        await store.close()

    asyncio.run(build())
    back_up(made.database(place), room() / "backup.db")
    return (room() / "backup.db").read_bytes()


def _restored(data: bytes) -> None:
    """Put back a backup of which some bytes are others: each group of five says where (3) and what (2).

    Where the first byte is odd, it is a value of the key's record that is another: which, of what kind, and what.
    """
    odd, data = picked(data, (False, True))
    if odd:
        _put_back(_with_value(*picked(data, ("instance_id", "key_id", "master_generation", "master"))))
        return
    changed = bytearray(_backup())
    for at in range(0, min(len(data), 100) - 4, 5):
        place = int.from_bytes(data[at : at + 3]) % len(changed)
        changed[place : place + 2] = data[at + 3 : at + 5]
    kept = len(changed) if len(data) % 5 == 0 else int.from_bytes(data[-3:]) % len(changed)
    _put_back(bytes(changed[:kept]))


def _with_value(column: str, data: bytes) -> bytes:
    """Return the backup with another value in the record of the key; SQLite keeps any kind in any column."""
    value, data = picked(data, (data[1:], text_of(data[1:]), len(data), len(data) / 7))
    path = _private("typed.db", _backup())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE instance SET {column} = ?", (value,))  # noqa: S608 -- our own names
        connection.commit()
    return path.read_bytes()


def _put_back(content: bytes) -> None:
    file, database = _private("changed.db", content), room() / "target.db"
    try:
        put_back(file, database, FileKey(room() / "key"), made.NOW)
    finally:
        for left in room().glob("target.db*"):
            left.unlink()


PRESET = b"""title = "Own"
issuer = "https://as.example"
scopes = ["a"]
[endpoints]
authorization = "https://as.example/auth"
token = "https://{tenant}.example/token"
[parameters.tenant]
what = "the tenant"
default = "x"
[refresh]
rotation = "always"
reuse_grace_s = 10
"""
TOML = (
    repeated(b"a=", b"["),
    repeated(b"a=", b"{a="),
    repeated(b"a=", b"1"),
    repeated(b"", b"#"),
    repeated(b'a="', b"\\"),
    repeated(b"[", b"a."),
    repeated(b"", b"\n"),
    repeated(b"a='''", b"'"),
)
TOML_WORDS = (b"[a]\n", b"[[a]]\n", b'"""', b"'''", b"0x", b"1979-05-27", b"inf", b"nan", b" = ", b"\n")
FENCE = fence.FORM.format(line=LINE, sequence=5, inode=1, birth=1, audit=3, apps=2).encode()
SETTINGS_WORDS = tuple(f"\n{name} = ".encode() for name in settings.Settings.__dataclass_fields__)
ENTRY = (5).to_bytes(4) + b"hello"
KDF: dict[str, Any] = {"salt": "00" * 16, "memory": 32, "passes": 1, "lanes": 4}

FILES = (
    Target(
        "settings",
        "the configuration file",
        _settings,
        (CannotStart,),
        (
            b'app_port = 0\nkey_source = "file"\n',
            b'log = "debug"\nlock_after_idle = 5',
            b"app_port = true",
            b"a.b = 1",
            b"\xef\xbb\xbf",
        ),
        TOML,
        (*SETTINGS_WORDS, *TOML_WORDS),
    ),
    Target(
        "environment",
        "KEYFOB_ variables",
        _environment,
        (CannotStart,),
        (
            b"KEYFOB_APP_PORT=0\0KEYFOB_LOG=info",
            b"KEYFOB_KEY_FILE=~nobody-there/key",
            b"KEYFOB_NOTIFY_COMMAND='",
            b"XDG_RUNTIME_DIR=/run",
        ),
        (
            repeated(b"KEYFOB_APP_PORT=", b"1"),
            repeated(b"KEYFOB_NOTIFY_COMMAND=", b"' "),
            repeated(b"KEYFOB_KEY_FILE=", b"~/"),
        ),
        tuple(f"\0{settings.variable(name)}=".encode() for name in settings.Settings.__dataclass_fields__),
    ),
    Target(
        "preset",
        "a person's own preset files",
        _preset,
        (CannotStart, InvalidRequest),
        (
            PRESET,
            b'issuer = "https://{x}.example"',
            b"[token]\nparams = {a = 1}",
            b"unverified = [1]",
            b'[identity]\nbody = "{"',
            b"",
        ),
        TOML,
        (
            *(
                f"\n{key} = ".encode()
                for key in ("discovery", "pkce", "grants", "base_url", "needs_base_url", "sources")
            ),
            b"[reply]\n",
            b"[device]\n",
            b"[identity]\n",
            b"[throttle]\n",
            b"{base_url}",
            *TOML_WORDS,
        ),
        examples=60,
    ),
    Target(
        "key",
        "key files, credentials and what a key command prints",
        _key,
        (Locked,),
        (
            KEK.hex().encode() + b"\n",
            b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            b"c4nary.s3cret-0123456789",
            b"A" * 43,
        ),
        (repeated(b"", b"A"), repeated(b"", b"="), repeated(b"", b" ")),
        (b"=", b"-", b"_", b"+"),
        examples=200,
    ),
    Target(
        "derivation",
        "how a key is made of a passphrase, as a database says it",
        _derivation,
        (Locked, ValueError),
        (
            json.dumps(KDF).encode(),
            json.dumps({**KDF, "lanes": 1.0, "memory": 8.5}).encode(),
            json.dumps({**KDF, "passes": -1}).encode(),
            json.dumps({**KDF, "salt": ""}).encode(),
            b"[]",
            b"5",
        ),
        (),
        (b'"salt":', b'"memory":', b'"passes":', b'"lanes":', b"1.5", b"-1", b"true"),
        examples=60,
    ),
    Target(
        "journal",
        "the emergency journal",
        _journal,
        (),
        (
            journal.MAGIC + ENTRY + ENTRY,
            journal.MAGIC,
            b"",
            journal.MAGIC + b"\xff" * 9,
            journal.MAGIC + bytes(8) + b"e",
        ),
        (repeated(journal.MAGIC, ENTRY), repeated(journal.MAGIC, b"\0\0\0\x01")),
        (ENTRY, b"\0\0\0\x01", b"\xff\xff\xff\xff"),
        examples=25,
    ),
    Target(
        "fence",
        "the fence file",
        _fence,
        (),
        (FENCE, FENCE[:-22] + b"\n", b"", FENCE * 2, FENCE.replace(b"0", b"9")),
        (repeated(b"keyfob-fence 1 ", b"0"),),
        (b"9" * 20, b"0" * 32, b" ", b"\n"),
        examples=40,
    ),
    Target(
        "sealed",
        "sealed secrets, keys and entries",
        _boxes,
        (Broken,),
        tuple(bytes([which]) + rest for which in range(4) for rest in (b"", b"\0\0\x07", b"\0\x20\xff", b"\0\x0c")),
        (),
        (),
        examples=150,
    ),
    Target(
        "backup",
        "a file that is said to be a backup",
        _restored,
        (CannotStart, Locked, InvalidRequest, StoreUnavailable),
        (
            b"",
            b"\0\0\0\x10\0\0",
            b"\0\xff\xfe\xfb\xe4\x2b",
            b"\0\0\0\x64\x05\x05",
            b"\0\0\0\x10",
            b"\0\0\0\x12\xff\xff\0\0\x1c\0\x01",
            *(bytes([1, column, kind, 0xFF]) for column in range(4) for kind in range(4)),
        ),
        (),
        (),
        examples=15,
    ),
)
