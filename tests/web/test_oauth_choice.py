"""``/oauth/token``: which account a request means, and what it is told where it gets no token."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.web.facade import EXCHANGE, ID_TOKEN, JWT, ROUTE, Facade
from tests.web.house import running

API = "https://api.example.org/"
HOME = "https://home.example.org/"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facade]:
    """Run a daemon with the accounts ``work``, ``home`` (for one resource) and ``spare`` (for the same one)."""
    found = Facade()
    settings = PracticeSettings(ttl=600, auto_approve=True)
    with (
        practice_in_thread(settings, clock=found.clock) as found.practice,
        running(tmp_path_factory.mktemp("base"), found.clock) as found.house,
    ):
        found.house.log_in("work", found.practice.url)
        for name in ("home", "spare"):
            found.log_in_program(name, flow="client-credentials", resource=HOME)
        yield found


@pytest.fixture
def facade(base: Facade) -> Iterator[Facade]:
    """Hand out the daemon, and take the app ``job`` away afterwards."""
    yield base
    ask = base.house.owner.ask
    if any(app["name"] == "job" for app in ask("GET", "/v1/apps", 200)["apps"]):
        ask("DELETE", "/v1/apps/{app}", 204, path={"app": "job"})


# --- which account ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grants", "form", "account"),
    [
        (("work",), {}, "work"),
        (("work",), {"audience": "work"}, "work"),
        (("home",), {"resource": HOME}, "home"),
        (("work", "home"), {"account": "home"}, "home"),
        (("work", "home"), {"audience": "work"}, "work"),
        (("work", "home"), {"resource": "work"}, "work"),
        (("work", "home"), {"resource": HOME}, "home"),
        (("work", "home"), {"account": "home", "resource": HOME}, "home"),
        (("work", "home"), {"audience": "home", "resource": HOME}, "home"),
        (("home", "spare"), {"resource": HOME, "account": "spare"}, "spare"),
        (("home", "spare"), {"resource": HOME, "audience": "spare"}, "spare"),
        (("work", {"account": "home", "expires_at": "2999-01-01T00:00:00Z"}), {"resource": HOME}, "home"),
        (("work", {"account": "home", "mode": "proxy"}), {}, "work"),
        (({"account": "work", "mode": "proxy"}, "home"), {}, "home"),
    ],
)
def test_the_account_that_is_meant(facade: Facade, grants: Any, form: dict[str, str], account: str) -> None:  # noqa: ANN401 -- names and grants
    """It is the one that is named, the only one for that resource, or the only one that there is."""
    key = facade.app("job", *grants)

    assert facade.ask(key, 200, **form)["access_token"] == facade.stored(account)["access_token"]


def test_the_address_of_the_endpoint_may_name_it(facade: Facade) -> None:
    """A library that forgets its fields when it asks again keeps the address."""
    key = facade.app("job", "work", "home")

    for _ in range(2):
        assert facade.ask(key, 200, where="home")["access_token"] == facade.stored("home")["access_token"]


@pytest.mark.parametrize(
    ("grants", "form", "words"),
    [
        (("work", "home"), {}, "names none of the accounts that it may mean: home, work."),
        (("home", "spare"), {"resource": HOME}, f"Several accounts are for resource '{HOME}': home, spare."),
        (("work", "home"), {"resource": API}, f"None of these accounts is for resource '{API}': home, work."),
        (("work", "home"), {"audience": "spare"}, "None of these accounts is for audience 'spare': home, work."),
        (
            ("work", "home"),
            {"audience": "x", "resource": API},
            f"is for resource '{API}' and audience 'x': home, work.",
        ),
    ],
)
def test_several_that_may_be_meant(facade: Facade, grants: Any, form: dict[str, str], words: str) -> None:  # noqa: ANN401 -- names
    """They are named, and how to choose one; no others, whether there are any or not."""
    refused = facade.ask(facade.app("job", *grants), 400, **form)

    assert refused["error"] == "invalid_target"
    assert words in refused["error_description"]
    assert refused["error_description"].endswith("Choose one: send account=NAME, or audience=NAME.")


def test_a_grant_that_has_ended_is_no_choice(facade: Facade) -> None:
    """Two accounts of which one was granted until yesterday are one account."""
    key = facade.app("job", "work", {"account": "home", "expires_at": facade.now + 60})
    facade.ask(key, 400)
    facade.now += 61

    assert facade.ask(key, 200)["access_token"] == facade.stored()["access_token"]
    for form in ({"account": "home"}, {"audience": "home"}):
        refused = facade.ask(key, 400, **form)
        assert "the grant of account 'home' to app 'job' has expired" in refused["error_description"]
        assert "/ui/approvals/" in refused["error_uri"]


def test_the_only_grant_has_ended(facade: Facade) -> None:
    """Then that is said, and the owner is asked again."""
    key = facade.app("job", {"account": "work", "expires_at": facade.now + 60})
    facade.now += 61

    refused = facade.ask(key, 400)

    assert refused["error"] == "unauthorized_client"
    assert "the grant of account 'work' to app 'job' has expired" in refused["error_description"]
    assert "/ui/approvals/" in refused["error_uri"]


def test_the_owner_has_the_same_choice(facade: Facade) -> None:
    """On the socket all accounts may be meant."""
    ask, form = facade.house.owner.ask, {"grant_type": "client_credentials"}

    refused = ask("POST", ROUTE, 400, data=form)
    assert "home, spare, work" in refused["error_description"]
    found = ask("POST", ROUTE, 200, data={**form, "audience": "spare"})
    assert found["access_token"] == facade.stored("spare")["access_token"]


def test_the_owner_of_nothing(tmp_path: Path) -> None:
    """Where there is no account yet, that is said, and how one comes to be."""
    with running(tmp_path) as house:
        refused = house.owner.ask("POST", ROUTE, 400, data={"grant_type": "client_credentials"})
    assert (refused["error"], "keyfob login" in refused["error_description"]) == ("invalid_target", True)


# --- what cannot be had -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grant", "form", "error", "words"),
    [
        ({}, {"scope": "everything"}, "invalid_scope", "keyfob login work --scope everything"),
        ({}, {"scope": 'read "'}, "invalid_scope", "'scope' holds something"),
        ({"scope": ["openid"]}, {"scope": "profile"}, "invalid_scope", "not granted the scope 'profile'"),
        ({}, {"resource": API}, "invalid_target", "no resource but the account's own"),
        ({"resource": API}, {"resource": f"{API}more"}, "invalid_target", f"was granted resource '{API}' only"),
        ({"resource": API}, {"audience": "billing"}, "invalid_target", "and no audience"),
        ({}, {"resource": "no uri"}, "invalid_target", "is not an absolute URI"),
        ({}, {"resource": f"{API}#x"}, "invalid_target", "cannot name one"),
        ({}, {"audience": "ü"}, "invalid_target", "must be a name of plain characters"),
        ({"mode": "proxy"}, {}, "unauthorized_client", "through the proxy only"),
        ({"mode": "proxy"}, {"account": "home"}, "unauthorized_client", "was not granted account 'home'"),
    ],
)
def test_what_is_missing(facade: Facade, grant: dict[str, Any], form: dict[str, str], error: str, words: str) -> None:
    """Each lack has OAuth's own name, and the step that helps."""
    refused = facade.ask(facade.app("job", {"account": "work", **grant}), 400, **form)

    assert (refused["error"], words in refused["error_description"]) == (error, True), refused


