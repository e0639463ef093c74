"""``keyfob approvals``, ``approve``, ``deny``, ``pair`` and ``ui``: what is sent, what is asked, and what is said."""

import stat
import time
from pathlib import Path
from typing import Any

import pytest

from broker import challenge
from broker.cli.main import main

from .conftest import Show
from .scripted_daemon import ScriptedDaemon

CODE = "BCDF-GHJK"
ONE: dict[str, Any] = {
    "id": CODE,
    "kind": "grant",
    "state": "pending",
    "app": "mail",
    "wanted": [{"account": "work", "scope": "mail.read", "resource": None}],
    "asker": {"door": "socket", "uid": 1, "pid": 42, "executable": "/usr/bin/mail\x1b[2J"},
    "asked_at": "2030-01-31T12:00:00.000Z",
    "last_asked_at": "2030-01-31T12:00:00.000Z",
    "count": 1,
    "expires_at": "2030-02-01T12:00:00.000Z",
    "approval_url": f"http://127.0.0.1:8400/ui/approvals/{CODE}",
}


def bodies(daemon: ScriptedDaemon, line: str) -> list[Any]:
    """Return what was sent there."""
    return [request.body for request in daemon.requests if request.line == line]


def waits(daemon: ScriptedDaemon, state: str = "allowed", **more: object) -> None:
    """Let one request wait at the daemon, which is answered with a state."""
    daemon.answers("GET /v1/approvals", {"approvals": [ONE | more]})
    daemon.answers(f"GET /v1/approvals/{CODE}", ONE | more)
    daemon.answers(f"POST /v1/approvals/{CODE}", ONE | more | {"state": state})


