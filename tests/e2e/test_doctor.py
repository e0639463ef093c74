"""What a person sees of trouble: the doctor, the refresh that explains, and the command that tells them."""

import json
from pathlib import Path
from typing import Any

import httpx2

from broker.practice.server import PracticeServer
from tests.e2e.home import Done, Home, until
from tests.loopback import NO_TLS


def found(done: Done) -> dict[str, dict[str, Any]]:
    """Return what the doctor found that is not well, by check."""
    return {one["check"]: one for one in json.loads(done.out)["findings"] if one["level"] != "ok"}


def told(home: Home) -> Path:
    """Make a command that writes down what it is told, and return where it writes."""
    script, lines = home.place / "tell", home.place / "told"
    script.write_text(f'#!/bin/sh\necho "$KEYFOB_EVENT $KEYFOB_ACCOUNT: $KEYFOB_LOGIN_COMMAND" >> {lines}\n')
    script.chmod(0o700)
    return lines


def test_a_healthy_home(home: Home, practice: PracticeServer) -> None:
    """A daemon and a login as they come out of the box are well, whatever the doctor looks at."""
    home.serve()
    home.log_in(practice.url)

    done = home.run("doctor", "--json")

    assert (done.code, found(done)) == (0, {})
    assert home.run("doctor").out.splitlines()[-1] == "All is well."


def test_a_daemon_that_ended(home: Home, practice: PracticeServer) -> None:
    """After a crash everything but the daemon is well; the doctor leaves no trace and starts nothing."""
    daemon = home.serve()
    home.log_in(practice.url)
    daemon.kill()
    before = {path: path.stat().st_mtime for path in home.state.iterdir()}

    done = home.run("doctor", "--json")

    assert done.code == 1
    assert set(found(done)) == {"daemon", "accounts"}
    assert "keyfob serve" in found(done)["daemon"]["next_step"]
    assert {path: path.stat().st_mtime for path in home.state.iterdir()} == before


def test_a_locked_daemon(home: Home, practice: PracticeServer) -> None:
    """A key that went astray is told by the daemon and by the look at the file alike."""
    daemon = home.serve()
    home.log_in(practice.url)
    daemon.stop()
    home.key.unlink()
    home.serve()

    done = home.run("doctor", "--json")

    assert done.code == 1
    assert set(found(done)) == {"state", "key"}
    assert "does not exist" in found(done)["state"]["detail"]


def test_a_login_that_ended(home: Home, practice: PracticeServer) -> None:
    """The provider ends the login: a person is told once, over restarts too, and every verb says what to do."""
    lines = told(home)
    tell = {"KEYFOB_NOTIFY_COMMAND": str(home.place / "tell")}
    daemon = home.serve(**tell)
    home.log_in(practice.url)
    practice.revoke_grants()

    refreshed = home.run("refresh", "me")

    assert refreshed.code == 3
    assert "keyfob login me" in refreshed.err
    assert "The old token is served until it expires in" in refreshed.err
    assert "The account: needs-login for" in refreshed.err
    until("a person is told", lambda: lines.exists() and "\n" in lines.read_text())
    daemon.stop()
    again = home.serve(**tell)
    doctor = home.run("doctor", "--json")
    assert doctor.code == 1
    assert set(found(doctor)) == {"account"}
    assert found(doctor)["account"]["next_step"] == "Log in again: keyfob login me"
    assert home.run("show", "me", "--json").json()["next_step"] == "Log in again: keyfob login me"
    assert "invalid_grant" in home.run("accounts").err
    again.stop()
    assert lines.read_text() == "needs-login me: keyfob login me\n"


def test_events_say_what_to_do(home: Home, practice: PracticeServer) -> None:
    """An event of trouble carries the next step; one of success has none."""
    home.serve()
    home.log_in(practice.url)
    events: list[dict[str, Any]] = []
    with home.door() as door, door.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        home.run("refresh", "me")
        practice.revoke_grants()
        home.run("refresh", "me")
        while len(events) < 4:
            line = next(lines)
            if line.startswith("data:"):
                events.append(json.loads(line.removeprefix("data:")))

    assert [(event["kind"], event["next_step"]) for event in events] == [
        ("refresh-forced", None),
        ("refreshed", None),
        ("refresh-forced", None),
        ("needs-login", "Log in again: keyfob login me"),
    ]


def test_a_provider_that_is_down(home: Home, practice: PracticeServer) -> None:
    """A refresh that fails for a passing reason says when Keyfob tries again, and is no trouble yet."""
    home.serve()
    home.log_in(practice.url)
    httpx2.post(f"{practice.url}/practice/faults", json=["refresh:status=503"], trust_env=False, verify=NO_TLS)

    refreshed, doctor = home.run("refresh", "me"), home.run("doctor", "--json")

    assert (refreshed.code, doctor.code) == (5, 0)
    assert "refreshing-failed for" in refreshed.err
    assert "Keyfob asks again in" in refreshed.err
    assert found(doctor)["account"]["level"] == "warning"
