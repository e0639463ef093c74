"""Accounts of programs through the API: one POST makes them, and no private key ever comes out."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer
from tests.loopback import NO_TLS
from tests.web.house import PATIENCE, Door, House, running

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


def keys_of(owner: Door, provider: str) -> list[dict[str, Any]]:
    """Return the keys that are shown of a provider."""
    keys: list[dict[str, Any]] = owner.ask("GET", "/v1/providers/{provider}", 200, path={"provider": provider})["keys"]
    return keys


def registered(practice: PracticeServer, jwks: dict[str, Any]) -> str:
    """Register a client with these public keys, as a person pastes them; return its id."""
    grants = ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
    wanted = {"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks, "grant_types": grants}
    with httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as person:
        return str(person.post(f"{practice.url}/register", json=wanted).raise_for_status().json()["client_id"])


def test_client_credentials(tmp_path: Path, practice: PracticeServer) -> None:
    """201 and done; the account is listed with its client, is handed out, refreshed and revoked like any other."""
    login = {
        "account": "ci",
        "provider": "practice",
        "base_url": practice.url,
        "flow": "client-credentials",
        "client_id": "keyfob-machine",
        "client_secret": practice.client_secret.reveal(),
        "scope": ["read"],
        "audience": "https://api.example",
        "resource": "https://api.example/v1",
    }
    ci = {"account": "ci"}
    with running(tmp_path) as house:
        ask = house.owner.ask
        done = ask("POST", "/v1/logins", 201, json=login)
        assert (done["state"], done["flow"], done["account"]) == ("done", "client-credentials", "ci")
        assert done["identity"] == "keyfob-machine"
        assert ask("GET", "/v1/logins/{id}", 200, path={"id": done["id"]})["state"] == "done"
        shown = ask("GET", "/v1/accounts/{account}", 200, path=ci)
        assert (shown["state"], shown["renewal"], shown["identity"]) == ("active", "client_credentials", None)
        assert (shown["client_id"], shown["asked_scope"]) == ("keyfob-machine", "read")
        assert shown["next_refresh_at"] is not None
        first = ask("GET", "/v1/accounts/{account}/token", 200, path=ci)
        assert first["resource"] == "https://api.example/v1"
        assert ask("POST", "/v1/accounts/{account}/refresh", 200, path=ci)["generation"] == 2
        again = ask("POST", "/v1/logins", 201, json=ci)
        assert (again["state"], again["flow"]) == ("done", "client-credentials")
        usual = ask("POST", "/v1/logins", 201, json={**ci, "flow": ["browser", "device"]})
        assert (usual["state"], usual["flow"]) == ("done", "client-credentials")
        standard = ask("POST", "/v1/logins", 201, json={**ci, "flow": "client_credentials"})
        assert (standard["state"], standard["flow"]) == ("done", "client-credentials")
        wrong = ask("POST", "/v1/logins", 400, json={**ci, "client_secret": "wrong"})
        assert (wrong["code"], "wrong" in wrong["detail"].split()) == ("login_failed", False)
        assert ask("DELETE", "/v1/accounts/{account}", 200, path=ci)["revoked"]


@pytest.mark.parametrize("flow", ["client-credentials", "jwt-bearer"])
def test_a_key(tmp_path: Path, practice: PracticeServer, flow: str) -> None:
    """A provider is added with a key, its public half is pasted there, and the client that comes of it works."""
    mine = {"name": "practice", "preset": "practice", "base_url": practice.url}
    with running(tmp_path) as house:
        ask = house.owner.ask
        added = ask("POST", "/v1/providers", 201, json={**mine, "token_endpoint_auth_method": "private_key_jwt"})
        (waiting,) = added["keys"]
        assert (waiting["client_id"], added["clients"]) == ("", [])
        client_id = registered(practice, waiting["jwks"])
        login = {"account": "bot", "provider": "practice", "flow": flow, "client_id": client_id}
        login |= {"subject": "grace"} if flow == "jwt-bearer" else {}
        assert ask("POST", "/v1/logins", 201, json=login)["state"] == "done"
        (key,) = keys_of(house.owner, "practice")
        assert key == {"client_id": client_id, "jwks": waiting["jwks"]}
        assert not PRIVATE & key["jwks"]["keys"][0].keys()
        bot = {"account": "bot"}
        assert ask("GET", "/v1/accounts/{account}", 200, path=bot)["renewal"] == flow.replace("-", "_")
        first = ask("GET", "/v1/accounts/{account}/token", 200, path=bot)["access_token"]
        ask("POST", "/v1/accounts/{account}/refresh", 200, path=bot)
        assert ask("GET", "/v1/accounts/{account}/token", 200, path=bot)["access_token"] != first

    key_file = tmp_path / ".config/keyfob/key"
    key_file.rename(key_file.with_suffix(".away"))
    with running(tmp_path) as house:
        locked = house.owner.ask("GET", "/v1/providers/{provider}", 200, path={"provider": "practice"})
        assert locked["keys"] is None


def test_members_that_belong_to_another_flow(tmp_path: Path, practice: PracticeServer) -> None:
    """What would not be heard is refused, and the flow of an account's own is not mixed with a token."""
    new = {"account": "me", "provider": "practice", "base_url": practice.url, "client_id": "keyfob"}
    with running(tmp_path) as house:
        for members in (
            {"subject": "ada"},
            {"audience": "https://api.example"},
            {"flow": "token", "access_token": "abc", "subject": "ada"},
            {"flow": "client-credentials", "access_token": "abc"},
            {"flow": "client-credentials", "refresh_token": "abc"},
            {"flow": "jwt-bearer", "subject": ["ada"]},
        ):
            assert _refused(house, {**new, **members}) == "invalid_request", members


def _refused(house: House, login: dict[str, Any]) -> str:
    return str(house.owner.ask("POST", "/v1/logins", 400, json=login)["code"])
