"""Adding an account on the owner's page: where, with only what is needed there, and how the login goes."""

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import segno

from broker.core.account import Account, Active, Destination, Identity
from broker.core.login import DevicePrompt, Flow, Login, LoginState
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import CONFIDENTIAL_CLIENT, PracticeSettings
from broker.providers.model import Preset, Provider
from broker.providers.rules import Parameter
from broker.web import pages
from broker.web.parts.add import WAYS, AddPart, Place
from broker.web.parts.choose import Choice, ChoosePart
from broker.web.parts.progress import ProgressPart, Qr
from broker.web.text import clean
from tests.web.house import running
from tests.web.test_pages import HOSTILE
from tests.web.test_signed_in import Desktop
from tests.web.walk import new_browser

SHELLS = ("/ui/add", "/ui/add/github", "/ui/progress/x")


class Form(HTMLParser):
    """The form of a part that begins a login, or sends something, as the page's script reads it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action, self.method, self.then = "", "", ""
        self.fields: dict[str, dict[str, str]] = {}
        self.values: dict[str, str] = {}
        self._open = self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the last form that sends something, and its fields."""
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = found["data-method"]
            if self._open == "POST":
                self.action, self.method, self.then = found["action"], self._open, found.get("data-then", "")
                self.fields, self.values = {}, {}
        elif tag in ("input", "select") and self._open == "POST":
            self.fields[found["name"]] = found
            if found.get("type") != "checkbox":
                self.values[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """A form is over."""
        self._open = "" if tag == "form" else self._open

    def filled(self, **typed: str) -> dict[str, Any]:
        """Return the body that the script makes of what is there and what a person types."""
        assert set(typed) <= set(self.fields)
        body: dict[str, Any] = {}
        for name, value in {**self.values, **typed}.items():
            if value:
                first, _, member = name.partition(".")
                words = value.split() if self.fields[name].get("data-kind") == "words" else value
                body.update({first: {**body.get(first, {}), member: words}} if member else {first: words})
        return body


class Owner:
    """The owner's browser, signed in."""

    def __init__(self, desktop: Desktop) -> None:
        self.desktop, self.house = desktop, desktop.house
        self._session = desktop.session()

    def part(self, path: str, status: int = 200) -> str:
        """Return a part."""
        answer = self.desktop.send("GET", f"/ui/parts/{path}", self._session)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, form: Form, status: int = 201, **typed: str) -> dict[str, Any]:
        """Fill a form in and send it."""
        answer = self.desktop.send(form.method, form.action, self._session, json=form.filled(**typed))
        assert answer.status_code == status, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def begin(self, path: str, status: int = 201, **typed: str) -> dict[str, Any]:
        """Fill in the form of a provider and send it."""
        return self.send(Form(self.part(path)), status, **typed)


@pytest.fixture(scope="module")
def running_desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    """Run the daemon for all tests of this module."""
    found = Desktop()
    with running(tmp_path_factory.mktemp("adding"), found.clock) as found.house:
        yield found


@pytest.fixture
def desktop(running_desktop: Desktop) -> Iterator[Desktop]:
    """Return the desktop with a browser that knows nothing yet."""
    running_desktop.now = time.time()
    with new_browser() as running_desktop.browser:
        yield running_desktop


@pytest.fixture
def owner(desktop: Desktop) -> Owner:
    """Sign in."""
    return Owner(desktop)


def names(html: str) -> list[str]:
    """Return the providers that can be chosen, in order."""
    return re.findall(r'<li data-key="([^"]+)"', html)


# --- who may look -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHELLS)
def test_nobody_looks_without_a_session(desktop: Desktop, path: str) -> None:
    """The page is the same for everybody, and its part is for the owner alone."""
    shell = desktop.browser.get(desktop.house.browser_url + path)
    part = desktop.send("GET", path.replace("/ui/", "/ui/parts/"))

    assert shell.status_code == 200
    assert "Sign in to see this" in shell.text
    assert part.status_code == 401


