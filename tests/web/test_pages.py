"""The pages of the browser port: what they must say, and that nobody's text can act on them."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from broker.errors import KeyfobError, LoginFailed, UnknownLogin
from broker.web import pages
from broker.web.pages import FailurePage, HomePage, Page, RefusalPage, ShellPage, SuccessPage, render
from broker.web.text import TEXT_SHOWN
from tests.web.test_text import unseen

REPOSITORY = Path(__file__).parents[2]
CSS = (REPOSITORY / "broker/web/ui/static/keyfob.css").read_text(encoding="utf-8")

SUCCESS = SuccessPage("work", "Example Identity", "mara@example.org", ("openid", "files.read"), ("files.write",))
FAILURE = FailurePage(
    "The login was cancelled",
    "The provider says that access was not allowed.",
    "Start again, and allow it:",
    "access_denied: the owner said no",
    "keyfob login work --provider example",
)
# Their names hold hashes that only the room knows.
OUR_LINKS = {"/ui/", pages._CSS.path, pages._MARK.path}  # noqa: SLF001 - as said above
PLAIN: dict[str, Page] = {
    "success": SUCCESS,
    "success without anything": SuccessPage("work", "Example", "", ()),
    "failure": FAILURE,
    "failure without anything": FailurePage("It failed", "Something happened.", ""),
    "home": HomePage(),
    "locked": HomePage(locked=True),
    "shell": ShellPage(),
    "shell of a request": ShellPage("BCDF-GHJK"),
    "login gone": pages.LOGIN_GONE,
    "other browser": pages.OTHER_BROWSER,
    "no live login": pages.NO_LIVE_LOGIN,
    "not found": pages.NOT_FOUND,
    "broken": pages.BROKEN,
}

# What a provider, a stranger with a link or a broken server could make a field hold.
HOSTILE = {
    "script": "<script>alert(document.domain)</script>",
    "attribute": "\" autofocus onfocus=alert(1) x='",
    "image": "<img src=x onerror=alert(1)><iframe srcdoc='x'></iframe>",
    "close": "</bdi></dd></code></pre></title></main><base href='https://evil.example/'>",
    "style": "<style>@import 'https://evil.example/a.css'</style><link rel=stylesheet href=//evil.example>",
    "comment": "<!-- ]]> --><![CDATA[ <meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "template": "{{ 7 * 7 }}{% include 'layout.html.j2' %}",
    "entity": "&lt;script&gt;&#60;script&#62;",
    "url": "javascript:alert(1) https://evil.example/login",
    "direction": "user\u202egnp.exe\u2066\u200f\u061c",
    "control": "a\x00b\x08c\x1b[31md\x7fe\x85f\r\nSet-Cookie: g",
    "invisible": "ad\u200bm\u200din\ufeff\u2060\U000e0041",
    "surrogate": "a\ud800b",
    "tower": "Z" + "\u0301" * 5000,
    "long word": "x" * 10_000,
    "long text": "word " * 2_000,
    "spaces": "\u00a0\u3000" * 5_000,
}

OUR_TAGS = (
    "html head meta title link body header main footer article section a svg g path circle p span h1 h2 h3 "
    "dl div dt dd bdi ul ol li pre code blockquote"
)


class Seen(HTMLParser):
    """Every tag, attribute and text of a page, as a browser would take them apart."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.commands: list[str] = []
        self.html = bytes(render(page).body).decode()
        self.feed(self.html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag, with the tag names and attributes that it adds."""
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "pre":
            self.commands.append("")

    def handle_endtag(self, tag: str) -> None:
        """The tag must be open."""
        self.open.remove(tag)

    def handle_data(self, data: str) -> None:
        """Text, and the text of commands apart."""
        self.text += data
        if "pre" in self.open:
            self.commands[-1] += data

    def handle_comment(self, data: str) -> None:
        """None is ours."""
        self.tags.append(f"<!--{data}")

    unknown_decl = handle_comment


def _hostile_pages(text: str) -> list[Page]:
    return [
        SuccessPage(text, text, text, (text, "openid", text), (text,)),
        FailurePage(text, text, text, text, text),
        RefusalPage(text, text, text, text, text),
    ]


# --- what the pages say -----------------------------------------------------------------------------------------------


def test_success_says_who_what_and_how_to_use_it() -> None:
    """The result of a login names account, person, provider and scopes, and gives the two commands."""
    seen = Seen(SUCCESS)

    assert render(SUCCESS).status_code == 200
    for words in ("You are logged in", "close this tab", "work", "mara@example.org", "Example Identity", "files.read"):
        assert words in seen.text
    assert seen.commands == ["keyfob token work", "keyfob exec work -- COMMAND"]


def test_scopes_that_were_not_granted_are_told_apart() -> None:
    """A narrower grant than asked is said in words, after the granted ones; a full grant says nothing of it."""
    narrowed, full = Seen(SUCCESS).text, Seen(SuccessPage("work", "Example", "mara", ("openid",))).text

    assert narrowed.index("files.read") < narrowed.index("not granted") < narrowed.index("files.write")
    assert "not granted" not in full


def test_success_promises_no_more_than_the_provider_gave() -> None:
    """Without a refresh token, identity or scope list the page says so and does not promise a fresh login."""
    seen = Seen(SuccessPage("work", "Example", "\u200b", (), refreshable=False))

    assert "log in again when it ends" in seen.text
    assert "keeps this login fresh" not in seen.text
    assert "The provider does not say" in seen.text
    assert "named no scopes" in seen.text


def test_a_very_long_list_of_scopes_is_cut_and_counted() -> None:
    """A provider that grants thousands of scopes does not make a page of thousands of scopes."""
    seen = Seen(SuccessPage("work", "Example", "mara", tuple(f"scope-{n}" for n in range(5000))))

    assert f"scope-{pages.SCOPES_SHOWN - 1} " in seen.text
    assert f"scope-{pages.SCOPES_SHOWN} " not in seen.text
    assert f"and {5000 - pages.SCOPES_SHOWN} more" in seen.text


def test_failure_says_what_happened_and_what_to_do() -> None:
    """A failed login tells the story, the next step and the provider's words; where there are none, no heading."""
    seen = Seen(FAILURE)

    assert render(FAILURE).status_code == 400
    for words in (FAILURE.title, FAILURE.what_happened, "What to do next", FAILURE.next_step, FAILURE.provider_error):
        assert words in seen.text
    assert "the provider’s words, not Keyfob’s" in seen.text
    assert seen.commands == ["keyfob login work --provider example"]
    assert "h2" not in Seen(PLAIN["failure without anything"]).tags


@pytest.mark.parametrize(
    ("page", "status", "words"),
    [
        (pages.LOGIN_GONE, 404, "works once and for 10 minutes"),
        (pages.OTHER_BROWSER, 403, "belongs to another browser"),
        (pages.NO_LIVE_LOGIN, 400, "No login is waiting"),
        (pages.NOT_FOUND, 404, "no page here"),
        (pages.BROKEN, 500, "logins that you have are kept"),
    ],
    ids=["gone", "other browser", "no live login", "not found", "broken"],
)
def test_refusals_have_their_status_and_a_next_step(page: RefusalPage, status: int, words: str) -> None:
    """Each refusal has its own status, says what is the matter, and what to do."""
    seen = Seen(page)

    assert render(page).status_code == status
    assert words in seen.text
    assert "What to do next" in seen.text


def test_home_says_how_to_log_in() -> None:
    """The home page says that Keyfob runs, and gives the commands for login and token."""
    seen = Seen(HomePage())

    assert "Keyfob is running" in seen.text
    assert seen.commands == ["keyfob ui", "keyfob login work --provider NAME", "keyfob token work"]


def test_home_of_a_locked_keyfob_does_not_claim_to_be_ready() -> None:
    """A locked daemon says that it is locked and which command tells why."""
    seen = Seen(HomePage(locked=True))

    assert "Keyfob is locked" in seen.text
    assert "Ready" not in seen.text
    assert seen.commands == ["keyfob status", "keyfob ui"]


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (LoginFailed("The code was refused.", "Log in again."), FailurePage, 400),
        (UnknownLogin("No login has that id.", "Start a new one."), RefusalPage, 404),
    ],
    ids=["failed login", "anything else"],
)
def test_every_breakdown_has_a_page(error: KeyfobError, kind: type, status: int) -> None:
    """A breakdown becomes a page with its title, detail, hint and status."""
    page = pages.page_of(error)
    seen = Seen(page)

    assert isinstance(page, kind)
    assert render(page).status_code == status
    assert all(words in seen.text for words in (error.title, error.detail, error.hint))


