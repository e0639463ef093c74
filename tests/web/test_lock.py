"""The lock at the doors: who may turn it, what a locked daemon answers, and that it goes on where it was."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import PracticeServer
from broker.store import passphrase
from tests.web.house import House, running


@pytest.fixture
def furnished(tmp_path: Path, practice: PracticeServer) -> Iterator[House]:
    """Run a daemon with an account, to be locked."""
    with running(tmp_path) as house:
        house.log_in("work", practice.url)
        yield house


def test_locked_at_every_door(furnished: House) -> None:
    """423 for owner and app; what needs no key is answered; after the unlock everything is as before."""
    ask = furnished.owner.ask
    key = ask("POST", "/v1/apps", 201, json={"name": "job", "grants": [{"account": "work"}]})["key"]
    app = furnished.app(key)
    token = ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"]

    with app.http:
        assert ask("POST", "/v1/lock", 200)["state"] == "locked"

        for door in (furnished.owner, app):
            problem = door.ask("GET", "/v1/accounts/{account}/token", 423, path={"account": "work"})
            assert problem["code"] == "locked"
        problem = app.ask("GET", "/v1/accounts/{account}/token", 423, path={"account": "work"})
        assert "owner" in problem["detail"]
        ask("POST", "/v1/accounts/{account}/refresh", 423, path={"account": "work"})
        ask("POST", "/v1/logins", 423, json={"account": "work"})
        assert ask("GET", "/v1/accounts", 200)["accounts"][0]["account"] == "work"
        assert ask("GET", "/readyz", 503)["state"] == "locked"
        status = ask("GET", "/v1/status", 200)
        assert (status["state"], status["key"]["locked"], status["key"]["new"]) == ("locked", True, False)
        assert "keyfob unlock" in status["reasons"][0]

        assert ask("POST", "/v1/unlock", 200) == {"state": "unlocked"}
        assert ask("GET", "/readyz", 200)["state"] == "ok"
        assert app.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"] == token
        actions = [entry["action"] for entry in ask("GET", "/v1/audit", 200)["entries"]]
        assert {"locked", "unlocked"} <= set(actions)


@pytest.mark.parametrize("route", ["/v1/lock", "/v1/unlock", "/v1/key/rotate"])
def test_only_the_owner_turns_it(house: House, key: str, route: str) -> None:
    """An app key opens and closes nothing, at either door."""
    app = house.app(key)
    with app.http:
        assert app.ask("POST", route, 403, json={})["code"] == "not_granted"
    assert house.owner.ask("POST", route, 403, headers={"Authorization": f"Bearer {key}"})["code"] == "not_granted"
    assert house.owner.ask("GET", "/v1/status", 200)["key"]["locked"] is False


def test_a_passphrase_is_for_the_source_that_takes_one(house: House) -> None:
    """With a key file a passphrase is refused, and not repeated; so is what is unknown."""
    said = {"passphrase": "correct horse battery staple"}
    assert "horse" not in house.owner.ask("POST", "/v1/unlock", 400, json=said)["detail"]
    house.owner.ask("POST", "/v1/unlock", 400, json={"password": "x"})
    house.owner.ask("POST", "/v1/lock", 400, json={"for": "ever"})


def test_new_keys_at_the_door(furnished: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner has new keys made, tokens stay; what makes no sense is refused, and so is a locked daemon."""
    ask = furnished.owner.ask
    token = ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"]

    done = ask("POST", "/v1/key/rotate", 200, json={})

    assert (done["source"], done["new_key"], done["generation"]) == ("file", True, 2)
    assert done["secrets"] >= 2
    assert ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"] == token
    ask("POST", "/v1/key/rotate", 400, json={"to": "magic"})
    ask("POST", "/v1/key/rotate", 400, json={"to": "passphrase"})
    ask("POST", "/v1/key/rotate", 400, json={"to": "passphrase", "passphrase": "short"})
    ask("POST", "/v1/key/rotate", 400, json={"passphrase": "correct horse battery staple"})
    assert "KEYFOB_KEY_COMMAND" in ask("POST", "/v1/key/rotate", 423, json={"to": "command"})["detail"]
    done = ask("POST", "/v1/key/rotate", 200, json={"to": "passphrase", "passphrase": "correct horse battery staple"})
    assert done["source"] == "passphrase"
    assert ask("POST", "/v1/key/rotate", 409, json={"to": "file"})["code"] == "conflict"
    monkeypatch.setattr(passphrase, "FIRST_DELAY", 60.0)  # a busy machine takes longer than a second for one try
    ask("POST", "/v1/lock", 200)
    ask("POST", "/v1/key/rotate", 423, json={})
    ask("POST", "/v1/unlock", 423)
    ask("POST", "/v1/unlock", 423, json={"passphrase": "incorrect horse battery"})
    refused = ask("POST", "/v1/unlock", 429, json={"passphrase": "correct horse battery staple"})
    assert 30 < refused["retry_after"] <= 60


def test_idleness_is_seen_by_the_request_that_ends_it(tmp_path: Path, practice: PracticeServer) -> None:
    """Whoever asks for a token after the idle time gets none, however soon the scheduler would have looked."""
    now = time.time()
    with running(tmp_path, lambda: now, lock_after_idle="5") as house:
        house.log_in("work", practice.url)
        ask = house.owner.ask
        ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})
        now += 299.0
        ask("GET", "/v1/accounts", 200)
        now += 1.0
        assert (
            "nobody had used it" in ask("GET", "/v1/accounts/{account}/token", 423, path={"account": "work"})["detail"]
        )
        ask("POST", "/v1/unlock", 200)
        ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})