def test_a_code_and_an_address_of_a_login_are_for_the_owner_alone(
    desktop: Desktop, owner: Owner, practice: PracticeServer
) -> None:
    """Who knows a login's id and is not signed in learns neither its user code nor where it goes on."""
    for way in ("device", "paste"):
        begun = owner.begin(f"add/practice?way={way}", base_url=practice.url, account=f"own-{way}")
        kept = begun.get("user_code") or begun["authorization_url"]

        refused = desktop.send("GET", f"/ui/parts/progress/{begun['id']}")

        assert refused.status_code == 401
        assert kept not in refused.text
        assert clean(kept).replace("&", "&amp;") in owner.part(f"progress/{begun['id']}")


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_every_preset_can_be_chosen(owner: Owner) -> None:
    """All are listed with what they take; the one for tries comes last, and says so."""
    html = owner.part("add")
    presets = {one["name"] for one in owner.house.owner.ask("GET", "/v1/presets", 200)["presets"]}

    assert set(names(html)) >= presets - {"generic"}
    assert names(html)[-1] == "practice"
    assert html.count("for tries") >= 1
    for words in ("nothing needed", "client needed", "at an address of yours, registers Keyfob itself", "Any other"):
        assert words in html


def test_a_search_narrows_what_can_be_chosen(owner: Owner) -> None:
    """By name, title or need; where nothing fits, the address is left."""
    assert names(owner.part("add?q=GITHUB")) == ["github", "github-app"]
    assert "funkwhale" in names(owner.part("add?q=registers itself"))
    none = owner.part("add?q=zzzz")
    assert names(none) == []
    assert "show all" in none
    assert 'name="provider"' in none


def test_a_provider_that_is_set_up_comes_first(owner: Owner, practice: PracticeServer) -> None:
    """Under its own title, ready, and without its address being asked again."""
    owner.house.log_in("first", practice.url)
    host = urlsplit(practice.url).netloc

    html = owner.part("add")

    first = names(html)[0]
    assert first == f"practice-{host.replace('.', '-').replace(':', '-')}"
    assert f"Practice server at {host}" in html
    form = Form(owner.part(f"add/{first}"))
    assert set(form.fields) == {"provider", "flow", "account", "scope"}


# --- only what is needed ----------------------------------------------------------------------------------------------

EVERYWHERE = {"provider", "flow", "account", "scope"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("lichess", set()),
        ("lichess?client=own", {"client_id"}),
        ("lichess?way=token", {"access_token", "expires_at"}),
        ("github", {"client_id", "client_secret"}),
        ("github?way=token", {"access_token", "expires_at"}),
        ("spotify?way=refresh-token", {"client_id", "client_secret", "refresh_token"}),
        ("funkwhale", {"base_url", "private"}),
        ("funkwhale?way=token", {"base_url", "private", "access_token", "expires_at"}),
        ("nextcloud?base_url=https://cloud.example.org", {"base_url", "private", "client_id", "client_secret"}),
        ("gitlab", {"client_id", "client_secret"}),
        ("gitlab?way=token", {"base_url", "private", "access_token", "expires_at"}),
        ("microsoft?way=device", {"parameters.tenant", "client_id", "client_secret"}),
        ("zoho?param-dc=eu", {"parameters.dc", "client_id", "client_secret"}),
        ("google?way=device", {"client_id", "client_secret"}),
        ("mastodon?way=client-credentials", {"base_url", "private", "client_id", "client_secret"}),
        ("practice", {"base_url", "private"}),
        ("generic?way=device", {"private"}),
    ],
)
def test_a_form_asks_for_what_its_provider_and_way_need(owner: Owner, path: str, fields: set[str]) -> None:
    """And for nothing else."""
    assert set(Form(owner.part(f"add/{path}")).fields) == fields | EVERYWHERE


