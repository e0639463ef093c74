"""Providers that want ``localhost`` in the redirect URI: both loopback addresses are ours, or nothing is sent."""

import contextlib
import errno
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.clients import Client
from broker.practice.server import PracticeServer
from broker.providers import catalog
from broker.web.doors import bind_beside, bind_port
from tests.web.house import House, running
from tests.web.walk import new_browser

# A container without IPv6 has no ::1: then nobody can be there.
with contextlib.ExitStack() as _stack:
    _found, _ = bind_beside(0)
    HAS_IPV6 = _found is not None
    if _found is not None:
        _stack.enter_context(_found)
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no ::1")
PRESET = """
[redirect]
host = "localhost"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home with a preset of its own: the practice provider, which here wants ``localhost``."""
    home = tmp_path_factory.mktemp("home")
    presets = home / ".config/keyfob/presets"
    presets.mkdir(0o700, parents=True)
    file = presets / "local.toml"
    file.touch(0o600)
    file.write_text((catalog.SHIPPED / "practice.toml").read_text(encoding="utf-8") + PRESET, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def house(home: Path) -> Iterator[House]:
    """Run a daemon that knows that preset."""
    with running(home) as found:
        yield found


def begun(house: House, practice: PracticeServer) -> dict[str, str]:
    """Begin a login whose answer comes to ``localhost``."""
    new = {"account": "me", "provider": "local", "base_url": practice.url, "client_id": "by-hand", "flow": "paste"}
    new["token_endpoint_auth_method"] = "none"
    started: dict[str, str] = house.owner.ask("POST", "/v1/logins", 201, json=new)
    practice.add_client(Client("by-hand", redirect_uris=(started["redirect_uri"],)))
    return started


@pytest.mark.parametrize("address", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
def test_the_answer_may_come_to_either_address(house: House, practice: PracticeServer, address: str) -> None:
    """The start page moves to that name, whose cookie the callback then sees; a browser may mean 127.0.0.1 or ::1."""
    started = begun(house, practice)
    port = house.browser_url.rpartition(":")[2]
    localhost = f"localhost:{port}"
    at = {"Host": localhost}
    assert started["redirect_uri"].startswith(f"http://{localhost}/callback/local")

    with new_browser() as browser:
        moved = browser.get(started["start_url"])
        assert moved.headers["location"] == started["start_url"].replace("127.0.0.1", "localhost")
        assert "set-cookie" not in moved.headers
        page = f"http://{address}:{port}"
        sent = browser.get(f"{page}/login/{started['id']}", headers=at)
        came = browser.get(sent.headers["location"]).headers["location"]
        assert came.startswith(f"http://{localhost}/callback/")
        done = browser.get(came.replace(f"http://{localhost}", page), headers=at)
        assert done.status_code == 303
        last = browser.get(page + done.headers["location"], headers=at)
        assert f'href="http://127.0.0.1:{port}/ui/accounts/' in last.text  # where the owner is signed in

    ended = house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": started["id"]})
    assert ended["state"] == "done", ended["reason"]


@needs_ipv6
def test_the_second_address_is_guarded_like_the_first(house: House) -> None:
    """Same app, same guards: a foreign Host is refused there, and only GET is answered."""
    port = house.browser_url.rpartition(":")[2]
    with new_browser() as browser:
        assert browser.get(f"http://[::1]:{port}/ui/", headers={"Host": "evil.example"}).status_code == 400
        assert browser.get(f"http://[::1]:{port}/ui/").status_code == 400
        assert browser.post(f"http://[::1]:{port}/ui/", headers={"Host": f"localhost:{port}"}).status_code == 405
        assert browser.get(f"http://[::1]:{port}/ui/", headers={"Host": f"localhost:{port}"}).status_code == 200


@needs_ipv6
def test_a_port_that_is_taken_there_refuses_the_login(home: Path, tmp_path: Path, practice: PracticeServer) -> None:
    """Another program at [::1] would get the code: the login is refused with what to do, others go on (M26, R09)."""
    shutil.copytree(home / ".config/keyfob/presets", tmp_path / ".config/keyfob/presets")
    with _squatter() as squatter, running(tmp_path, browser_port=squatter.getsockname()[1]) as house:
        new = {"account": "me", "provider": "local", "base_url": practice.url, "client_id": "by-hand"}
        refused = house.owner.ask("POST", "/v1/logins", 400, json=new)
        assert "another program listens there on [::1]" in refused["detail"]
        assert "--browser-port" in refused["detail"]
        house.log_in("other", practice.url)


def _squatter() -> socket.socket:
    """Listen on ::1 at a port that is free on 127.0.0.1, too."""
    while True:
        squatter = socket.create_server(("::1", 0), family=socket.AF_INET6)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", squatter.getsockname()[1])) == errno.ECONNREFUSED:
                return squatter
        squatter.close()


@needs_ipv6
def test_what_is_bound_beside_the_browser_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same port on ::1; taken is told from missing: where there is no IPv6, nobody else can be there either."""
    with bind_port(0, "browser-port") as first:
        port = first.getsockname()[1]
        beside, squatted = bind_beside(port)
        assert beside is not None
        with beside:
            assert (beside.getsockname()[:2], squatted) == (("::1", port), False)
            assert bind_beside(port) == (None, True)
        for code, told in ((errno.EADDRNOTAVAIL, False), (errno.EACCES, True)):

            def refuse(*_: object, code: int = code) -> None:
                raise OSError(code, "no")

            monkeypatch.setattr(socket.socket, "bind", refuse)
            assert bind_beside(port) == (None, told)
        monkeypatch.setattr(socket, "socket", refuse)
        assert bind_beside(port) == (None, False)
