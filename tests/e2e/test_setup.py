"""`keyfob setup` for what can run no command: an app of its own, whose key is in a file and nowhere else."""

import stat

import pytest

from broker.practice.server import PracticeServer
from tests.e2e.home import Daemon, Home


def ready(home: Home, practice: PracticeServer) -> Daemon:
    """Run a daemon with a login."""
    daemon = home.serve()
    home.log_in(practice.url)
    return daemon


def test_the_key_is_in_a_file(home: Home, practice: PracticeServer) -> None:
    """It is shown by --print only, which says so; it is worth a token, and undone it is worth nothing.

    Without the daemon the app cannot be removed, so nothing is: the same command does all of it later.
    """
    daemon = ready(home, practice)
    file, variables = home.place / ".config/keyfob/apps/azure-me.key", home.place / ".config/keyfob/setup/azure-me.env"

    written = home.run("setup", "azure", "me", "--yes")
    key = file.read_text().strip()
    again = home.run("setup", "azure", "me")
    printed = home.run("setup", "azure", "me", "--print")

    assert (written.code, again.code, printed.code) == (0, 0, 0), (written, again, printed)
    assert key not in written.out + written.err + again.out + again.err + printed.err
    assert "Nothing to change" in again.err
    assert f"IDENTITY_HEADER={key}\n" in printed.out
    assert variables.read_text() == printed.out
    assert "holds a secret" in printed.err
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, variables)} == {0o600}
    with home.door(key) as door:
        assert door.get("/v1/accounts/me/token").status_code == 200
    daemon.stop()
    assert home.run("setup", "azure", "me", "--undo", "--yes").code == 6
    assert file.exists()
    assert variables.exists()

    home.serve()
    assert home.run("setup", "azure", "me", "--undo", "--yes").code == 0
    with home.door(key) as door:
        assert door.get("/v1/accounts/me/token").status_code == 401
    assert [path for path in home.place.rglob("*azure*") if path.is_file()] == []


def test_a_key_that_is_worth_nothing(home: Home, practice: PracticeServer) -> None:
    """One that was given another key by hand, or was removed, is made good; another's app is not touched."""
    ready(home, practice)
    file = home.place / ".config/keyfob/apps/prometheus-me.key"
    assert home.run("setup", "prometheus", "me", "--yes").code == 0
    for by_hand in ("rotate", "remove"):
        before = file.read_text()
        assert home.run("app", by_hand, "prometheus-me").code == 0
        assert home.run("setup", "prometheus", "me", "--yes").code == 0
        assert file.read_text() != before
        with home.door(file.read_text().strip()) as door:
            assert door.get("/v1/accounts/me/token").status_code == 200

    assert home.run("app", "add", "gcloud-me", "--account", "me").code == 0
    refused = home.run("setup", "gcloud", "me", "--yes")

    assert refused.code == 1
    assert "keyfob app remove gcloud-me" in refused.err
    assert [path for path in home.place.rglob("*gcloud*") if path.is_file()] == []


def test_a_key_for_an_address(home: Home, practice: PracticeServer) -> None:
    """Set up in another form, the app gets a key of that kind, and nothing is left of the form before."""
    ready(home, practice)
    own = home.place / ".config/keyfob/setup"
    assert home.run("setup", "gcloud", "me", "--yes").code == 0
    assert home.run("setup", "gcloud", "me", "--metadata", "--yes").code == 0
    key = (home.place / ".config/keyfob/apps/gcloud-me.key").read_text().strip()

    assert "Nothing to change" in home.run("setup", "gcloud", "me", "--metadata").err
    assert {path.name for path in own.iterdir()} == {"gcloud-me.env", "gcloud-me.setup.json"}
    variables = (own / "gcloud-me.env").read_text()
    assert [line.partition("/")[2] for line in variables.splitlines()] == [f"google/{key}"] * 2
    assert home.run("app", "rotate", "gcloud-me", "--capability").code == 0
    assert home.run("setup", "gcloud", "me", "--metadata", "--yes").code == 0
    assert key not in (own / "gcloud-me.env").read_text()

    assert home.run("setup", "gcloud", "me", "--undo", "--yes").code == 0
    assert [*own.iterdir()] == []


@pytest.mark.parametrize("how", ["--yes", "--print"])
@pytest.mark.parametrize("place", ["apps", "setup"])
def test_no_place_for_the_key(home: Home, practice: PracticeServer, place: str, how: str) -> None:
    """Where the key, or the note of it, cannot be written, no app is left that nobody knows of; later it just works."""
    ready(home, practice)
    in_the_way = home.place / ".config/keyfob" / place
    in_the_way.symlink_to("/proc/nowhere")  # not even root makes a directory there

    failed = home.run("setup", "azure", "me", how)

    assert (failed.code, failed.out) == (1, "")
    assert "cannot be written" in failed.err
    assert home.run("app", "list", "--json").json() == {"apps": []}
    assert [path for path in home.place.rglob("*azure*") if path.is_file()] == []
    in_the_way.unlink()
    assert home.run("setup", "azure", "me", how).code == 0
    assert home.run("setup", "azure", "me", "--undo", "--yes").code == 0
    assert home.run("app", "list", "--json").json() == {"apps": []}


def test_what_becomes_of_the_app_is_told(home: Home, practice: PracticeServer) -> None:
    """The first time it is made; for another form, or where its key is gone, it gets another; another's is refused."""
    ready(home, practice)
    made = home.run("setup", "gcloud", "me")
    assert home.run("setup", "gcloud", "me", "--yes").code == 0
    changed = home.run("setup", "gcloud", "me", "--metadata")
    assert home.run("app", "add", "azure-me", "--account", "me").code == 0
    foreign = home.run("setup", "azure", "me")

    assert "App 'gcloud-me' is made for it" in made.err
    assert "App 'gcloud-me' gets another key" in changed.err
    assert "is made for it" not in changed.err
    assert (foreign.code, "did not make it" in foreign.err, "is made" in foreign.err) == (1, True, False)
