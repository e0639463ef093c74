"""Azure's two endpoints: programs that know only a managed identity get an account's token, and sentences they show."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.cloud import AZURE, IMDS, METADATA, TTL, Cloud, cloud_at

API = "https://management.example.org"
HOME = "https://home.example.org/"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Run a daemon with ``work``, ``home`` (for one resource), and ``mail`` (whose scopes are those of one API)."""
    with cloud_at(tmp_path_factory.mktemp("base")) as found:
        found.log_in_program("home", flow="client-credentials", resource=HOME)
        ask, url = found.house.owner.ask, found.practice.url
        new = {"authorization_endpoint": f"{url}/authorize", "token_endpoint": f"{url}/token", "client_id": "keyfob"}
        ask("POST", "/v1/providers", 201, json={"name": "plain", **new})
        brought = {"flow": "token", "access_token": "made-by-hand", "scope": [f"{API}/mail.read"]}
        ask("POST", "/v1/logins", 201, json={"account": "mail", "provider": "plain", **brought})
        yield found


def both(cloud: Cloud, *grants: str | dict[str, Any]) -> list[Any]:
    """Make an app for each endpoint, and return what asks there."""
    key, capability = cloud.app("service", *grants), cloud.capability("machine", *grants)
    return [
        lambda status=200, **query: cloud.azure(key, status, **query),
        lambda status=200, **query: cloud.imds(capability, status, **query),
    ]


def words(answer: Any) -> str:  # noqa: ANN401 -- either form
    """Return the sentence of an error."""
    return str(answer.get("message") or answer["error_description"])


def test_a_token(cloud: Cloud) -> None:
    """It is the account's own, with its end as both protocols write it, and the resource as it was asked for."""
    stored = cloud.stored()
    for ask in both(cloud, "work"):
        given = ask(resource=API, **{"api-version": "2019-08-01", "unknown": "x"})

        assert given["access_token"] == stored["access_token"]
        assert given["expires_in"] == str(stored["expires_in"])
        assert int(given["expires_on"]) == int(cloud.now) + stored["expires_in"]
        assert (given["resource"], given["token_type"]) == (API, "Bearer")


def test_a_lifetime_that_nobody_knows(cloud: Cloud) -> None:
    """A number is told all the same, so short that the library asks before each request."""
    assert cloud.azure(cloud.app("service", "mail"), resource=API)["expires_in"] == "60"


def test_five_minutes_are_left(own: Cloud) -> None:
    """The library would take a token with less for expired, and ask again at once."""
    key = own.app("service", "work")
    first = own.azure(key)
    own.now += TTL - 320
    assert own.azure(key)["access_token"] == first["access_token"]
    own.now += 20

    assert own.azure(key)["access_token"] != first["access_token"]


@pytest.mark.parametrize(
    ("grants", "query", "account"),
    [
        (("work",), {}, "work"),
        (("work",), {"resource": API}, "work"),
        (("work", "home"), {"client_id": "home"}, "home"),
        (("work", "home"), {"mi_res_id": "home", "resource": HOME}, "home"),
        (("work", "home"), {"object_id": "work", "resource": API}, "work"),
        (("work", "home"), {"msi_res_id": "home", "client_id": "home"}, "home"),
        (("work", "home"), {"resource": "home"}, "home"),
        (("work", "home"), {"resource": HOME}, "home"),
        (("work", "home"), {"resource": HOME.rstrip("/")}, "home"),
        (("work", "home"), {"resource": API}, "work"),
        (("work", "home", "mail"), {"resource": API}, "mail"),
        (("mail",), {"resource": f"{API}/mail.read"}, "mail"),
        (({"account": "work", "mode": "proxy"}, "home"), {}, "home"),
    ],
)
def test_the_account_that_is_meant(cloud: Cloud, grants: Any, query: dict[str, str], account: str) -> None:  # noqa: ANN401 -- names and grants
    """It is the one that is named as the identity, or the one that is for that API as far as is known."""
    for ask in both(cloud, *grants):
        assert ask(**query)["access_token"] == cloud.stored(account)["access_token"]


