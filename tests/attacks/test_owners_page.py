"""Acting for the owner: the page that answers programs, its sign-in, the questions of apps, and programs that pair."""

import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from broker import challenge
from broker.web.browser import BROWSER_ROUTES
from tests.attacks.ground import TOKEN, Ground, as_another_user, as_nobody
from tests.attacks.test_other_users import PORT_CALL
from tests.loopback import NO_TLS

YES = {"decision": "allow"}


@pytest.fixture
def code(ground: Ground) -> Iterator[str]:
    """Return the code of a question that an app has put to the owner."""
    name = f"asks-{secrets.token_hex(4)}"
    key = ground.post("/v1/apps", json={"name": name}).json()["key"]
    told = ground.app(key, TOKEN).json()
    yield told["approval_url"].rpartition("/")[2]
    ground.owner.delete(f"/v1/apps/{name}")


@pytest.fixture
def page(ground: Ground) -> Iterator[httpx2.Client]:
    """Return a browser that sends what Keyfob's own page sends, but for the sign-in."""
    headers = {"Origin": ground.browser_url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    with httpx2.Client(base_url=ground.browser_url, headers=headers, trust_env=False, verify=NO_TLS) as browser:
        yield browser


def opened(ground: Ground) -> dict[str, str]:
    """Return what ``keyfob ui`` is told."""
    told: dict[str, str] = ground.post("/v1/session", json={}).json()
    return told


def ticket(ground: Ground) -> str:
    """Return the one-time secret of an address."""
    return str(urlsplit(opened(ground)["url"]).fragment).removeprefix("s=")


def session(ground: Ground, page: httpx2.Client) -> dict[str, str]:
    """Sign in, and return the header that says so."""
    return {"Authorization": f"Bearer {page.post('/ui/session', json={'ticket': ticket(ground)}).json()['session']}"}


def waits(ground: Ground, code: str) -> bool:
    """Whether nobody has answered it."""
    return bool(ground.owner.get(f"/v1/approvals/{code}").json()["state"] == "pending")


# All that wants a session; the sign-in itself does not, and to end a session that is none is no error.
WANTED = [(method, path) for method, path, _, kind in BROWSER_ROUTES if kind == "data" and path != "/ui/session"]
ROUTES = {f"{method} {path}": (method, path) for method, path in WANTED}
SHOWN = {
    "nothing": "",
    "an app's key": "Bearer {key}",
    "a ticket": "Bearer {ticket}",
    "a made-up session": "Bearer " + "A" * 43,
    "the code": "Bearer {code}",
    "Basic": "Basic {ticket}",
}


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("route", ROUTES)
def test_who_is_not_signed_in_neither_reads_nor_acts(
    ground: Ground, page: httpx2.Client, code: str, route: str, shown: str
) -> None:
    """Whatever a program of this machine can have stands for no sign-in."""
    method, path = ROUTES[route]
    named = path.format(id=code, account="me", app="cron", preset="practice")
    said = SHOWN[shown].format(key=ground.key, ticket=ticket(ground), code=code)

    answer = page.request(
        method,
        named,
        headers={"Authorization": said} if said else {},
        json=YES if method != "GET" else None,
    )

    assert answer.status_code == 401
    assert code not in answer.text
    assert waits(ground, code)


def test_no_token_and_no_key_is_on_the_page(ground: Ground, page: httpx2.Client, code: str) -> None:
    """Whoever reads along, or finds a hole in the page, gets no token by it, and no key but one that is made there."""
    signed_in = session(ground, page)
    refreshed = page.post("/ui/v1/accounts/me/refresh", headers=signed_in, json={})
    made = page.post("/ui/v1/apps", headers=signed_in, json={"name": "shown-once"})
    token, key = ground.get(TOKEN).json()["access_token"], made.json()["key"]
    assert refreshed.status_code == 200

    read = [
        page.get(path.format(id=code, account="me", app="shown-once", preset="practice"), headers=signed_in)
        for path in (path for method, path in WANTED if method == "GET" and "/parts/" in path)
    ]

    assert len(read) > 8
    assert {answer.status_code for answer in read} <= {200, 404}  # one of them is of a login, and there is none
    for answer in (refreshed, made, *read):
        assert token not in answer.text
        assert not re.search("practice_[a-z]+_", answer.text)  # how every secret begins that the provider makes
    assert not [answer.url for answer in read if key in answer.text or ground.key in answer.text]
    ground.owner.delete("/v1/apps/shown-once").raise_for_status()


@pytest.mark.parametrize("name", ["keyfob-session", "session", "Authorization", "kf_login_x"])
def test_a_cookie_signs_nobody_in(ground: Ground, page: httpx2.Client, code: str, name: str) -> None:
    """Cookies reach every port of 127.0.0.1, so even the right secret in one is nothing."""
    secret = session(ground, page)["Authorization"].removeprefix("Bearer ")
    page.cookies.set(name, secret, domain="127.0.0.1")

    assert page.get("/ui/parts/overview").status_code == 401
    assert page.post(f"/ui/v1/approvals/{code}", json=YES).status_code == 401
    assert waits(ground, code)


FOREIGN = {
    "another site": {"Origin": "http://evil.example"},
    "another port": {"Origin": "http://127.0.0.1:8401"},
    "another name of this machine": {"Origin": "http://localhost:1"},
    "https": {"Origin": "https://127.0.0.1"},
    "a sandbox": {"Origin": "null"},
    "no origin": {"Origin": ""},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "another port, as Chromium says it": {"Sec-Fetch-Site": "same-site"},
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "a form of plain text": {"Content-Type": "text/plain"},
    "a form with a file": {"Content-Type": "multipart/form-data; boundary=x"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_page_answers_nothing(ground: Ground, page: httpx2.Client, code: str, name: str) -> None:
    """Not even with the session's secret: what changes something comes from a script of this very origin."""
    headers = {"Content-Type": "application/json", **session(ground, page), **FOREIGN[name]}

    answer = page.post(f"/ui/v1/approvals/{code}", content=b'{"decision":"allow"}', headers=headers)

    assert answer.status_code == 403
    assert waits(ground, code)


def test_a_ticket_is_good_once(ground: Ground, page: httpx2.Client) -> None:
    """Who finds the address in a history or on a screen comes too late."""
    used = ticket(ground)
    assert page.post("/ui/session", json={"ticket": used}).status_code == 201

    assert page.post("/ui/session", json={"ticket": used}).status_code == 401


def test_a_ticket_is_taken_in_no_address(ground: Ground, page: httpx2.Client) -> None:
    """A query stands in logs and histories: the fragment alone brings it, and a script that reads that."""
    used = ticket(ground)
    for path in (f"/ui/session?ticket={used}", f"/ui/?s={used}", f"/ui/parts/overview?session={used}"):
        answer = page.get(path)
        assert answer.status_code in (200, 401, 405)
        assert "session" not in answer.cookies

    assert page.post("/ui/session", json={"ticket": used}).status_code == 201


@as_another_user
def test_another_user_does_not_enter(ground: Ground) -> None:
    """The address in the browser's command line is every user's to read; it lets only the owner's browser in."""
    there = opened(ground)["open_url"]

    said = as_nobody(PORT_CALL, str(ground.port("browser")), there.removeprefix(ground.browser_url))

    assert said.startswith("403 ")
    with httpx2.Client(trust_env=False, verify=NO_TLS) as browser:
        assert browser.get(there).status_code == 303  # it was not used up by that


def test_the_address_without_a_secret_is_good_once(ground: Ground) -> None:
    """And it has no secret in it."""
    told = opened(ground)
    assert str(urlsplit(told["url"]).fragment).removeprefix("s=") not in told["open_url"]
    with httpx2.Client(trust_env=False, verify=NO_TLS) as browser:
        assert browser.get(told["open_url"]).status_code == 303
        assert browser.get(told["open_url"]).status_code == 401


def test_the_address_of_a_question_opens_nothing(ground: Ground, code: str) -> None:
    """The app that was told it sees what everybody sees, and the same for a question that never was."""
    with httpx2.Client(base_url=ground.browser_url, trust_env=False, verify=NO_TLS) as browser:
        there, nowhere = (browser.get(f"/ui/approvals/{one}").text for one in (code, "BBBB-BBBB"))

    assert there.replace(code, "X") == nowhere.replace("BBBB-BBBB", "X")


@pytest.mark.parametrize("door", ["app", "socket"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/approvals"),
        ("GET", "/v1/approvals/{code}"),
        ("POST", "/v1/approvals/{code}"),
        ("POST", "/v1/session"),
    ],
)
def test_an_app_answers_no_question(ground: Ground, code: str, door: str, method: str, path: str) -> None:
    """Least of all its own; nor does it open the owner's page."""
    there = path.format(code=code)
    more: dict[str, Any] = {"json": YES} if method == "POST" else {}
    if door == "app":
        answer = ground.app(ground.key, there, method, **more)
    else:
        answer = ground.owner.request(method, there, headers={"Authorization": f"Bearer {ground.key}"}, **more)

    assert answer.status_code == 403
    assert waits(ground, code)


def test_a_yes_for_one_token_is_one_token(ground: Ground) -> None:
    """However many ask at the same time: one of them gets it."""
    name = f"once-{secrets.token_hex(4)}"
    key = ground.post("/v1/apps", json={"name": name}).json()["key"]
    asked = ground.app(key, TOKEN).json()["approval_url"].rpartition("/")[2]
    ground.post(f"/v1/approvals/{asked}", json={**YES, "remember": "once"}).raise_for_status()

    answers = [ground.app(key, TOKEN).status_code for _ in range(5)]

    assert answers == [200, 403, 403, 403, 403]


def asked_to_pair(url: str, key: str, **more: Any) -> httpx2.Response:  # noqa: ANN401 -- JSON
    """Ask to become an app."""
    with httpx2.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, verify=NO_TLS
    ) as program:
        return program.post("/v1/pairing", json={"name": f"pairs-{secrets.token_hex(4)}", **more})


def test_a_key_of_ones_own_opens_nothing_before_the_yes(ground: Ground) -> None:
    """Neither tokens nor anything of the owner's; and a no is a no."""
    key = f"kf_{secrets.token_urlsafe(32)}"
    asked = asked_to_pair(ground.app_url, key, grants=[{"account": "me"}]).json()["code"]
    assert ground.app(key, TOKEN).status_code in (401, 429)

    ground.post(f"/v1/approvals/{asked}", json={"decision": "deny"}).raise_for_status()

    assert ground.app(key, TOKEN).status_code in (401, 429)
    assert ground.owner.post(f"/v1/approvals/{asked}", json=YES).status_code == 404


def test_who_passes_a_pairing_on_shows_another_code(ground: Ground) -> None:
    """A look-alike that hands the program's key to the daemon cannot have its code: that is of the address."""
    key = f"kf_{secrets.token_urlsafe(32)}"
    beside = f"127.0.0.1:{ground.port('app') + 1}"  # where the program was lured to
    at_program = challenge.pairing_code(challenge.hash_key(key), beside)

    at_owner = asked_to_pair(ground.app_url, key).json()["code"]
    ground.post(f"/v1/approvals/{at_owner}", json={"decision": "deny"}).raise_for_status()

    assert at_owner != at_program
    assert ground.owner.post(f"/v1/approvals/{at_program}", json=YES).status_code == 404


def test_programs_cannot_flood_the_owner_with_themselves(ground: Ground) -> None:
    """A few wait; the rest is told to come again."""
    codes = []
    answer = asked_to_pair(ground.app_url, f"kf_{secrets.token_urlsafe(32)}")
    while answer.status_code == 201:
        codes.append(answer.json()["code"])
        answer = asked_to_pair(ground.app_url, f"kf_{secrets.token_urlsafe(32)}")
    for one in codes:
        ground.post(f"/v1/approvals/{one}", json={"decision": "deny"}).raise_for_status()

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert len(codes) <= 3
