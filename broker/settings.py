"""Every setting, read once: defaults < TOML file < environment < flags.

Read by ``daemon`` and ``cli`` only; the table below is also what ``docs/configuration.md`` is checked against.
"""

import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from broker.core import toml
from broker.core.trust import distrust
from broker.errors import CannotStart

KEY_SOURCES = ("file", "systemd", "secret-service", "command", "passphrase")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
ON_OFF = ("on", "off")
MAX_PORT = 65535
# More refreshes at a time than this are a stampede, whoever wishes for it.
MAX_PLACES = 100
# Beyond this no limit is meant.
MAX_RATE, MAX_BURST = 10_000, 100_000
# Each holds two descriptors.
MAX_STREAMS = 10_000
# A petabyte: whoever wants more wants no limit.
MAX_BODY = 2**50
# A day.
MAX_SILENCE = 24 * 60 * 60
# A week of idling; whoever wants longer wants none.
MAX_IDLE = 7 * 24 * 60
# Fewer would not tell of a day; more would take longer to verify than a request may.
LEAST_ENTRIES, MOST_ENTRIES = 100, 1_000_000


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:  # ~user of nobody
        raise ValueError from exc


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number between two."""

    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _command(text: str) -> str:
    shlex.split(text)  # a quote that is left open is told at the start, not when the command is needed
    return text


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return parse


def setting(parse: Callable[[str], Any], what: str, expects: str) -> Any:  # noqa: ANN401 -- as dataclasses.field
    """Describe one setting: how its text is read, what it is for, and what a wrong value should have been."""
    return field(metadata={"parse": parse, "what": what, "expects": expects})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Each has the same name as TOML key, ``KEYFOB_NAME`` variable and ``--name`` flag of ``serve``."""

    config: Path = setting(_path, "the TOML file with these settings", "a path")
    state_dir: Path = setting(_path, "database and lock file; made 0700", "a path")
    runtime_dir: Path = setting(_path, "the sockets keyfob.sock, oidc.sock and the token files; made 0700", "a path")
    browser_port: int = setting(
        _whole(0, MAX_PORT), "port of the browser door on 127.0.0.1; 0 means any free one", "0 to 65535"
    )
    app_port: int = setting(
        _whole(0, MAX_PORT), "port of the app door on 127.0.0.1; 0 means any free one", "0 to 65535"
    )
    oidc_socket: str = setting(
        _one_of(*ON_OFF), "answer clients of oidc-agent, at the socket oidc.sock", f"one of {', '.join(ON_OFF)}"
    )
    database_url: str = setting(str, "SQLAlchemy URL of the SQLite database", "sqlite:///path")
    key_source: str = setting(
        _one_of(*KEY_SOURCES), "where the key that seals the secrets comes from", f"one of {', '.join(KEY_SOURCES)}"
    )
    key_file: Path = setting(_path, "the key file, for key_source = file; made 0600 on the first start", "a path")
    key_command: str = setting(str, "a command that prints the key, for key_source = command; no shell", "a command")
    lock_after_idle: int = setting(
        _whole(0, MAX_IDLE),
        "lock after so many minutes in which no program got a token and nobody did anything; 0: never",
        "0 to 10080",
    )
    lock_on_sleep: str = setting(_one_of(*ON_OFF), "lock when the machine has slept", f"one of {', '.join(ON_OFF)}")
    ca_file: Path | None = setting(_path, "extra CA certificates (PEM) for outgoing TLS", "a path")
    http_proxy: str = setting(str, "proxy for outgoing requests; no proxy variable is read", "http://HOST:PORT")
    refreshes_per_issuer: int = setting(
        _whole(1, MAX_PLACES),
        "how many refreshes may be under way at one provider; one where a lost answer ends a login",
        "1 to 100",
    )
    refreshes_in_all: int = setting(_whole(1, MAX_PLACES), "how many refreshes may be under way in all", "1 to 100")
    notify_command: str = setting(
        _command, "a command that is run when an account needs a person, such as another login; no shell", "a command"
    )
    notify_desktop: str = setting(
        _one_of(*ON_OFF), "tell it on the desktop too, where there is one", f"one of {', '.join(ON_OFF)}"
    )
    audit_entries: int = setting(
        _whole(LEAST_ENTRIES, MOST_ENTRIES),
        "how many entries of the audit are kept; the oldest are pruned",
        "100 to 1000000",
    )
    app_rate: int = setting(_whole(0, MAX_RATE), "requests of one app in a second; 0: no limit", "0 to 10000")
    app_burst: int = setting(_whole(1, MAX_BURST), "how many requests an app may make at once", "1 to 100000")
    proxy_streams: int = setting(
        _whole(1, MAX_STREAMS), "how many requests may be under way through the proxy", "1 to 10000"
    )
    proxy_body_limit: int = setting(
        _whole(0, MAX_BODY), "bytes that the body of a request through the proxy may have; 0: no limit", "0 to 2^50"
    )
    proxy_idle: int = setting(
        _whole(0, MAX_SILENCE),
        "seconds without a byte, either way, after which the proxy ends a request; 0: no limit",
        "0 to 86400",
    )
    proxy_wait: int = setting(
        _whole(1, MAX_SILENCE), "seconds in which an API has to begin its answer to the proxy", "1 to 86400"
    )
    log: str = setting(_one_of(*LOG_LEVELS), "how much is logged", f"one of {', '.join(LOG_LEVELS)}")
    log_format: str = setting(_one_of(*LOG_FORMATS), "how log lines look", f"one of {', '.join(LOG_FORMATS)}")

    @property
    def socket(self) -> Path:
        """Where the app socket listens."""
        return self.runtime_dir / "keyfob.sock"

    @property
    def oidc_agent_socket(self) -> Path:
        """Where clients of oidc-agent are answered, if they are."""
        return self.runtime_dir / "oidc.sock"

    @property
    def token_dir(self) -> Path:
        """Where the token files of apps lie."""
        return self.runtime_dir / "tokens"

    @property
    def presets_dir(self) -> Path:
        """Where a person's own preset files live."""
        return self.config.parent / "presets"


