"""App keys and grants: what a key opens, what it never opens, and when it stops opening anything."""

import statistics
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2
import pytest

from broker.web.asgi import APP_ROUTES
from tests.attacks.ground import TOKEN, Ground
from tests.e2e.home import PATIENCE, until
from tests.loopback import NO_TLS
from tests.web.facade import EXCHANGE, JWT
from tests.web.raw import Answer, Line

OWNERS = [(method, path) for method, path, _, who in APP_ROUTES if who == "owner"]
OTHER = "/v1/accounts/other/token"
RESOURCE = "https://api.example.org/"


@pytest.fixture(scope="module", autouse=True)
def _other(ground: Ground) -> None:
    ground.log_in("other")


@pytest.fixture
def app(ground: Ground) -> Iterator[Any]:
    """Make apps that are gone afterwards."""
    made: list[str] = []

    def make(*grants: dict[str, object], **more: object) -> tuple[str, str]:
        name = f"app-{len(made)}"
        made.append(name)
        return name, ground.add_app(name, *grants, **more)

    yield make
    for name in made:
        ground.owner.delete(f"/v1/apps/{name}")


def forgeries(key: str) -> dict[str, str]:
    """Return values of Authorization that only look like a key."""
    return {
        "nothing": "",
        "a scheme alone": "Bearer",
        "an empty key": "Bearer ",
        "the prefix": "Bearer kf_",
        "a made-up key": "Bearer kf_" + "A" * 43,
        "one letter less": f"Bearer {key[:-1]}",
        "one letter more": f"Bearer {key}A",
        "another last letter": f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}",
        "another first letter": f"Bearer kf_{'A' if key[3] != 'A' else 'B'}{key[4:]}",
        "in capitals": f"Bearer {key.upper()}",
        "without its prefix": f"Bearer {key.removeprefix('kf_')}",
        "quoted": f'Bearer "{key}"',
        "twice": f"Bearer {key} {key}",
        "with a comma": f"Bearer {key}, Bearer {key}",
        "as Basic": f"Basic {key}",
        "as a word": key,
        "as a pattern": "Bearer kf_%",
        "with a quote": f"Bearer {key}' OR '1'='1",
        "with NUL": f"Bearer {key}%00",
        "its hash": "Bearer kf_" + sha256(key.encode()).hexdigest(),
    }


@pytest.mark.parametrize("name", forgeries("kf_xxxx"))
@pytest.mark.parametrize("door", ["app", "socket"])
def test_a_forged_key(ground: Ground, door: str, name: str) -> None:
    """Only the very key opens; on the socket a wrong one is not forgiven because its bearer is the owner."""
    with Line(ground.where(door)) as line:
        answer = line.ask("GET", TOKEN, f"Authorization: {forgeries(ground.key)[name]}")

    # So many come here that some are told to wait.
    assert (answer.status, answer.json()["code"]) in ((401, "unauthorized"), (429, "too_many_requests"))
    assert ground.key not in answer.text


@pytest.mark.parametrize(
    "place",
    [
        "?key={key}",
        "?access_token={key}",
        "?authorization=Bearer%20{key}",
        "X-Api-Key: {key}",
        "Proxy-Authorization: Bearer {key}",
    ],
)
def test_a_key_elsewhere(ground: Ground, place: str) -> None:
    """In an address, which logs and histories keep, or in another header a key is none."""
    word = place.format(key=ground.key)
    target, lines = (TOKEN + word, ()) if word.startswith("?") else (TOKEN, (word,))
    with Line(ground.app_url) as line:
        assert line.ask("GET", target, *lines).status == 401


@pytest.mark.parametrize(("method", "path"), OWNERS, ids=str)
def test_what_is_the_owners(ground: Ground, method: str, path: str) -> None:
    """No key opens a route of the owner's, at neither door, before anything of the request is looked at."""
    names = {"account": "me", "id": "x", "provider": "practice", "preset": "practice", "app": "job"}
    target = path.format(**names)

    assert ground.app(ground.key, target, method, json={"confirm": True}).status_code == 403
    with ground.home.door(ground.key) as socket:
        assert socket.request(method, target, json={"confirm": True}).status_code == 403


NOT_GRANTED = {
    "another account": ({"account": "me"}, OTHER),
    "no account": (None, TOKEN),
    "an account that is none": ({"account": "me"}, "/v1/accounts/nobody/token"),
    "a scope beyond the grant": ({"account": "me", "scope": ["openid"]}, f"{TOKEN}?scope=profile"),
    "a scope beyond the account": ({"account": "me"}, f"{TOKEN}?scope=admin"),
    "another resource": ({"account": "me", "resource": RESOURCE}, f"{TOKEN}?resource=https://evil.example/"),
    "a longer resource": ({"account": "me", "resource": RESOURCE}, f"{TOKEN}?resource={RESOURCE}more"),
    "an audience around the resource": ({"account": "me", "resource": RESOURCE}, f"{TOKEN}?audience=evil"),
    "the proxy only": ({"account": "me", "mode": "proxy"}, TOKEN),
    "the proxy only, with the scope of it": (
        {"account": "me", "mode": "proxy", "scope": ["openid"]},
        f"{TOKEN}?scope=openid",
    ),
}


