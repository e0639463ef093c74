"""Cookies of 127.0.0.1 are shared by all its ports: one that another program set or read is worth nothing.

Another program of this machine can read the login cookie (a page of its own port gets it) and lay one of its own.
"""

from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.attacks.ground import TOKEN, Ground
from tests.e2e.home import PATIENCE
from tests.loopback import NO_TLS

MADE_UP = "A" * 43


def name_of(login_id: str) -> str:
    """Return the name of a login's cookie."""
    return f"kf_login_{login_id[:12]}"


@pytest.fixture
def stolen(ground: Ground) -> tuple[str, str]:
    """Begin a login in the person's browser, and steal its cookie: the login's id and the cookie."""
    begun = ground.begin("")
    answer = httpx2.get(begun["start_url"], trust_env=False, verify=NO_TLS)
    return begun["id"], answer.cookies[name_of(begun["id"])]


def get(ground: Ground, path: str, cookies: str, door: str = "browser") -> httpx2.Response:
    """Ask with cookies."""
    url = ground.browser_url if door == "browser" else ground.app_url
    return httpx2.get(url + path, headers={"Cookie": cookies}, trust_env=False, verify=NO_TLS, timeout=PATIENCE)


@pytest.mark.parametrize("state", ["", "?state=", "?state=x", "?code=x", "?code=x&state=x", "?error=access_denied"])
def test_a_cookie_alone_finishes_nothing(ground: Ground, stolen: tuple[str, str], state: str) -> None:
    """Without the state, which only the provider's answer carries, the callback does nothing."""
    login_id, cookie = stolen

    answer = get(ground, f"/callback/practice{state}", f"{name_of(login_id)}={cookie}")

    assert answer.status_code == 400
    assert ground.login(login_id)["state"] == "pending"


@pytest.mark.parametrize("path", [TOKEN, "/v1/accounts", "/v1/status", "/v1/apps"])
def test_a_cookie_is_no_key(ground: Ground, stolen: tuple[str, str], path: str) -> None:
    """At the app port a cookie is a reason to refuse; at the browser port there is no such path."""
    login_id, cookie = stolen
    for line in (f"{name_of(login_id)}={cookie}", f"kf={ground.key}", f"Authorization=Bearer {ground.key}"):
        assert get(ground, path, line, "app").status_code == 403
        assert get(ground, path, line).status_code == 404


@pytest.mark.parametrize("path", ["/ui/", "/ui", "/"])
def test_a_cookie_reads_nothing(ground: Ground, stolen: tuple[str, str], path: str) -> None:
    """The pages without a login of their own say the same with a cookie and without."""
    login_id, cookie = stolen

    assert get(ground, path, f"{name_of(login_id)}={cookie}").content == get(ground, path, "a=b").content


@pytest.mark.parametrize(
    "laid",
    [MADE_UP, "", "x", MADE_UP + "A", f'"{MADE_UP}"', "é" * 43],
    ids=["of our form", "empty", "short", "long", "quoted", "other letters"],
)
def test_a_laid_cookie_owns_nothing(ground: Ground, laid: str) -> None:
    """What another port laid before the first visit is not taken for ours: a fresh one is set, so none is known."""
    begun = ground.begin("")
    line = f"{name_of(begun['id'])}={laid}".encode()

    first = httpx2.get(begun["start_url"], headers={b"Cookie": line}, trust_env=False, verify=NO_TLS)

    assert first.status_code == 302
    assert first.cookies[name_of(begun["id"])] != laid
    # With the laid one nobody gets on: not by the start page, the result page or the callback.
    state = parse_qs(urlsplit(first.headers["location"]).query)["state"][0]
    for path in (f"/login/{begun['id']}", f"/ui/logins/{begun['id']}"):
        again = httpx2.get(ground.browser_url + path, headers={b"Cookie": line}, trust_env=False, verify=NO_TLS)
        assert again.status_code in (403, 404)
    url = f"{ground.browser_url}/callback/{begun['provider']}?code=x&state={state}"
    httpx2.get(url, headers={b"Cookie": line}, trust_env=False, verify=NO_TLS)
    assert "in another browser than" in ground.login(begun["id"])["reason"]


def test_one_logins_cookie_is_not_anothers(ground: Ground, stolen: tuple[str, str]) -> None:
    """A cookie opens the page of its own login only, under whatever name it is shown."""
    begun = ground.begin("")
    other = begun["id"]
    httpx2.get(begun["start_url"], trust_env=False, verify=NO_TLS)  # another browser has opened it
    for name in (name_of(other), name_of(stolen[0])):
        assert get(ground, f"/ui/logins/{other}", f"{name}={stolen[1]}").status_code == 404


def test_a_stolen_cookie_shows_no_secret(ground: Ground, stolen: tuple[str, str]) -> None:
    """All that it opens is the page that says how its own login stands; no code, state or token is on it."""
    login_id, cookie = stolen

    page = get(ground, f"/ui/logins/{login_id}", f"{name_of(login_id)}={cookie}")

    assert page.status_code == 200
    assert "not finished yet" in page.text
    assert ground.token not in page.text


def test_the_cookie_is_marked(ground: Ground) -> None:
    """No script reads it, no other site's request carries it, and it ends with the login."""
    line = httpx2.get(ground.begin("")["start_url"], trust_env=False, verify=NO_TLS).headers["set-cookie"].lower()

    assert {"httponly", "samesite=lax", "max-age=600"} <= {part.strip() for part in line.split(";")}


def test_too_many_cookies(ground: Ground, stolen: tuple[str, str]) -> None:
    """A program that fills the jar cannot make the callback of another login act, or break."""
    jar = "; ".join(f"kf_login_{number:012d}={MADE_UP}" for number in range(300))

    assert get(ground, "/callback/practice?state=x&code=y", jar).status_code == 400
    assert ground.login(stolen[0])["state"] == "pending"
