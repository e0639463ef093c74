"""The integrity of a login: state, PKCE, mix-up, replay, fixation, foreign browsers, and words meant to act.

Every answer is brought to the real callback as a browser would, with what an attacker could know or change. Unless a
test says otherwise, nothing of it may reach the token endpoint.
"""

import contextlib
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.attacks.ground import Ground
from tests.e2e.home import PATIENCE
from tests.loopback import NO_TLS

# What a page, a terminal or a log would act on: HTML, escapes, line breaks, bidirectional text, a formula.
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(1)>",
    "template": "{{7331*7331}}${7331*7331}#{7331*7331}",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x1b[31mred",
    "eight-bit terminal": "\x9b2J\x9d0;owned\x9c",
    "log line": "x\r\n2026-01-01 00:00:00,000 INFO broker.access: socket GET /forged 200",
    "one line feed": "x\nforged",
    "unicode line": "x\u2028forged\u2029\x85forged",
    "right to left": "\u202egnp.exe\u2066",
    "NUL": "x\0forged",
    "link": "https://evil.example/phish",
    "address": "javascript:alert(1)",
}


class Begun:
    """A login that a person began, and their browser, which has been at the provider and has the answer.

    Attributes:
        id: of the login.
        arrival: the address that the provider sent the browser to.
    """

    def __init__(self, ground: Ground, browser: httpx2.Client, provider: str = "") -> None:
        self.ground, self.browser = ground, browser
        begun = ground.begin("", provider)
        self.id, self.start = begun["id"], begun["start_url"]
        sent = browser.get(self.start)
        self.asked = dict(parse_qsl(urlsplit(sent.headers["location"]).query))
        self.arrival = str(browser.get(sent.headers["location"]).headers["location"])

    @property
    def params(self) -> dict[str, str]:
        """What the provider's answer says."""
        return dict(parse_qsl(urlsplit(self.arrival).query))

    def bring(self, query: str, browser: httpx2.Client | None = None) -> httpx2.Response:
        """Bring another answer to the callback."""
        address = urlsplit(self.arrival)._replace(query=query).geturl()
        return (browser or self.browser).get(address, follow_redirects=True)

    @property
    def state(self) -> str:
        """How the login stands."""
        found: str = self.ground.login(self.id)["state"]
        return found


@contextlib.contextmanager
def new_browser() -> Iterator[httpx2.Client]:
    """Open a browser that goes from redirect to redirect only when told to."""
    with httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as browser:
        yield browser


@pytest.fixture
def begun(ground: Ground) -> Iterator[Begun]:
    """Begin a login, and go to the provider with it."""
    with new_browser() as browser:
        yield Begun(ground, browser)


def asked(ground: Ground) -> int:
    """Count the codes that came to the provider."""
    return len(ground.practice.log.all("code"))