@pytest.mark.parametrize("name", NOT_GRANTED)
def test_what_was_not_granted(ground: Ground, app: Any, name: str) -> None:  # noqa: ANN401 -- a function of the fixture
    """An app gets what it was granted and nothing beside it, however it asks, at both doors."""
    grant, path = NOT_GRANTED[name]
    _, key = app(*([grant] if grant else []))

    with ground.home.door(key) as socket:
        answers = [ground.app(key, path), socket.get(path)]

    for answer in answers:
        assert answer.status_code in (403, 404)
        assert "access_token" not in answer.text


@pytest.mark.parametrize("name", NOT_GRANTED)
def test_oauth_gives_no_more(ground: Ground, app: Any, name: str) -> None:  # noqa: ANN401 -- as above
    """What an app was not granted it does not get in OAuth's way either, in whatever field its key comes."""
    grant, path = NOT_GRANTED[name]
    called, key = app(*([grant] if grant else []))
    asked = {"account": urlsplit(path).path.split("/")[3], **dict(parse_qsl(urlsplit(path).query))}
    client = {"grant_type": "client_credentials", "client_id": called, "client_secret": key}
    subject = {"grant_type": EXCHANGE, "subject_token": key, "subject_token_type": JWT}

    for form in (client, subject):
        answer = httpx2.post(f"{ground.app_url}/oauth/token", data=asked | form, trust_env=False, verify=NO_TLS)
        assert answer.status_code == 400
        assert answer.json()["error"] in ("unauthorized_client", "invalid_scope", "invalid_target")
        assert "access_token" not in answer.text


@pytest.mark.parametrize("name", sorted(forgeries("kf_xxxx").keys() - {"as Basic"}))
@pytest.mark.parametrize("field", ["client_secret", "subject_token", "Basic"])
def test_a_forged_client(ground: Ground, field: str, name: str) -> None:
    """Only the very key opens at OAuth's endpoint, wherever it stands there."""
    forged = forgeries(ground.key)[name].partition(" ")[2]
    form = {"grant_type": "client_credentials", "client_id": "job"}
    if field == "subject_token":
        form |= {"grant_type": EXCHANGE, "subject_token_type": JWT}
    auth = ("job", forged) if field == "Basic" else None
    if auth is None:
        form[field] = forged

    answer = httpx2.post(f"{ground.app_url}/oauth/token", data=form, auth=auth, trust_env=False, verify=NO_TLS)

    assert answer.status_code in (400, 401, 429)
    assert "access_token" not in answer.json()
    assert ground.key not in answer.text


@pytest.fixture
def capability(app: Any) -> str:  # noqa: ANN401 -- as above
    """Make an app whose key stands in an address."""
    key: str = app({"account": "me"}, capability=True)[1]
    return key


def clouds(key: str) -> list[str]:
    """Return the addresses at which a token is, with a key in them."""
    account = "computeMetadata/v1/instance/service-accounts/default"
    return [f"/google/{key}/{account}/token", f"/imds/{key}/metadata/identity/oauth2/token"]


ASKED_THERE = {"Metadata": "true", "Metadata-Flavor": "Google"}


def at(ground: Ground, path: str, headers: dict[str, str]) -> Answer:
    """Ask at the app port without a key in the usual place."""
    with Line(ground.app_url) as line:
        return line.ask("GET", path, *(f"{name}: {value}" for name, value in headers.items()))


def test_a_key_for_an_address_opens_nothing_else(ground: Ground, capability: str) -> None:
    """Whoever read it in a log gets nothing with it where keys belong, at either door."""
    assert [at(ground, path, ASKED_THERE).status for path in clouds(capability)] == [200, 200]
    client = {"grant_type": "client_credentials", "client_id": "app-0", "client_secret": capability}
    subject = {"grant_type": EXCHANGE, "subject_token": capability, "subject_token_type": JWT}
    with ground.home.door(capability) as socket:
        answers = [socket.get(TOKEN), socket.get("/v1/apps/app-0"), ground.app(capability)]
    answers += [
        httpx2.post(f"{ground.app_url}/oauth/token", data=form, trust_env=False, verify=NO_TLS)
        for form in (client, subject)
    ]
    azure = at(ground, "/azure/token", {"X-IDENTITY-HEADER": capability})

    assert {azure.status, *(answer.status_code for answer in answers)} <= {401, 403, 429}
    for text in (azure.text, *(answer.text for answer in answers)):
        assert "access_token" not in text
        assert capability not in text


