"""Derived accounts through the API: made by one POST, shown with what they come from, and told of its end."""

from pathlib import Path
from typing import Any

import httpx2

from broker.practice.server import PracticeServer
from tests.loopback import NO_TLS
from tests.web.house import Door, running

BILL = {"account": "bill"}


def derive(owner: Door, status: int = 201, **members: Any) -> Any:  # noqa: ANN401 -- whatever the answer holds
    """Derive an account."""
    return owner.ask("POST", "/v1/logins", status, json={**BILL, "flow": "token-exchange", "from": "me", **members})


def test_a_derived_account(tmp_path: Path, practice: PracticeServer) -> None:
    """201 and done; it is listed with what it comes from, handed out, refreshed, and granted like any other."""
    with running(tmp_path) as house:
        ask = house.owner.ask
        house.log_in("me", practice.url)
        done = derive(house.owner, scope=["openid"], audience="billing")
        assert (done["state"], done["flow"], done["account"]) == ("done", "token-exchange", "bill")
        assert (done["granted_scope"], done["missing_scope"]) == ("openid", "")
        assert ask("GET", "/v1/logins/{id}", 200, path={"id": done["id"]})["state"] == "done"
        me = ask("GET", "/v1/accounts/{account}", 200, path={"account": "me"})
        shown = ask("GET", "/v1/accounts/{account}", 200, path=BILL)
        assert (shown["from"], shown["renewal"], shown["audience"]) == ("me", "token_exchange", "billing")
        assert (shown["identity"], shown["client_id"]) == (me["identity"], me["client_id"])
        assert (me["from"], me["audience"], shown["refresh_expires_at"]) == (None, None, None)
        token = ask("GET", "/v1/accounts/{account}/token", 200, path=BILL)
        assert (token["scope"], token["audience"]) == ("openid", "billing")
        named = ask("GET", "/v1/accounts/{account}/token", 200, path=BILL, params={"audience": "billing"})
        assert named["access_token"] == token["access_token"]
        assert ask("POST", "/v1/accounts/{account}/refresh", 200, path=BILL)["generation"] == 2
        again = ask("POST", "/v1/logins", 201, json={**BILL, "flow": ["browser", "device"]})
        assert (again["state"], again["flow"]) == ("done", "token-exchange")
        grants = [{"account": "bill"}]
        app = house.app(ask("POST", "/v1/apps", 201, json={"name": "job", "grants": grants})["key"])
        with app.http:
            assert app.ask("GET", "/v1/accounts/{account}/token", 200, path=BILL)["audience"] == "billing"
            params = {"audience": "storage"}
            refused = app.ask("GET", "/v1/accounts/{account}/token", 403, path=BILL, params=params)
            assert "no audience but the account's own" in refused["detail"]


def test_a_dead_login_and_its_end(tmp_path: Path, practice: PracticeServer) -> None:
    """409 names the account to log in to and where; a log-out tells what was derived."""
    with running(tmp_path) as house:
        ask = house.owner.ask
        house.log_in("me", practice.url)
        derive(house.owner)
        practice.revoke_grants()
        me = {"account": "me"}
        ask("POST", "/v1/accounts/{account}/refresh", 409, path=me)
        needed = ask("POST", "/v1/accounts/{account}/refresh", 409, path=BILL)
        assert (needed["code"], needed["account"]) == ("login_needed", "bill")
        assert "Account 'me', which this one is derived from, needs a login." in needed["detail"]
        assert "keyfob login me" in needed["detail"]
        assert needed["login_url"] == ask("GET", "/v1/accounts/{account}", 200, path=me)["login_url"]
        refused = derive(house.owner, 409, account="other")
        assert (refused["code"], refused["account"], refused["login_url"]) == (
            "login_needed",
            "me",
            needed["login_url"],
        )
        with httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS) as browser:
            browser.get(needed["login_url"])
        assert ask("POST", "/v1/accounts/{account}/refresh", 200, path=BILL)["state"] == "active"
        assert ask("DELETE", "/v1/accounts/{account}", 200, path=me)["derived"] == ["bill"]
        left = ask("GET", "/v1/accounts/{account}", 200, path=BILL)
        assert (left["state"], left["from"], left["login_url"]) == ("needs-login", None, None)
        assert "keyfob login bill --flow token-exchange --from ACCOUNT" in left["next_step"]
        assert ask("DELETE", "/v1/accounts/{account}", 200, path=BILL)["derived"] == []


def test_members_that_do_not_go_together(tmp_path: Path, practice: PracticeServer) -> None:
    """What would not be heard is refused."""
    with running(tmp_path) as house:
        house.log_in("me", practice.url)
        for members in (
            {"flow": "browser"},
            {"flow": ["token-exchange", "browser"]},
            {"access_token": "abc"},
            {"client_id": "other"},
            {"subject": "ada"},
            {"from": "nobody"},
            {"from": ["me"]},
            {"account": ""},
        ):
            assert derive(house.owner, 400, **members)["code"] == "invalid_request", members
        assert derive(house.owner, 409, account="me")["code"] == "conflict"
