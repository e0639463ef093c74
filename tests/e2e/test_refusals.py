"""What a person gets to read when something is wrong, and the exit code that a script gets."""

import os
import re

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import START_URL, Done, Home, browser
from tests.loopback import held_port

NOBODY = 65534


def written(home: Home, text: str | bytes, mode: int = 0o600) -> str:
    """Write a configuration file and return its path."""
    file = home.place / "config.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return str(file)


def refused(done: Done, *words: str) -> None:
    """Expect that a daemon did not start, and that it said why."""
    assert (done.code, done.out) == (2, ""), done
    for word in words:
        assert word in done.err


def test_a_named_configuration_file_that_is_missing(home: Home) -> None:
    """KEYFOB_CONFIG and --config mean a file; one that is not there is no reason to go on with the defaults."""
    path = str(home.place / "none.toml")

    refused(home.run("serve", KEYFOB_CONFIG=path), path, "does not exist", "KEYFOB_CONFIG")
    refused(home.run("serve", "--config", path), path)
    assert not home.state.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('browser_prot = "8400"\n', ["'browser_prot'", "browser_port"]),
        ('key_source = "vault"\n', ["'key_source'", "'vault'", "file, systemd, secret-service, command, passphrase"]),
        ("[browser_port]\n", ["'browser_port'"]),
        ('log = "chatty"\n', ["'log'", "'chatty'", "debug, info, warning, error"]),
        ("browser_port 8400\n", ["not valid TOML", "line 1"]),
        (b'state_dir = "/\xff"\n', ["not valid TOML"]),
    ],
)
def test_a_configuration_file_with_a_mistake(home: Home, text: str | bytes, words: list[str]) -> None:
    """A mistake in the file is named with the file, and nothing is started on a guess."""
    path = written(home, text)

    refused(home.run("serve", KEYFOB_CONFIG=path), path, *words)


@pytest.mark.parametrize("mode", [0o622, 0o660])
def test_a_configuration_file_that_others_may_write(home: Home, mode: int) -> None:
    """Whoever writes the configuration chooses the key command, so the file must be writable by its owner only."""
    path = written(home, 'log = "debug"\n', mode)

    refused(home.run("serve", KEYFOB_CONFIG=path), path, f"chmod go-w {path}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_configuration_file_of_another_user(home: Home) -> None:
    """Another user's file is not obeyed."""
    path = written(home, 'log = "debug"\n')
    os.chown(path, NOBODY, NOBODY)

    refused(home.run("serve", KEYFOB_CONFIG=path), path, "another user")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("name", ["state", "run"])
def test_a_directory_of_another_user(home: Home, name: str) -> None:
    """Another user's directory is neither used nor taken over."""
    place = home.place / name
    place.mkdir(mode=0o755)
    os.chown(place, NOBODY, NOBODY)

    refused(home.run("serve"), str(place), f"user {NOBODY}")
    assert (place.stat().st_uid, list(place.iterdir())) == (NOBODY, [])


@pytest.mark.parametrize("name", ["state", "run"])
def test_a_directory_that_is_a_link(home: Home, name: str) -> None:
    """A symbolic link is not followed: somebody else may have laid it."""
    (home.place / "target").mkdir()
    (home.place / name).symlink_to("target")

    refused(home.run("serve"), str(home.place / name), "symbolic link")


@pytest.mark.parametrize("mode", [0o1777, 0o777])
@pytest.mark.parametrize("name", ["state", "run"])
def test_a_directory_that_everybody_uses(home: Home, name: str, mode: int) -> None:
    """A directory such as /tmp is not made private: others live there."""
    place = home.place / name
    place.mkdir()
    place.chmod(mode)

    refused(home.run("serve", "--log", "error"), str(place))
    assert place.stat().st_mode & 0o7777 == mode


def test_the_configuration_file_moves_the_socket_for_every_verb(home: Home) -> None:
    """What the file says of the runtime directory, the verbs know as well: the daemon is found without a variable."""
    path = written(home, f'runtime_dir = "{home.place}/r"\n')
    home.socket = home.place / "r/keyfob.sock"
    home.environ |= {"KEYFOB_CONFIG": path}
    del home.environ["KEYFOB_RUNTIME_DIR"]

    home.serve()

    assert home.run("status", "--json").json()["doors"]["socket"] == str(home.socket)


def test_a_broken_database(home: Home) -> None:
    """A database that is none is left as it is, for whoever can still save it."""
    home.serve().stop()
    home.database.write_bytes(b"not a database" * 1000)

    done = home.run("serve")

    refused(done, str(home.database), "backup")
    assert home.database.read_bytes() == b"not a database" * 1000


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (["token"], "ACCOUNT"),
        (["token", ""], "empty"),
        (["tokn", "me"], "'token'"),
        (["token", "me", "--min-ttl", "soon"], "'soon'"),
        (["serve", "--browser-prot", "1"], "'--browser-port'"),
        (["serve", "--browser-port", "99999"], "0 to 65535"),
        (["login", "me"], "--provider"),
        (["practice", "--rotation", "wild"], "single-use"),
        (["practice", "--fault", "nonsense"], "nonsense"),
        (["app", "add"], "APP"),
    ],
)
def test_usage_errors(home: Home, words: list[str], guess: str) -> None:
    """A command line that cannot be meant ends with 2 and says what would have been right."""
    if words[0] == "login":
        home.serve()

    done = home.run(*words)

    assert (done.code, done.out) == (2, ""), done
    assert guess.lower() in done.err.lower()


