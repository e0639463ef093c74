"""Directories and files are private whatever the umask, and a state directory has one daemon."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import CannotStart
from broker.store.files import lock_state_directory, private_directory, private_file
from tests.store.made import NOW, database, opened, with_account


def test_a_private_directory_is_made_and_tightened(tmp_path: Path) -> None:
    """Made or found, the directory is 0700 afterwards."""
    before = os.umask(0)
    try:
        made = private_directory(tmp_path / "deep" / "state")
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o7777 == 0o700
    made.chmod(0o755)
    assert private_directory(made).stat().st_mode & 0o7777 == 0o700


def test_a_directory_of_doubt_is_refused(tmp_path: Path) -> None:
    """A link, a file and a place that cannot be are refused, each with a next step."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name, why in (("link", "symbolic link"), ("file", "cannot be used"), ("file/below", "cannot be used")):
        with pytest.raises(CannotStart, match=why) as caught:
            private_directory(tmp_path / name)
        assert caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    """A directory or database file of another user is refused, with both users named."""
    for path in (tmp_path / "directory", tmp_path / "file"):
        path.mkdir(0o700) if path.name == "directory" else path.touch(0o600)
        os.chown(path, 12345, -1)
    with pytest.raises(CannotStart, match="12345"):
        private_directory(tmp_path / "directory")
    with pytest.raises(CannotStart, match="12345"):
        private_file(tmp_path / "file", create=True)


def test_a_private_file_is_no_link_and_no_pipe(tmp_path: Path) -> None:
    """A link, a directory and a pipe in the file's place are refused; a missing one is made only if asked."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "directory", "pipe", "no/where"):
        with pytest.raises(CannotStart):
            private_file(tmp_path / name, create=True)
    assert private_file(tmp_path / "new", create=False) is False
    assert not (tmp_path / "new").exists()
    assert private_file(tmp_path / "new", create=True) is True
    assert private_file(tmp_path / "new", create=True) is False
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_database_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Database, write-ahead log, shared memory, fence and journal are 0600 in a 0700 directory."""
    before = os.umask(umask)
    try:

        async def story() -> dict[str, int]:
            async with opened(tmp_path) as store:
                await with_account(store)
                return {path.name: path.stat().st_mode & 0o7777 for path in database(tmp_path).parent.iterdir()}

        modes = asyncio.run(story())
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(
        ("keyfob.db", "keyfob.db-wal", "keyfob.db-shm", "keyfob.db.fence", "keyfob.db.answers"), 0o600
    )
    assert database(tmp_path).parent.stat().st_mode & 0o7777 == 0o700


def test_a_database_that_was_open_to_others_is_tightened(tmp_path: Path) -> None:
    """A database file that came back from a backup as 0644 is 0600 after the start."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        database(tmp_path).chmod(0o644)
        async with opened(tmp_path):
            assert database(tmp_path).stat().st_mode & 0o7777 == 0o600

    asyncio.run(story())


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    """While one holds the state directory the next is told its pid; once it is released, it may have it."""
    with lock_state_directory(tmp_path):
        assert (tmp_path / "lock").stat().st_mode & 0o7777 == 0o600
        with pytest.raises(CannotStart, match=rf"pid {os.getpid()}\) already uses") as caught:
            lock_state_directory(tmp_path)
        assert "KEYFOB_STATE_DIR" in caught.value.hint
    second = lock_state_directory(tmp_path)
    second.release()
    second.release()


def test_a_killed_daemon_holds_no_lock(tmp_path: Path) -> None:
    """The lock of a process that was killed is free at once, and its pid is not believed."""
    program = (
        "import pathlib, sys; from broker.store.files import lock_state_directory;"
        "lock = lock_state_directory(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(CannotStart, match=f"pid {process.pid}"):
            lock_state_directory(tmp_path)
        process.kill()
    with lock_state_directory(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_opening_a_store_needs_no_lock(tmp_path: Path) -> None:
    """The lock is the daemon's: commands that only look may open the store beside it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            with lock_state_directory(database(tmp_path).parent):
                async with opened(tmp_path, NOW + 1.0) as beside:
                    assert beside.instance_id == store.instance_id

    asyncio.run(story())
