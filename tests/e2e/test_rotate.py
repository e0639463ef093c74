"""``keyfob key rotate`` as a person runs it: keys change under a running daemon, and a kill costs nothing."""

import time
from pathlib import Path

import pytest

from broker.practice.server import PracticeServer
from tests.e2e.home import Home

# Seconds after which the daemon is killed: from before the request has come to after all is done.
KILLS = (0.0, 0.15, 0.2, 0.25, 0.3)


@pytest.fixture
def token(home: Home, practice: PracticeServer) -> str:
    """Return the token of a login; the daemon runs."""
    home.serve()
    home.log_in(practice.url)
    return home.token()


def test_new_keys(home: Home, token: str) -> None:
    """The key file is another one, the token is the same, and it stays so over a restart."""
    old = home.key.read_text()

    done = home.run("key", "rotate")

    assert (done.code, done.out) == (0, "")
    assert "keyfob backup" in done.err
    assert home.key.read_text() != old
    assert home.key.stat().st_mode & 0o777 == 0o600
    assert home.run("key", "rotate", "--json").json()["generation"] == 3
    assert home.token() == token


def test_to_a_passphrase_and_back(home: Home, practice: PracticeServer) -> None:
    """The daemon goes on with the new source at once, and its next start wants the setting to say so."""
    phrase = home.place / "phrase"
    phrase.write_text("correct horse battery staple\n")
    daemon = home.serve()
    home.log_in(practice.url)
    token = home.token()
    done = home.run("key", "rotate", "--to", "passphrase", "--passphrase-file", str(phrase))
    assert done.code == 0
    assert "Set key_source to passphrase" in done.err
    assert home.token() == token
    daemon.stop()

    daemon = home.serve()
    assert "opened by a passphrase" in home.run("token", "me").err
    daemon.stop()
    daemon = home.serve(KEYFOB_KEY_SOURCE="passphrase")
    assert home.run("unlock", "--passphrase-file", str(phrase)).code == 0
    assert home.token() == token
    refused = home.run("key", "rotate", "--to", "file")
    assert refused.code == 1
    assert str(home.key) in refused.err
    home.key.unlink()
    assert home.run("key", "rotate", "--to", "file").code == 0
    daemon.stop()
    home.serve()
    assert home.token() == token


def test_killed_at_any_moment(home: Home, practice: PracticeServer) -> None:
    """Wherever the daemon dies, the next one opens the database with what it finds, and rotates again."""
    daemon = home.serve()
    home.log_in(practice.url)
    token = home.token()
    for after in KILLS:
        rotating = home.begin("key", "rotate")
        time.sleep(after)
        daemon.kill()
        rotating.end()
        daemon = home.serve()
        assert home.token() == token
        assert home.run("key", "rotate").code == 0
        assert [path.name for path in Path(home.key.parent).iterdir()] == ["key"]