def test_what_is_secret_is_not_shown_while_it_is_typed(owner: Owner) -> None:
    """Client secrets, tokens and refresh tokens are password fields, and no browser fills them in."""
    for path in ("github", "github?way=token", "spotify?way=refresh-token"):
        fields = Form(owner.part(f"add/{path}")).fields
        for name in {"client_secret", "access_token", "refresh_token"} & set(fields):
            assert (fields[name]["type"], fields[name]["autocomplete"]) == ("password", "off")


def test_where_a_client_is_made_comes_before_what_it_is_registered_with(owner: Owner) -> None:
    """The redirect URI has the provider's place in it, so nothing else is asked before that is known."""
    html = owner.part("add/nextcloud")

    assert Form(html).fields == {}
    assert 'name="base_url"' in html
    assert 'data-method="GET"' in html
    assert "redirect URI: " not in html


@pytest.mark.parametrize(
    ("query", "login"),
    [
        ("github", {"provider": "github"}),
        ("microsoft", {"provider": "microsoft"}),
        ("gitlab", {"provider": "gitlab"}),
        ("gitlab?base_url=https://Git.Example.org/", {"provider": "gitlab", "base_url": "https://Git.Example.org/"}),
        ("zoho?param-dc=eu", {"provider": "zoho", "parameters": {"dc": "eu"}}),
        (
            "nextcloud?base_url=https://cloud.example.org",
            {"provider": "nextcloud", "base_url": "https://cloud.example.org"},
        ),
    ],
)
def test_the_redirect_uri_is_the_one_that_the_login_will_have(owner: Owner, query: str, login: dict[str, Any]) -> None:
    """What a client is registered with is, to the letter, what Keyfob comes with; before and after it is set up."""
    before = owner.part(f"add/{query}")
    told = owner.house.owner.ask("POST", "/v1/logins", 400, json=login)
    after = owner.part(f"add/{query}")

    for html in (before, after):
        assert f'data-copy="{told["redirect_uri"]}"' in html
        assert f'href="{told["register_url"]}" target="_blank" rel="noopener noreferrer"' in html


def test_a_client_that_is_kept_is_not_asked_for_again(owner: Owner) -> None:
    """Neither by the provider's own name, nor where another way would take the same client."""
    owner.house.owner.ask(
        "POST", "/v1/providers", 201, json={"preset": "dropbox", "client_id": "kept", "client_secret": "s"}
    )

    for path in ("dropbox", "dropbox?way=paste", "dropbox?way=refresh-token"):
        assert "client_id" not in Form(owner.part(f"add/{path}")).fields
    assert "client_id" in Form(owner.part("add/dropbox?client=own")).fields


def test_a_provider_of_its_presets_name_is_where_a_login_goes(owner: Owner) -> None:
    """Its address is not needed any more, and another one is still possible."""
    address = "https://gitea.example.org"
    owner.house.owner.ask("POST", "/v1/providers", 201, json={"name": "gitea", "preset": "gitea", "base_url": address})

    html = owner.part("add/gitea")

    assert "Gitea at gitea.example.org" in html
    assert f"It is not at {address}" in html
    assert f'data-copy="{owner.house.browser_url}/callback/gitea"' in html
    assert "/callback/gitea-other-example" in owner.part("add/gitea?base_url=https://other.example")


def test_other_ways_for_programs_are_told_as_commands(owner: Owner) -> None:
    """What this page does not begin stands there as it is typed in a terminal."""
    html = re.sub("<[^>]+>", "", owner.part("add/practice?base_url=http://127.0.0.1:1"))

    assert (
        "keyfob login NAME --provider practice --base-url http://127.0.0.1:1 --flow jwt-bearer --client-id ID" in html
    )
    assert "keyfob login NAME --from ACCOUNT" in html


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("add/githb", 404, "Did you mean github"),
        ("add/github?way=carrier-pigeon", 400, "Choose one of: browser"),
        ("add/gitlab?base_url=ftp://git.example.org", 400, "https://"),
        ("add/zoho?param-dc=moon", 400, "Choose one of com"),
        ("add/github?colour=red", 400, "colour"),
        ("progress/unknown", 404, "no such login"),
    ],
)
def test_what_cannot_be_shown_says_why(owner: Owner, path: str, status: int, words: str) -> None:
    """With what to do about it."""
    assert words in owner.part(path, status)


