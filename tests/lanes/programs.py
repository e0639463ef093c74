"""One of the twenty programs of the story: gets a token in its own way and calls the provider's API, again and again.

Started by ``story`` as a process of its own, and killed by it. What it sees it appends to a file, line by line, so that
a kill takes at most the last line. Imports little: there are many of it.
"""

import contextlib
import fcntl
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.client import Client, ClientError, DaemonNotRunning, LoginNeeded
from tests.lanes.person import LoggedOut, Site, Tokens

ACCOUNT = "me"
# Between two calls of a program, in seconds: they fall out of step, as programs do.
THINKS = (0.5, 2.5)
# A daemon that was killed is back within a second; a program that has waited for so long gives up.
DAEMON_PATIENCE = 30.0
# A tool that refreshes by itself does so a little before the end (seconds).
SKEW = 1.0


class Source(Protocol):
    """Where a program has its tokens from."""

    def token(self) -> str:
        """Return a token that should be good.

        Raises:
            LoggedOut: a person has to log in again.
        """

    def refused(self, token: str) -> None:
        """Hear that the API did not accept it."""

    def log_in_again(self) -> bool:
        """Be the person; return False where another program's person was faster."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the programs of one set meet.

    Attributes:
        directory: of the set's files.
        provider: its URL.
        socket: of the daemon; empty for the programs that have none.
    """

    directory: Path
    provider: str
    socket: str = ""

    @property
    def tokens(self) -> Path:
        """The shared token file."""
        return self.directory / "tokens.json"

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock of the set; the kernel lets it go when the program is killed."""
        with (self.directory / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class FromKeyfob:
    """Ask the daemon before every call; while it is away, ask again."""

    def __init__(self, place: Place, site: Site) -> None:
        self._place, self._site = place, site
        self._client = Client(socket=place.socket)
        self._logins = 0

    def token(self) -> str:
        """Return what the daemon hands out."""
        end = time.monotonic() + DAEMON_PATIENCE
        while True:
            try:
                return self._client.token(ACCOUNT).access_token
            except LoginNeeded as exc:
                self._logins = self._count()
                raise LoggedOut(str(exc)) from exc
            except ClientError as exc:
                gone = isinstance(exc, DaemonNotRunning) or exc.code == "connection_lost"
                if not gone or time.monotonic() > end:
                    raise
                time.sleep(0.05)  # as a program does that has nothing else to do

    def refused(self, token: str) -> None:
        """Nothing to do: that is counted, and never happens."""

    def log_in_again(self) -> bool:
        """Log in at the provider and give Keyfob the new refresh token."""
        with self._place.locked("login"):
            if self._count() != self._logins:
                return False
            brought = {"flow": "refresh-token", "refresh_token": self._site.log_in(ACCOUNT).refresh_token}
            named = {"account": ACCOUNT, "provider": "practice", "base_url": self._place.provider}
            self._client.request("POST", "/v1/logins", brought | named)
            with (self._place.directory / "logins").open("a") as file:
                file.write("1\n")
            return True

    def _count(self) -> int:
        file = self._place.directory / "logins"
        return file.read_text().count("\n") if file.exists() else 0


@dataclass(frozen=True, slots=True)
class Kept:
    """The shared file's content."""

    access_token: str
    refresh_token: str
    expires_at: float

    def fresh(self) -> bool:
        """Whether the tool would use it as it is."""
        return time.time() < self.expires_at - SKEW


def write(path: Path, tokens: Tokens) -> Kept:
    """Replace the shared file, never leaving half of one: that much care tools take today."""
    kept = Kept(tokens.access_token, tokens.refresh_token, time.time() + tokens.lifetime)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    content = {"access_token": kept.access_token, "refresh_token": kept.refresh_token, "expires_at": kept.expires_at}
    fresh.write_text(json.dumps(content))
    fresh.replace(path)
    return kept


def read(path: Path) -> Kept:
    """Read the shared file."""
    return Kept(**json.loads(path.read_text()))


class FromFile:
    """Read the shared file before every call; where the token is too old, refresh, and write the file back."""

    def __init__(self, place: Place, site: Site) -> None:
        self._place, self._site = place, site
        self._kept = read(place.tokens)
        self._stale = ""

    def token(self) -> str:
        """Return the file's token, or a new one."""
        self._kept = self._read()
        if not self._good():
            self._kept = self._renewed()
        return self._kept.access_token

    def refused(self, token: str) -> None:
        """Do not use this one again, whatever its age."""
        self._stale = token

    def log_in_again(self) -> bool:
        """Log in at the provider and write the file."""
        with self._place.locked("login"):
            if read(self._place.tokens).refresh_token != self._kept.refresh_token:
                return False
            write(self._place.tokens, self._site.log_in(ACCOUNT))
            return True

    def _read(self) -> Kept:
        return read(self._place.tokens)

    def _good(self) -> bool:
        return self._kept.fresh() and self._kept.access_token != self._stale

    def _renewed(self) -> Kept:
        return write(self._place.tokens, self._site.refresh(self._kept.refresh_token))


class FromLockedFile(FromFile):
    """The same with an exclusive lock around reading, refreshing and writing: the best that a file can do."""

    def _renewed(self) -> Kept:
        with self._place.locked("tokens"):
            self._kept = self._read()
            return self._kept if self._good() else super()._renewed()


class FromMemory(FromFile):
    """Read the file at the start only, then keep the login in memory; write it back after a refresh."""

    def _read(self) -> Kept:
        return self._kept

    def log_in_again(self) -> bool:
        """Log in, or take what another program's person has written meanwhile."""
        mine = super().log_in_again()
        self._kept = read(self._place.tokens)
        return mine


SOURCES: dict[str, Callable[[Place, Site], Source]] = {
    "keyfob": FromKeyfob,
    "file": FromFile,
    "flock": FromLockedFile,
    "memory": FromMemory,
}


def run(kind: str, place: Place, number: int, seed: int, until: float) -> None:
    """Be one program until a moment (epoch seconds), and write down what happens: the body of a process."""
    chance = random.Random(f"{seed}/{kind}/{number}")  # noqa: S311 -- when to call, not a secret
    with (place.directory / f"program-{number:02}.log").open("a", buffering=1) as log:
        site = Site(place.provider)
        source = SOURCES[kind](place, site)
        while (think := chance.uniform(*THINKS)) < until - time.time():
            time.sleep(think)  # the program's own work
            log.write(f"{_call(source, site)}\n")


def _call(source: Source, site: Site) -> str:
    """Get a token, use it, and return the word for what happened."""
    asked_at = time.monotonic()
    try:
        token = source.token()
    except LoggedOut:
        return "logged-out" if source.log_in_again() else "logged-out-too"
    except ClientError as exc:
        return f"failed {exc}"
    waited = time.monotonic() - asked_at
    if site.accepts(token):
        return f"good {waited:.3f}"
    source.refused(token)
    return "refused"
