"""What lies on the disk and in memory: a stolen, a swapped and a deleted row, a lock, a core dump, a debugger."""

import contextlib
import ctypes
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.ground import NOBODY, TOKEN, Ground, as_another_user, new_ground
from tests.e2e.home import Home

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Run a daemon with two accounts."""
    with new_ground() as found:
        found.log_in("other")
        yield found


def column(ground: Ground, query: str) -> list[Any]:
    """Read the database as a thief would."""
    with contextlib.closing(sqlite3.connect(ground.home.database)) as stolen:
        return [value for (value,) in stolen.execute(query)]


def stolen(ground: Ground, home: Home, *, key: bool) -> None:
    """Take a copy of the database, with all that lies beside it, to another home."""
    shutil.copytree(ground.home.state, home.state, ignore=shutil.ignore_patterns("lock", "*.lock"))
    home.state.chmod(0o700)
    if key:
        home.key.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ground.home.key, home.key)


def test_a_stolen_database_opens_without_its_key_for_nobody(ground: Ground, home: Home) -> None:
    """Neither with no key nor with another one: it is locked, no token comes, and nothing of it is overwritten."""
    stolen(ground, home, key=False)
    home.key.parent.mkdir(parents=True)
    for key in ("", "ff" * 32):
        if key:
            home.key.write_text(key)
            home.key.chmod(0o600)
        daemon = home.serve()
        with home.door() as owner:
            assert owner.get("/v1/status").json()["state"] == "locked"
            assert owner.get(TOKEN).status_code == 423
            assert owner.post("/v1/unlock").status_code == 423
        daemon.stop()
        home.key.unlink(missing_ok=True)


def test_no_secret_is_in_a_stolen_database(ground: Ground) -> None:
    """Neither the token in force nor anything that a provider, an app or a browser was given stands in any file."""
    content = b"".join(path.read_bytes() for path in ground.home.state.iterdir() if path.is_file())

    assert b"me" in content
    for secret in (ground.token, ground.get("/v1/accounts/other/token").json()["access_token"], ground.key):
        assert secret.encode() not in content
        assert secret.removeprefix("practice_at_").removeprefix("kf_").encode() not in content


SWAPS = {
    "the secrets of two accounts": """
        UPDATE secret SET sealed = (SELECT two.sealed FROM secret two JOIN account a ON a.uuid = two.owner
            WHERE a.name = 'other' AND two.kind = secret.kind)
        WHERE owner = (SELECT uuid FROM account WHERE name = 'me')""",
    "access for refresh": """
        UPDATE secret SET sealed = (SELECT two.sealed FROM secret two WHERE two.owner = secret.owner
            AND two.kind != secret.kind) WHERE owner = (SELECT uuid FROM account WHERE name = 'me')""",
    "the data keys of two accounts": """
        UPDATE data_key SET wrapped = (SELECT two.wrapped FROM data_key two JOIN account a ON a.uuid = two.owner
            WHERE a.name = 'other') WHERE owner = (SELECT uuid FROM account WHERE name = 'me')""",
    "one byte": """
        UPDATE secret SET sealed = CAST(substr(sealed, 1, length(sealed) - 1)
            || CASE substr(sealed, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)
        WHERE owner = (SELECT uuid FROM account WHERE name = 'me')""",
    "where refresh tokens go": "UPDATE account SET token_endpoint = 'http://127.0.0.1:9/token' WHERE name = 'me'",
    "whose it is": "UPDATE account SET issuer = 'https://evil.example' WHERE name = 'me'",
    "the client": "UPDATE account SET client_id = 'evil' WHERE name = 'me'",
}


@pytest.mark.parametrize("name", SWAPS)
def test_a_row_that_was_changed_opens_no_more(ground: Ground, home: Home, name: str) -> None:
    """Who can write the database and has no key makes an account useless, and gets no token of it or of another."""
    stolen(ground, home, key=True)
    (home.state / "keyfob.db.fence").unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(home.database)) as changed, changed:
        assert changed.execute(SWAPS[name]).rowcount > 0
    asked = len(ground.practice.log.all("refresh"))

    home.serve()
    with home.door() as owner:
        owner.post("/v1/accounts/me/refresh", json={"confirm": True})
        answer = owner.get(TOKEN)
        kept = owner.get("/v1/accounts/other/token")

    tokens = {ground.token, ground.get("/v1/accounts/other/token").json()["access_token"]}
    assert answer.status_code != 200
    assert not any(token in answer.text for token in tokens)
    assert kept.status_code == 200
    assert len(ground.practice.log.all("refresh")) == asked


def test_a_deleted_account_leaves_nothing(ground: Ground) -> None:
    """Not even the sealed bytes of it, its identity or its key: neither in the database nor in its log."""
    ground.log_in("gone")
    owner = "(SELECT uuid FROM account WHERE name = 'gone')"
    sealed = column(ground, f"SELECT sealed FROM secret WHERE owner = {owner}")  # noqa: S608 -- of ours, above
    sealed += column(ground, f"SELECT wrapped FROM data_key WHERE owner = {owner}")  # noqa: S608 -- as above
    files = [ground.home.database, ground.home.database.with_name("keyfob.db-wal")]
    assert sealed
    assert all(any(blob[-24:] in file.read_bytes() for file in files) for blob in sealed)

    assert ground.owner.delete("/v1/accounts/gone").status_code == 200

    for file in files:
        content = file.read_bytes()
        assert not any(blob[-24:] in content for blob in sealed)


def test_no_core_is_dumped(ground: Ground) -> None:
    """A crash writes no memory to the disk."""
    assert resource.prlimit(ground.daemon.pid, resource.RLIMIT_CORE) == (0, 0)


@as_another_user
@pytest.mark.parametrize("name", ["environ", "mem", "maps", "fd"])
def test_the_memory_is_hidden(ground: Ground, name: str) -> None:
    """The kernel gives the windows into the daemon to root: a process that it may not dump is nobody else's."""
    assert Path(f"/proc/{ground.daemon.pid}/{name}").lstat().st_uid == 0
    assert dumpable(ground.daemon.pid) == 0


def dumpable(pid: int) -> int:
    """Return whether another process of the daemon's user may attach to it, as such a process finds out."""
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:  # without root's leave to trace everything
        libc.prctl(24, 19, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_PTRACE
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os._exit(1 if libc.ptrace(16, pid, 0, 0) == 0 else 0)  # PTRACE_ATTACH
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_lock_gives_nothing(ground: Ground) -> None:
    """From the moment of a lock on: 423 at both doors for whoever asks, however they ask, until it is unlocked."""
    before = ground.token
    assert ground.post("/v1/lock").status_code == 200
    try:
        for path in (TOKEN, f"{TOKEN}?min_ttl=0", f"{TOKEN}?scope=openid", f"{TOKEN}?id_token=true"):
            for answer in (ground.get(path), ground.app(ground.key, path)):
                assert answer.status_code == 423
                assert before not in answer.text
        for path in ("/v1/accounts/me/refresh", "/v1/key/rotate"):
            assert ground.post(path).status_code == 423
        new = {"provider": "practice", "base_url": ground.practice.url, "client_id": "keyfob"}
        assert ground.post("/v1/logins", json=new).status_code == 423
        assert str(ground.home.place) not in ground.app(ground.key).text
    finally:
        assert ground.post("/v1/unlock").status_code == 200
    assert ground.token == before


def test_a_passphrase_cannot_be_guessed_fast(home: Home) -> None:
    """Each wrong one makes the next one wait, and a kill in between does not forgive it."""
    daemon = home.serve(KEYFOB_KEY_SOURCE="passphrase")
    with home.door() as owner:
        assert owner.post("/v1/unlock", json={"passphrase": PASSPHRASE}).status_code == 200
        assert owner.post("/v1/lock").status_code == 200
        statuses = [owner.post("/v1/unlock", json={"passphrase": f"guess {n}"}).status_code for n in range(4)]
        # The right one waits as well: otherwise its answer would tell it from the others.
        statuses.append(owner.post("/v1/unlock", json={"passphrase": PASSPHRASE}).status_code)
    daemon.kill()
    home.serve(KEYFOB_KEY_SOURCE="passphrase")
    with home.door() as owner:
        statuses.append(owner.post("/v1/unlock", json={"passphrase": PASSPHRASE}).status_code)

    assert statuses[0] == 423
    assert set(statuses[1:4]) <= {423, 429}
    assert 429 in statuses
    assert 200 not in statuses[:5]
