"""The key that seals the secrets: without the right one Keyfob is locked, and loses nothing by it."""

import secrets

import pytest

from broker.practice.server import PracticeServer
from tests.e2e.home import Home


def lock_out(home: Home, **environ: str) -> str:
    """Run a daemon that has no right key, expect that it says so everywhere, and return the reason."""
    daemon = home.serve(**environ)
    token, status = home.run("token", "me"), home.run("status", "--json").json()
    assert (token.code, token.out) == (7, ""), token
    assert (status["state"], status["key"]["locked"]) == ("locked", True)
    assert status["reasons"][0] in token.err
    with home.door() as door:
        assert (door.get("/healthz").status_code, door.get("/readyz").status_code) == (200, 503)
    assert home.run("healthcheck").code == 0
    assert home.run("accounts", "--json").json()["accounts"][0]["account"] == "me"
    for words in (["refresh", "me"], ["login", "me", "--no-browser"]):
        assert home.run(*words).code == 7
    daemon.stop()
    return str(status["reasons"][0])


@pytest.fixture
def token(home: Home, practice: PracticeServer) -> str:
    """Return the token of a login that was made before the key went astray; the daemon is stopped."""
    daemon = home.serve()
    home.log_in(practice.url)
    found = home.token()
    daemon.stop()
    return found


def test_a_wrong_key(home: Home, token: str) -> None:
    """Another key opens nothing and overwrites nothing; with the right one back everything is as before."""
    right, wrong = home.key.read_text(), secrets.token_hex(32)
    home.key.write_text(wrong)

    assert "not the one" in lock_out(home)
    assert home.key.read_text() == wrong

    home.key.write_text(right)
    home.serve()
    assert home.token() == token


def test_a_missing_key(home: Home, token: str) -> None:
    """Over old data no new key is ever made: it could not open them, and would hide that the right one is gone."""
    right = home.key.read_text()
    home.key.unlink()

    assert str(home.key) in lock_out(home)
    assert not home.key.exists()

    home.key.write_text(right)
    home.key.chmod(0o600)
    home.serve()
    assert home.token() == token


def test_a_key_that_others_could_read(home: Home, token: str) -> None:
    """A key file with an open mode may be known to others: it is not used before a person has looked at it."""
    home.key.chmod(0o644)

    daemon = home.serve()
    refused = home.run("token", "me")
    daemon.stop()

    assert refused.code == 7
    assert f"chmod 600 {home.key}" in refused.err
    assert home.key.stat().st_mode & 0o777 == 0o644
    home.key.chmod(0o600)
    home.serve()
    assert home.token() == token


def test_garbage_in_place_of_a_key(home: Home, token: str) -> None:
    """A key file that holds no key is never quoted: it may be another secret."""
    home.key.write_text("correct-horse-battery")

    daemon = home.serve()
    refused = home.run("token", "me")
    daemon.stop()

    assert refused.code == 7
    assert "correct-horse" not in refused.err + daemon.log
    assert token not in refused.err


def test_a_key_from_a_command(home: Home, practice: PracticeServer) -> None:
    """A key command serves as well as a file; one that fails locks, and its words are not repeated."""
    vault = home.place / "vault"
    vault.write_text(secrets.token_hex(32))
    command = {"KEYFOB_KEY_SOURCE": "command", "KEYFOB_KEY_COMMAND": f"cat {vault}"}
    daemon = home.serve(**command)
    home.log_in(practice.url)
    token = home.token()
    daemon.stop()
    assert not home.key.exists()

    reason = lock_out(home, **command | {"KEYFOB_KEY_COMMAND": "sh -c 'echo the-agent-says >&2; exit 3'"})

    assert "exit code 3" in reason
    assert "the-agent-says" not in reason
    home.serve(**command)
    assert home.token() == token


def test_a_first_start_that_gets_no_key(home: Home) -> None:
    """Where there is no data yet, a key command that fails leaves Keyfob locked: it makes no key of its own."""
    home.serve(KEYFOB_KEY_SOURCE="command", KEYFOB_KEY_COMMAND="false")

    done = home.run("login", "me", "--provider", "practice", "--base-url", "http://127.0.0.1:9", "--no-browser")

    assert done.code == 7
    assert not home.key.exists()
