"""The app port proves to the holder of a key that it is the daemon's, and tells nobody else anything."""

import hashlib
import hmac
import socket
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from broker import challenge
from tests.web.house import Door, House, running
from tests.web.raw import Line

NONCE = "0123456789abcdef" * 4


def question(key: str, address: str) -> dict[str, str]:
    """Return the parameters that a client sends."""
    return {"key_id": challenge.key_id(challenge.hash_key(key)), "nonce": NONCE, "address": address}


def asked(door: Door, key: str, address: str) -> dict[str, object]:
    """Ask for a proof."""
    found: dict[str, object] = door.ask("GET", "/healthz", 200, params=question(key, address))
    return found


def test_proof_is_what_is_documented(house: House, key: str) -> None:
    """Whoever writes a client of their own from the description gets the same."""
    address = urlsplit(house.app_url).netloc
    hashed = hashlib.sha256(key.encode()).digest()
    key_id = hashlib.sha256(b"Keyfob key id 1\n" + hashed).hexdigest()[:32]
    said = b"Keyfob proof 1\n" + bytes.fromhex(NONCE) + address.encode()
    right = hmac.new(hashed, said, hashlib.sha256).hexdigest()

    with house.app("").http as http:
        answer = Door(http).ask("GET", "/healthz", 200, params={"key_id": key_id, "nonce": NONCE, "address": address})

    assert answer == {"state": "ok", "proof": right}


@pytest.mark.parametrize(
    "address",
    [
        "[::1]:{port}",
        "127.0.0.1:{other}",
        "127.0.0.2:{port}",
        "localhost:{port}",
        "127.0.0.1",
        "[::ffff:127.0.0.1]:{port}",
        "127.1:{port}",
        "0.0.0.0:{port}",
        "127.0.0.1:0{port}",
        " 127.0.0.1:{port}",
    ],
)
def test_no_proof_for_another_address(house: House, key: str, address: str) -> None:
    """Only the address at which the connection arrived is proved, and only as the kernel writes it."""
    port, other = urlsplit(house.app_url).port, urlsplit(house.browser_url).port

    with house.app("").http as http:
        answer = asked(Door(http), key, address.format(port=port, other=other))

    assert answer == {"state": "ok", "proof": None, "code": "invalid_request"}


def test_no_proof_at_the_socket(house: House, key: str) -> None:
    """The kernel says whose the socket is; a proof there would be one for somebody who passes it on."""
    answer = asked(house.owner, key, urlsplit(house.app_url).netloc)

    assert answer == {"state": "ok", "proof": None, "code": "invalid_request"}


def test_unknown_keys_look_alike(tmp_path: Path) -> None:
    """A key that never was, was replaced, was removed or has expired is answered with the same, and counted."""
    now = [1_900_000_000.0]
    with running(tmp_path, lambda: now[0]) as house:
        ask, address = house.owner.ask, urlsplit(house.app_url).netloc
        new = [{"name": "replaced"}, {"name": "removed"}, {"name": "short", "expires_at": now[0] + 60}]
        keys = ["kf_never", *(ask("POST", "/v1/apps", 201, json=one)["key"] for one in new)]
        ask("POST", "/v1/apps/{app}/rotate", 200, path={"app": "replaced"})
        ask("DELETE", "/v1/apps/{app}", 204, path={"app": "removed"})
        now[0] += 61
        with house.app("").http as http:
            answers = [asked(Door(http), key, address) for key in keys]
    with running(tmp_path, lambda: now[0]) as house:
        entries = house.owner.ask("GET", "/v1/audit", 200, params={"limit": 100})["entries"]

    assert answers == [{"state": "ok", "proof": None, "code": "unauthorized"}] * 4
    (counted,) = [entry for entry in entries if entry["action"] == "unauthorized"]
    assert counted["count"] == 4
    assert counted["detail"].startswith("app port: A key was named")


@pytest.mark.parametrize(
    "broken",
    [
        {"nonce": NONCE[1:]},
        {"nonce": NONCE + "00"},
        {"nonce": NONCE.upper()},
        {"nonce": "g" * 64},
        {"nonce": "\u0660" * 64},
        {"nonce": ""},
        {"key_id": "0" * 31},
        {"key_id": ""},
        {"address": ""},
        {"other": "x"},
    ],
)
def test_half_a_question_is_refused(house: House, broken: dict[str, str]) -> None:
    """Short nonces, missing parts and unknown ones are an error and never a weaker proof."""
    given = question("kf_x", urlsplit(house.app_url).netloc) | broken
    with house.app("").http as http:
        door = Door(http)
        door.ask("GET", "/healthz", 400, params=given)
        for name in ("key_id", "nonce", "address"):
            door.ask("GET", "/healthz", 400, params={other: given[other] for other in given if other != name})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.yaml"])
def test_a_probe_may_add_what_it_likes(house: House, path: str) -> None:
    """A monitor's cache buster is no question for a proof, and makes a daemon that is well not look ill."""
    for added in ({"_": "1"}, {"foo": ["1", "2"]}, {"Key_id": "x"}):
        told = house.owner.ask("GET", path, 200, params=added)
        assert path != "/healthz" or told == {"state": "ok"}


def test_a_question_twice_over_is_refused(house: House) -> None:
    """A parameter that is there twice would be read one way here and another way there."""
    given = "&".join(f"{name}={quote(value)}" for name, value in question("kf_x", "127.0.0.1:1").items())
    with Line(house.app_url) as line:
        assert line.ask("GET", f"/healthz?{given}&nonce={NONCE}").is_problem(400, "invalid_request")


def test_a_forwarded_address_is_not_believed(house: House, key: str) -> None:
    """What a proxy would write about where it listens decides nothing."""
    given = "&".join(f"{name}={quote(value)}" for name, value in question(key, "127.0.0.1:1").items())
    with Line(house.app_url) as line:
        answer = line.ask("GET", f"/healthz?{given}", "X-Forwarded-Host: 127.0.0.1:1", "X-Forwarded-Port: 1")

    assert answer.json()["proof"] is None


def test_the_address_is_the_kernels(house: House) -> None:
    """Both sides write an address as the other one does."""
    with socket.create_connection(("127.0.0.1", urlsplit(house.app_url).port or 0)) as connection:
        assert challenge.written(*connection.getpeername()) == urlsplit(house.app_url).netloc
    assert challenge.written("::1", 8401) == "[::1]:8401"