# --- logging in -------------------------------------------------------------------------------------------------------


def test_three_clicks_lead_to_a_provider_that_needs_nothing(owner: Owner) -> None:
    """Choose a provider, choose it, log in: no field is required, and what is there is enough."""
    assert 'href="/ui/add"' in owner.part("overview")
    assert 'href="/ui/add/lichess"' in owner.part("add")
    form = Form(owner.part("add/lichess"))

    begun = owner.send(form)

    assert not [name for name, field in form.fields.items() if "required" in field]
    assert (form.then, begun["state"], begun["flow"]) == ("login", "pending", "browser")
    assert begun["start_url"].startswith(owner.house.browser_url)


def test_a_login_in_this_browser_leads_back_to_the_owners_page(owner: Owner, practice: PracticeServer) -> None:
    """Its last page, which may be at another name of this machine, links the account at the owner's own origin."""
    begun = owner.begin("add/practice", base_url=practice.url, account="browsed", scope="openid profile")
    assert "has not answered yet" in owner.part(f"progress/{begun['id']}")

    with httpx2.Client(follow_redirects=True, trust_env=False) as browser:
        last = browser.get(begun["start_url"])

    assert f'href="{owner.house.browser_url}/ui/accounts/browsed"' in last.text
    done = owner.part(f"progress/{begun['id']}")
    assert 'href="/ui/accounts/browsed"' in done
    assert "You are logged in" in done
    assert "profile" in done


def test_a_login_with_a_code_shows_what_a_person_needs(owner: Owner, practice: PracticeServer) -> None:
    """The code, to be copied; where it goes, also as a picture with a name; and a way out, which ends it."""
    begun = owner.begin("add/practice?way=device", base_url=practice.url, account="phone")

    html = owner.part(f"progress/{begun['id']}")

    assert f'data-copy="{begun["user_code"]}"' in html
    assert f'href="{begun["verification_uri"]}" target="_blank" rel="noopener noreferrer"' in html
    assert re.search(r'<svg class="qr" [^>]*role="img" aria-label="QR code', html)
    assert f'action="/ui/v1/logins/{begun["id"]}" data-method="DELETE"' in html

    owner.house.owner.ask("DELETE", "/v1/logins/{id}", 204, path={"id": begun["id"]})
    over = owner.part(f"progress/{begun['id']}")
    assert begun["user_code"] not in over
    assert "The login was cancelled." in over
    assert f'href="/ui/add/{begun["provider"]}?way=device&amp;account=phone"' in over


def test_a_login_by_paste_is_finished_on_the_page(owner: Owner, practice: PracticeServer) -> None:
    """A wrong address is refused with what the right one looks like, and the right one finishes it."""
    begun = owner.begin("add/practice?way=paste", base_url=practice.url, account="pasted")
    with new_browser() as elsewhere:
        answer = elsewhere.get(begun["authorization_url"]).headers["location"]
    form = Form(owner.part(f"progress/{begun['id']}"))

    wrong = owner.send(form, 400, url="https://elsewhere.example/?code=x&state=y")
    done = owner.send(form, 200, url=answer)

    assert begun["redirect_uri"] in wrong["detail"]
    assert (done["state"], form.then) == ("done", "/ui/progress/{id}")
    assert 'href="/ui/accounts/pasted"' in owner.part(f"progress/{done['id']}")


