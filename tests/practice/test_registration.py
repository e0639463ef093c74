"""Registering at the practice provider, changing and deleting that, and the other ways to be a client there."""

from collections.abc import Callable
from typing import Any

from tests.practice.conftest import Walk

URI = "http://127.0.0.1:8400/callback/mine"
WANTED: dict[str, Any] = {
    "client_name": "Mine",
    "redirect_uris": [URI],
    "grant_types": ["authorization_code", "refresh_token"],
    "token_endpoint_auth_method": "client_secret_post",
    "contacts": ["me@example.org"],
}


def registered(walk: Walk, **more: object) -> dict[str, Any]:
    """Register a client."""
    answer = walk.http.post("/register", json=WANTED | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def bearer(made: dict[str, Any]) -> dict[str, str]:
    """Return the header that manages a registration."""
    return {"Authorization": f"Bearer {made['registration_access_token']}"}


def test_a_registration_is_read_changed_and_deleted(start: Callable[..., Walk]) -> None:
    """RFC 7592: each change brings a new token, and the one before is dead; so is the client after its deletion."""
    walk = start()
    made = registered(walk)
    uri = made["registration_client_uri"]
    assert walk.http.get(uri, headers=bearer(made)).json()["contacts"] == ["me@example.org"]

    wanted = WANTED | {"client_id": made["client_id"], "client_secret": made["client_secret"], "client_name": "Yours"}
    changed = walk.http.put(uri, headers=bearer(made), json=wanted)
    assert (changed.status_code, changed.json()["client_name"]) == (200, "Yours")
    assert changed.json()["client_secret"] == made["client_secret"]
    assert walk.http.get(uri, headers=bearer(made)).status_code == 401
    assert walk.http.delete(uri, headers=bearer(changed.json())).status_code == 204
    assert walk.http.get(uri, headers=bearer(changed.json())).status_code == 401
    assert walk.authorize(client_id=made["client_id"], redirect_uri=URI).status_code == 400


def test_an_update_is_complete_or_refused(start: Callable[..., Walk]) -> None:
    """Id and secret of now have to be there, and nothing that is the server's to say (RFC 7592 2.2)."""
    walk = start()
    made = registered(walk)
    whole = WANTED | {"client_id": made["client_id"], "client_secret": made["client_secret"]}
    for wrong in (
        WANTED,
        whole | {"client_secret": "old"},
        whole | {"client_id": "another"},
        whole | {"registration_access_token": made["registration_access_token"]},
        whole | {"redirect_uris": ["http://elsewhere.example/"]},
    ):
        assert walk.http.put(made["registration_client_uri"], headers=bearer(made), json=wrong).status_code == 400
    assert walk.http.put(made["registration_client_uri"], json=whole).status_code == 401
    assert walk.http.put(made["registration_client_uri"], headers=bearer(made), json=whole).status_code == 200


def test_a_secret_ends_and_is_renewed(start: Callable[..., Walk]) -> None:
    """With a lifetime for secrets an update brings a new one; a secret that has ended proves nothing."""
    walk = start(client_secret_ttl=100.0)
    made = registered(walk)
    proof = {"client_id": made["client_id"], "client_secret": made["client_secret"]}
    assert made["client_secret_expires_at"] == walk.clock() + 100
    walk.clock.now += 100
    assert walk.http.post("/revoke", data=proof | {"token": "x"}).json()["error"] == "invalid_client"
    renewed = walk.http.put(made["registration_client_uri"], headers=bearer(made), json=WANTED | proof).json()
    assert renewed["client_secret"] != made["client_secret"]
    proof["client_secret"] = renewed["client_secret"]
    assert walk.http.post("/revoke", data=proof | {"token": "x"}).status_code == 200


def test_a_form_of_its_own(start: Callable[..., Walk]) -> None:
    """As servers of the social web have it: another path and other names, always with a secret."""
    walk = start()
    form = {"client_name": "Mine", "redirect_uris": f"{URI} urn:ietf:wg:oauth:2.0:oob", "scopes": "read write"}
    made = walk.http.post("/api/v1/apps", data=form).json()
    assert (made["redirect_uris"], made["scopes"]) == (form["redirect_uris"].split(), ["read", "write"])
    client = {"client_id": made["client_id"], "redirect_uri": URI}
    code = walk.come_back_to(URI, **client)
    proof = {"client_secret": made["client_secret"]}
    assert walk.exchange(code["code"], **client).json()["error"] == "invalid_client"
    assert "refresh_token" in walk.exchange(code["code"], **client, **proof).json()
    assert walk.http.post("/api/v1/apps", data={"client_name": "Mine"}).status_code == 422


def test_an_address_is_a_client_id(start: Callable[..., Walk]) -> None:
    """Whoever answers there may be redirected to, at the same host and port and nowhere else."""
    walk = start()
    client = {"client_id": "http://127.0.0.1:8400/", "redirect_uri": URI}
    assert "access_token" in walk.exchange(walk.come_back_to(URI, **client)["code"], **client).json()
    for client_id in (
        "http://127.0.0.1:8401/",
        "http://127.0.0.1:8400",
        "https://elsewhere.example/",
        "http://a.example/",
    ):
        assert walk.authorize(client_id=client_id, redirect_uri=URI).status_code == 400


def test_a_protected_resource_says_where_its_tokens_are_from(start: Callable[..., Walk]) -> None:
    """Its refusal leads to its description (RFC 9728), and only a token that was asked for it opens it (RFC 8707)."""
    walk = start()
    refusal = walk.http.get("/api")
    place = f"{walk.server.url}/.well-known/oauth-protected-resource/api"
    assert refusal.status_code == 401
    assert f'resource_metadata="{place}"' in refusal.headers["www-authenticate"]
    described = walk.http.get(place).json()
    assert described["authorization_servers"] == [walk.server.url]

    plain = walk.login()["access_token"]
    assert walk.http.get("/api", headers={"Authorization": f"Bearer {plain}"}).status_code == 401
    code = walk.come_back(resource=described["resource"])["code"]
    assert walk.exchange(code, resource="https://other.example/").json()["error"] == "invalid_target"
    token = walk.login(resource=described["resource"])["access_token"]
    assert walk.http.get("/api", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    proof = walk.machine() | {"token": token}
    assert walk.http.post("/introspect", data=proof).json()["aud"] == described["resource"]
    assert walk.come_back(resource="no-uri")["error"] == "invalid_target"
