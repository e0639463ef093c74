"""DNS rebinding: a page of a foreign name that the resolver has just led to this machine.

Its requests come from the person's own browser, to the right port, and carry the foreign name as Host. Every right key
and every path is tried with it, because the Host is looked at before anything else.
"""

import pytest

from tests.attacks.ground import PORTS, Ground

FOREIGN = [
    "evil.example:{port}",
    "evil.example",
    "127.0.0.1.nip.example:{port}",
    "localhost.evil.example:{port}",
    "evil-localhost:{port}",
    "127.0.0.1:{port}.evil.example",
    "127.0.0.1",
    "localhost",
    "127.0.0.1:{other}",
    "127.0.0.1:0{port}",
    "localhost.:{port}",
    "127.1:{port}",
    "127.0.0.2:{port}",
    "2130706433:{port}",
    "0x7f000001:{port}",
    "0177.0.0.1:{port}",
    "0.0.0.0:{port}",
    "[::]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "user@127.0.0.1:{port}",
    "evil.example, 127.0.0.1:{port}",
    "127.0.0.1:{port}, evil.example",
    "127.0.0.1:{port}#@evil.example",
    "127.0.0.1:{port}/",
    "http://127.0.0.1:{port}",
    "lоcalhost:{port}".encode().decode("latin-1"),  # a Cyrillic letter in it
]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("door", PORTS)
def test_a_foreign_name_opens_no_door(ground: Ground, door: str, host: str) -> None:
    """With anything but the exact name and port of the door the answer is 400: no token, no page, no hint of them."""
    other = "browser" if door == "app" else "app"

    answer = ground.ask(door, host=host.format(port=ground.port(door), other=ground.port(other)))

    assert answer.status == 400
    assert ground.token not in answer.text
    assert "evil" not in answer.text or door == "app"  # the app port says which name was wrong, as JSON


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "127.0.0.1.nip.example"])
def test_a_foreign_name_at_the_socket(ground: Ground, host: str) -> None:
    """A browser cannot reach the socket, but a proxy that somebody put before it would pass its Host on."""
    assert ground.ask("socket", host=host).status == 400


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded", "X-HTTP-Host-Override"]
)
@pytest.mark.parametrize("door", PORTS)
def test_no_other_header_makes_a_host(ground: Ground, door: str, header: str) -> None:
    """A Host in any other header neither mends a wrong one nor turns up in an answer."""
    host = ground.named(door)
    value = f"host={host}" if header == "Forwarded" else host

    assert ground.ask(door, f"{header}: {value}", host="evil.example").status == 400
    assert "evil.example" not in ground.ask(door, f"{header}: evil.example").text


@pytest.mark.parametrize("target", ["/healthz", "/", "/nothing", "/v1/accounts/me/token/rejected"])
def test_the_name_is_looked_at_before_the_path(ground: Ground, target: str) -> None:
    """Open paths and wrong ones answer a foreign name no differently: not even what is running here can be learned."""
    head = f"GET {target} HTTP/1.1\r\nHost: evil.example:{ground.port('app')}\r\n\r\n".encode()

    assert ground.raw("app", head).startswith(b"HTTP/1.1 400 ")


def test_the_right_names_work(ground: Ground) -> None:
    """None of the refusals above is one of everything."""
    for door in PORTS:
        for host in ("127.0.0.1", "localhost"):
            assert ground.ask(door, host=f"{host}:{ground.port(door)}").status == 200
