"""What others could see: the modes of files and directories, and the secrets of a whole walk, looked for everywhere."""

import contextlib
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from broker.core.secret import Secret
from broker.practice import server
from broker.practice.app import build
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import CONFIDENTIAL_CLIENT, PracticeSettings
from broker.practice.state import Practice
from tests.e2e.home import START_URL, Home, browser
from tests.e2e.tap import NAMES, Tap


def modes(home: Home) -> dict[str, str]:
    """Return the mode of everything below the home directory."""
    return {
        str(path.relative_to(home.place)): oct(stat.S_IMODE(path.lstat().st_mode)) for path in home.place.rglob("*")
    }


def test_every_file_is_its_owners_alone(home: Home, practice: PracticeServer) -> None:
    """Whatever the umask is: 0700 for every directory that is made, 0600 for every file and for the socket."""
    home.umask = 0
    daemon = home.serve()
    home.log_in(practice.url)
    home.run("refresh", "me")

    found = modes(home)

    assert {".config/keyfob/key", "state/keyfob.db", "state/keyfob.db-wal", "state/lock", "run/keyfob.sock"} <= set(
        found
    )
    for name, mode in found.items():
        assert mode == ("0o700" if (home.place / name).is_dir() else "0o600"), name
    daemon.kill()
    home.serve()
    assert set(modes(home).values()) == {"0o700", "0o600"}


def test_open_directories_and_files_are_tightened(home: Home) -> None:
    """Directories and databases that were opened up by a copy or a backup are closed again at the next start."""
    home.serve().stop()
    for name in ("state", "run"):
        (home.place / name).chmod(0o755)
    home.database.chmod(0o644)

    home.serve()

    found = modes(home)
    assert (found["state"], found["run"], found["state/keyfob.db"]) == ("0o700", "0o700", "0o600")


class Search:
    """The secrets of a walk, and the places where none may be."""

    def __init__(self) -> None:
        self.tap = Tap()
        self.more: dict[str, set[str]] = {}

    def add(self, kind: str, *values: str) -> None:
        """Note a secret that does not pass the tap."""
        assert all(values), kind
        self.more.setdefault(kind, set()).update(values)

    def expect_none_in(self, where: str, content: bytes) -> None:
        """Fail, with the kind only, where a secret stands in the content."""
        for kind, values in {**self.tap.found, **self.more}.items():
            seen = sum(value.encode() in content for value in values)
            assert not seen, f"{seen} x {kind} in {where}"


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    """Put a tap before every provider that is started from now on."""
    found = Search()

    def tapped(practice: Practice) -> ASGIApp:
        return found.tap.before(build(practice))

    monkeypatch.setattr(server, "build", tapped)
    return found


@pytest.fixture
def provider(search: Search) -> Iterator[PracticeServer]:
    """Run a provider behind the tap, with a client secret that can be looked for."""
    secret = f"client-secret-{secrets.token_urlsafe(24)}"
    search.add("client secret", secret)
    with practice_in_thread(PracticeSettings(auto_approve=True, client_secret=Secret(secret))) as practice:
        yield practice


def secret_file(home: Home, name: str, value: str) -> str:
    """Write a secret that a person hands over into a file of their own."""
    path = home.place / name
    path.write_text(value)
    path.chmod(0o600)
    return str(path)


def walk(home: Home, provider: PracticeServer, search: Search) -> None:
    """Do everything in which a secret has a part."""
    client = secret_file(home, "given-client-secret", next(iter(search.more["client secret"])))
    where = ("--provider", "practice", "--base-url", provider.url)
    login = home.begin(
        "login", "me", *where, "--client-id", CONFIDENTIAL_CLIENT, "--client-secret-file", client, "--no-browser"
    )
    with browser() as person:
        page = person.get(login.says(START_URL))
        search.add("browser cookie", *person.cookies.values())
    assert page.status_code == 200, page.text
    search.expect_none_in("the result page", page.content + str(page.headers).encode())
    assert login.end().code == 0

    pasted = f"pasted-token-{secrets.token_urlsafe(24)}"
    search.add("pasted token", pasted)
    brought = secret_file(home, "given-token", pasted)
    assert home.run("login", "brought", *where, "--flow", "token", "--token-file", brought).code == 1
    home.log_in(provider.url, "gone")
    assert home.run("logout", "gone").code == 0

    for words in (["app", "add", "job", "--account", "me"], ["app", "rotate", "job"]):
        key = home.run(*words).out.strip()
        search.add("app key", key, key.removeprefix("kf_"))
    for _ in range(3):
        assert home.run("refresh", "me").code == 0
    with home.app_port(key) as app:
        token = app.get("/v1/accounts/me/token").json()["access_token"]
        assert app.post("/v1/accounts/me/token/rejected", json={"access_token": token}).is_success
        assert app.get(f"/v1/accounts/{token}/token").status_code in (400, 403, 404)
        assert app.get("/v1/status", params={"token": token}).status_code == 403
    with browser() as stranger:
        code = next(iter(search.tap.found["code"]))
        url = home.run("status", "--json").json()["doors"]["browser"]
        assert stranger.get(f"{url}/callback/practice", params={"code": code, "state": code}).is_client_error
    provider.set_faults(['refresh:json={"expires_in":"never"}*1', "refresh:status=503*1"])
    for _ in range(2):
        home.run("refresh", "me")
    provider.set_faults([])


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_of_a_walk_is_anywhere_in_plain(
    home: Home, provider: PracticeServer, search: Search, form: str
) -> None:
    """No token, code, state, verifier, client secret or key is in a log, an error, an argv, the database or its WAL."""
    daemon = home.serve("--log", "debug", "--log-format", form)
    walk(home, provider, search)

    assert {name for name in NAMES if not search.tap.found[name]} == set()
    for name in ("cmdline", "environ"):
        search.expect_none_in(name, Path(f"/proc/{daemon.pid}/{name}").read_bytes())
    for words in (["accounts"], ["show", "me"], ["status"], ["app", "list"], ["provider", "list"]):
        search.expect_none_in(" ".join(words), home.run(*words, "--json").out.encode())
    with home.door() as door:
        for path in ("/v1/audit", "/v1/accounts", "/v1/apps/job", "/openapi.yaml"):
            search.expect_none_in(path, door.get(path).content)
    daemon.kill()  # so that the write-ahead log and the socket are left as they are
    search.expect_none_in("the daemon's log", daemon.log.encode())
    assert "/callback/{provider}" in daemon.log
    search.expect_none_in("what the commands said to people", home.said_to_people.encode())
    stored = [path for path in home.place.rglob("*") if path.is_file() and not path.name.startswith("given-")]
    assert {"keyfob.db", "keyfob.db-wal"} <= {path.name for path in stored}
    assert CONFIDENTIAL_CLIENT.encode() in b"".join(path.read_bytes() for path in stored)
    for file in stored:
        search.expect_none_in(file.name, file.read_bytes())


def test_logout_leaves_nothing(home: Home, practice: PracticeServer) -> None:
    """After a logout not even the sealed bytes of its secrets are left, neither in the database nor in its WAL."""
    home.serve()
    home.log_in(practice.url)
    with contextlib.closing(sqlite3.connect(home.database)) as behind:
        sealed = [blob for (blob,) in behind.execute("SELECT sealed FROM secret")]
    files = (home.database, home.database.with_name("keyfob.db-wal"))
    assert sealed
    assert all(any(blob[-32:] in file.read_bytes() for file in files) for blob in sealed)

    home.run("logout", "me")

    assert not any(blob[-32:] in file.read_bytes() for blob in sealed for file in files)
