"""Squatted ports and servers that only look like Keyfob: what is bound, and what the stock client sends and believes.

On a port the first who binds it is who answers, so a key can always be had by a program that sits there while Keyfob
does not run. What holds is told here: nobody gets in beside a running one, and nothing but the key is ever sent.
"""

import errno
import json
import os
import socket

import pytest

from broker.client import Client, ClientError
from broker.providers import catalog
from tests.attacks.ground import HAS_IPV6, Ground, trap, visited
from tests.e2e.home import Done, Home
from tests.oauth.loopback import Loopback, http
from tests.web.raw import Line

needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no ::1")
MARKER = "squatters-key-of-this-test"
KEY = f"kf_{MARKER}"
PLACES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 -- a squatter


def listen(family: int, host: str, port: int) -> socket.socket:
    """Listen as a squatter does: with every option that shares a port, and with both families at once."""
    one = socket.socket(family)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind((host, port))
        one.listen()
    except OSError:
        one.close()
        raise
    return one


@pytest.mark.parametrize(("family", "host"), PLACES, ids=[host for _, host in PLACES])
@pytest.mark.parametrize("flag", ["--browser-port", "--app-port"])
def test_a_squatted_port_is_not_shared(home: Home, flag: str, family: int, host: str) -> None:
    """Whoever listens there first, in whatever way: the daemon does not start beside them, and names the port."""
    if family == socket.AF_INET6 and not HAS_IPV6:
        pytest.skip("this machine has no IPv6")
    with listen(family, host, 0) as squatter:
        port = squatter.getsockname()[1]

        done = home.run("serve", flag, str(port))

    assert done.code == 2
    assert f"Port {port}" in done.err


@pytest.mark.parametrize(("family", "host"), PLACES, ids=[host for _, host in PLACES])
@pytest.mark.parametrize("door", ["app", "browser"])
def test_nobody_gets_in_beside(ground: Ground, door: str, family: int, host: str) -> None:
    """While the daemon listens, nobody else binds its port, neither alone nor by listening everywhere."""
    if family == socket.AF_INET6 and not HAS_IPV6:
        pytest.skip("this machine has no IPv6")
    with pytest.raises(OSError, match="in use") as refused:
        listen(family, host, ground.port(door))

    assert refused.value.errno == errno.EADDRINUSE


@needs_ipv6
def test_the_browser_port_is_ours_on_both_addresses(ground: Ground) -> None:
    """A browser that takes ``localhost`` for ::1 finds the daemon there, and nobody else can be."""
    with pytest.raises(OSError, match="in use"):
        listen(socket.AF_INET6, "::1", ground.port("browser"))
    with Line(ground.where("browser6")) as line:
        assert line.ask("GET", "/ui/", host=ground.named("browser")).status == 200


@needs_ipv6
def test_a_squatter_on_the_other_address_gets_no_code(home: Home) -> None:
    """Who sits on ::1 before the start makes logins by way of ``localhost`` impossible, and gets nothing."""
    presets = home.place / ".config/keyfob/presets"
    presets.mkdir(parents=True)
    shipped = (catalog.SHIPPED / "practice.toml").read_text(encoding="utf-8")
    (presets / "local.toml").write_text(f'{shipped}\n[redirect]\nhost = "localhost"\n', encoding="utf-8")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as squatter, Loopback() as provider:
        home.serve("--browser-port", str(squatter.getsockname()[1]))
        new = {"provider": "local", "base_url": provider.url, "client_id": "x"}
        with home.door() as owner:
            answer = owner.post("/v1/logins", json=new)

        assert answer.status_code == 400
        assert "another program listens there" in answer.json()["detail"]


@needs_ipv6
def test_localhost_is_where_the_daemon_can_be(ground: Ground) -> None:
    """The app port is on 127.0.0.1 alone, so a client that is told ``localhost`` does not give its key to ::1."""
    port = ground.port("app")
    with socket.create_server(("::1", port), family=socket.AF_INET6) as squatter:
        squatter.settimeout(0.0)
        with Client(url=f"http://localhost:{port}", key=ground.key) as client:
            assert client.token("me").access_token == ground.token

        assert not visited(squatter)


