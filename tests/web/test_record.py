"""Who was turned away at a door is in the audit, counted; and a changed record is told over the API."""

import time
from pathlib import Path
from typing import Any

from broker.practice.server import PracticeServer
from tests.store import made
from tests.web.house import PATIENCE, Door, House, running


def test_refusals_reach_the_audit(tmp_path: Path, practice: PracticeServer) -> None:
    """Without a key, with a wrong one, from a page, and beyond a grant: each is counted, under a name if known."""
    with running(tmp_path) as house:
        house.log_in("work", practice.url)
        key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
        token, work = "/v1/accounts/{account}/token", {"account": "work"}
        for wrong in ("", "kf_wrong"):
            with house.app(wrong).http as http:
                Door(http).ask("GET", token, 401, path=work)
        app = house.app(key)
        with app.http:
            app.ask("GET", token, 403, path=work)
            app.ask("POST", "/v1/accounts/{account}/token/rejected", 403, path=work, json={"access_token": "x"})
            app.ask("GET", token, 403, path={"account": "no such"})
            app.ask("GET", "/v1/status", 403)
        house.owner.ask("GET", "/v1/status", 403, headers={"origin": "http://evil.example"})
        house.owner.ask("GET", token, 403, path=work, params={"scope": "everything"})

    with running(tmp_path) as house:
        entries = _with_starts(house, 2)
        counted = {(e["action"], e["account"], e["app"]): e["count"] for e in entries if e["count"]}
        assert counted == {
            ("unauthorized", None, None): 3,
            ("refused", "work", "job"): 2,
            ("refused", None, "job"): 2,
            ("refused", "work", "owner"): 1,
        }


def _with_starts(house: House, count: int) -> list[dict[str, Any]]:
    """Return the record once so many starts stand in it: the pen writes beside the doors."""
    give_up = time.monotonic() + PATIENCE
    while True:
        entries: list[dict[str, Any]] = house.owner.ask("GET", "/v1/audit", 200)["entries"]
        if [entry["action"] for entry in entries].count("started") == count:
            return entries
        assert time.monotonic() < give_up, entries


def test_a_changed_record_is_told(tmp_path: Path) -> None:
    """The answer names the entry, the kind of break and what stands there, whatever stands there."""
    with running(tmp_path) as house:
        for name in ("one", "two"):
            house.owner.ask("POST", "/v1/apps", 201, json={"name": name})
    state = tmp_path / ".local"  # the same database, where the store's tests look for it
    (tmp_path / "there").mkdir()
    (tmp_path / "there/state").symlink_to(state / "state/keyfob", target_is_directory=True)
    made.behind(tmp_path / "there", "UPDATE audit SET at = 1e300, app = 'x' WHERE link = 2")

    with running(tmp_path) as house:
        verdict = house.owner.ask("GET", "/v1/audit/verify", 200)

    assert (verdict["intact"], verdict["entries"], verdict["last"]) == (False, 1, 1)
    assert verdict["broken"] == {
        "kind": "changed",
        "number": 2,
        "detail": "Entry 2 was changed.",
        "at": None,
        "action": "app-added",
        "account": None,
        "app": "x",
    }
