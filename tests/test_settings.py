"""Where settings come from, which source wins, and what is said of a wrong one."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from broker import settings
from broker.errors import CannotStart
from broker.settings import Settings

HOME = "/home/somebody"
NAMES = [spec.name for spec in fields(Settings)]


@dataclass(frozen=True)
class Row:
    """One setting: its default, and a text with the value that it means, one for each source."""

    name: str
    default: Any
    file: tuple[str, Any]
    env: tuple[str, Any]
    flag: tuple[str, Any]


def paths(name: str, default: str | None) -> Row:
    """Return the row of a setting that is a path."""
    values = ((text, Path(text)) for text in ("/from/file", "/from/env", "/from/flag"))
    return Row(name, None if default is None else Path(HOME, default), *values)


def texts(name: str, default: str, *values: str) -> Row:
    """Return the row of a setting that is a text."""
    return Row(name, default, *((value, value) for value in values))


ROWS = [
    paths("state_dir", ".local/state/keyfob"),
    paths("runtime_dir", ".local/state/keyfob/run"),
    Row("browser_port", 8400, ("0", 0), ("65535", 65535), ("9000", 9000)),
    Row("app_port", 8401, ("1", 1), ("0", 0), ("9001", 9001)),
    texts("oidc_socket", "on", "off", "on", "off"),
    texts("database_url", f"sqlite:///{HOME}/.local/state/keyfob/keyfob.db", "a://", "b://", "c://"),
    texts("key_source", "file", "systemd", "command", "file"),
    paths("key_file", ".config/keyfob/key"),
    texts("key_command", "", "pass a", "pass b", "pass c"),
    Row("lock_after_idle", 0, ("1", 1), ("10080", 10080), ("15", 15)),
    texts("lock_on_sleep", "off", "on", "off", "on"),
    paths("ca_file", None),
    texts("http_proxy", "", "http://a:1", "http://b:2", "http://c:3"),
    Row("refreshes_per_issuer", 2, ("1", 1), ("100", 100), ("3", 3)),
    Row("refreshes_in_all", 8, ("1", 1), ("100", 100), ("9", 9)),
    texts("notify_command", "", "tell a", "tell b", "tell c"),
    texts("notify_desktop", "on", "off", "on", "off"),
    Row("audit_entries", 100_000, ("100", 100), ("1000000", 1_000_000), ("5000", 5000)),
    Row("app_rate", 50, ("0", 0), ("10000", 10_000), ("5", 5)),
    Row("app_burst", 200, ("1", 1), ("100000", 100_000), ("7", 7)),
    Row("proxy_streams", 100, ("1", 1), ("10000", 10_000), ("7", 7)),
    Row("proxy_body_limit", 0, ("0", 0), ("1000000", 1_000_000), ("7", 7)),
    Row("proxy_idle", 600, ("0", 0), ("86400", 86_400), ("7", 7)),
    Row("proxy_wait", 120, ("1", 1), ("86400", 86_400), ("7", 7)),
    texts("log", "info", "debug", "warning", "error"),
    texts("log_format", "text", "json", "text", "json"),
]


def written(place: Path, text: str, mode: int = 0o600) -> Path:
    """Write a configuration file."""
    path = place / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_every_setting_has_a_row() -> None:
    """No setting is left out of the tests below."""
    assert ["config", *(row.name for row in ROWS)] == NAMES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_later_source_wins(tmp_path: Path, row: Row) -> None:
    """Default < file < environment < flag, for every setting, under the same name everywhere."""
    config = written(tmp_path, f"{row.name} = '{row.file[0]}'\n")
    environ: dict[str, str] = {"HOME": HOME}

    assert getattr(settings.read(environ), row.name) == row.default
    environ["KEYFOB_CONFIG"] = str(config)
    assert getattr(settings.read(environ), row.name) == row.file[1]
    environ[f"KEYFOB_{row.name.upper()}"] = row.env[0]
    assert getattr(settings.read(environ), row.name) == row.env[1]
    assert getattr(settings.read(environ, {row.name: None}), row.name) == row.env[1]
    assert getattr(settings.read(environ, {row.name: row.flag[0]}), row.name) == row.flag[1]


def test_the_configuration_file_is_named_by_a_flag_a_variable_or_nothing(tmp_path: Path) -> None:
    """--config wins over KEYFOB_CONFIG, and without both it is the usual place."""
    usual, other, third = tmp_path / ".config/keyfob", tmp_path / "other", tmp_path / "third"
    for port, place in enumerate((usual, other, third), 1):
        place.mkdir(parents=True)
        written(place, f"app_port = {port}\n")
    environ = {"HOME": str(tmp_path)}

    assert settings.read(environ).app_port == 1
    environ["KEYFOB_CONFIG"] = str(other / "config.toml")
    assert settings.read(environ).app_port == 2
    read = settings.read(environ, {"config": str(third / "config.toml")})
    assert (read.app_port, read.config, read.presets_dir) == (3, third / "config.toml", third / "presets")


def test_places_move_together() -> None:
    """Database and socket follow the state directory; a session's runtime directory comes before it for the socket."""
    alone = settings.read({"HOME": HOME, "KEYFOB_STATE_DIR": "/srv/k"})
    session = settings.read({"HOME": HOME, "KEYFOB_STATE_DIR": "/srv/k", "XDG_RUNTIME_DIR": "/run/user/7"})

    assert alone.database_url == "sqlite:////srv/k/keyfob.db"
    assert alone.socket == Path("/srv/k/run/keyfob.sock")
    assert session.socket == Path("/run/user/7/keyfob/keyfob.sock")


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    """`KEYFOB_LOG=` in a unit file or a shell means that nothing was said."""
    empty = {settings.variable(name): "" for name in NAMES}

    assert settings.read({"HOME": HOME, **empty}) == settings.read({"HOME": HOME})
    assert settings.read({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": ""}).socket.is_relative_to(tmp_path / ".local")


def test_a_tilde_is_home() -> None:
    """A path may begin with ~ in every source, as in a shell."""
    read = settings.read({"HOME": HOME, "KEYFOB_KEY_FILE": "~/key"})

    assert read.key_file == Path("~/key").expanduser()


BAD = [
    ("browser_port", "eighty", "0 to 65535"),
    ("browser_port", "65536", "0 to 65535"),
    ("app_port", "-1", "0 to 65535"),
    ("app_port", "84.5", "0 to 65535"),
    ("key_source", "vault", "file, systemd, secret-service, command, passphrase"),
    ("lock_after_idle", "-1", "0 to 10080"),
    ("lock_on_sleep", "perhaps", "on, off"),
    ("log", "loud", "debug, info, warning, error"),
    ("log_format", "xml", "text, json"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BAD)
def test_a_wrong_value_is_named_with_its_place(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """The error says where the value stands, what it is, and what would be right: flag, variable or key of the file."""
    config = str(written(tmp_path, f"{name} = '{text}'\n"))
    flag, variable = f"--{name.replace('_', '-')}", f"KEYFOB_{name.upper()}"
    for where, environ, flags in (
        (flag, {}, {name: text}),
        (variable, {variable: text}, {}),
        (f"'{name}' in {config}", {"KEYFOB_CONFIG": config}, {}),
    ):
        with pytest.raises(CannotStart) as caught:
            settings.read({"HOME": HOME, **environ}, dict(flags))

        for words in (where, repr(text), expected):
            assert words in caught.value.detail


@pytest.mark.parametrize("text", ["", "~no-such-user-here/key", "a\0b"])
@pytest.mark.parametrize("name", ["state_dir", "key_file"])
def test_a_text_that_is_no_path(name: str, text: str) -> None:
    """An empty path (an unset variable in a script) does not mean the present directory; a foreign ~ is no bug."""
    with pytest.raises(CannotStart, match="it must be a path"):
        settings.read({"HOME": HOME}, {name: text})


@pytest.mark.parametrize("line", ["log = true", "log = 1.5", "log = ['debug']", "log = 2026-01-01", "[log]"])
def test_a_value_of_the_wrong_kind(tmp_path: Path, line: str) -> None:
    """A table, a list, a date or a truth value where a text or a number belongs is named with the file."""
    config = written(tmp_path, f"{line}\n")

    with pytest.raises(CannotStart, match="must be text or a number") as caught:
        settings.read({"HOME": HOME, "KEYFOB_CONFIG": str(config)})
    assert f"'log' in {config}" in caught.value.detail


@pytest.mark.parametrize("key", ["prot", "config", "App_Port", "app-port", "KEYFOB_LOG"])
def test_an_unknown_key(tmp_path: Path, key: str) -> None:
    """A key that means nothing is no comment: it is named, and the known ones are listed."""
    config = written(tmp_path, f"{key} = '1'\n")

    with pytest.raises(CannotStart) as caught:
        settings.read({"HOME": HOME, "KEYFOB_CONFIG": str(config)})
    assert f"'{key}'" in caught.value.detail
    assert all(name in caught.value.hint for name in NAMES if name != "config")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A directory, broken TOML and broken UTF-8 are said to be so, with the path."""
    broken, latin = written(tmp_path, "log = \n"), tmp_path / "latin.toml"
    latin.write_bytes(b'state_dir = "/\xe9"\n')
    latin.chmod(0o600)
    for path, words in ((tmp_path, "cannot be read"), (broken, "not valid TOML"), (latin, "not valid TOML")):
        with pytest.raises(CannotStart, match=words) as caught:
            settings.read({"HOME": HOME, "KEYFOB_CONFIG": str(path)})
        assert str(path) in caught.value.detail


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"log = {'[' * 5000}", "nested too deeply"),
        (f"app_port = {'1' * 5000}", "a number that is too long"),
        (f"log = 'info' {'#' * 70_000}", "longer than 64 KiB"),
        ("log = 'info' " + "#\u00e9" * 30_000, "longer than 64 KiB"),
    ],
)
def test_a_file_that_breaks_the_parser_is_no_toml(tmp_path: Path, text: str, why: str) -> None:
    """What Python's parser cannot take is told like any other slip, and a file without an end is not read to it."""
    with pytest.raises(CannotStart, match=f"is not valid TOML: it .*{why}"):
        settings.read({"HOME": HOME, "KEYFOB_CONFIG": str(written(tmp_path, text))})


def test_only_a_named_file_has_to_exist(tmp_path: Path) -> None:
    """Nobody needs a configuration file; but a name that was given is meant."""
    assert settings.read({"HOME": str(tmp_path)}).log == "info"
    missing = str(tmp_path / "none.toml")
    for environ, flags in (({"KEYFOB_CONFIG": missing}, {}), ({}, {"config": missing})):
        with pytest.raises(CannotStart, match="does not exist") as caught:
            settings.read({"HOME": str(tmp_path), **environ}, dict(flags))
        assert missing in caught.value.detail


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o644, True), (0o620, False), (0o602, False)])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int, *, taken: bool) -> None:
    """Reading it is no danger, there are no secrets in it; writing it chooses the key command."""
    environ = {"HOME": HOME, "KEYFOB_CONFIG": str(written(tmp_path, "log = 'debug'\n", mode))}

    if taken:
        assert settings.read(environ).log == "debug"
    else:
        with pytest.raises(CannotStart, match="written by others") as caught:
            settings.read(environ)
        assert "chmod go-w" in caught.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Whoever owns the file chooses the key command."""
    config = written(tmp_path, "log = 'debug'\n")
    os.chown(config, 65534, 65534)

    with pytest.raises(CannotStart, match="another user"):
        settings.read({"HOME": HOME, "KEYFOB_CONFIG": str(config)})