def test_two_resources(facade: Facade) -> None:
    """A token for several resources at once (RFC 8707 2) is not to be had, and the request is not halved."""
    key = facade.app("job", "work")
    with (door := facade.house.app("")).http:
        form = {"grant_type": "client_credentials", "resource": [API, HOME]}
        assert door.ask("POST", ROUTE, 400, data=form, auth=("job", key))["error"] == "invalid_target"


def test_without_a_grant_the_owner_is_asked(facade: Facade) -> None:
    """In whatever field it named the account, the answer says where the yes is given; then there is a token."""
    key = facade.app("job")
    for form in ({"account": "work"}, {"audience": "work"}, {"resource": "work"}):
        refused = facade.ask(key, 400, **form)
        assert (refused["error"], refused["code"]) == ("unauthorized_client", "not_granted")
        code = refused["error_uri"].rpartition("/")[2]
        assert refused["error_uri"] == f"{facade.house.browser_url}/ui/approvals/{code}"
        assert f"keyfob approve {code} - or in a browser: {refused['error_uri']}" in refused["error_description"]

    facade.house.owner.ask("POST", "/v1/approvals/{id}", 200, path={"id": code}, json={"decision": "allow"})

    assert facade.ask(key, 200)["access_token"] == facade.stored()["access_token"]


