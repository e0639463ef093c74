"""A person's own preset files: each slip is told with its place, and none passes in silence."""

from pathlib import Path

import pytest

from broker.errors import CannotStart
from broker.providers import catalog

SLIPS = {
    "a key twice": (b'title = "x"\ntitle = "y"\n[endpoints]', 'title = "y"'),
    "not UTF-8": (b'title = "x"\n# caf\xe9\n', "line 2, cannot be used: it is not text in UTF-8"),
    "a slip of the pen": (b'titel = "x"', "did you mean 'title'?"),
    "empty": (b"# nothing yet\n", "is empty"),
    "nested without an end": (b"notes = " + b"[" * 5000, "cannot be used: it is nested too deeply"),
    "a number without an end": (b"notes = " + b"1" * 5000, "cannot be used: it holds a number that is too long"),
    "too long": (b"\xef\xbb\xbf# " + b"-" * 64 * 1024, "cannot be used: it is longer than 64 KiB"),
    "not encrypted": (
        b'title = "x"\n[endpoints]\ntoken = "http://id.example/t"',
        "line 3, cannot be used: The endpoints.token 'http://id.example/t' is not encrypted",
    ),
    "no address": (b'issuer = "id.example"', "The issuer 'id.example' does not begin with https://"),
    "not encrypted, with a template": (
        b'[endpoints]\ntoken = "http://{dc}.example/t"\n[parameters.dc]\nwhat = "a place"',
        "is not encrypted",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_with_its_place(tmp_path: Path, slip: str) -> None:
    """Which key, which line, and what was probably meant, when the daemon starts and not when somebody logs in."""
    content, said = SLIPS[slip]
    (tmp_path / "mine.toml").write_bytes(content)

    with pytest.raises(CannotStart) as caught:
        catalog.presets(tmp_path)

    assert "mine.toml" in str(caught.value)
    assert said in str(caught.value)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """A link that leads to nothing is the person's slip, and no bug of Keyfob; a directory is no preset either."""
    for number, (name, said) in enumerate({"gone": "it leads to nothing", "inside": "is a directory"}.items()):
        place = tmp_path / str(number)
        place.mkdir()
        if name == "gone":
            (place / "mine.toml").symlink_to(place / "nowhere.toml")
        else:
            (place / "mine.toml").mkdir()
        with pytest.raises(CannotStart, match=rf"mine\.toml cannot be read: {said}"):
            catalog.presets(place)


@pytest.mark.parametrize("name", ["Corp.TOML", "corp.TOML", "Corp.toml"])
def test_a_file_is_not_passed_over_for_its_name(tmp_path: Path, name: str) -> None:
    """Whoever wrote it means it to count."""
    (tmp_path / name).write_text("title = 'x'")

    with pytest.raises(CannotStart, match="a name that no provider can have"):
        catalog.presets(tmp_path)


def test_a_mark_before_the_text_does_no_harm(tmp_path: Path) -> None:
    """Some editors write one before UTF-8; hidden files and other kinds are nobody's presets."""
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbftitle = 'Mine'\n")
    (tmp_path / ".mine.toml").write_text("no preset")
    (tmp_path / "README").write_text("no preset")

    assert catalog.preset("mine", tmp_path).title == "Mine"
