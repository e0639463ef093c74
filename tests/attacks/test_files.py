"""Hostile files: links, pipes, devices and directories where Keyfob has files of its own, or is told to write one.

Nothing that a link leads to is read, written or given another mode, and nothing that waits for ever is waited for.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.ground import Ground
from tests.e2e.home import Home

# What the daemon keeps in the state directory.
OWN = ["keyfob.db", "keyfob.db.fence", "keyfob.db.answers", "keyfob.db.lock", "lock"]
VICTIM = "a letter that is nobody's business"


def to_a_letter(path: Path) -> None:
    """Lay a link to a file of the person's."""
    path.symlink_to(letter(path.parent))


def to_nothing(path: Path) -> None:
    """Lay a link to a file that would be made."""
    path.symlink_to(path.parent / "made-by-following")


def to_a_device(path: Path) -> None:
    """Lay a link to what never ends."""
    path.symlink_to("/dev/zero")


def a_pipe(path: Path) -> None:
    """Lay a pipe that nobody writes to."""
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    """Lay a directory."""
    path.mkdir()


def letter(place: Path) -> Path:
    """Write the file that must stay as it is."""
    path = place / "letter"
    path.write_text(VICTIM)
    path.chmod(0o644)
    return path


def untouched(place: Path) -> bool:
    """Whether the letter, if there is one, is as it was, and no link was followed."""
    path = place / "letter"
    same = not path.exists() or (path.read_text() == VICTIM and stat.S_IMODE(path.stat().st_mode) == 0o644)
    return same and not (place / "made-by-following").exists()


def named(value: object) -> str:
    """Name a case by what is laid."""
    return getattr(value, "__name__", str(value))


IN_STATE = [(name, to_a_letter) for name in OWN]
IN_STATE += [("keyfob.db", a_pipe), ("keyfob.db.answers", to_nothing), ("lock", a_pipe), ("lock", to_a_device)]


@pytest.mark.parametrize(("name", "lay"), IN_STATE, ids=named)
def test_in_the_state_directory(home: Home, name: str, lay: Callable[[Path], None]) -> None:
    """The start ends at once and names the file, or goes on without having touched what it leads to."""
    home.state.mkdir(mode=0o700)
    lay(home.state / name)

    done = home.run("serve")

    assert done.code == 2, done
    assert str(home.state / name) in done.err
    assert untouched(home.state)


@pytest.mark.parametrize("lay", [to_a_letter, to_nothing, a_pipe], ids=named)
def test_in_place_of_the_socket(home: Home, lay: Callable[[Path], None]) -> None:
    """What is no dead socket of ours is never removed, and never followed."""
    home.runtime.mkdir(mode=0o700)
    lay(home.socket)

    done = home.run("serve")

    assert done.code == 2
    assert str(home.socket) in done.err
    assert os.path.lexists(home.socket)
    assert untouched(home.runtime)


@pytest.mark.parametrize("lay", [to_a_letter, to_a_device, a_pipe], ids=named)
def test_in_place_of_the_key(home: Home, lay: Callable[[Path], None]) -> None:
    """No key is read from there and none is written: Keyfob starts locked."""
    home.key.parent.mkdir(parents=True)
    lay(home.key)

    home.serve()

    with home.door() as owner:
        assert owner.get("/v1/status").json()["state"] == "locked"
    assert untouched(home.key.parent)


@pytest.mark.parametrize(
    ("name", "lay"),
    [("config.toml", to_a_device), ("config.toml", a_pipe), ("config.toml", a_directory), ("presets/own.toml", a_pipe)],
    ids=named,
)
def test_in_place_of_what_a_person_writes(home: Home, name: str, lay: Callable[[Path], None]) -> None:
    """A configuration or a preset that never ends is not waited for, and does not fill the memory."""
    path = home.place / ".config/keyfob" / name
    path.parent.mkdir(parents=True)
    lay(path)

    done = home.run("serve")

    assert done.code == 2, done


@pytest.mark.parametrize("lay", [to_a_letter, to_nothing, a_pipe], ids=named)
def test_where_a_backup_is_to_go(ground: Ground, home: Home, lay: Callable[[Path], None]) -> None:
    """A backup is not written through a link that somebody laid in a place that others can write to."""
    file = home.place / "backup.db"
    lay(file)

    done = ground.home.run("backup", str(file))

    assert done.code != 0 or not file.is_symlink()
    assert untouched(home.place)
    if file.is_file() and not file.is_symlink():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_linked_state_directory(home: Home) -> None:
    """A link in place of the directory itself is not followed: somebody else may own what it leads to."""
    (home.place / "elsewhere").mkdir()
    home.state.symlink_to("elsewhere")

    assert home.run("serve").code == 2
    assert not list((home.place / "elsewhere").iterdir())
