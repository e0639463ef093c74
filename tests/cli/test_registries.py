"""The credential helpers of Docker, Cargo and Bazel: their forms, and what they hear where there is no token."""

import json

import pytest

from broker.cli.main import main
from broker.integrations import docker

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon
from .test_git_credential import account, knows
from .test_token import TOKEN

HOST = "git.example.org"
DOCKER = ["docker-credential", "get"]
CARGO = ["cargo-credential", "--cargo-plugin"]
BAZEL = ["bazel-credential", "get"]
ASKING = [(DOCKER, HOST), (BAZEL, json.dumps({"uri": f"https://{HOST}"}))]
WORK = "GET /v1/accounts/work/token"


def get(url: str = f"sparse+https://{HOST}/index/") -> str:
    """Return Cargo's request for a token."""
    registry = {"index-url": url, "name": "forge", "headers": []}
    return json.dumps({"v": 1, "kind": "get", "operation": "read", "registry": registry, "args": []}) + "\n"


@pytest.mark.parametrize("server", [HOST, f"https://{HOST}/v1/", f"{HOST}:443\n"])
def test_docker(daemon: ScriptedDaemon, feed: Feed, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry is named with or without its protocol, and hears its name as it gave it."""
    knows(daemon)
    feed(server)

    assert main([*DOCKER, "--username", "oauth2accesstoken"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told == {"ServerURL": server.strip(), "Username": "oauth2accesstoken", "Secret": "tok-1"}


def test_docker_without_an_account(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """The words by which its clients know that they may go on without a credential."""
    knows(daemon)
    feed("evil.example")

    assert main(DOCKER) == 1

    assert capsys.readouterr() == (f"{docker.NOT_FOUND}\n", "")


def test_docker_keeps_nothing(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """A password is not taken, and that is said where Docker quotes it; listed is what the line names."""
    feed(json.dumps({"ServerURL": HOST, "Username": "ada", "Secret": "hunter2"}))
    assert main(["docker-credential", "store"]) == 1
    assert "keyfob login" in capsys.readouterr().out
    feed(HOST)
    assert main(["docker-credential", "erase"]) == 0
    assert main(["docker-credential", "--account", "work", "--host", HOST, "list"]) == 0
    assert json.loads(capsys.readouterr().out) == {HOST: "oauth2"}


@pytest.mark.parametrize(("flags", "token"), [([], "Bearer tok-1"), (["--scheme", ""], "tok-1")])
def test_cargo(
    daemon: ScriptedDaemon,
    feed: Feed,
    flags: list[str],
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The greeting comes first; the token is the whole header, and Cargo is told how long it may keep it."""
    knows(daemon)
    daemon.forget(WORK)
    daemon.answers(WORK, TOKEN)
    monkeypatch.setattr("time.time", lambda: 1000.9)
    feed(get())

    assert main([*CARGO, *flags]) == 0

    hello, answer = map(json.loads, capsys.readouterr().out.splitlines())
    told = {"kind": "get", "token": token, "cache": "expires", "expiration": 1059, "operation_independent": True}
    assert (hello, answer) == ({"v": [1]}, {"Ok": told})


def test_cargo_keeps_a_token_without_an_end(
    daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody knows when it ends, Cargo keeps it for one run."""
    knows(daemon)
    feed(get())

    assert main(CARGO) == 0

    assert json.loads(capsys.readouterr().out.splitlines()[1])["Ok"]["cache"] == "session"


def test_cargo_hears_no(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request has its answer: not this registry, not this operation, no request at all, and what to do."""
    knows(daemon)
    daemon.forget(WORK)
    daemon.refuses(WORK, 409, "login_needed", "Over.")
    feed(get("sparse+https://evil.example/") + '{"v":1,"kind":"login"}\n' + "[]\n{\n" + get())

    assert main(CARGO) == 0

    told = [json.loads(line)["Err"] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [one["kind"] for one in told] == ["url-not-supported", *["operation-not-supported"] * 3, "other"]
    assert told[-1]["message"].startswith("Over.")


def test_cargo_quotes_no_control_characters(
    daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a project's configuration says does not paint on the terminal that Cargo writes the message to."""
    knows(daemon)
    feed(get("https://evil.example\x1b[2J/"))

    assert main([*CARGO, "--account", "work"]) == 0

    message = json.loads(capsys.readouterr().out.splitlines()[1])["Err"]["message"]
    assert ("evil.example" in message, message.isprintable()) == (True, True)


def test_bazel(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """The header, and until when it is good; none for other hosts."""
    knows(daemon)
    for uri in (f"https://{HOST}/cache/ac", "https://evil.example/"):
        feed(json.dumps({"uri": uri}))
        assert main(BAZEL) == 0

    ours, theirs = map(json.loads, capsys.readouterr().out.splitlines())
    assert ours == {"headers": {"Authorization": ["Bearer tok-1"]}, "expires": TOKEN["expires_at"]}
    assert theirs == {"headers": {}}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"uri": 7}', "[" * 9999])
def test_bazel_asks_nonsense(feed: Feed, text: str) -> None:
    """What is no request is a usage error."""
    feed(text)

    assert main(BAZEL) == 2


@pytest.mark.parametrize("protocol", ["http", "ftp", "grpc", ""])
def test_clear_text(daemon: ScriptedDaemon, feed: Feed, protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No token for an address without TLS, whatever its protocol is."""
    knows(daemon)
    feed(json.dumps({"uri": f"{protocol}://{HOST}/"}))

    assert main(BAZEL) == 1

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("argv", "text"), ASKING, ids=["docker", "bazel"])
def test_several_accounts(
    daemon: ScriptedDaemon, feed: Feed, argv: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are listed, and --account chooses."""
    knows(daemon, account(), account("home"))
    feed(text)

    assert main(argv) == 1

    told = capsys.readouterr()
    assert (told.out, f"keyfob {argv[0]} --account work" in told.err) == ("", True)
    feed(text)
    assert main([*argv, "--account", "home"]) == 0
    assert daemon.lines()[-1] == "GET /v1/accounts/home/token"


@pytest.mark.parametrize(("argv", "text"), ASKING, ids=["docker", "bazel"])
def test_daemon_down(feed: Feed, argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6, and one line."""
    feed(text)

    assert main(argv) == 6

    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)


@pytest.mark.parametrize(
    "argv",
    [
        ["docker-credential"],
        ["docker-credential", "steal"],
        [*DOCKER, "--host", "h"],
        ["cargo-credential"],
        [*CARGO, "--host", "h"],
        ["bazel-credential"],
        [*BAZEL, "--host", "h"],
    ],
)
def test_usage(argv: list[str], feed: Feed) -> None:
    """What cannot be meant is a usage error."""
    feed("")

    assert main(argv) == 2
