"""Google's metadata server at a capability path: programs that know only a machine get an account's token."""

from collections.abc import Iterator
from typing import Any

import pytest

from broker.web.asgi import APP_ROUTES
from tests.web.cloud import ACCOUNT, FLAVOR, GOOGLE, METADATA, TTL, Cloud, cloud_at

PROJECT = GOOGLE + "/computeMetadata/v1/project/project-id"
UNIVERSE = GOOGLE + "/computeMetadata/v1/universe/universe-domain"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Run a daemon with ``work`` and ``home``."""
    with cloud_at(tmp_path_factory.mktemp("base")) as found:
        found.log_in_program("home", flow="client-credentials")
        yield found


def test_a_token(cloud: Cloud) -> None:
    """It is the account's own, with what remains of its life; a machine is found at the root, slash or none."""
    capability, stored = cloud.capability("machine", "work"), cloud.stored()
    for route in (GOOGLE, GOOGLE + "/"):
        assert cloud.get(route, 200, FLAVOR, capability=capability) == "computeMetadata/"

    given = cloud.google(capability)

    expected = {name: stored[name] for name in ("access_token", "expires_in", "token_type")}
    assert given == expected
    assert cloud.google(capability, identity="work") == expected


def test_four_minutes_are_left(own: Cloud) -> None:
    """The library would take a token with less for expired, and ask again at once."""
    capability = own.capability("machine", "work")
    first = own.google(capability)
    own.now += TTL - 240
    assert own.google(capability)["access_token"] == first["access_token"]
    own.now += 10

    assert own.google(capability)["access_token"] != first["access_token"]


def test_what_the_account_is(cloud: Cloud) -> None:
    """Its name, and what its token can carry for this app; whose login it is, nobody is told."""
    capability = cloud.capability("machine", {"account": "work", "scope": ["openid", "email"]})
    for name in ("default", "work"):
        told = {"email": "work", "scopes": ["openid"], "aliases": ["default"]}
        assert cloud.google(capability, "", identity=name, recursive="true") == told
        assert cloud.google(capability, "email", identity=name) == "work"
        assert cloud.google(capability, "scopes", identity=name) == "openid\n"


def test_scopes(cloud: Cloud) -> None:
    """What is asked for is carried, and no more than that where the provider gives such; no other scope is had."""
    capability = cloud.capability("machine", "work")
    everything = cloud.google(capability, "")["scopes"]
    assert cloud.google(capability, scopes=",".join(everything))["access_token"] == cloud.stored()["access_token"]

    narrow = cloud.google(capability, scopes="openid")["access_token"]

    assert cloud.practice.worth(narrow) is not None
    refused = cloud.google(capability, status=403, scopes="openid,https://www.googleapis.com/auth/cloud-platform")
    assert "was not granted the scope 'https://www.googleapis.com/auth/cloud-platform' at login" in refused
    assert "keyfob login work --scope" in refused
    assert "no word of plain characters" in cloud.google(capability, status=400, scopes='a"b')


def test_several_accounts(cloud: Cloud) -> None:
    """Each is a service account by its name; which one is the default, is told to nobody who has several."""
    capability = cloud.capability("machine", "work", "home")
    assert cloud.google(capability, identity="home")["access_token"] == cloud.stored("home")["access_token"]
    for what in ("token", "", "email"):
        refused = cloud.google(capability, what, 400)
        assert refused.endswith(
            "may mean: home, work. Choose one: make a key for each (keyfob app add NAME --account A --capability).\n"
        )


def test_what_was_not_granted(cloud: Cloud) -> None:
    """Of another account nothing is told, whether there is one or not; of its token the owner is asked."""
    capability = cloud.capability("machine", "work")
    for name in ("home", "nobody"):
        for what in ("", "email", "scopes", "identity"):
            assert "no account of that name" in cloud.google(capability, what, 404, identity=name)
        assert "keyfob approve" in cloud.google(capability, status=403, identity=name)
    nothing = cloud.capability("bare")
    for what in ("", "token"):
        assert "'bare' was granted no account" in cloud.google(nothing, what, 403)
    proxy = cloud.capability("proxy", {"account": "work", "mode": "proxy"})
    assert "keyfob approve" in cloud.google(proxy, status=403)