# --- what the pages never do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_inert(text: str) -> None:
    """Whatever a field holds, the page has only our tags and attributes, and loads and links nothing foreign."""
    for page in _hostile_pages(text):
        seen = Seen(page)
        assert set(seen.tags) <= set(OUR_TAGS.split())
        assert not [name for name, _ in seen.attributes if name.startswith("on") or name in {"style", "src"}]
        assert {value for name, value in seen.attributes if name == "href"} == OUR_LINKS
        assert "<script" not in seen.html.lower()
        assert seen.open == [
            tag for tag in seen.open if tag in {"meta", "link"}
        ]  # nothing was closed early or left open


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_cannot_hide_reorder_or_flood(text: str) -> None:
    """No control, direction or invisible character reaches a page, and no field makes it large."""
    for page in _hostile_pages(text):
        seen = Seen(page)
        assert not unseen(seen.html.replace("\n", ""))
        assert re.search("\u0301{4}", seen.html) is None
        assert len(seen.text) < 8 * TEXT_SHOWN + 1000


def test_a_hostile_account_name_cannot_make_a_harmful_command() -> None:
    """A command shown for pasting stays one harmless word where the account name is not one."""
    seen = Seen(SuccessPage("x; rm -rf ~ $(id)", "Example", "mara", ()))

    assert seen.commands[0] == "keyfob token 'x; rm -rf ~ $(id)'"


