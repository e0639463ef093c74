"""What was changed in the database behind the daemon brings an app nothing, and the owner is told of it everywhere."""

import contextlib
import re
import sqlite3
import time
from pathlib import Path

from broker.practice.server import PracticeServer
from tests.web.desktop import Desktop
from tests.web.house import PATIENCE, House, running
from tests.web.walk import new_browser


def behind(home: Path, statement: str) -> None:
    """Run one statement on the database as somebody would who has no key."""
    with contextlib.closing(
        sqlite3.connect(home / ".local/state/keyfob/keyfob.db", isolation_level=None)
    ) as connection:
        connection.execute(statement)


def ask(house: House, key: str, status: int) -> str:
    """Ask for the account's token as an app, expect a status, and return what is said."""
    door = house.app(key)
    with door.http:
        answer = door.ask("GET", "/v1/accounts/{account}/token", status, path={"account": "work"})
    return str(answer.get("detail", ""))


def told(house: House, least: int) -> list[str]:
    """Return what the audit says was changed, once it has so many; they are written within some seconds."""
    found: list[str] = []
    began = time.monotonic()
    while len(found) < least and time.monotonic() - began < PATIENCE:
        entries = house.owner.ask("GET", "/v1/audit", 200)["entries"]
        found = [entry["detail"] for entry in entries if entry["action"] == "changed-outside"]
    return found


def test_a_planted_grant_and_a_planted_key(tmp_path: Path, practice: PracticeServer) -> None:
    """Neither brings a token: the grant is none, the app is refused; status and audit name them, locked is locked."""
    with running(tmp_path) as house:
        house.log_in("work", practice.url)
        job, has = (house.owner.ask("POST", "/v1/apps", 201, json=body)["key"] for body in ({"name": "job"}, GRANTED))
        ask(house, has, 200)
        ask(house, job, 403)
        columns = "account, scope, resource, mode, expires_at"
        behind(tmp_path, f"INSERT INTO app_grant (app, {columns}) SELECT 'job', {columns} FROM app_grant")  # noqa: S608 -- ours
        ask(house, job, 403)
        behind(tmp_path, "UPDATE app SET expires_at = 9e9 WHERE name = 'has'")
        assert "app 'has' was changed outside Keyfob" in ask(house, has, 503)
        status = house.owner.ask("GET", "/v1/status", 200)
        assert status["state"] == "degraded"
        assert "app 'has', a grant of app 'job' (account 'work')" in status["reasons"][0]
        assert {detail.partition(":")[0] for detail in told(house, 2)} == {
            "app 'has'",
            "a grant of app 'job' (account 'work')",
        }
        house.owner.ask("POST", "/v1/lock", 200)
        assert any(house.owner.ask("GET", "/v1/status", 200)["key"]["forgotten"] for _ in range(1000))
        assert "Keyfob is locked" in ask(house, has, 423)
        assert "Keyfob is locked" in ask(house, job, 423)


GRANTED = {"name": "has", "grants": [{"account": "work"}]}


def test_a_changed_login_is_in_nobodys_way(tmp_path: Path, practice: PracticeServer) -> None:
    """A login under way that somebody has changed is not finished; all others go on, accounts are shown and leave."""
    with running(tmp_path) as house:
        house.log_in("work", practice.url)
        house.log_in("home", practice.url)
        body = {"account": "work", "provider": "practice", "base_url": practice.url}
        changed = house.owner.ask("POST", "/v1/logins", 201, json=body)
        behind(tmp_path, f"UPDATE login SET scope = '[\"admin\"]' WHERE id = '{changed['id']}'")  # noqa: S608 -- ours
        shown = house.owner.ask("GET", "/v1/accounts", 200)["accounts"]
        assert {account["account"] for account in shown} == {"work", "home"}
        assert house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"]
        house.log_in("third", practice.url)
        house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path={"account": "work"})
        assert "a login" in {detail.partition(":")[0] for detail in told(house, 1)}


def test_nothing_of_a_changed_account_is_shown_on_the_first_page(tmp_path: Path, practice: PracticeServer) -> None:
    """It stands there by its name, as changed; what its row says now is not to be had, nor a button that uses it."""
    desktop = Desktop()
    with running(tmp_path) as desktop.house, new_browser() as desktop.browser:
        desktop.house.log_in("work", practice.url)
        session = desktop.session()
        before = desktop.send("GET", "/ui/parts/overview", session).text
        planted = (
            "identity_subject = 'other', identity_label = 'Mallory', state = 'needs-login', state_reason = 'do it'"
        )
        behind(tmp_path, f"UPDATE account SET {planted}")  # noqa: S608 -- ours
        after = desktop.send("GET", "/ui/parts/overview", session).text
    assert "<bdi>ada" in before
    assert 'href="/ui/accounts/work"' in after
    assert "Changed outside" in after
    assert not re.search("<bdi>ada|Mallory|do it|Log in again", after)