def test_unknown_names(home: Home) -> None:
    """Accounts, apps and providers that do not exist are named, and the command ends with 1."""
    home.serve()
    for words in (
        ["token", "ghost"],
        ["show", "ghost"],
        ["refresh", "ghost"],
        ["logout", "ghost"],
        ["app", "show", "ghost"],
    ):
        done = home.run(*words)

        assert (done.code, done.out) == (1, ""), done
        assert "ghost" in done.err
    unknown = home.run("login", "me", "--provider", "ghost", "--no-browser")
    assert unknown.code == 1
    assert "ghost" in unknown.err


def test_a_provider_that_cannot_be_reached_at_login(home: Home) -> None:
    """An issuer that does not answer ends a login at once, with 5 and its address."""
    home.serve()
    with held_port() as port:
        issuer = f"http://127.0.0.1:{port}"

        done = home.run("login", "me", "--provider", issuer, "--no-browser")

    assert (done.code, done.out) == (5, ""), done
    assert issuer in done.err


def test_login_needed(home: Home, practice: PracticeServer) -> None:
    """When the provider has ended the login: exit 3, with the command and an address that mends it."""
    home.serve()
    home.log_in(practice.url)
    practice.revoke_grants()
    assert home.run("refresh", "me").code == 3

    done = home.run("token", "me", "--min-ttl", "600")

    assert (done.code, done.out) == (3, ""), done
    assert "keyfob login me" in done.err
    address = re.search(START_URL, done.err)
    assert address, done.err
    with browser() as person:
        assert person.get(address[0]).status_code == 200
    assert home.run("token", "me", "--min-ttl", "600").code == 0


def test_provider_gone(home: Home) -> None:
    """While the provider is away the living token is served; once none is left it is exit 5, and the login is kept."""
    home.serve()
    with practice_in_thread(PracticeSettings(ttl=1, auto_approve=True)) as practice:
        home.log_in(practice.url)
        token = home.token()

    served = []
    while (done := home.run("token", "me")).code == 0:
        served.append(done.out)

    assert set(served) <= {f"{token}\n"}
    assert (done.code, done.out) == (5, ""), done
    account = home.run("show", "me", "--json").json()
    assert account["state"] == "refreshing-failed"
    assert "cannot be reached" in account["reason"]