@pytest.mark.parametrize(
    ("grants", "query", "said"),
    [
        (("work", "home"), {}, "none of the accounts that it may mean: home, work. Choose one: client_id=NAME"),
        (("mail",), {"resource": HOME}, f"None of these accounts is for '{HOME}': mail. Log in for it"),
        (("home",), {"resource": API}, f"--provider PROVIDER --scope {API}/.default"),
        (("home",), {"resource": API, "client_id": "home"}, f"None of these accounts is for '{API}': home."),
        (("work", "home"), {"client_id": "home", "object_id": "work"}, "The identity is named in several ways."),
        (("work",), {"resource": "a\nb"}, "'resource' holds a control character."),
    ],
)
def test_what_is_not_clear(cloud: Cloud, grants: Any, query: dict[str, str], said: str) -> None:  # noqa: ANN401 -- as above
    """No token goes to an API that it is not for, and whoever has to choose is told among what."""
    for ask in both(cloud, *grants):
        assert said in words(ask(400, **query))


def test_what_was_not_granted(cloud: Cloud) -> None:
    """An account that was not granted is not given under any name, and the owner is asked."""
    for ask in both(cloud, "work"):
        refused = words(ask(403, client_id="home"))
        assert "was not granted account 'home'" in refused
        assert "keyfob approve" in refused


def test_nothing_was_granted(cloud: Cloud) -> None:
    """An app without an account is told how to get one."""
    for ask in both(cloud):
        assert "was granted no account. Name one (client_id=NAME" in words(ask(403, resource=API))


def test_a_login_that_is_needed(own: Cloud) -> None:
    """The words hold the command and the page; the status is one at which the library does not try for minutes."""
    service, machine = both(own, "work")
    own.practice.revoke_grants()
    own.now += TTL

    refused = service(409, resource=API)

    assert (refused["statusCode"], machine(409)["error"]) == (409, "invalid_grant")
    for said in (words(refused), words(machine(409))):
        assert f"keyfob login work - or in a browser: {own.house.browser_url}/login/" in said


def test_an_outage(own: Cloud) -> None:
    """Neither 503 nor Retry-After, after which the library would hang for minutes: the status stands in the body."""
    service, machine = both(own, "work")
    own.now += TTL
    own.practice.set_faults(["token:status=503"])

    assert service(400)["statusCode"] == 503
    assert machine(400)["error"] == "temporarily_unavailable"


def test_locked(own: Cloud) -> None:
    """Locked says so, and names nothing of the owner's."""
    service, machine = both(own, "work")
    own.house.owner.ask("POST", "/v1/lock", 200, json={})

    for answer in (service(423), machine(423)):
        assert words(answer).startswith("Keyfob is locked")


def test_a_wrong_key(cloud: Cloud) -> None:
    """No token, no Retry-After, and words that help; an empty one and none are no key either."""
    key, capability = cloud.app("service", "work"), cloud.capability("machine", "work")
    for wrong in ("", "kf_", f"{key}x", capability):
        assert cloud.azure(wrong, 403)["statusCode"] == 401
    assert "The app key is missing." in cloud.get(AZURE, 403, METADATA)["message"]
    for wrong in ("x", key, capability[:-1]):
        assert cloud.imds(wrong, 403)["error"] == "invalid_client"


@pytest.mark.parametrize("headers", [{}, {"Metadata": "false"}, METADATA | {"X-Forwarded-For": "10.0.0.1"}])
def test_what_no_such_program_sends(cloud: Cloud, headers: dict[str, str]) -> None:
    """As the real server does, the one whose address is its secret refuses what a server in between would send."""
    assert cloud.get(IMDS, 400, headers, capability=cloud.capability("machine", "work"))["error"] == "invalid_request"


def test_a_web_page(cloud: Cloud) -> None:
    """The guard's refusals come in the protocol's own form, too."""
    key, capability = cloud.app("service", "work"), cloud.capability("machine", "work")
    page = {"Origin": "https://evil.example"}
    assert "Web pages" in cloud.get(AZURE, 403, {"X-IDENTITY-HEADER": key, **page})["message"]
    assert "Web pages" in cloud.get(IMDS, 403, METADATA | page, capability=capability)["error_description"]
    assert cloud.get(AZURE, 400, {"Host": "evil.example"})["statusCode"] == 400