def test_a_refresh_token_and_a_program_need_no_browser(owner: Owner, practice: PracticeServer) -> None:
    """Both are done at once; what the provider refuses is told in the form."""
    secret = practice.client_secret.reveal()
    form = Form(owner.part("add/practice?way=client-credentials"))
    form.values |= {"base_url": practice.url, "account": "robot", "client_id": CONFIDENTIAL_CLIENT}

    refused = owner.send(form, 400, client_secret="wrong")
    done = owner.send(form, 201, client_secret=secret)
    spent = owner.begin(
        "add/practice?way=refresh-token", 400, base_url=practice.url, refresh_token="spent", account="taken-over"
    )

    assert "Check its id, its secret" in refused["detail"]
    assert done["state"] == "done"
    assert "It is spent or over" in spent["detail"]


def test_an_address_is_enough_where_a_server_tells_of_itself(owner: Owner, practice: PracticeServer) -> None:
    """Keyfob finds out where it listens, registers itself there, and begins the login."""
    begun = owner.send(Form(owner.part("add")), provider=practice.url)

    assert (begun["state"], begun["flow"]) == ("pending", "browser")
    known = owner.house.owner.ask("GET", "/v1/providers/{provider}", 200, path={"provider": begun["provider"]})
    assert known["issuer"] == practice.url
    assert known["clients"]


def test_a_wrong_place_is_told_with_what_to_do(owner: Owner) -> None:
    """Nobody there, and nobody who knows OAuth: both say what to look at."""
    nobody = owner.send(Form(owner.part("add")), 503, provider="http://127.0.0.1:1")
    another = owner.send(Form(owner.part("add")), 400, provider=f"{owner.house.browser_url}")
    inside = owner.begin("add/funkwhale", 400, base_url="https://192.168.1.2")

    assert "Check the address" in nobody["detail"]
    assert "Check the issuer URL" in another["detail"]
    assert "private network" in inside["detail"]


def test_a_login_that_failed_is_begun_again_with_its_own_client(owner: Owner) -> None:
    """A client that came with a login is kept when that succeeds only, so the form asks for it again."""
    with (
        practice_in_thread(PracticeSettings(auto_approve=True)) as another,
        httpx2.Client(follow_redirects=True, trust_env=False) as browser,
    ):
        path = f"add/practice?client=own&base_url={another.url}"
        begun = owner.begin(path, client_id=CONFIDENTIAL_CLIENT, account="mistyped")
        last = browser.get(begun["start_url"])

    assert f'href="{owner.house.browser_url}/ui/progress/{begun["id"]}"' in last.text
    again = re.search(r'href="/ui/(add/[^"]+)"', owner.part(f"progress/{begun['id']}"))
    assert again is not None
    path = again[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(path).query) == {"way": ["browser"], "account": ["mistyped"], "client": ["own"]}
    form = Form(owner.part(path))
    assert form.fields["account"]["value"] == "mistyped"
    assert "client_id" in form.fields


def test_a_login_that_nobody_finished_says_so(desktop: Desktop, owner: Owner) -> None:
    """When its time is over, whether or not a tick has seen that."""
    begun = owner.begin("add/lichess", account="forgotten")
    desktop.now += 601

    html = owner.part(f"progress/{begun['id']}")

    assert "Nobody finished this login in time" in html
    assert "Begin again" in html


# --- what strangers write ---------------------------------------------------------------------------------------------

OUR_TAGS = (
    "article bdi a button code dd details div dl dt fieldset form h1 h2 h3 input label legend li nav ol option p path "
    "circle pre rect section select span strong summary svg time ul"
)


