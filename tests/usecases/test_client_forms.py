"""Clients by other ways than RFC 7591: a provider's own form, our address as client id, a document to host."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import InvalidRequest
from broker.usecases import clients, login
from broker.usecases.context import Context
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import House, opened
from tests.usecases.registered import begin, discovered, moved, the_client

OWN_FORM = """
title = "A social server"
needs_base_url = true
scopes = ["read"]
auth_methods = ["client_secret_basic", "client_secret_post"]

[endpoints]
authorization = "{base_url}/authorize"
token = "{base_url}/token"
registration = "{base_url}/api/v1/apps"

[redirect]
out_of_band = "urn:ietf:wg:oauth:2.0:oob"

[registration]
body = "form"

[registration.fields]
client_name = "{name}"
redirect_uris = "{redirect_uris}"
scopes = "read write"
"""
ADDRESS = """
title = "A house server"
needs_base_url = true
scopes = ["read"]
client_id = "{origin}/"

[endpoints]
authorization = "{base_url}/authorize"
token = "{base_url}/token"
"""


def with_preset(house: House, text: str) -> Context:
    """Return the collaborators of a person who has a preset file of this text."""
    directory = house.place / "presets"
    directory.mkdir(mode=0o700)
    (directory / "mine.toml").write_text(text)
    (directory / "mine.toml").chmod(0o600)
    return replace(house.ctx, presets_dir=directory)


def test_a_form_of_the_providers_own(tmp_path: Path) -> None:
    """Registered by the preset's field names, once an instance; anew at another address, for nothing changes it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            house.ctx = with_preset(house, OWN_FORM)
            account = await house.log_in("me", provider="mine")
            assert account.has_refresh_token
            client = await the_client(house, account.provider)
            assert (client.auth_method, client.registration_uri) == ("client_secret_basic", "")
            assert client.redirect_uris[1] == "urn:ietf:wg:oauth:2.0:oob"
            house.clock.forward(1)
            again = await login.begin(moved(house), NewLogin("mine", "other", house.practice.url))
            assert again.destination.client_id != client.client_id
            assert house.asked("apps") == 2

    asyncio.run(story())


def test_a_client_id_that_is_our_address(tmp_path: Path) -> None:
    """Client id and redirect URI share host and port at every login, wherever the browser door is."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            house.ctx = with_preset(house, ADDRESS)
            account = await house.log_in("me", provider="mine")
            assert account.destination.client_id == "http://127.0.0.1:8400/"
            house.ctx = moved(house)
            house.clock.forward(1)
            account = await house.log_in("me", provider="mine")
            assert account.destination.client_id == "http://127.0.0.1:9000/"
            assert (await house.token("me")) is not None
            assert len(await house.store.clients(account.provider)) == 2

    asyncio.run(story())


def test_a_document_to_host(tmp_path: Path) -> None:
    """Where an address may be the client id, the refusal says so, and the document is ready to be hosted there."""

    async def story() -> None:
        spoken = 'discovery:json={"client_id_metadata_document_supported": true}'
        async with opened(tmp_path, spoken, "discovery:without=registration_endpoint") as house:
            provider = await discovered(house)
            with pytest.raises(InvalidRequest) as refused:
                await begin(house.ctx)
            assert "keyfob provider client-metadata theirs" in refused.value.hint
            uri = login.redirect_uri(house.ctx, provider)
            document = clients.metadata_document(provider, "https://you.example/keyfob.json", uri)
            assert json.loads(json.dumps(document)) == {
                "client_id": "https://you.example/keyfob.json",
                "client_name": "Keyfob",
                "redirect_uris": [uri],
                "grant_types": [
                    "authorization_code",
                    "refresh_token",
                    "urn:ietf:params:oauth:grant-type:device_code",
                ],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
                "application_type": "native",
                "scope": "openid profile offline_access",
            }
            for wrong in ("https://you.example", "http://127.0.0.1/x", "keyfob", "https://you.example/#x"):
                with pytest.raises(InvalidRequest):
                    clients.metadata_document(provider, wrong, uri)
            begun = await begin(house.ctx, client_id="https://you.example/keyfob.json")
            assert begun.destination.client_id == "https://you.example/keyfob.json"

    asyncio.run(story())
