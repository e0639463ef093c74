"""The client library finds the daemon and its key where arguments and environment say, and refuses what cannot be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import client as clients
from broker import settings
from broker.client import Client, ClientError

from .cli.scripted_daemon import ScriptedDaemon, scripted_daemon

TOKEN = {"account": "work", "access_token": "secret-token-1"}
ASK = "GET /v1/accounts/work/token"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KEYFOB_", "XDG_RUNTIME"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    """The other side, on a socket."""
    with scripted_daemon(tmp_path / "s.sock") as served:
        yield served


def test_app_port(tmp_path: Path) -> None:
    """Over the app port the key is sent and Host is what the URL says."""
    key_file = tmp_path / "key"
    key_file.write_text("kf_abc\n")
    with scripted_daemon(None) as daemon, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KEYFOB_URL", daemon.where + "/base/")
        environment.setenv("KEYFOB_APP_KEY_FILE", str(key_file))
        daemon.answers("GET /base/v1/accounts/work/token", TOKEN)
        daemon.key = "kf_abc"

        with Client() as client:
            client.token("work")

        question, request = daemon.requests
        assert question.line.startswith("GET /base/healthz?")
        assert request.headers["authorization"] == "Bearer kf_abc"
        assert {one.headers["host"] for one in daemon.requests} == {daemon.where.removeprefix("http://")}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1",
        "127.0.0.1:8401",
        "http://",
        "http://u@h",
        "http://h:x",
        "http://h/a b",
        "http://h/\r\nX: y",
    ],
)
def test_bad_url(url: str) -> None:
    """What is not the URL of an app port is refused before anything is sent."""
    with pytest.raises(ClientError) as caught:
        Client(url=url)

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("key", ["kf_a\r\nX-Evil: 1", "kf a", "kf_\u00e9"])
def test_bad_key(key: str, tmp_path: Path) -> None:
    """A key that would break out of its header is refused, and not shown."""
    with pytest.raises(ClientError) as caught:
        Client(socket=tmp_path / "s", key=key)

    assert key not in str(caught.value)


def test_unreadable_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file that is not there is named, together with the variable."""
    monkeypatch.setenv("KEYFOB_APP_KEY_FILE", str(tmp_path / "none"))

    with pytest.raises(ClientError, match="KEYFOB_APP_KEY_FILE"):
        Client()


@pytest.mark.parametrize("content", ["", "\n"])
def test_empty_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """Whoever names a key file asks as an app: a file that was cut to nothing makes nobody the owner."""
    (tmp_path / "key").write_text(content)
    monkeypatch.setenv("KEYFOB_APP_KEY_FILE", str(tmp_path / "key"))

    with pytest.raises(ClientError, match=r"key is empty\. Look at KEYFOB_APP_KEY_FILE"):
        Client()


def test_socket_and_url() -> None:
    """Two places at once are one too many."""
    with pytest.raises(ClientError, match="not both"):
        Client(socket="x", url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"KEYFOB_RUNTIME_DIR": "/r", "XDG_RUNTIME_DIR": "/x"}, "/r/keyfob.sock"),
        ({"XDG_RUNTIME_DIR": "/x", "KEYFOB_STATE_DIR": "/s"}, "/x/keyfob/keyfob.sock"),
        ({"KEYFOB_STATE_DIR": "/s"}, "/s/run/keyfob.sock"),
        ({}, "/home/ada/.local/state/keyfob/run/keyfob.sock"),
    ],
)
def test_default_socket(environ: dict[str, str], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Client and daemon agree on where the socket is when nobody names it."""
    for name, value in {"HOME": "/home/ada", **environ}.items():
        monkeypatch.setenv(name, value)

    assert clients.default_socket(os.environ) == path
    assert str(settings.read(os.environ).socket) == path


def test_environment_names_the_socket(daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEYFOB_SOCKET is used without any argument, before KEYFOB_URL, and KEYFOB_APP_KEY goes with it."""
    monkeypatch.setenv("KEYFOB_SOCKET", daemon.where)
    monkeypatch.setenv("KEYFOB_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_env")
    daemon.answers(ASK, TOKEN)

    with Client() as client:
        client.token("work")

    assert daemon.requests[0].headers["authorization"] == "Bearer kf_env"


def test_no_key(daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty key asks as the owner, whatever key is in the environment."""
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_abc")
    daemon.answers(ASK, TOKEN)

    with Client(socket=daemon.where, key="") as client:
        client.token("work")

    assert "authorization" not in daemon.requests[0].headers