def test_without_a_grant_or_a_name(facade: Facade) -> None:
    """An app that has nothing and names nothing is told what to do; nobody is asked about a resource."""
    key = facade.app("job")
    for form in ({}, {"resource": API}):
        refused = facade.ask(key, 400, **form)
        assert refused["error"] == "unauthorized_client"
        assert "keyfob app grant job --account ACCOUNT" in refused["error_description"]
        assert "error_uri" not in refused


# --- accounts in need -------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Facade]:
    """Run a daemon of its own with the account ``work``, whose token is about to end."""
    found = Facade()
    with (
        practice_in_thread(PracticeSettings(ttl=600, auto_approve=True), clock=found.clock) as found.practice,
        running(tmp_path, found.clock) as found.house,
    ):
        found.house.log_in("work", found.practice.url)
        yield found


def test_a_login_that_is_needed(fresh: Facade) -> None:
    """A dead login is an invalid grant whose words name the command and the page; after a login all is well again."""
    key = fresh.app("job", "work")
    fresh.practice.revoke_grants()
    fresh.now += 700

    refused = fresh.ask(key, 400)

    assert (refused["error"], refused["code"]) == ("invalid_grant", "login_needed")
    assert refused["error_uri"].startswith(f"{fresh.house.browser_url}/login/")
    assert f"keyfob login work - or in a browser: {refused['error_uri']}" in refused["error_description"]
    fresh.house.log_in("work", fresh.practice.url)
    assert fresh.ask(key, 200)["expires_in"] == 600


def test_an_account_without_an_id_token(fresh: Facade) -> None:
    """A token that the login never brought is an invalid grant, too."""
    fresh.log_in_program("ci", flow="client-credentials")
    for account, error in (("ci", "invalid_request"), ("work", "")):
        key = fresh.app(f"job-{account}", account)
        form = {"grant_type": EXCHANGE, "subject_token": key, "subject_token_type": JWT}
        answer = fresh.post(400 if error else 200, **form, requested_token_type=ID_TOKEN)
        assert answer.get("error", "") == error, answer


def test_a_provider_that_is_away(fresh: Facade) -> None:
    """503 with the seconds to wait, once no token lives; before that the old one is handed out."""
    key = fresh.app("job", "work")
    fresh.practice.set_faults(["token:status=503"])
    fresh.now += 550
    assert fresh.ask(key, 200)["expires_in"] == 50
    fresh.now += 100

    refused = fresh.ask(key, 503)

    assert (refused["error"], refused["code"]) == ("temporarily_unavailable", "provider_unavailable")
    assert refused["retry_after"] >= 1
    assert "the login is kept" in refused["error_description"]


def test_min_ttl(fresh: Facade) -> None:
    """A program that says how long it needs the token gets one that lives so long."""
    key = fresh.app("job", "work")
    first = fresh.ask(key, 200)
    fresh.now += 100
    assert fresh.ask(key, 200, min_ttl="300")["access_token"] == first["access_token"]

    assert fresh.ask(key, 200, min_ttl="550")["access_token"] != first["access_token"]


def test_locked(fresh: Facade) -> None:
    """A locked Keyfob says so, to an app without the owner's files, in OAuth's form; the unlock ends it."""
    key = fresh.app("job", "work")
    fresh.house.owner.ask("POST", "/v1/lock", 200)

    refused = fresh.ask(key, 423)
    assert (refused["error"], refused["code"]) == ("temporarily_unavailable", "locked")
    assert (
        "keyfob unlock"
        in fresh.house.owner.ask("POST", ROUTE, 423, data={"grant_type": "client_credentials"})["error_description"]
    )
    fresh.house.owner.ask("POST", "/v1/unlock", 200)
    assert fresh.ask(key, 200)