class Seen(HTMLParser):
    """Every tag and attribute of a part."""

    def __init__(self, part: pages.Rendered) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.html = bytes(pages.render(part).body).decode()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag, with what stands in it."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def _forms(text: str, address: str) -> list[pages.Rendered]:
    provider = Provider("x", text, "x", scopes=(text,), register_url=address, static_token_url=address)
    about = Preset("x", text, {}, False, "", {}, (text,), (text,), (text,))  # noqa: FBT003 -- as the class has it
    place = Place("needed", "", {"x": Parameter(text, "y", ("y",)), "z": Parameter(text)}, text, {"x": text, "z": text})
    choice = Choice("x", text, text, trial=True)
    return [
        ChoosePart(text, (choice,), (choice,), 1),
        *(
            AddPart("x", provider, about, place, by_address, tuple(WAYS), way, needs, needs, text, text)
            for way in WAYS
            for by_address, needs in ((False, True), (True, False))
        ),
    ]


def _logins(text: str) -> list[pages.Rendered]:
    where = Destination("https://op.example", "https://op.example/token", "client")
    prompt = DevicePrompt(text, "https://op.example/device", None, 5.0)
    account = Account(
        "u",
        "work",
        "x",
        where,
        1,
        1,
        Identity("i", text, text),
        (text, "b"),
        None,
        Active(0.0),
        None,
        has_refresh_token=False,
        refresh_expires_at=None,
        created_at=0.0,
    )
    pending: list[pages.Rendered] = [
        ProgressPart(_login(text, flow, "pending", where, prompt), text, "http://127.0.0.1/login/x", None, Qr.of("x"))
        for flow in ("browser", "device", "paste")
    ]
    over = [_login(text, "browser", state, where, None) for state in ("done", "failed", "expired")]
    return [*pending, *(ProgressPart(one, text, "", found, None) for one in over for found in (account, None))]


def _login(text: str, flow: Flow, state: LoginState, where: Destination, device: DevicePrompt | None) -> Login:
    return Login(
        "x",
        text,
        None,
        "x",
        "",
        flow,
        where,
        text,
        (text,),
        None,
        "",
        "https://op.example/",
        state,
        text,
        0.0,
        1.0,
        device,
    )


@pytest.mark.parametrize("text", [one for name, one in HOSTILE.items() if name != "surrogate"])
def test_what_strangers_write_is_inert(text: str) -> None:
    """Titles, notes, scopes, reasons, codes and names of people stay text, whatever they hold; links lead to us."""
    for part in (*_forms(text, "javascript:alert(1)"), *_logins(text)):
        seen = Seen(part)
        assert seen.tags <= set(OUR_TAGS.split())
        assert not [name for name, _ in seen.attributes if name.startswith("on") or name in {"style", "src", "srcdoc"}]
        for name, value in seen.attributes:
            assert name != "href" or re.match(
                r"/ui/|#by|#other|https://op\.example/|http://127\.0\.0\.1/login/x", value
            )
        assert "49" not in re.sub("<svg.*?</svg>", "", seen.html, flags=re.DOTALL)


def test_a_link_for_a_client_leaves_nothing_of_this_page_behind() -> None:
    """It opens elsewhere, without access to this page and without its address."""
    for part in _forms("x", "https://op.example/clients")[1:]:
        for link in re.findall(r'<a href="https://op.example[^>]*>', Seen(part).html):
            assert 'target="_blank" rel="noopener noreferrer"' in link


@pytest.mark.parametrize("address", ["https://op.example/device", "https://op.example/device?user_code=WDJB-MJHT"])
def test_a_qr_code_is_drawn_to_the_module(address: str) -> None:
    """The path has every dark module of the code, and no other; an address beyond any code has none."""
    drawn = Qr.of(address)
    assert drawn is not None
    dark = set()
    for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", drawn.path):
        assert length == back
        dark |= {(int(x) + step, int(y)) for step in range(int(length))}

    rows = list(segno.make_qr(address, error="l").matrix_iter(border=4))

    assert drawn.size == len(rows)
    assert dark == {(x, y) for y, row in enumerate(rows) for x, module in enumerate(row) if module}
    assert Qr.of("x" * 5000) is None
