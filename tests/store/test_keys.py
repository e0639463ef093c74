"""A key comes from the configured source, from nowhere else, and only where no other could have read it."""

import base64
import os
import secrets
from pathlib import Path

import pytest

from broker.errors import CannotStart, Locked
from broker.settings import KEY_SOURCES
from broker.store import keys
from broker.store.keys import CommandKey, FileKey, SystemdCredentialKey, key_source, parse_key

KEY = secrets.token_bytes(32)


@pytest.mark.parametrize(
    "text",
    [
        KEY.hex(),
        KEY.hex().upper(),
        f"\n  {KEY.hex()}\t\n",
        base64.b64encode(KEY).decode(),
        base64.urlsafe_b64encode(KEY).decode() + "\n",
        base64.urlsafe_b64encode(KEY).decode().rstrip("="),
    ],
    ids=["hex", "capitals", "space", "base64", "base64url", "no padding"],
)
def test_a_key_has_two_spellings(text: str) -> None:
    """64 hexadecimal digits and base64 of 32 bytes are read, with white space around."""
    assert parse_key(text.encode(), "it") == KEY


@pytest.mark.parametrize(
    "text",
    ["", "hello", KEY.hex()[:-1], KEY.hex() + "0", "é" * 32, base64.b64encode(KEY[:31]).decode()],
    ids=["nothing", "a word", "short", "long", "no digits", "31 bytes"],
)
def test_anything_else_is_no_key(text: str) -> None:
    """Other text is refused with the accepted spellings, and is not repeated."""
    with pytest.raises(Locked, match="64 hexadecimal digits") as caught:
        parse_key(text.encode(), "The file")
    assert len(text) < 6 or text not in str(caught.value)


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_key_file_is_made_private(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, the key file is 0600 in a 0700 directory, holds a key, and no draft stays."""
    key = FileKey(tmp_path / "config" / "key")
    before = os.umask(umask)
    try:
        assert key.can_create()
        key.create()
    finally:
        os.umask(before)
    assert key.path.stat().st_mode & 0o7777 == 0o600
    assert key.path.parent.stat().st_mode & 0o077 == 0
    assert len(key.load()) == 32
    assert list(key.path.parent.iterdir()) == [key.path]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """Where a file or a dangling link is, no key can be made."""
    key, link = FileKey(tmp_path / "key"), FileKey(tmp_path / "link")
    key.create()
    first = key.load()
    assert not key.can_create()
    with pytest.raises(Locked, match="cannot be made"):
        key.create()
    assert key.load() == first
    link.path.symlink_to(tmp_path / "nowhere")
    assert not link.can_create()
    with pytest.raises(Locked):
        link.create()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "link"]


def test_two_made_keys_differ(tmp_path: Path) -> None:
    """Every key is made afresh."""
    made = [FileKey(tmp_path / name) for name in ("one", "two")]
    for key in made:
        key.create()
    assert made[0].load() != made[1].load()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_an_open_key_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A key file that another user could read or write is refused, with the command that mends it."""
    key = FileKey(tmp_path / "key")
    key.create()
    key.path.chmod(mode)
    with pytest.raises(Locked, match="chmod 600"):
        key.load()


def test_a_key_file_must_be_a_file_of_ours(tmp_path: Path) -> None:
    """A missing file, a link, a directory and a pipe are refused, and nothing hangs."""
    real = FileKey(tmp_path / "key")
    with pytest.raises(Locked, match="does not exist"):
        real.load()
    real.create()
    (tmp_path / "link").symlink_to(real.path)
    (tmp_path / "directory").mkdir(0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, why in (("link", "symbolic link"), ("directory", "not a regular file"), ("pipe", "not a regular file")):
        with pytest.raises(Locked, match=why):
            FileKey(tmp_path / name).load()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_foreign_key_file_is_refused(tmp_path: Path) -> None:
    """A key file of another user is refused, with the command that mends it."""
    key = FileKey(tmp_path / "key")
    key.create()
    os.chown(key.path, 12345, -1)
    with pytest.raises(Locked, match="chown"):
        key.load()


def test_a_systemd_credential_is_read(tmp_path: Path) -> None:
    """The credential keyfob-key is the key; without it, or outside systemd, the hint names the unit's setting."""
    assert not SystemdCredentialKey(tmp_path).can_create()
    for directory in (None, tmp_path):
        with pytest.raises(Locked, match="LoadCredentialEncrypted"):
            SystemdCredentialKey(directory).load()
    with pytest.raises(Locked, match="systemd-creds"):
        SystemdCredentialKey(tmp_path).create()
    (tmp_path / "keyfob-key").write_text(KEY.hex())
    assert SystemdCredentialKey(tmp_path).load() == KEY


def test_a_command_prints_the_key(tmp_path: Path) -> None:
    """The command runs without a shell, and what it prints is the key."""
    file = tmp_path / "a $HOME; file"
    file.write_text(KEY.hex() + "\n")
    key = CommandKey(f"cat '{file}'")
    assert key.load() == KEY
    assert not key.can_create()
    with pytest.raises(Locked):
        key.create()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("", "none is set"),
        ("'", "cannot be understood"),
        ("/no/such/program", "cannot be run"),
        ("false", "exit code 1"),
        ("echo hello", "does not hold a key"),
        ("sh -c 'echo LEAKED >&2; exit 3'", "exit code 3"),
    ],
)
def test_a_command_that_fails_says_why(command: str, why: str) -> None:
    """Each way to fail has its reason, and the command's own words are not repeated."""
    with pytest.raises(Locked, match=why) as caught:
        CommandKey(command).load()
    assert "LEAKED" not in str(caught.value)


def test_a_command_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that waits for somebody does not hold the start for ever."""
    monkeypatch.setattr(keys, "COMMAND_TIMEOUT", 0.05)
    with pytest.raises(Locked, match="did not answer"):
        CommandKey("sleep 60").load()


def test_the_source_is_the_configured_one(tmp_path: Path) -> None:
    """Each kind names its source, and an unknown kind is refused with the known ones."""
    assert keys.KEY_SOURCES == KEY_SOURCES
    for kind in KEY_SOURCES:
        assert (
            key_source(kind, file=tmp_path / "key", command="x", credentials_dir=tmp_path, database=tmp_path).name
            == kind
        )
    with pytest.raises(CannotStart, match="file, systemd, secret-service, command or passphrase"):
        key_source("magic", file=tmp_path / "key", command="x", credentials_dir=None, database=tmp_path)


def test_drafts_that_a_kill_left_are_removed(tmp_path: Path) -> None:
    """Each may hold a key. What only looks like one stays."""
    key = FileKey(tmp_path / "key")
    key.create()
    left = [tmp_path / f".key{middle}.0123456789abcdef" for middle in ("", ".next")]
    other = [tmp_path / name for name in (".key.old", "key.next.0123456789abcdef", ".other.0123456789abcdef")]
    for path in left + other:
        path.write_text("x")

    key.settle(key.load())

    assert [path for path in left if path.exists()] == []
    assert [path for path in other if not path.exists()] == []
    left[1].write_text("x")
    key.stage()
    assert not left[1].exists()


def test_a_key_to_come_where_no_directory_is(tmp_path: Path) -> None:
    """A change to a key file makes the directory that a first start would have made, closed to others."""
    path = tmp_path / "config" / "keyfob" / "key"
    new = FileKey(path).stage()
    FileKey(path).settle(new)
    assert FileKey(path).load() == new
    assert path.parent.stat().st_mode & 0o777 == 0o700