@pytest.mark.parametrize("name", sorted(forgeries("kf_xxxx").keys() - {"as Basic"}))
def test_an_ordinary_key_opens_no_address(ground: Ground, capability: str, name: str) -> None:
    """A key that was handed out for a header is none in an address, nor is anything that only looks like one."""
    forged = [forgeries(key)[name].partition(" ")[2] for key in (ground.key, capability)]
    for path in clouds(quote(forged[0], safe="")) + clouds(quote(forged[1], safe="")) + clouds(ground.key):
        answer = at(ground, path, ASKED_THERE)

        assert answer.status in (400, 401, 403, 404, 429)
        assert "access_token" not in answer.text
        assert ground.key not in answer.text


@pytest.mark.parametrize("headers", [{}, {"Metadata": "1", "Metadata-Flavor": "x"}, {"X-Forwarded-For": "10.0.0.1"}])
def test_a_server_that_is_led_to_an_address(ground: Ground, capability: str, headers: dict[str, str]) -> None:
    """Whoever makes some server ask for an address of their choice cannot set the headers of the protocol with it."""
    sent = ASKED_THERE | headers if "X-Forwarded-For" in headers else headers
    for path in clouds(capability):
        assert at(ground, path, sent).status == 400


def test_accounts_cannot_be_guessed(ground: Ground, app: Any) -> None:  # noqa: ANN401 -- as above
    """Of an account that was not granted and of one that is not there an app hears the same."""
    _, key = app({"account": "me"})
    said = []
    for name in ("other", "nobody"):
        answer = ground.app(key, f"/v1/accounts/{name}/token")
        code = answer.json()["approval_url"].rpartition("/")[2]
        said.append((answer.status_code, answer.text.replace(name, "NAME").replace(code, "CODE")))

    assert said[0] == said[1]


@pytest.mark.parametrize("path", ["/v1/apps/job", "/v1/apps/owner", "/v1/apps/nobody"])
def test_an_app_sees_itself_only(ground: Ground, app: Any, path: str) -> None:  # noqa: ANN401 -- as above
    """What others were granted is none of its business, nor whether they are there."""
    _, key = app({"account": "me"})

    assert ground.app(key, path).status_code == 403


def report(ground: Ground, key: str, account: str = "me") -> httpx2.Response:
    """Report the account's token as rejected."""
    return ground.app(key, f"/v1/accounts/{account}/token/rejected", "POST", json={"access_token": ground.token})


def test_a_report_needs_a_grant(ground: Ground, app: Any) -> None:  # noqa: ANN401 -- as above
    """Who may not have a token cannot make it be renewed, or learn whether it guessed one."""
    before = len(ground.practice.log.all("refresh"))
    for grants in ((), ({"account": "me", "mode": "proxy"},), ({"account": "other"},)):
        _, key = app(*grants)
        assert report(ground, key).status_code == 403

    assert len(ground.practice.log.all("refresh")) == before


ENDS = {
    "the app is removed": ("DELETE", "/v1/apps/{app}", 401),
    "the key is rotated": ("POST", "/v1/apps/{app}/rotate", 401),
    "the grant is revoked": ("DELETE", "/v1/apps/{app}/grants/me", 403),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_at_once(ground: Ground, app: Any, name: str) -> None:  # noqa: ANN401 -- as above
    """The next request is refused, also on a connection that was kept open."""
    method, path, status = ENDS[name]
    called, key = app({"account": "me"})
    with httpx2.Client(
        base_url=ground.app_url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, verify=NO_TLS
    ) as kept:
        assert kept.get(TOKEN).status_code == 200
        ground.owner.request(method, path.format(app=called)).raise_for_status()

        assert kept.get(TOKEN).status_code in (status, 429 if status == 401 else status)


@pytest.mark.parametrize("what", ["key", "grant"])
def test_it_ends_by_itself(ground: Ground, app: Any, what: str) -> None:  # noqa: ANN401 -- as above
    """A key, or a grant, with an end stops at it."""
    soon = time.time() + 1.0
    _, key = app({"account": "me", "expires_at": soon}) if what == "grant" else app({"account": "me"}, expires_at=soon)

    until("it is refused", lambda: ground.app(key).status_code in (401, 403), PATIENCE)
    assert time.time() >= soon


def seconds(line: Line, key: str) -> float:
    """Return how long a refusal or a token takes."""
    began = time.perf_counter()
    line.ask("GET", "/v1/apps/job", f"Authorization: Bearer {key}")
    return time.perf_counter() - began


def test_time_tells_nothing_of_a_key(ground: Ground) -> None:
    """A key that is right but for its end is refused no later than one that is wrong from the first letter."""
    near, far = ground.key[:-1] + ("A" if ground.key[-1] != "A" else "B"), "kf_" + ground.key[3:][::-1]
    taken: dict[str, list[float]] = {near: [], far: []}
    with Line(ground.app_url) as line:
        for _ in range(400):  # in turns, so that what else the machine does meets both
            for key, found in taken.items():
                found.append(seconds(line, key))

    medians = [statistics.median(found) for found in taken.values()]
    assert max(medians) / min(medians) < 1.25