CONFIG = Settings.__dataclass_fields__["config"].metadata


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"KEYFOB_{name.upper()}"


def read(environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> Settings:
    """Read the settings from the configuration file, the environment and the flags.

    Args:
        environ: the process's environment.
        flags: setting name -> text given on the command line, or None.

    Raises:
        CannotStart: for a value that cannot be, an unknown key, or a file that is missing although it was named, cannot
            be read, or may be written by others.
    """
    given: dict[str, str] = {name: value for name, value in (flags or {}).items() if value is not None}
    home = Path(environ.get("HOME") or Path.home())
    named = given.get("config") or environ.get("KEYFOB_CONFIG")
    config = _parse(CONFIG, named, "--config or KEYFOB_CONFIG") if named else home / ".config/keyfob/config.toml"
    from_file = _read_file(config, must_exist=bool(named))
    values: dict[str, Any] = {"config": config}
    for spec in fields(Settings):
        name = spec.name
        if name == "config":
            continue
        if name in given:
            values[name] = _parse(spec.metadata, given[name], f"--{name.replace('_', '-')}")
        elif environ.get(variable(name)):
            values[name] = _parse(spec.metadata, environ[variable(name)], variable(name))
        elif name in from_file:
            values[name] = _parse(spec.metadata, from_file[name], f"'{name}' in {config}")
    found = Settings(**{**_defaults(home, environ, values.get("state_dir")), **values})
    if found.browser_port == found.app_port != 0:
        raise CannotStart(
            f"The browser port and the app port are both {found.app_port}.",
            "Give each a number of its own: --browser-port N --app-port N (0 takes any free port).",
        )
    return found


def defaults(home: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return every setting's default, given the home directory and the environment."""
    return _defaults(home, environ, None)


def _defaults(home: Path, environ: Mapping[str, str], state_dir: Path | None) -> dict[str, Any]:
    state = state_dir or home / ".local/state/keyfob"
    run = environ.get("XDG_RUNTIME_DIR")
    return {
        "config": home / ".config/keyfob/config.toml",
        "state_dir": state,
        # Without a session (cron, a container) there is no runtime directory; the state directory is as private.
        "runtime_dir": Path(run) / "keyfob" if run else state / "run",
        "browser_port": 8400,
        "app_port": 8401,
        "oidc_socket": "on",
        "database_url": f"sqlite:///{state / 'keyfob.db'}",
        "key_source": "file",
        "key_file": home / ".config/keyfob/key",
        "key_command": "",
        "lock_after_idle": 0,
        "lock_on_sleep": "off",
        "ca_file": None,
        "http_proxy": "",
        "refreshes_per_issuer": 2,
        "refreshes_in_all": 8,
        "notify_command": "",
        # Whoever sits at a desktop wants to know: a login is needed rarely, and without it a program fails later.
        "notify_desktop": "on",
        "audit_entries": 100_000,  # some years of one person's programs, and 20 MB
        # More than a program needs that asks before each use, and less than would keep others waiting.
        "app_rate": 50,
        "app_burst": 200,
        "proxy_streams": 100,
        "proxy_body_limit": 0,
        # Servers of events send something every minute or so; some APIs think for longer than one before they answer.
        "proxy_idle": 600,
        "proxy_wait": 120,
        "log": "info",
        "log_format": "text",
    }


def _parse(metadata: Mapping[str, Any], text: str, where: str) -> Any:  # noqa: ANN401 -- what the table says
    try:
        return metadata["parse"](text)
    except ValueError:
        raise CannotStart(f"{where} is {text!r}; it must be {metadata['expects']}.") from None


def _read_file(path: Path, *, must_exist: bool) -> dict[str, str]:
    try:
        # Not waiting: a pipe in its place must not hold the start for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CannotStart(f"The configuration file {path} is not a regular file.", "Name another.")
            why, mend = distrust(status.st_uid, status.st_mode, os.getuid())
            if why:
                raise CannotStart(f"The configuration file {path} {why}.", f"{mend} {path}")
            data = toml.loads(file.read(toml.MOST_BYTES + 1).decode())
    except FileNotFoundError:
        if not must_exist:
            return {}
        raise CannotStart(
            f"The configuration file {path} does not exist.", "Make it, or leave KEYFOB_CONFIG and --config out."
        ) from None
    except OSError as exc:
        raise CannotStart(f"The configuration file {path} cannot be read: {exc.strerror}.") from exc
    except (toml.NotToml, UnicodeDecodeError) as exc:
        raise CannotStart(f"The configuration file {path} is not valid TOML: {exc}.") from exc
    known = {spec.name for spec in fields(Settings)} - {"config"}
    for name, value in data.items():
        if name not in known:
            raise CannotStart(f"{path} has an unknown setting '{name}'.", f"Known are: {', '.join(sorted(known))}.")
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise CannotStart(f"'{name}' in {path} must be text or a number.")
    return {name: str(value) for name, value in data.items()}