def test_an_id_token(cloud: Cloud) -> None:
    """It is the login's, for whom that is; whoever wants one for somebody else would get one that is refused."""
    capability = cloud.capability("machine", "work")
    path = {"account": "work"}
    stored = cloud.house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path=path, params={"id_token": "true"})

    assert cloud.google(capability, "identity", audience="keyfob", format="full") == stored["access_token"]

    assert "The one there is has: keyfob" in cloud.google(capability, "identity", 404, audience="https://run.example")
    machine = cloud.capability("program", "home")
    assert "has no ID token" in cloud.google(machine, "identity", 400, audience="keyfob-machine")


def test_what_keyfob_does_not_know(cloud: Cloud) -> None:
    """No project is made up: libraries take it from elsewhere, as the words say."""
    capability = cloud.capability("machine", "work")
    assert "GOOGLE_CLOUD_PROJECT" in cloud.get(PROJECT, 404, FLAVOR, capability=capability)
    cloud.get(UNIVERSE, 404, FLAVOR, capability=capability)


def test_a_login_that_is_needed(own: Cloud) -> None:
    """The words hold the command and the page, in plain ASCII: they are shown as bytes."""
    capability = own.capability("machine", "work")
    own.practice.revoke_grants()
    own.now += TTL

    refused = own.google(capability, status=409)

    assert f"keyfob login work - or in a browser: {own.house.browser_url}/login/" in refused
    assert refused.isascii()


def test_locked(own: Cloud) -> None:
    """The server is still found, for a library that finds none cannot say why; then it is told."""
    capability = own.capability("machine", "work")
    own.house.owner.ask("POST", "/v1/lock", 200, json={})

    assert own.get(GOOGLE, 200, FLAVOR, capability=capability)
    assert own.google(capability, status=423).startswith("Keyfob is locked")
    assert own.get(GOOGLE, 403, FLAVOR, capability=capability[:-1])


@pytest.mark.parametrize("headers", [{}, {"Metadata-Flavor": "Else"}, FLAVOR | {"X-Forwarded-For": "10.0.0.1"}])
def test_what_no_such_program_sends(cloud: Cloud, headers: dict[str, str]) -> None:
    """As the real server does, this one refuses what a server in between would send: at every path."""
    capability = cloud.capability("machine", "work")
    for route in (
        GOOGLE,
        GOOGLE + "/",
        PROJECT,
        *(ACCOUNT + what for what in ("", "email", "scopes", "token", "identity")),
    ):
        names: dict[str, Any] = {"identity": "default"} if "{identity}" in route else {}
        assert cloud.get(route, 400, headers, capability=capability, **names)


def test_a_wrong_key_or_a_web_page(cloud: Cloud) -> None:
    """Refused in plain text and with the flavour, at every path."""
    capability = cloud.capability("machine", "work")
    for what in ("", "email", "scopes", "token", "identity"):
        assert "holds no key that was made for one" in cloud.google("wrong", what, 403)
        page = FLAVOR | {"Origin": "https://evil.example"}
        assert "Web pages" in cloud.get(ACCOUNT + what, 403, page, capability=capability, identity="default")


def test_an_address_is_opened_by_the_key_in_it_only(cloud: Cloud) -> None:
    """Neither a key in the header nor being the owner at the socket opens an address that is a secret itself."""
    shown = {"Authorization": f"Bearer {cloud.app('job', 'work')}"}
    routes = [route for _, route, _, _ in APP_ROUTES if "{capability}" in route]
    assert len(routes) > 7
    for route in routes:
        path = route.format(capability="x", identity="default")
        for http, where in ((cloud.http, cloud.house.app_url), (cloud.house.owner.http, "")):
            for more in ({}, shown):
                assert http.get(where + path, headers=FLAVOR | METADATA | more).status_code in (403, 429), route