# --- how the pages are served -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PLAIN.values(), ids=PLAIN.keys())
def test_headers_are_exact(page: Page) -> None:
    """Every page carries exactly the guarding headers; where the owner signs in, our own script may run."""
    headers = dict(render(page).headers)
    headers.pop("content-length")

    assert headers.pop("permissions-policy").count("=()") >= 8
    assert headers == {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": (
            "default-src 'none'; style-src 'self'; img-src 'self' data:; "
            "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
            + ("; script-src 'self'; connect-src 'self'" if isinstance(page, HomePage | ShellPage) else "")
        ),
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


@pytest.mark.parametrize("page", PLAIN.values(), ids=PLAIN.keys())
def test_no_page_names_a_foreign_address(page: Page) -> None:
    """Our own words hold no URL at all: nothing to load, nothing to follow (the SVG namespace is a name)."""
    html = Seen(page).html.replace('xmlns="http://www.w3.org/2000/svg"', "")
    html = re.sub(r'integrity="sha256-[\w+/=]+"', "", html)  # a hash may hold anything

    assert re.search(r"https?:|//|data:|@import", html.replace("<!doctype html>", "")) is None


@pytest.mark.parametrize("page", PLAIN.values(), ids=PLAIN.keys())
def test_pages_can_be_walked_by_a_screen_reader(page: Page) -> None:
    """One language, one title, three landmarks, one h1, no heading level left out, unique ids, silent pictures."""
    seen = Seen(page)
    levels = [int(tag[1]) for tag in seen.tags if re.fullmatch("h[1-6]", tag)]
    ids = [value for name, value in seen.attributes if name == "id"]
    labels = [value for name, value in seen.attributes if name == "aria-labelledby"]

    assert ("lang", "en") in seen.attributes
    assert [seen.tags.count(tag) for tag in ("title", "header", "main", "footer", "h1")] == [1, 1, 1, 1, 1]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(ids) == len(set(ids))
    assert set(labels) <= set(ids)
    assert seen.tags.count("svg") == seen.attributes.count(("aria-hidden", "true"))


def test_what_a_page_loads_is_served_and_is_what_was_meant() -> None:
    """Its links lead to our files, whose hashes it carries, cached for ever under a name of their content."""
    found = re.findall(r'(?:href|src)="/ui/static/([^"]*)" integrity="sha256-([^"]*)"', Seen(HomePage()).html)
    assert [name.rpartition(".")[2] for name, _ in found] == ["css", "css", "js", "js"]
    for name, integrity in found:
        answer = pages.static(name)
        digest = hashlib.sha256(bytes(answer.body))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"text/{'css' if 'css' in name else 'javascript'}; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert digest.hexdigest()[:12] in name
        assert integrity == base64.b64encode(digest.digest()).decode()


@pytest.mark.parametrize(
    "name", ["", "keyfob.css", "../pages.py", "/etc/passwd", "..%2f..%2fpages.py", "layout.html.j2", "a\x00.css"]
)
def test_no_other_file_is_served(name: str) -> None:
    """Only the two names of the table are files; all else is the page that says so."""
    answer = pages.static(name)

    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert b"There is no page here" in bytes(answer.body)


def test_the_stylesheet_loads_nothing_and_serves_everybody() -> None:
    """The CSS has no URL and no import, and knows dark rooms, still eyes, keyboards and forced colours."""
    assert re.search(r"url\(|@import|https?:|//", CSS) is None
    for rule in ("prefers-color-scheme: dark", "prefers-reduced-motion", ":focus-visible", "forced-colors"):
        assert rule in CSS


def test_text_can_be_read_in_light_and_dark() -> None:
    """Every pair of text and background has the contrast of WCAG AA: 4.5 to 1."""
    light, dark = (dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6});", part)) for part in CSS.split("@media")[:2])
    pairs = [(ink, paper) for ink in ("ink", "quiet", "accent") for paper in ("ground", "paper", "well")]
    pairs += [(tone, f"{tone}-wash") for tone in ("good", "bad", "careful")]

    for colours in (light, dark):
        for ink, paper in pairs:
            lighter, darker = sorted((_luminance(colours[ink]), _luminance(colours[paper])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{ink} on {paper}"


def test_the_mark_in_the_docs_is_the_mark_on_the_pages() -> None:
    """README and pages show one drawing."""
    on_pages, in_docs = (REPOSITORY / room / "keyfob-mark.svg" for room in ("broker/web/ui/static", "docs"))

    assert in_docs.read_bytes() == on_pages.read_bytes()


def _luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    parts = (int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