FORGED = {
    "no state": "code={code}&iss={iss}",
    "an empty state": "code={code}&state=&iss={iss}",
    "a made-up state": "code={code}&state=forged&iss={iss}",
    "a state in capitals": "code={code}&state={STATE}&iss={iss}",
    "a state with a space": "code={code}&state={state}%20&iss={iss}",
    "a state with NUL": "code={code}&state={state}%00&iss={iss}",
    "half a state": "code={code}&state={half}&iss={iss}",
    "a state in the fragment only": "code={code}&iss={iss}&x=%23state={state}",
    "an array of states": "code={code}&state[]={state}&iss={iss}",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_state_finishes_nothing(ground: Ground, begun: Begun, name: str) -> None:
    """The state is compared whole and as it is; the login that is under way goes on untouched."""
    before, params = asked(ground), begun.params
    words = {"STATE": params["state"].swapcase(), "half": params["state"][:20]} | params

    page = begun.bring(FORGED[name].format(**words))

    assert page.status_code == 400
    assert begun.state == "pending"
    assert asked(ground) == before


SPOILED = {
    "no iss": "code={code}&state={state}",
    "a foreign iss": "code={code}&state={state}&iss=https://evil.example",
    "an iss that only looks the same": "code={code}&state={state}&iss={iss}/",
    "an iss in capitals": "code={code}&state={state}&iss=HTTP{rest}",
    "two iss": "code={code}&state={state}&iss={iss}&iss=https://evil.example",
    "two codes": "code={code}&code=stolen&state={state}&iss={iss}",
    "two states": "code={code}&state={state}&state=forged&iss={iss}",
    "code and error": "code={code}&error=access_denied&state={state}&iss={iss}",
    "an error without iss": "error=server_error&state={state}",
    "neither code nor error": "state={state}&iss={iss}",
    "an empty code": "code=&state={state}&iss={iss}",
    "a code with a line break": "code=a%0d%0ab&state={state}&iss={iss}",
    "a code with NUL": "code=a%00b&state={state}&iss={iss}",
    "a long code": "code={long}&state={state}&iss={iss}",
    "a token in the answer": "access_token=evil&token_type=Bearer&state={state}&iss={iss}",
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_answer_ends_the_login(ground: Ground, begun: Begun, name: str) -> None:
    """With the right state, but not an answer that can be believed: no code is sent, and the state is used up."""
    before, params = asked(ground), begun.params
    words = {"rest": params["iss"].removeprefix("http"), "long": "x" * 3000} | params

    begun.bring(SPOILED[name].format(**words))

    assert begun.state == "failed"
    assert asked(ground) == before
    assert begun.browser.get(begun.arrival).status_code == 400
    assert ground.get("/v1/accounts").json()["accounts"][0]["account"] == "me"


def test_a_code_is_good_once(ground: Ground, begun: Begun) -> None:
    """The address that finished a login finishes nothing again: not from history, and not for somebody who saw it."""
    assert begun.browser.get(begun.arrival).status_code == 303
    before = asked(ground)

    for _ in range(3):
        assert begun.browser.get(begun.arrival).status_code == 400
    with new_browser() as other:
        assert other.get(begun.arrival).status_code == 400

    assert asked(ground) == before
    assert begun.state == "done"


def test_a_foreign_code_is_not_taken(ground: Ground, begun: Begun) -> None:
    """The code of another login of the same client, injected into this one: PKCE makes it worth nothing."""
    with new_browser() as attacker:
        theirs = Begun(ground, attacker)

    begun.bring(urlencode(begun.params | {"code": theirs.params["code"]}))

    assert begun.state == "failed"
    assert ground.practice.log.all("code")[-1].result == "invalid_grant"


def test_every_login_proves_itself_anew(ground: Ground) -> None:
    """State, nonce and code challenge are fresh each time, long, and the challenge is S256."""
    with new_browser() as browser:
        seen = [Begun(ground, browser).asked for _ in range(5)]

    for name in ("state", "nonce", "code_challenge"):
        values = {each[name] for each in seen}
        assert len(values) == 5
        assert min(map(len, values)) >= 22  # 128 bits
    assert {each["code_challenge_method"] for each in seen} == {"S256"}


def test_another_browser_finishes_nothing(ground: Ground, begun: Begun) -> None:
    """Login CSRF: an attacker's answer, loaded in the person's browser, brings the attacker's account to nobody."""
    before = asked(ground)
    with new_browser() as victim:
        page = victim.get(begun.arrival, follow_redirects=True)

    assert page.status_code in (400, 404)
    assert "another browser" in ground.login(begun.id)["reason"]
    assert asked(ground) == before


def test_a_login_is_fixed_to_its_first_browser(ground: Ground) -> None:
    """Session fixation: a start page that the attacker opened first is not opened by the person any more."""
    start = ground.begin("")["start_url"]
    with new_browser() as attacker, new_browser() as victim:
        assert attacker.get(start).status_code == 302

        page = victim.get(start)

    assert page.status_code == 403
    assert not page.cookies
    assert "another browser" in page.text


def test_an_answer_counts_at_its_own_address(ground: Ground, begun: Begun) -> None:
    """Mix-up: the answer of one provider at another's callback ends the login, and no code is sent to anybody."""
    before = asked(ground)
    path = urlsplit(begun.arrival).path

    begun.browser.get(begun.arrival.replace(path, "/callback/other"))

    assert "another provider" in ground.login(begun.id)["reason"]
    assert asked(ground) == before


@pytest.fixture(scope="module")
def evil() -> Iterator[PracticeServer]:
    """Run another provider, which the person also has an account at."""
    with practice_in_thread(PracticeSettings(auto_approve=True)) as server:
        yield server


def test_a_code_goes_to_its_own_provider(ground: Ground, begun: Begun, evil: PracticeServer) -> None:
    """Mix-up: an honest provider's code with an evil provider's state is sent to neither."""
    with new_browser() as browser:
        theirs = Begun(ground, browser, evil.url)
        before = asked(ground), len(evil.log.all("code"))

        theirs.bring(urlencode(begun.params | {"state": theirs.params["state"]}))

    assert theirs.state == "failed"
    assert (asked(ground), len(evil.log.all("code"))) == before


@pytest.mark.parametrize("name", ["next", "return_to", "redirect_uri", "url", "continue", "target", "RelayState"])
def test_there_is_no_open_redirect(ground: Ground, begun: Begun, name: str) -> None:
    """No parameter of any page chooses where the browser goes next."""
    for value in ("https://evil.example", "//evil.example", "/\\evil.example"):
        for url in (begun.start, f"{ground.browser_url}/ui/", f"{ground.browser_url}/ui/logins/{begun.id}"):
            answer = begun.browser.get(f"{url}?{name}={quote(value, safe='')}")
            where = answer.headers.get("location", "")
            assert where.startswith((ground.practice.url, "/ui/")) or not where
            assert urlsplit(where).netloc in ("", urlsplit(ground.practice.url).netloc)
    answer = begun.browser.get(f"{begun.arrival}&{name}=https://evil.example")
    assert answer.headers["location"] == f"/ui/logins/{begun.id}"


@pytest.mark.parametrize(
    "path", ["//evil.example/", "//evil.example/..", "/\\evil.example", "/login//evil.example", "/ui//"]
)
def test_no_path_leads_away(ground: Ground, path: str) -> None:
    """A path that a browser would take for an address is not redirected to."""
    with new_browser() as browser:
        answer = browser.get(ground.browser_url + path)

    assert answer.status_code in (200, 400, 404)
    assert "location" not in answer.headers


SAID = [("error_description", name) for name in HOSTILE]
SAID += [("error", "script"), ("error", "terminal"), ("error_uri", "script"), ("error_uri", "address")]


@pytest.mark.parametrize(("field", "name"), SAID)
def test_words_of_an_answer_do_nothing(ground: Ground, begun: Begun, field: str, name: str) -> None:
    """What a provider, or whoever made the link, writes into an error is text: on the page, in the log, in the API."""
    text = HOSTILE[name]
    params = {"error": "server_error", "state": begun.params["state"], "iss": begun.params["iss"]} | {field: text}

    page = begun.bring(urlencode(params))
    told = ground.get(f"/v1/logins/{begun.id}")

    assert begun.state == "failed"
    acts(page.text)
    assert "evil.example" not in page.text.replace("https://evil.example/phish", "")
    assert 'href="https://evil' not in page.text
    assert "href='https://evil" not in page.text
    plain(json.loads(told.text)["reason"])
    for line in ground.daemon.log.splitlines()[-20:]:
        plain(line)
        assert not line.startswith(("forged", "2026-01-01 00:00:00,000 INFO broker.access: socket GET /forged"))


@pytest.mark.parametrize("name", HOSTILE)
def test_words_of_a_request_do_nothing(ground: Ground, name: str) -> None:
    """The same in paths and queries of whoever comes: no page and no problem document repeats them so that they act."""
    text = quote(HOSTILE[name].replace("/", ""), safe="")
    with new_browser() as browser:
        for path in (f"/login/{text}", f"/callback/{text}?state={text}", f"/ui/logins/{text}", f"/{text}"):
            acts(browser.get(ground.browser_url + path).text)
    for path in (f"/v1/accounts/{text}/token", f"/v1/accounts?{text}=1", f"/v1/apps/{text}", f"/v1/logins/{text}"):
        answer = ground.get(path)
        assert answer.status_code in (400, 404)
        plain(answer.json()["detail"])
        assert answer.headers["content-type"] == "application/problem+json"


def acts(page: str) -> None:
    """Fail where a page holds anything that a browser would act on, beside our own."""
    for sign in ("<script", "<img src=x", "onerror=alert(1)>", 'javascript:alert(1)"', "\x1b", "\x9b", "\0", "\u202e"):
        assert sign not in page
    assert "53743561" not in page  # the product, had a template been filled in


def plain(text: str) -> None:
    """Fail where a text holds anything that a terminal would act on, or that ends its line."""
    assert text.isprintable(), repr(text)


@pytest.mark.parametrize("name", ["terminal", "eight-bit terminal", "log line", "right to left"])
def test_the_terminal_is_safe(ground: Ground, name: str) -> None:
    """`keyfob login`, `show` and `audit` print what a provider said without letting it move a cursor."""
    login = ground.home.begin(
        "login", "--provider", "practice", "--base-url", ground.practice.url, "--no-browser", "--client-id", "keyfob"
    )
    start = login.says(r"http://127\.0\.0\.1:\d+/login/[\w-]+")
    with new_browser() as browser:
        sent = browser.get(start).headers["location"]
        state = parse_qs(urlsplit(sent).query)["state"][0]
        words = {
            "error": "server_error",
            "error_description": HOSTILE[name],
            "state": state,
            "iss": ground.practice.url,
        }
        browser.get(f"{parse_qs(urlsplit(sent).query)['redirect_uri'][0]}?{urlencode(words)}")
    done = login.end()
    audit = ground.home.run("audit")

    assert done.code == 1
    for text in (done.out, done.err, audit.err):
        for line in text.splitlines():
            plain(line)
    for line in audit.out.splitlines():
        cells = line.split("\t")
        assert len(cells) == 5, line  # a stranger's text makes no column of its own
        for cell in cells:
            plain(cell)
            assert not line.startswith("2026-01-01 00:00:00,000 INFO")
