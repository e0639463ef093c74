"""What a plan is made from, what it holds, and what may stand in one.

Called by the modules beside it and by ``cli.setup``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.client import ClientError
from broker.integrations.places import is_loopback, place_of
from broker.integrations.setup.changes import Change, Own

# Beside letters and digits of any script: what no shell and none of the files written here reads as something else.
PLAIN = re.compile(r"[\w@%+=:,./-]+")
# RFC 3986 without quotes, blanks and what a shell would read.
URL = re.compile(r"https?://[\w.:\[\]-]+(/[\w.~%+=:@,/?&-]*)?", re.ASCII)


@dataclass(frozen=True)
class Asked:
    """What a plan is made from: all of it is text, so that it can be kept, and the same plan be made again.

    Attributes:
        tool: the program that is to be told.
        account: the account whose tokens it is to get.
        keyfob: the whole path of the command.
        own: the directory in which Keyfob keeps what it writes for others.
        file: the other program's own file, or empty where it has none.
        app_url: where the app port is.
        agent: where the socket for oidc-agent's clients is, or empty where there is none.
        hosts: for git: ``https://HOST`` of each place that the account's provider has.
        shared: for git: other accounts belong to these hosts, too.
        options: what the person said beside.
    """

    tool: str
    account: str
    keyfob: str
    own: str
    file: str = ""
    app_url: str = ""
    agent: str = ""
    hosts: tuple[str, ...] = ()
    shared: bool = False
    options: dict[str, str] = field(default_factory=dict)

    def command(self, *words: str) -> str:
        """Return the keyfob command with some words, such that any shell and any file takes it as it is."""
        return " ".join([plain(self.keyfob, "path of the keyfob command"), *(plain(word, "word") for word in words)])

    @property
    def entry(self) -> str:
        """How this account is called in the other program's file."""
        return f"keyfob-{self.account.replace('@', '_at_')}"

    def app(self, *, capability: bool = False) -> App:
        """Return the app whose key a program uses that can run no command."""
        name = f"{self.tool}-{self.account.replace('@', '_at_')}"
        return App(name, str(Path(self.own).parent / "apps" / f"{name}.key"), capability)

    def beside(self, suffix: str) -> str:
        """Return the path of a file of Keyfob's own for this program and account."""
        return str(Path(self.own, f"{self.tool}-{self.account}{suffix}"))

    def option(self, name: str, what: str) -> str:
        """Return an option that cannot be left out.

        Raises:
            ClientError: it was left out.
        """
        if not self.options.get(name):
            detail = f"Nothing says {what}."
            raise ClientError(detail, f"Add: --{name} {name.upper()}", code="invalid_request")
        return self.options[name]


@dataclass(frozen=True)
class App:
    """An app that has the account's grant.

    Attributes:
        name: the app's.
        file: where its key is kept.
        capability: its key is one that stands in an address, and is good nowhere else.
    """

    name: str
    file: str
    capability: bool = False


@dataclass(frozen=True)
class Variable:
    """One variable that the program reads; ``secret``: whoever knows its value gets tokens."""

    name: str
    value: str
    secret: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        changes: what becomes of files, in that order.
        variables: what the program finds in its environment.
        app: the app that is needed for it, or None.
        paste: text that a person has to put into a file which is not touched here.
        commands: what the person runs then.
        notes: what the person should know, in sentences.
    """

    changes: tuple[Change, ...] = ()
    variables: tuple[Variable, ...] = ()
    app: App | None = None
    paste: str = ""
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def environment(asked: Asked, variables: Iterable[Variable]) -> Own:
    """Return the file of Keyfob's own that holds variables, for a shell and for systemd.

    Raises:
        ClientError: a value cannot stand in such a file.
    """
    told = list(variables)
    lines = [f"{one.name}={plain(one.value, one.name)}\n" for one in told]
    return Own(asked.beside(".env"), "".join(lines), secret=any(one.secret for one in told))


def loading(asked: Asked) -> str:
    """Return the command that puts those variables into a shell."""
    return f"set -a; . {plain(asked.beside('.env'), 'path')}; set +a"


def plain(value: str, what: str) -> str:
    """Return a value that needs no quotes anywhere.

    Raises:
        ClientError: it does, or could be read as something else.
    """
    if not PLAIN.fullmatch(value):
        shown = "".join(character if character.isprintable() else "·" for character in value)
        detail = f"The {what} cannot be written into another program's configuration: {shown!r}."
        raise ClientError(
            detail, "No blank, quote, line end or other special character may be in it.", code="invalid_request"
        )
    return value


def url(value: str, what: str) -> str:
    """Return a URL to which a token may go.

    Raises:
        ClientError: it is none, or the token would travel in the clear.
    """
    if not URL.fullmatch(value):
        raise ClientError(f"The {what} is no URL such as https://dav.example.org/files/.", code="invalid_request")
    place = place_of(value)
    if place.protocol != "https" and not is_loopback(place.host):
        raise ClientError(f"To {place} a token would travel in the clear.", "Use https.", code="invalid_request")
    return value


def first_there(paths: Iterable[Path], otherwise: Path) -> Path:
    """Return the first of some files that is there, as programs look for theirs; else the one to make."""
    return next((path for path in paths if path.exists()), otherwise)


def config_home(environ: Mapping[str, str], home: Path) -> Path:
    """Return the directory for configuration (XDG Base Directory Specification)."""
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
