"""The API, walked from end to end: each answer is what the description says."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker.practice.server import PracticeServer
from broker.web.asgi import APP_ROUTES
from tests.loopback import NO_TLS
from tests.web.house import OPERATIONS, PATIENCE, STREAM, TEXT, Door, House, running, validator


def test_every_answer_of_a_walk_is_as_described(tmp_path: Path, practice: PracticeServer) -> None:
    """Each route answers each success that is described, in the described shape, and the usual refusals likewise."""
    with running(tmp_path) as house:
        _walk_accounts(house, practice)
        _walk_providers(house.owner, practice)
        _walk_apps(house, practice)
        _walk_daemon(house.owner)
        late = {"name": "late", "grants": [{"account": "work"}]}
        key = house.owner.ask("POST", "/v1/apps", 201, json=late)["key"]
        seen = house.owner.seen

    with _key_away(tmp_path), running(tmp_path) as house:
        _walk_locked(house, key)

    described = {
        (method, path, int(status))
        for (method, path), operation in OPERATIONS.items()
        for status in operation["responses"]
        if status.startswith("2") and (method, path) != STREAM
    }
    assert described <= seen


def _walk_accounts(house: House, practice: PracticeServer) -> None:
    ask = house.owner.ask
    work = {"account": "work"}
    house.log_in("work", practice.url)
    first = ask("GET", "/v1/accounts/{account}/token", 200, path=work, params={"min_ttl": 30})
    ask("GET", "/v1/accounts/{account}/token", 200, path=work, params={"min_ttl": 30, "scope": "openid"})
    assert ask("GET", "/v1/accounts/{account}/token", 200, path=work, headers={"accept": "text/plain"})
    ask("GET", "/v1/accounts/{account}/token", 200, path=work, params={"id_token": "true"})
    ask("GET", "/v1/accounts/{account}/token", 400, path=work, params={"min_ttl": "soon"})
    ask("GET", "/v1/accounts/{account}/token", 403, path=work, params={"scope": "everything"})
    ask("GET", "/v1/accounts/{account}/token", 404, path={"account": "nobody"})
    refused = {"access_token": first["access_token"]}
    again = ask("POST", "/v1/accounts/{account}/token/rejected", 200, path=work, json=refused)
    assert again["access_token"] != first["access_token"]
    refused = {"access_token": again["access_token"]}
    assert ask("POST", "/v1/accounts/{account}/token/rejected", 429, path=work, json=refused)["retry_after"] > 0
    assert ask("POST", "/v1/accounts/{account}/refresh", 200, path=work)["generation"] == 3
    seen = {"status": 200, "headers": {"ratelimit": '"day";r=7;t=60'}}
    told = ask("POST", "/v1/accounts/{account}/rate-limits", 200, path=work, json=seen)
    assert ask("GET", "/v1/accounts/{account}/rate-limits", 200, path=work) == told

    pasted = {"account": "later", "provider": "practice", "base_url": practice.url, "flow": "paste"}
    begun = ask("POST", "/v1/logins", 201, json=pasted)
    assert {"pending", "active"} == {account["state"] for account in ask("GET", "/v1/accounts", 200)["accounts"]}
    ask("GET", "/v1/accounts/{account}", 200, path={"account": "later"})
    ask("GET", "/v1/accounts/{account}/token", 409, path={"account": "later"})
    ask("POST", "/v1/logins/{id}/finish", 400, path={"id": begun["id"]}, json={"url": begun["redirect_uri"]})
    with httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as browser:
        arrived = browser.get(begun["authorization_url"]).headers["location"]
    assert ask("POST", "/v1/logins/{id}/finish", 200, path={"id": begun["id"]}, json={"url": arrived})["identity"]
    ask("POST", "/v1/logins/{id}/finish", 409, path={"id": begun["id"]}, json={"url": arrived})
    ask("DELETE", "/v1/logins/{id}", 204, path={"id": begun["id"]})
    ask("DELETE", "/v1/accounts/{account}", 204, path={"account": "later"}, params={"local_only": "true"})

    assert ask("PATCH", "/v1/accounts/{account}", 200, path=work, json={"name": "other"})["account"] == "other"
    ask("PATCH", "/v1/accounts/{account}", 404, path=work, json={"name": "work"})
    ask("PATCH", "/v1/accounts/{account}", 200, path={"account": "other"}, json={"name": "work"})
    for wrong in ({}, {"name": "no name"}, {"name": "x", "more": 1}):
        ask("PATCH", "/v1/accounts/{account}", 400, path=work, json=wrong)
    token = ask("GET", "/v1/accounts/{account}/token", 200, path=work)["access_token"]
    made = {"account": "made", "provider": "practice", "base_url": practice.url, "flow": "token"}
    assert ask("POST", "/v1/logins", 201, json={**made, "access_token": token})["state"] == "done"
    ask("POST", "/v1/logins", 400, json={**made, "access_token": "wrong"})
    ask("POST", "/v1/accounts/{account}/refresh", 409, path={"account": "made"})
    practice.revoke_grants()
    ask("POST", "/v1/accounts/{account}/refresh", 409, path=work, json={"confirm": True})
    assert ask("GET", "/v1/accounts/{account}", 200, path=work)["login_url"]
    assert not ask("DELETE", "/v1/accounts/{account}", 200, path={"account": "made"})["revoked"]
    ask("GET", "/v1/logins/{id}", 404, path={"id": "none"})
    ask("GET", "/v1/logins/{id}", 200, path={"id": begun["id"]}, params={"wait": "3600"})
    ask("POST", "/v1/logins", 400, json=made)


def _walk_providers(owner: Door, practice: PracticeServer) -> None:
    listed = owner.ask("GET", "/v1/providers", 200)["providers"]
    presets = owner.ask("GET", "/v1/presets", 200)["presets"]
    shown = [owner.ask("GET", "/v1/presets/{preset}", 200, path={"preset": preset["name"]}) for preset in presets]
    uris = {preset["name"]: preset["redirect_uri"] for preset in shown}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback/spotify", uris["spotify"])
    assert re.fullmatch(r"http://localhost:\d+/callback/microsoft", uris["microsoft"])
    assert uris["huggingface"].endswith("/callback/huggingface")
    assert {uris[name] for name in ("generic", "gitea", "practice")} == {""}
    owner.ask("GET", "/v1/presets/{preset}", 404, path={"preset": "no-such-preset"})
    owner.ask("DELETE", "/v1/providers/{provider}", 409, path={"provider": listed[0]["name"]})
    new = {"name": "own", "issuer": practice.url, "client_id": "keyfob", "refresh": {"rotation": "sometimes"}}
    owner.ask("POST", "/v1/providers", 201, json=new)
    owner.ask("POST", "/v1/providers", 409, json=new)
    owner.ask("POST", "/v1/providers", 404, json={"preset": "no-such-preset"})
    owner.ask("POST", "/v1/providers", 503, json={"issuer": "https://unreachable.example"})
    owner.ask("POST", "/v1/logins", 404, json={"provider": "no-such-provider"})
    assert owner.ask("GET", "/v1/providers/{provider}", 200, path={"provider": "own"})["clients"] == ["keyfob"]
    owner.ask("DELETE", "/v1/providers/{provider}", 204, path={"provider": "own"})
    owner.ask("GET", "/v1/providers/{provider}", 404, path={"provider": "own"})
    _walk_registration(owner, practice)


def _walk_registration(owner: Door, practice: PracticeServer) -> None:
    """A provider at which Keyfob registers itself, found by a resource of its."""
    resource = f"{practice.url}/api"
    begun = owner.ask("POST", "/v1/logins", 201, json={"account": "mcp", "resource": resource})
    there = {"provider": begun["provider"]}
    shown = owner.ask("GET", "/v1/providers/{provider}", 200, path=there)
    assert (shown["registration"], len(shown["clients"])) == ("rfc7591", 1)
    owner.ask("POST", "/v1/providers/{provider}/discover", 200, path=there)
    practice.set_faults(['discovery:json={"token_endpoint": "http://localhost:1/token"}'])
    assert owner.ask("POST", "/v1/providers/{provider}/discover", 409, path=there)["code"] == "confirm_needed"
    practice.set_faults([])
    document = "/v1/providers/{provider}/client-metadata"
    owner.ask("GET", document, 400, path=there)
    mine = {"client_id": "https://you.example/keyfob.json"}
    assert owner.ask("GET", document, 200, path=there, params=mine)["redirect_uris"] == [shown["redirect_uri"]]
    (gone,) = owner.ask("DELETE", "/v1/providers/{provider}", 200, path=there)["clients"]
    assert (gone["client_id"], gone["deleted"]) == (shown["clients"][0], True)


def _walk_apps(house: House, practice: PracticeServer) -> None:
    ask = house.owner.ask
    house.log_in("work", practice.url)
    job = {"app": "job"}
    grant = {"app": "job", "account": "work"}
    ask("POST", "/v1/apps", 404, json={"name": "job", "grants": [{"account": "nobody"}]})
    old = ask("POST", "/v1/apps", 201, json={"name": "job", "expires_at": "2999-01-01T00:00:00Z"})["key"]
    ask("POST", "/v1/apps", 409, json={"name": "job"})
    key = ask("POST", "/v1/apps/{app}/rotate", 200, path=job)["key"]
    with house.app(old).http as http:
        Door(http).ask("GET", "/v1/apps/{app}", 401, path=job)
    app = house.app(key)
    with app.http:
        code = app.ask("GET", "/v1/accounts/{account}/token", 403, path={"account": "work"})["approval_url"][-9:]
        given = {"scope": ["openid", "profile", "offline_access"], "expires_at": 32_000_000_000}
        ask("PUT", "/v1/apps/{app}/grants/{account}", 200, path=grant, json=given)
        app.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})
        app.ask("GET", "/v1/accounts/{account}/token", 403, path={"account": "nobody"})
        assert app.ask("GET", "/v1/apps/{app}", 200, path=job)["grants"]
        assert ask("GET", "/.well-known/oauth-authorization-server", 200)["token_endpoint"]
        for door, account in ((app, ""), (house.owner, "work")):
            form = {"grant_type": "client_credentials", "account": account}
            assert door.ask("POST", "/oauth/token", 200, data=form)["access_token"]
        _walk_clouds(house.owner, key)
        app.ask("GET", "/v1/apps/{app}", 403, path={"app": "other"})
        for method, path, _, who in APP_ROUTES:
            if who == "owner":
                app.ask(
                    method,
                    path,
                    403,
                    path={"account": "work", "id": "x", "provider": "practice", "preset": "practice", "app": "job"},
                )
    ask("GET", "/v1/approvals/{id}", 404, path={"id": code})  # the owner has answered it
    _walk_pairing(house)
    assert ask("GET", "/v1/apps", 200)["apps"][0]["name"] == "job"
    ask("DELETE", "/v1/apps/{app}/grants/{account}", 204, path=grant)
    ask("DELETE", "/v1/apps/{app}/grants/{account}", 404, path=grant)
    ask("PUT", "/v1/apps/{app}/grants/{account}", 404, path={"app": "job", "account": "nobody"})
    ask("GET", "/v1/apps/{app}", 200, path=job)
    ask("DELETE", "/v1/apps/{app}", 204, path=job)
    ask("GET", "/v1/apps/{app}", 404, path=job)


def _walk_pairing(house: House) -> None:
    ask, program = house.owner.ask, house.app(f"kf_{'A' * 43}")
    with program.http:
        code = {"id": program.ask("POST", "/v1/pairing", 201, json={"name": "mail"})["code"]}
        program.ask("GET", "/v1/pairing", 200)
        program.ask("GET", "/v1/accounts/{account}/token", 401, path={"account": "work"})
        assert {one["kind"] for one in ask("GET", "/v1/approvals", 200)["approvals"]} == {"grant", "pairing"}
        ask("GET", "/v1/approvals/{id}", 200, path=code)
        ask("POST", "/v1/approvals/{id}", 400, path=code, json={"decision": "allow", "remember": "once"})
        ask("POST", "/v1/approvals/{id}", 409, path=code, json={"decision": "allow", "name": "job"})
        ask("POST", "/v1/approvals/{id}", 200, path=code, json={"decision": "deny"})
        program.ask("DELETE", "/v1/pairing", 204)
        program.ask("GET", "/v1/pairing", 404)
        ask("GET", "/v1/pairing", 400)
    house.owner.seen |= program.seen


def _walk_daemon(owner: Door) -> None:
    assert owner.ask("GET", "/openapi.yaml", 200) == TEXT
    assert owner.ask("GET", "/v1/status", 200)["state"] == "ok"
    owner.ask("GET", "/v1/status", 400, params={"verbose": "1"})
    owner.ask("GET", "/v1/status", 403, headers={"origin": "http://evil.example"})
    assert "\nkeyfob_ready 1\n" in owner.ask("GET", "/metrics", 200)
    owner.ask("GET", "/healthz", 200)
    owner.ask("GET", "/healthz", 400, params={"nonce": "0" * 64})
    owner.ask("GET", "/readyz", 200)
    owner.ask("POST", "/v1/session", 201, json={})
    owner.ask("POST", "/v1/lock", 200)
    owner.ask("GET", "/readyz", 503)
    owner.ask("POST", "/v1/unlock", 200, json={})
    owner.ask("POST", "/v1/key/rotate", 200, json={})
    entries = owner.ask("GET", "/v1/audit", 200, params={"account": "work", "limit": 1000})["entries"]
    assert {"logged-in", "refreshed", "granted", "grant-revoked", "refresh-forced"} <= {
        entry["action"] for entry in entries
    }
    owner.ask("POST", "/v1/audit", 204, json={"action": "backed-up", "detail": "/media/disk/keyfob.db"})
    owner.ask("POST", "/v1/audit", 400, json={"action": "granted"})
    verdict = owner.ask("GET", "/v1/audit/verify", 200)
    assert (verdict["intact"], verdict["first"], verdict["broken"]) == (True, 1, None)
    owner.ask("GET", "/v1/audit/verify", 400, params={"account": "work"})


def _walk_clouds(owner: Door, key: str) -> None:
    """What programs of a cloud ask, each success of it; at the socket too, where it needs the same keys."""
    made = {"name": "machine", "grants": [{"account": "work"}], "capability": True}
    names = {"capability": owner.ask("POST", "/v1/apps", 201, json=made)["key"], "identity": "default"}
    headers = {"Metadata-Flavor": "Google", "Metadata": "true", "X-IDENTITY-HEADER": key}
    for (method, route), operation in OPERATIONS.items():
        if operation["security"] in ([], [{"identityHeader": []}]) and operation["x-keyfob-who"] == "client":
            status = 200 if "200" in operation["responses"] else 404
            params = {"audience": "keyfob"} if route.endswith("/identity") else {}
            owner.ask(method, route, status, path=names, headers=headers, params=params)


def _walk_locked(house: House, key: str) -> None:
    owner = house.owner
    # Nothing can be authenticated without the key. What an app is told names no file of the owner's.
    owner.ask("POST", "/v1/apps", 423, json={"name": "later", "grants": [{"account": "work"}]})
    owner.ask("POST", "/v1/apps/{app}/rotate", 423, path={"app": "late"})
    owner.ask("PUT", "/v1/apps/{app}/grants/{account}", 423, path={"app": "late", "account": "work"}, json={})
    app = house.app(key)
    with app.http:
        told = app.ask("GET", "/v1/accounts/{account}/token", 423, path={"account": "work"})["detail"]
    assert "/key" not in told
    assert "/key" in owner.ask("GET", "/v1/accounts/{account}/token", 423, path={"account": "work"})["detail"]
    owner.ask("GET", "/v1/accounts/{account}/token", 423, path={"account": "work"})
    owner.ask("POST", "/v1/logins", 423, json={"provider": "practice"})
    owner.ask("GET", "/v1/audit/verify", 423)
    assert owner.ask("GET", "/readyz", 503)["state"] == "locked"
    assert owner.ask("GET", "/v1/status", 200)["key"]["locked"]
    assert "\nkeyfob_locked 1\n" in owner.ask("GET", "/metrics", 200)


@contextlib.contextmanager
def _key_away(home: Path) -> Iterator[None]:
    key = home / ".config/keyfob/key"
    key.rename(key.with_suffix(".away"))
    yield


def test_events_are_as_described(tmp_path: Path) -> None:
    """A listener gets events in the described shape, each under the name of its kind."""
    with running(tmp_path) as house:
        owner = house.owner
        with owner.http.stream("GET", "/v1/events") as stream:
            lines = stream.iter_lines()
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert [next(lines), next(lines)] == [": listening", ""]
            owner.ask("POST", "/v1/apps", 201, json={"name": "job"})
            name, data = next(lines), next(lines)

    event = json.loads(data.removeprefix("data: "))
    validator({"$ref": "#/components/schemas/Event"}).validate(event)
    assert name == f"event: {event['kind']}" == "event: app-added"


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_no_moment_makes_the_list_unreadable(tmp_path: Path, moment: str) -> None:
    """A time at the edge of the calendar is refused, or can be shown again."""
    with running(tmp_path) as house:
        house.owner.http.post("/v1/apps", json={"name": "job", "expires_at": moment})

        house.owner.ask("GET", "/v1/apps", 200)


def test_wrong_method_is_told_the_right_ones(tmp_path: Path) -> None:
    """A 405 says 405 in its body too, and names every method of its path (RFC 9110 15.5.6)."""
    with running(tmp_path) as house:
        answer = house.owner.http.request("PUT", "/v1/accounts/work")

    assert (answer.status_code, answer.json()["status"]) == (405, 405)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "PATCH", "DELETE"}