def test_what_waits_is_listed(daemon: ScriptedDaemon, screen: Show, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with the code to answer it by."""
    waits(daemon)

    shown = screen("approvals")

    assert shown[1].startswith(f"{CODE}  waits for you  mail  work ")
    assert "keyfob approve CODE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["approve", CODE, "--once"], {"decision": "allow", "remember": "once"}),
        (["approve", CODE, "--always"], {"decision": "allow", "remember": "always"}),
        (
            ["approve", CODE, "--always", "--scope", "a b", "c", "--proxy-only"],
            {"decision": "allow", "remember": "always", "scope": ["a", "b", "c"], "mode": "proxy"},
        ),
        (
            ["approve", CODE, "--always", "--name", "post", "--account", "work"],
            {"decision": "allow", "remember": "always", "name": "post", "accounts": ["work"]},
        ),
        (["deny", CODE], {"decision": "deny", "remember": "once"}),
        (["deny", CODE, "--always"], {"decision": "deny", "remember": "always"}),
    ],
)
def test_an_answer_is_sent(daemon: ScriptedDaemon, words: list[str], sent: dict[str, Any]) -> None:
    """What the person said, and nothing else."""
    waits(daemon)

    assert main(words) == 0

    assert bodies(daemon, f"POST /v1/approvals/{CODE}") == [sent]


def test_without_a_terminal_nothing_is_guessed(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks is shown, inert, and the answer has to be named."""
    waits(daemon)

    assert main(["approve", CODE]) == 2

    said = capsys.readouterr().err
    for words in ("App 'mail' asks for account 'work'", "/usr/bin/mail·[2J (process 42)", "1 (not you)", "mail.read"):
        assert words in said
    assert "--once, --always, or --for 30d" in said
    assert bodies(daemon, f"POST /v1/approvals/{CODE}") == []


def test_a_program_pairs(daemon: ScriptedDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is in the file alone, readable by its owner only, and is what was sent; the code is what is shown."""
    waiting = {"state": "pending", "code": CODE, "app": "mail", "approval_url": ONE["approval_url"]}
    daemon.answers("POST /v1/pairing", waiting)
    daemon.answers("GET /v1/pairing?wait=30", {"state": "allowed", "app": "post"})
    file = tmp_path / "mail.key"

    assert main(["pair", "mail", "--account", "work", "--scope", "mail.read", "--key-file", str(file)]) == 0

    said, key = capsys.readouterr(), file.read_text().strip()
    assert challenge.pairing_code(challenge.hash_key(key), challenge.SOCKET) in said.err
    assert CODE not in said.err  # what is shown was computed here
    assert "app 'post'" in said.err
    assert key not in said.out + said.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {r.headers["authorization"] for r in daemon.requests} == {f"Bearer {key}"}
    wanted = {"name": "mail", "grants": [{"account": "work", "scope": ["mail.read"]}]}
    assert bodies(daemon, "POST /v1/pairing") == [wanted]


@pytest.mark.parametrize("words", [["approve", CODE, "--for"], ["app", "add", "x", "--account", "work", "--expires"]])
def test_a_time_beyond_the_calendar_is_a_usage_error(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """And no bug of ours; nothing is sent."""
    assert main([*words, "999999999w"]) == 2

    assert "'999999999w'" in capsys.readouterr().err
    assert daemon.requests == []


@pytest.mark.parametrize("where", ["no/such/place/key", "", "link"])
def test_who_has_no_place_for_the_key_asks_nobody(
    daemon: ScriptedDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """A yes would be lost: the place is there before the owner is asked, or nobody is."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    assert main(["pair", "mail", "--key-file", str(tmp_path / where)]) in (1, 2)

    assert "bug" not in capsys.readouterr().err
    assert daemon.requests == []
    assert not (tmp_path / "nowhere").exists()


def test_a_yes_at_the_last_moment_counts(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Whoever takes the request back and hears that it was allowed has an app, and keeps its key."""
    daemon.answers("POST /v1/pairing", {"state": "pending", "code": CODE, "app": "mail", "approval_url": ""})
    daemon.refuses("DELETE /v1/pairing", 409, "conflict")
    daemon.answers("GET /v1/pairing", {"state": "allowed", "app": "mail"})
    file = tmp_path / "mail.key"

    assert main(["pair", "mail", "--timeout", "0", "--key-file", str(file)]) == 0

    assert file.read_text().startswith("kf_")


def test_the_configuration_tells_a_program_where_to_pair(
    daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every command does, where no variable names the socket."""
    monkeypatch.delenv("KEYFOB_SOCKET")
    config, run = tmp_path / ".config/keyfob/config.toml", tmp_path / "run"
    config.parent.mkdir(parents=True)
    config.write_text(f'runtime_dir = "{run}"\n')
    run.mkdir()
    (run / "keyfob.sock").symlink_to(daemon.where)
    daemon.answers("POST /v1/pairing", {"state": "pending", "code": CODE, "app": "mail", "approval_url": ""})
    daemon.answers("GET /v1/pairing?wait=30", {"state": "allowed", "app": "mail"})

    assert main(["pair", "mail", "--key-file", str(tmp_path / "mail.key")]) == 0


def test_a_key_file_is_not_overwritten(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Nobody is asked either."""
    file = tmp_path / "mail.key"
    file.write_text("precious")

    assert main(["pair", "mail", "--key-file", str(file)]) == 1

    assert file.read_text() == "precious"
    assert bodies(daemon, "POST /v1/pairing") == []


def test_a_no_leaves_no_file(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Exit code 4, as for everything that is not allowed."""
    daemon.answers("POST /v1/pairing", {"state": "pending", "code": CODE, "app": "mail", "approval_url": ""})
    daemon.answers("GET /v1/pairing?wait=30", {"state": "denied", "app": "mail"})

    assert main(["pair", "mail", "--key-file", str(tmp_path / "mail.key")]) == 4

    assert list(tmp_path.glob("mail.key")) == []


def test_the_page_is_printed_where_no_browser_is(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Its address alone is on stdout."""
    url = "http://127.0.0.1:8400/ui/#s=secret"
    daemon.answers("POST /v1/session", {"url": url, "open_url": "http://127.0.0.1:8400/ui/enter/x"})

    assert main(["ui"]) == 0
    assert main(["ui", "--no-browser"]) == 0

    assert capsys.readouterr().out == f"{url}\n{url}\n"


def test_the_secret_is_not_in_the_browsers_command_line(
    daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What opens the page is the address that helps only the owner's browser."""
    daemon.answers(
        "POST /v1/session",
        {"url": "http://127.0.0.1:8400/ui/#s=secret", "open_url": "http://127.0.0.1:8400/ui/enter/x"},
    )
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/draft\nmv {tmp_path}/draft {tmp_path}/opened\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))

    assert main(["ui"]) == 0

    give_up = time.monotonic() + 10
    while not (tmp_path / "opened").exists():
        assert time.monotonic() < give_up
    assert (tmp_path / "opened").read_text() == "http://127.0.0.1:8400/ui/enter/x\n"
