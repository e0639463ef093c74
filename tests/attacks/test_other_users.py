"""Another user of the machine: at the socket, the ports, the files and the process.

Needs root to become one. Where a directory keeps them out by its mode alone, that wall is torn down first for the
tests of the walls behind it.
"""

import os
from collections.abc import Iterator

import pytest

from tests.attacks.ground import NOBODY, TOKEN, Ground, as_another_user, as_nobody
from tests.e2e.home import Home
from tests.web.raw import Line

pytestmark = as_another_user

# Speaks HTTP over a Unix socket: path, target, header lines.
SOCKET_CALL = """
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
lines = [f"GET {sys.argv[2]} HTTP/1.1", "Host: localhost", "Connection: close", *sys.argv[3:], "", ""]
s.sendall("\\r\\n".join(lines).encode())
print(b"".join(iter(lambda: s.recv(65536), b"")).decode())
"""
# Speaks to the socket of oidc-agent: path.
AGENT_CALL = """
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
try:
    s.sendall(b'{"request":"access_token","account":"me"}')
    print(b"".join(iter(lambda: s.recv(65536), b"")))
except ConnectionError:
    print(b"")
"""
# Speaks HTTP over TCP: port, target, header lines.
PORT_CALL = """
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
c.request("GET", sys.argv[2], headers=dict(line.split(": ", 1) for line in sys.argv[3:]))
a = c.getresponse(); print(a.status, a.getheader("set-cookie"), a.getheader("location"), a.read().decode())
"""
OPEN = """
try:
    print(len(pathlib.Path(sys.argv[1]).read_bytes()))
except OSError as exc:
    print(type(exc).__name__)
"""


@pytest.fixture(scope="module")
def torn(ground: Ground) -> Iterator[Ground]:
    """Open the way to the sockets for everybody, as a wrong chmod would."""
    for path in (ground.home.place, ground.home.runtime):
        path.chmod(0o755)
    for path in (ground.home.socket, ground.home.runtime / "oidc.sock"):
        path.chmod(0o777)
    yield ground
    ground.home.runtime.chmod(0o700)


@pytest.mark.parametrize(
    "target", [TOKEN, "/v1/accounts", "/v1/status", "/v1/events", "/openapi.yaml", "/readyz", "/metrics"]
)
@pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with a key"])
def test_another_user_at_the_socket(torn: Ground, target: str, *, keyed: bool) -> None:
    """Who comes is what the kernel says; neither a key nor an open mode makes a stranger the owner."""
    lines = [f"Authorization: Bearer {torn.key}"] if keyed else []

    said = as_nobody(SOCKET_CALL, str(torn.home.socket), target, *lines)

    assert said.startswith("HTTP/1.1 401 ")
    assert "access_token" not in said


def test_another_user_at_the_socket_of_oidc_agent(torn: Ground) -> None:
    """There, too, who comes is what the kernel says, and a stranger is hung up on; the owner is answered."""
    where = str(torn.home.runtime / "oidc.sock")
    with Line(where) as line:
        line.send(b'{"request":"loaded_accounts"}')
        assert b'"me"' in line.end()

    assert as_nobody(AGENT_CALL, where) == "b''"


def test_a_stranger_does_nothing_at_the_socket(torn: Ground) -> None:
    """What changes something is refused as well, before its body is read."""
    post = SOCKET_CALL.replace("GET ", "POST ")

    for path in ("/v1/lock", "/v1/apps", "/v1/key/rotate", "/v1/accounts/me/refresh", "/oauth/token"):
        assert as_nobody(post, str(torn.home.socket), path).startswith("HTTP/1.1 401 ")
    assert torn.get("/v1/status").json()["state"] == "ok"


def test_the_mode_keeps_them_out_before(ground: Ground) -> None:
    """As it is made, the socket cannot even be connected to."""
    knock = "s = socket.socket(socket.AF_UNIX); print(s.connect_ex(sys.argv[1]))"
    ground.home.runtime.chmod(0o700)

    assert as_nobody(knock, str(ground.home.socket)) == "13"  # EACCES


@pytest.mark.parametrize(
    "target", [TOKEN, "/v1/accounts", "/v1/status", "/v1/apps/job", "/openapi.yaml", "/readyz", "/metrics"]
)
def test_a_stranger_at_the_app_port(ground: Ground, target: str) -> None:
    """A port is open to everybody, so there without a key is nobody."""
    assert as_nobody(PORT_CALL, str(ground.port("app")), target).startswith("401 ")


def test_a_stranger_is_no_client(ground: Ground) -> None:
    """OAuth's endpoint finds out by itself who comes, and without a key that is nobody."""
    assert as_nobody(PORT_CALL.replace('"GET"', '"POST"'), str(ground.port("app")), "/oauth/token").startswith("401 ")


def test_a_stranger_opens_no_login(ground: Ground) -> None:
    """A start page's address is seen in command lines: another user's browser neither gets on with it nor owns it."""
    start = ground.begin("mine")["start_url"]
    path = start.removeprefix(ground.browser_url)

    said = as_nobody(PORT_CALL, str(ground.port("browser")), path)

    assert said.startswith("403 None None ")
    assert "another user" in said
    assert ground.owner.get("/v1/logins/" + path.rpartition("/")[2]).json()["state"] == "pending"


@pytest.mark.parametrize("name", ["keyfob.db", "keyfob.db-wal", "keyfob.db.fence", "lock"])
def test_a_stranger_reads_no_file(ground: Ground, name: str) -> None:
    """Each file is closed by its own mode too, where the directories before it are open."""
    for directory in (ground.home.place, ground.home.state):
        directory.chmod(0o755)
    try:
        assert as_nobody(OPEN, str(ground.home.state / name)) == "PermissionError"
    finally:
        ground.home.state.chmod(0o700)


@pytest.mark.parametrize("name", ["environ", "maps", "mem", "auxv"])
def test_a_stranger_sees_nothing_of_the_process(ground: Ground, name: str) -> None:
    """The kernel's windows into the daemon are closed."""
    assert as_nobody(OPEN, f"/proc/{ground.daemon.pid}/{name}") == "PermissionError"


@pytest.mark.parametrize("name", ["lock", "keyfob.db", "keyfob.db.fence", "keyfob.db.answers"])
def test_a_planted_file_is_not_taken(home: Home, name: str) -> None:
    """A file of another user in the state directory may be held open by them: the start refuses it and leaves it."""
    home.state.mkdir(mode=0o700)
    planted = home.state / name
    planted.touch()
    os.chown(planted, NOBODY, NOBODY)

    done = home.run("serve")

    assert (done.code, done.out) == (2, "")
    assert str(planted) in done.err
    assert (planted.stat().st_uid, planted.stat().st_size) == (NOBODY, 0)


def test_a_planted_key_is_not_taken(home: Home) -> None:
    """A key of another user's is known to them: nothing is sealed with it."""
    home.key.parent.mkdir(parents=True)
    home.key.write_text("00" * 32)
    home.key.chmod(0o600)
    os.chown(home.key, NOBODY, NOBODY)

    home.serve()

    assert home.run("status", "--json").json()["state"] == "locked"
    assert home.run("token", "me").code in (1, 7)


def test_a_planted_preset_is_not_taken(home: Home) -> None:
    """A preset says where codes and tokens go; one that another user may write is refused."""
    presets = home.place / ".config/keyfob/presets"
    presets.mkdir(parents=True)
    (presets / "evil.toml").write_text('title = "Evil"\n')
    os.chown(presets / "evil.toml", NOBODY, NOBODY)

    done = home.run("serve")

    assert done.code == 2
    assert "another user" in done.err
