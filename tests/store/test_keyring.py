"""A key in the desktop's keyring, tried on a real one: GNOME Keyring on a bus of its own."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import Locked
from broker.store.keyring import SecretServiceKey

MISSING = [name for name in ("gnome-keyring-daemon", "dbus-daemon") if shutil.which(name) is None]
with_keyring = pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}")


# The usual session bus would start the machine's own services when they are asked for.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Run a session bus of our own, and return the environment of its session; no keyring runs yet."""
    socket = tmp_path / "bus"
    for name in ("HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={socket}")
    (tmp_path / "bus.conf").write_text(BUS.format(socket=socket))
    command = ["dbus-daemon", f"--config-file={tmp_path / 'bus.conf'}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield dict(os.environ)
        process.terminate()


@contextlib.contextmanager
def keyring(environ: dict[str, str], password: str) -> Iterator[None]:
    """Run GNOME Keyring for one block, opened with a password as a login does; a wrong one leaves it locked."""
    command = ["gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock"]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(password.encode())
        process.stdin.close()
        process.stdout.readline()  # says where it is once it answers
        yield
        process.terminate()


@with_keyring
def test_a_key_in_a_real_keyring(bus: dict[str, str], tmp_path: Path) -> None:
    """Made once, found again after the keyring was restarted, apart for each database, and closed while that is."""
    one, other = SecretServiceKey(tmp_path / "one.db"), SecretServiceKey(tmp_path / "other.db")
    with keyring(bus, "open sesame"):
        assert one.can_create()
        with pytest.raises(Locked, match="no key for the database"):
            one.load()
        one.create()
        assert not one.can_create()
        key = one.load()
        assert len(key) == 32
        assert other.can_create()
        other.create()
        assert other.load() != key
        assert set(other.others()) == {key, other.load()}  # a database that was moved finds its key among all
    with keyring(bus, "open barley"):
        with pytest.raises(Locked, match="keyring is locked") as refused:
            one.load()
        assert "Log in to the desktop" in refused.value.hint
        assert one.others() == []
    with keyring(bus, "open sesame"):
        assert one.load() == key


@with_keyring
def test_a_rotation_in_a_real_keyring(bus: dict[str, str], tmp_path: Path) -> None:
    """The new key stands beside the old one until it is settled; then the old one is gone."""
    source = SecretServiceKey(tmp_path / "one.db")
    with keyring(bus, "open sesame"):
        source.create()
        old = source.load()
        cut_short, new = source.stage(), source.stage()
        assert cut_short != new
        assert source.load() == old
        assert set(source.others()) == {old, new}
        source.settle(new)
        source.settle(new)
        assert (source.load(), source.others()) == (new, [new])
        source.stage()
        source.settle(new)
        assert (source.load(), source.others()) == (new, [new])


@pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="not installed here: dbus-daemon")
def test_a_bus_without_a_keyring(bus: dict[str, str], tmp_path: Path) -> None:
    """Where no keyring answers, or no bus is named, that is what is said."""
    del bus
    with pytest.raises(Locked, match="No Secret Service answers"):
        SecretServiceKey(tmp_path / "one.db").load()
    del os.environ["DBUS_SESSION_BUS_ADDRESS"]
    with pytest.raises(Locked, match="No Secret Service answers"):
        SecretServiceKey(tmp_path / "one.db").load()


def test_without_the_extra(tmp_path: Path) -> None:
    """Where the package is not installed the message names it, and nothing else of Keyfob needs it."""
    program = textwrap.dedent("""
        import pathlib, sys
        sys.modules["secretstorage"] = None
        from broker.errors import Locked
        from broker.store.keys import key_source
        here = pathlib.Path(sys.argv[1])
        source = key_source("secret-service", file=here, command="", credentials_dir=None, database=here)
        try:
            source.load()
        except Locked as exc:
            print(exc)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pipx inject keyfob secretstorage" in done.stdout
