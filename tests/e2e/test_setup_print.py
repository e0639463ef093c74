"""`keyfob setup --print` for what needs a key: whatever is there already stays as it is."""

import re
from typing import Any

import pytest

from broker.practice.server import PracticeServer
from tests.e2e.home import Done, Home

FORMS = [("gcloud", (), ("--metadata",)), ("gcloud", ("--metadata",), ())]
FORMS += [("azure", (), ("--imds",)), ("azure", ("--imds",), ())]
TOOLS = [("gcloud", ()), ("gcloud", ("--metadata",)), ("azure", ()), ("azure", ("--imds",)), ("prometheus", ())]


@pytest.fixture
def ready(home: Home, practice: PracticeServer) -> Home:
    """Run a daemon with a login."""
    home.serve()
    home.log_in(practice.url)
    return home


def files(home: Home) -> dict[str, tuple[bytes, int]]:
    """Return every file of Keyfob's own for other programs, and when it was written."""
    places = (home.place / ".config/keyfob" / name for name in ("apps", "setup"))
    found = (path for place in places for path in place.rglob("*") if path.is_file())
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def grants(home: Home, app: str) -> Any:  # noqa: ANN401 -- JSON
    """Return what an app may."""
    return home.run("app", "show", app, "--json").json()["grants"]


def is_good(home: Home, key: str) -> bool:
    """Whether a key, for an address or not, is an app's that has the account."""
    with home.app_port(key) as door:
        if door.get("/v1/accounts/me/token").status_code == 200:
            return True
    with home.app_port() as door:
        return door.get(f"/google/{key}/", headers={"Metadata-Flavor": "Google"}).status_code == 200


def key_of(home: Home, tool: str) -> str:
    """Return the key that is kept for a program."""
    return (home.place / f".config/keyfob/apps/{tool}-me.key").read_text().strip()


def refused(done: Done) -> bool:
    """Whether nothing was printed, and no file is said to be written or removed."""
    return done.code == 1 and not done.out and not re.search("^(Wrote|Removed) ", done.err, re.MULTILINE)


@pytest.mark.parametrize(("tool", "form", "other"), FORMS)
def test_another_form_is_set_up(ready: Home, tool: str, form: tuple[str, ...], other: tuple[str, ...]) -> None:
    """It is said with the next steps, and what was set up works as before; without --print it is changed."""
    assert ready.run("setup", tool, "me", *form, "--yes").code == 0
    before, may, key = files(ready), grants(ready, f"{tool}-me"), key_of(ready, tool)

    done = ready.run("setup", tool, "me", *other, "--print")

    assert refused(done), done
    assert f"'me' is set up for {tool} already in another form" in done.err
    assert f"keyfob setup {tool} me --undo" in done.err
    assert files(ready) == before
    assert grants(ready, f"{tool}-me") == may
    assert is_good(ready, key)
    assert ready.run("setup", tool, "me", *other, "--yes").code == 0
    assert ready.run("setup", tool, "me", *other, "--print").code == 0


@pytest.mark.parametrize(("tool", "options"), TOOLS)
def test_what_is_set_up_is_printed(ready: Home, tool: str, options: tuple[str, ...]) -> None:
    """The same is printed again and again, with the key that is kept, and no file is written."""
    assert ready.run("setup", tool, "me", *options, "--yes").code == 0
    before, may = files(ready), grants(ready, f"{tool}-me")

    first = ready.run("setup", tool, "me", *options, "--print")
    second = ready.run("setup", tool, "me", *options, "--print")

    assert (first.code, first.out) == (0, second.out), first
    secret = "holds a secret" in first.err
    assert (key_of(ready, tool) in first.out) == secret
    assert files(ready) == before
    assert grants(ready, f"{tool}-me") == may


@pytest.mark.parametrize("by_hand", ["rotate", "revoke", "remove", "delete the file"])
def test_the_key_is_not_at_hand(ready: Home, by_hand: str) -> None:
    """Where the kept key is good for nothing or gone, no other is made, and the app gets no grant back."""
    assert ready.run("setup", "azure", "me", "--yes").code == 0
    key = key_of(ready, "azure")
    if by_hand == "delete the file":
        (ready.place / ".config/keyfob/apps/azure-me.key").unlink()
    elif by_hand == "rotate":
        key = ready.run("app", "rotate", "azure-me", "--json").json()["key"]
    else:
        assert ready.run("app", by_hand, "azure-me", *(["--account", "me"] if by_hand == "revoke" else [])).code == 0
    before, apps, good = files(ready), ready.run("app", "list", "--json").json(), is_good(ready, key)

    done = ready.run("setup", "azure", "me", "--print")

    assert refused(done), done
    assert "without --print" in done.err
    assert files(ready) == before
    assert [(app["name"], app["grants"]) for app in ready.run("app", "list", "--json").json()["apps"]] == [
        (app["name"], app["grants"]) for app in apps["apps"]
    ]
    assert is_good(ready, key) == good == (by_hand in ("rotate", "delete the file"))
    assert ready.run("setup", "azure", "me", "--yes").code == 0
    assert is_good(ready, key_of(ready, "azure"))


@pytest.mark.parametrize(("tool", "options"), TOOLS)
def test_nothing_is_set_up(ready: Home, tool: str, options: tuple[str, ...]) -> None:
    """What is printed works: the app is made, with no more files than the lines name; --undo takes all of it away."""
    printed = ready.run("setup", tool, "me", *options, "--print")

    assert printed.code == 0, printed
    assert f"App '{tool}-me'" in printed.err
    assert "--undo" in printed.err
    assert is_good(ready, key_of(ready, tool))
    named = {f"{tool}-me.credentials.json"} if (tool, options) == ("gcloud", ()) else set()
    assert set(files(ready)) == {f"{tool}-me.key", f"{tool}-me.setup.json"} | named
    before = files(ready)
    assert ready.run("setup", tool, "me", *options, "--print").out == printed.out
    assert files(ready) == before

    assert ready.run("setup", tool, "me", "--undo", "--yes").code == 0
    assert files(ready) == {}
    assert ready.run("app", "list", "--json").json() == {"apps": []}


@pytest.mark.parametrize("name", ["apps/gcloud-me.key", "setup/gcloud-me.credentials.json"])
def test_a_file_is_there_already(ready: Home, name: str) -> None:
    """A file that nobody remembers is written over by no --print, and no app is made."""
    file = ready.place / ".config/keyfob" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine\n")

    done = ready.run("setup", "gcloud", "me", "--print")

    assert refused(done), done
    assert str(file) in done.err
    assert [*files(ready)] == [file.name]
    assert file.read_text() == "mine\n"
    assert ready.run("app", "list", "--json").json() == {"apps": []}


def test_an_app_of_ones_own(ready: Home) -> None:
    """It keeps its key; a key that was put into that place is printed, and --undo knows nothing of it."""
    key = ready.run("app", "add", "azure-me", "--account", "me", "--json").json()["key"]

    assert refused(ready.run("setup", "azure", "me", "--print"))
    assert is_good(ready, key)
    assert files(ready) == {}

    file = ready.place / ".config/keyfob/apps/azure-me.key"
    file.parent.mkdir(parents=True)
    file.write_text(f"{key}\n")
    assert f"IDENTITY_HEADER={key}\n" in ready.run("setup", "azure", "me", "--print").out
    assert "nothing to undo" in ready.run("setup", "azure", "me", "--undo", "--yes").err
    assert is_good(ready, key)
