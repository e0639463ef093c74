"""The ground that is attacked: a real daemon as a process of its own, a provider, an account, and apps with keys.

Made by ``conftest`` and by the tests here. The daemon runs the code beside these tests, wherever Keyfob is installed.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PUBLIC_CLIENT, PracticeSettings
from tests.e2e.home import NEVER_SAID, PATIENCE, Daemon, Home, short_place
from tests.loopback import NO_TLS
from tests.web.raw import Answer, Line, bearer

CHECKOUT = Path(__file__).parents[2]
# The user that everybody has and nobody is.
NOBODY = 65534


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


# A container may be without ::1; then nobody can be there.
HAS_IPV6 = _has_ipv6()
PORTS = ("app", "browser", "browser6") if HAS_IPV6 else ("app", "browser")
DOORS = (*PORTS, "socket")
# A door that has said nothing for so long says nothing more.
SILENCE = 0.3
TOKEN = "/v1/accounts/me/token"

as_another_user = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


class Ground:
    """A daemon with the account ``me``, and the app ``job`` that may have its token.

    Attributes:
        home: where it lives, and its command line.
        daemon: the process.
        practice: the provider of ``me``.
        owner: the socket, as its owner uses it.
        key: of the app ``job``.
    """

    def __init__(self, home: Home, practice: PracticeServer, daemon: Daemon, owner: httpx2.Client) -> None:
        self.home, self.practice, self.daemon, self.owner = home, practice, daemon, owner
        doors = self.get("/v1/status").json()["doors"]
        self.app_url, self.browser_url = doors["app"], doors["browser"]
        self.log_in("me")
        self.key: str = self.add_app("job", {"account": "me"})

    def where(self, door: str) -> str:
        """Return how a ``Line`` names a door."""
        doors: dict[str, str] = {
            "app": self.app_url,
            "browser": self.browser_url,
            "browser6": self.browser_url.replace("127.0.0.1", "[::1]"),
            "socket": str(self.home.socket),
        }
        return doors[door]

    def port(self, door: str) -> int:
        """Return the port of a door."""
        return int(self.where(door).rpartition(":")[2])

    def named(self, door: str) -> str:
        """Return a Host that is right at a door."""
        return "localhost" if door == "socket" else f"127.0.0.1:{self.port(door)}"

    def target(self, door: str) -> str:
        """Return what is worth asking for at a door."""
        return "/ui/" if door.startswith("browser") else TOKEN

    def headers(self, door: str) -> tuple[str, ...]:
        """Return the header lines with which a door gives all that it has."""
        return (bearer(self.key),) if door == "app" else ()

    def ask(self, door: str, *headers: str, host: str | None = None, method: str = "GET") -> Answer:
        """Ask for what is worth it, with a right key, and with whatever the attack adds."""
        with Line(self.where(door)) as line:
            host = self.named(door) if host is None else host
            return line.ask(method, self.target(door), *self.headers(door), *headers, host=host)

    def raw(self, door: str, request: bytes) -> bytes:
        """Send bytes and return all that comes until the door hangs up, which it does to what it does not take."""
        with Line(self.where(door)) as line:
            line.send(request)
            return line.all_within(SILENCE)

    def get(self, path: str, **more: Any) -> httpx2.Response:  # noqa: ANN401 -- httpx2's own arguments
        """Ask as the owner."""
        return self.owner.get(path, **more)

    def post(self, path: str, **more: Any) -> httpx2.Response:  # noqa: ANN401 -- as above
        """Do something as the owner."""
        return self.owner.post(path, **more)

    def begin(self, account: str, provider: str = "", **more: object) -> dict[str, Any]:
        """Begin a login."""
        new = {"account": account, "provider": "practice", "base_url": provider or self.practice.url}
        answer = self.post("/v1/logins", json=new | {"client_id": PUBLIC_CLIENT} | more)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def log_in(self, account: str, provider: str = "", **more: object) -> dict[str, Any]:
        """Log in as a browser would, from redirect to redirect, and return how it ended."""
        begun = self.begin(account, provider, **more)
        with httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS, timeout=PATIENCE) as browser:
            browser.get(begun["start_url"])
        found: dict[str, Any] = self.login(begun["id"])
        return found

    def login(self, login_id: str) -> dict[str, Any]:
        """Return how a login stands."""
        found: dict[str, Any] = self.get(f"/v1/logins/{login_id}").json()
        return found

    def add_app(self, name: str, *grants: dict[str, object], **more: object) -> str:
        """Make an app and return its key."""
        answer = self.post("/v1/apps", json={"name": name, "grants": list(grants)} | more)
        assert answer.status_code == 201, answer.text
        key: str = answer.json()["key"]
        return key

    def app(self, key: str, path: str = TOKEN, method: str = "GET", **more: Any) -> httpx2.Response:  # noqa: ANN401 -- as above
        """Ask at the app port with a key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx2.request(
            method, self.app_url + path, headers=headers, trust_env=False, verify=NO_TLS, timeout=PATIENCE, **more
        )

    @property
    def token(self) -> str:
        """The token of ``me``, as its owner has it."""
        found: str = self.get(TOKEN).json()["access_token"]
        return found


@contextlib.contextmanager
def new_home() -> Iterator[Home]:
    """Make an empty home whose commands run the code beside these tests; none of them may ever break."""
    with short_place() as place:
        home = Home(place)
        home.environ["PYTHONPATH"] = str(CHECKOUT)
        try:
            yield home
        finally:
            home.close()
        for words in NEVER_SAID:
            assert words not in home.said


@contextlib.contextmanager
def new_ground(
    *flags: str, settings: PracticeSettings | None = None, environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Ground]:
    """Run a daemon with an account of a practice provider that says yes at once."""
    with practice_in_thread(settings or PracticeSettings(auto_approve=True)) as practice, new_home() as home:
        # The rate of an app has tests of its own; here one app attacks as hundreds would.
        daemon = home.serve("--app-rate", "0", *flags, **environ)
        with home.door() as owner:
            yield Ground(home, practice, daemon, owner)


@contextlib.contextmanager
def trap() -> Iterator[socket.socket]:
    """Listen where nobody should ever come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.0)
        yield listener


def visited(listener: socket.socket) -> bool:
    """Whether somebody came to a trap."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def as_nobody(script: str, *arguments: str) -> str:
    """Run Python as another user of this machine and return what it printed."""
    # Codecs are loaded when they are first wanted, and Python's own files may be root's alone.
    begin = "import http.client, os, pathlib, socket, sys; 'x'.encode('idna')"
    become = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{begin}; {become}\n{script}", *arguments],
        capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
