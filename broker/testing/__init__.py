"""A practice broker for the tests of programs that use Keyfob: a real daemon, a provider, an account and an app key.

Imported by such tests; with pytest through ``fixtures`` beside it. All of it is on loopback and in a temporary place,
starts within a second, and is gone afterwards. Time passes when told::

    with practice_broker() as broker:
        token = broker.client().token("work")
        broker.pass_time(3600)                      # the next answer is another token

"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from broker import settings
from broker.client import Client, quote
from broker.clock import boottime
from broker.daemon import Daemon
from broker.errors import LoginFailed
from broker.inthread import in_thread
from broker.practice.person import visit
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PUBLIC_CLIENT, PracticeSettings

__all__ = ["ACCOUNT", "PracticeBroker", "practice_broker"]

ACCOUNT = "work"
APP = "tests"
TTL = 3600.0
# Seconds. A start and a login take a third of one, so this is a machine in trouble.
PATIENCE = 20.0
# What a client reads, see docs/configuration.md: what is not set here must not be left from outside.
VARIABLES = ("KEYFOB_SOCKET", "KEYFOB_URL", "KEYFOB_APP_KEY", "KEYFOB_APP_KEY_FILE")


class PracticeBroker:
    """A running Keyfob with an account at a practice provider, and an app that was granted just that account.

    Attributes:
        account: the account's name.
        socket: path of the owner's socket, where everything is allowed.
        url: base URL of the app port.
        key: the app key.
        provider_url: base URL and issuer of the practice provider.
        api_url: an API of the provider: with a token that lives it answers 200, else 401.
    """

    def __init__(self, daemon: Daemon, provider: PracticeServer, ahead: _Ahead) -> None:
        self._provider, self._ahead, self._clients = provider, ahead, contextlib.ExitStack()
        self.account, self.socket, self.url = ACCOUNT, daemon.ctx.doors["socket"], daemon.ctx.doors["app"]
        self.provider_url, self.api_url = provider.url, f"{provider.url}/userinfo"
        self.log_in(ACCOUNT)
        with self.owner() as owner:
            app = owner.request("POST", "/v1/apps", {"name": APP, "grants": [{"account": ACCOUNT}]})
        self.key: str = app["key"]

    def __repr__(self) -> str:
        return f"PracticeBroker({self.url!r})"

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables by which a program finds this broker as the app; of ``VARIABLES``, the others unset."""
        return {"KEYFOB_URL": self.url, "KEYFOB_APP_KEY": self.key}

    def client(self) -> Client:
        """Return a client that asks as the app; it is closed with the broker."""
        return self._clients.enter_context(Client(url=self.url, key=self.key))

    def owner(self) -> Client:
        """Return a client that asks as the owner; it is closed with the broker."""
        return self._clients.enter_context(Client(socket=self.socket, key=""))

    def close(self) -> None:
        """Close the clients."""
        self._clients.close()

    def log_in(self, account: str) -> None:
        """Log in at the provider: a new account, which the app was not granted, or one that needs it.

        Raises:
            LoginFailed: the provider was told to fail.
        """
        wanted = {"account": account, "provider": "practice", "base_url": self._provider.url}
        with self.owner() as owner:
            begun = owner.request("POST", "/v1/logins", wanted)
            visit(begun["start_url"], PATIENCE)
            ended = owner.request("GET", f"/v1/logins/{begun['id']}?wait={PATIENCE:.0f}")
        if ended["state"] != "done":
            raise LoginFailed(f"The login of '{account}' did not succeed: {ended['reason']}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the daemon and the provider: an hour is longer than a token lives."""
        self._ahead.seconds += seconds

    def end_token(self, account: str = ACCOUNT) -> None:
        """Let the account's token die early: the provider does not accept it any more, and Keyfob does not know."""
        with self.owner() as owner:
            token = owner.token(account).access_token
        form = urlencode({"token": token, "client_id": PUBLIC_CLIENT}).encode()
        _post(f"{self._provider.url}/revoke", form)

    def end_logins(self) -> None:
        """Let the provider end every login: what asks next is told that a person has to log in."""
        self._provider.revoke_grants()

    def lock(self) -> None:
        """Lock Keyfob."""
        with self.owner() as owner:
            owner.request("POST", "/v1/lock", {})

    def fail(self, *faults: str) -> None:
        """Let the provider fail, as ``keyfob practice --help`` says (``refresh:status=503``); without any, no more."""
        self._provider.set_faults(list(faults))

    def events(self, kind: str = "") -> int:
        """Return how often something happened at the provider: ``refresh``, ``authorize``, ...; empty for all."""
        return len(self._provider.log.all(kind))

    def forget(self, account: str) -> None:
        """Remove an account, and tell nobody."""
        with self.owner() as owner:
            owner.request("DELETE", f"/v1/accounts/{quote(account)}?local_only=true")


class _Ahead:
    """How far the time of daemon and provider is ahead of the machine's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wall(self) -> float:
        return time.time() + self.seconds

    def boot(self) -> float:
        return boottime() + self.seconds


@contextlib.contextmanager
def practice_broker(*, ttl: float = TTL) -> Iterator[PracticeBroker]:
    """Run a practice broker as long as the block lasts.

    Args:
        ttl: seconds that a token lives.
    """
    ahead = _Ahead()
    with tempfile.TemporaryDirectory(prefix="keyfob-") as place:
        provider_settings = PracticeSettings(ttl=ttl, auto_approve=True)
        with practice_in_thread(provider_settings, clock=ahead.wall) as provider:
            daemon = _daemon(Path(place), ahead)
            with daemon_in_thread(daemon), contextlib.closing(PracticeBroker(daemon, provider, ahead)) as broker:
                yield broker


def _daemon(place: Path, ahead: _Ahead) -> Daemon:
    environ = {"HOME": str(place)}  # nothing of whoever runs the tests
    flags: dict[str, str | None] = {
        "runtime_dir": str(place / "run"),
        "browser_port": "0",
        "app_port": "0",
        "app_rate": "0",  # tests ask faster than programs
    }
    return Daemon(settings.read(environ, flags), {}, ahead.wall, ahead.boot)


@contextlib.contextmanager
def daemon_in_thread(daemon: Daemon) -> Iterator[None]:
    """Run a daemon as long as the block lasts."""
    umask = os.umask(0o077)  # the daemon sets it for its whole process, which here is another's
    try:
        with in_thread("keyfob", daemon.start, daemon.stop, PATIENCE):
            os.umask(umask)
            yield
    finally:
        os.umask(umask)


def _post(url: str, form: bytes) -> None:
    build_opener(ProxyHandler({})).open(Request(url, form), timeout=PATIENCE).close()  # noqa: S310 -- our own provider