@pytest.mark.parametrize(
    "url",
    ["http://evil.example:8401", "http://192.0.2.1:8401", "http://127.0.0.1.evil.example", "http://[2001:db8::1]:8401"],
)
def test_a_key_goes_to_this_machine_only(url: str) -> None:
    """The app port speaks no TLS: a URL that leads off this machine is refused before anything is looked up or sent."""
    with pytest.raises(ClientError) as refused:
        Client(url=url, key=KEY)

    assert refused.value.exit_code == 2
    assert MARKER not in str(refused.value)


def problem(**members: object) -> bytes:
    """Write a refusal, as a look-alike could."""
    body = {"status": 409, "code": "login_needed", "detail": "No.", **members}
    return http("409 X", json.dumps(body), Content_Type="application/problem+json")


def token(**members: object) -> bytes:
    """Write a token, as a look-alike could."""
    return http("200 OK", {"account": "me", "access_token": "x", "token_type": "Bearer"} | members)


LOOK_ALIKES: dict[str, bytes] = {
    "escapes in the detail": problem(detail="\x1b[2J\x1b]0;owned\x07"),
    "a line break in the detail": problem(detail="x\nkeyfob: all is well"),
    "escapes in the login URL": problem(login_url="http://127.0.0.1/\x1b[2J"),
    "escapes in the status line": b"HTTP/1.1 500 \x1b[2J\r\nContent-Length: 0\r\n\r\n",
    "escapes in the token": token(access_token="x\x1b[2J"),
    "a line break in the token": token(access_token="x\nforged: header"),
    "a header in the token": token(access_token="x\r\nX-Evil: 1"),
    "a token that is a list": token(access_token=["x"]),
    "no token": token(access_token=None),
    "a page": http("200 OK", "<html>", Content_Type="text/html"),
    "nothing": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a length that lies": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "a chunk that lies": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n{}",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "deep JSON": http("200 OK", "[" * 100_000),
    "deep JSON in a refusal": http("409 X", "[" * 100_000),
}


def asked(home: Home, server: Loopback) -> Done:
    """Ask a look-alike with the command line, as an app with a key."""
    return home.run("token", "me", KEYFOB_URL=server.url, KEYFOB_APP_KEY=KEY)


@pytest.mark.parametrize("proves", [True, False], ids=["proof", "no proof"])
@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_is_not_believed(name: str, *, proves: bool) -> None:
    """Whatever it answers, a program gets an error of ours, soon, and no token; also where no proof stands before."""
    with Loopback() as server:
        server.default = LOOK_ALIKES[name]
        with Client(url=server.url, key=KEY, new_key=not proves) as client, pytest.raises(ClientError) as refused:
            client.token("me")

    assert MARKER not in str(refused.value)


@pytest.mark.parametrize("name", [name for name in LOOK_ALIKES if "escapes" in name or "line break" in name])
def test_a_look_alike_moves_no_cursor(home: Home, name: str) -> None:
    """At a terminal: what it says is shown without acting, and does not pass for words of ours."""
    with Loopback() as server:
        server.default = LOOK_ALIKES[name]
        done = asked(home, server)

    assert done.code > 0
    assert done.out == ""
    assert all(line.isprintable() for line in done.err.splitlines()), done.err
    assert not any(line == "keyfob: all is well" for line in done.err.splitlines())
    assert MARKER not in done.err


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_look_alike_sends_nobody_on(status: str) -> None:
    """A redirect is not followed: the key goes nowhere else."""
    with Loopback() as server, trap() as elsewhere:
        server.default = http(f"{status} X", Location=f"http://127.0.0.1:{elsewhere.getsockname()[1]}/")
        with Client(url=server.url, key=KEY) as client, pytest.raises(ClientError):
            client.token("me")

        assert not visited(elsewhere)


def test_a_look_alike_hears_no_key(home: Home) -> None:
    """What the client says before it knows who is there: one question, and nothing of the environment."""
    home.environ["KEYFOB_TEST_SECRET"] = "canary-of-the-environment"
    with Loopback() as server:
        server.default = http("401 X")
        asked(home, server)

        said = b"".join(server.requests).decode()
    names = {line.partition(":")[0] for line in said.splitlines()[1:] if line}
    assert names == {"Host", "User-Agent", "Accept"}
    assert "kf_" not in said
    assert "canary" not in said
    assert str(home.place) not in said
    assert str(os.getuid()) not in said.replace(str(server.port), "") or os.getuid() == 0
