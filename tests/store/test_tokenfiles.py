"""A token file is private, is replaced in one step, and lies where nobody else has put anything in the way."""

import os
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import CannotStart
from broker.store.tokenfiles import TokenFiles

KEY = ("prometheus", "work")


def placed(place: Path) -> tuple[TokenFiles, Path]:
    """Return files below a runtime directory, and where the one of ``KEY`` is."""
    directory = place / "run/tokens"
    return TokenFiles(directory), directory.joinpath(*KEY)


def test_a_file_is_private_whole_and_bare(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600 whatever the umask; the token stands there alone, and nothing beside it."""
    files, file = placed(tmp_path)
    before = os.umask(0)
    try:
        files.write(KEY, Secret("token-1"))
    finally:
        os.umask(before)

    assert file.read_text() == "token-1"
    assert file.stat().st_mode & 0o7777 == 0o600
    assert {one.stat().st_mode & 0o7777 for one in file.parents[:3]} == {0o700}
    assert [one.name for one in file.parent.iterdir()] == ["work"]


def test_a_reader_keeps_what_it_has_opened(tmp_path: Path) -> None:
    """The next token is another file under the same name: who has the old one open reads that, and reads it whole."""
    files, file = placed(tmp_path)
    files.write(KEY, Secret("token-1"))
    (file.parent / ".work").write_text("half of a tok")  # a crash left it
    with file.open() as reading:
        files.write(KEY, Secret("2"))
        assert reading.read() == "token-1"

    assert file.read_text() == "2"
    assert files.there() == {KEY}


def test_what_is_in_the_way(tmp_path: Path) -> None:
    """A link is replaced and never followed; a directory that is a link, or a file that is a directory, is refused."""
    files, file = placed(tmp_path)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (target := elsewhere / "target").write_text("mine")
    file.parent.mkdir(parents=True)
    for name in ("work", ".work"):
        (file.parent / name).symlink_to(target)
    files.write(KEY, Secret("token-1"))
    assert (file.is_symlink(), file.read_text(), target.read_text()) == (False, "token-1", "mine")

    (file.parents[1] / "linked").symlink_to(elsewhere)
    with pytest.raises(CannotStart, match="symbolic link"):
        files.write(("linked", "work"), Secret("token-1"))
    with pytest.raises(NotADirectoryError):
        files.remove(("linked", "target"))
    (file.parent / "home").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write(("prometheus", "home"), Secret("token-1"))
    assert [one.name for one in elsewhere.iterdir()] == ["target"]
    assert files.there() == {KEY, ("prometheus", "home")}


@pytest.mark.parametrize("name", ["..", ".work", "a/b", "", "work\n"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    """What no app and no account can be called is written nowhere, whoever put it into the database."""
    files, file = placed(tmp_path)
    for key in ((name, "work"), ("prometheus", name)):
        with pytest.raises(CannotStart, match="no file's name"):
            files.write(key, Secret("token-1"))
    assert not file.parents[1].exists()


def test_what_is_removed_leaves_no_more_than_its_place(tmp_path: Path) -> None:
    """What is not there is removed already; the directory stays for who has it mounted, until its app has no file."""
    files, file = placed(tmp_path)
    files.remove(KEY)
    files.keep_places(())
    assert files.there() == set()
    for key in (KEY, ("backup", "home"), ("gone", "home")):
        files.write(key, Secret("token-1"))
    for key in (KEY, KEY, ("gone", "home")):
        files.remove(key)
    files.keep_places({"prometheus"})
    assert files.there() == {("backup", "home")}
    assert sorted(one.name for one in file.parents[1].iterdir()) == ["backup", "prometheus"]
