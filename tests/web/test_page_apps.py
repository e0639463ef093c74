"""The pages of apps: who may what, what waits, and every button on them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import httpx2
import pytest

from broker.core.account import Account, Active, Destination
from broker.core.approval import Approval, Asker, Kind, State, Wanted
from broker.core.policy import AppGrant
from broker.core.token import Token
from broker.practice.server import PracticeServer
from broker.store.store import AppRow
from broker.web import pages
from broker.web.parts.app import AppPart
from broker.web.parts.approvals import ApprovalPart
from broker.web.parts.apps import GRANTS_SHOWN, MOST_CHOICES, AppsPart
from broker.web.parts.paging import Sheet
from tests.web.desk import HOSTILE, Desk, assert_inert
from tests.web.house import running
from tests.web.walk import new_browser

TOKEN = "/v1/accounts/{account}/token"
WORK = {"account": "work"}
NOW = 1_800_000_000.0
NOTHING = AppsPart(Sheet((), 1, 1, 0, ""), (), (), (), NOW)


@pytest.fixture
def desk(tmp_path: Path, practice: PracticeServer) -> Iterator[Desk]:
    """Run a daemon with two accounts, and sign in."""
    with running(tmp_path) as house, new_browser() as browser:
        house.log_in("work", practice.url)
        house.log_in("play", practice.url)
        yield Desk(house, browser)


def asked(desk: Desk, key: str, account: str, status: int, **query: str) -> str:
    """Ask for a token as an app; return the code of the question that came of it, if one did."""
    app = desk.house.app(key)
    with app.http:
        told = app.ask("GET", TOKEN, status, path={"account": account}, params=query)
    return str(told.get("approval_url", "")).rpartition("/")[2]


def drawn(part: pages.Rendered) -> str:
    """Return a part's HTML."""
    return bytes(pages.render(part).body).decode()


def test_without_apps_the_page_teaches(desk: Desk) -> None:
    """What an app is, how one pairs by itself, and a form with the accounts to choose from."""
    html = desk.part("apps")

    for words in ("No program has a key yet", "keyfob pair NAME", "Make a key", '<option value="play">', "None yet"):
        assert words in html


def test_an_app_is_added_and_its_key_works(desk: Desk) -> None:
    """The act answers with the key, once; the app stands in the list with what it may, and its key gets a token."""
    made = desk.send("POST", "/ui/v1/apps", 201, {"name": "backup", "grants": [WORK]}).json()

    assert asked(desk, made["key"], "work", 200) == ""
    html = desk.part("apps")
    assert 'href="/ui/apps/backup"' in html
    assert "<bdi>work</bdi></strong>: all that the login may" in html
    assert made["key"] not in html + desk.part("apps/backup")
    assert "Make a new key" in desk.part("apps/backup")


def test_a_grant_is_narrowed_and_shown_in_words(desk: Desk) -> None:
    """Scopes, resource, proxy and end are told; the form for it offers the login's own scopes and what it has now."""
    desk.send("POST", "/ui/v1/apps", 201, {"name": "backup", "grants": [WORK]})
    end = "2040-01-31T12:00:00.000Z"
    limits = {"scope": ["openid"], "resource": "https://a.example/", "mode": "proxy", "expires_at": end}
    rules = ["GET /v1/**", "read-only"]
    desk.send("PUT", "/ui/v1/apps/backup/grants/work", 200, {**limits, "rules": rules})

    listed, one, form = desk.part("apps"), desk.part("apps/backup"), desk.part("apps/backup?account=work")

    assert "<bdi>openid</bdi>, only for <bdi>https://a.example/</bdi>, through the proxy only: " in listed
    assert "<bdi>GET /v1/**</bdi>, <bdi>read-only</bdi>, ends" in listed
    assert ">GET /v1/**\nread-only</textarea>" in form
    assert "only these scopes, only for" in one
    assert 'href="/ui/accounts/work"' in one
    for held in ('value="openid"', 'value="https://a.example/"', f'value="{end}" selected', 'value="proxy" selected'):
        assert held in form
    for scope in ("openid", "profile", "offline_access"):
        assert f'data-word="scope">{scope}<' in form


def test_a_token_file_is_chosen_and_its_place_told(desk: Desk) -> None:
    """The form keeps what was chosen; the page of the app says where the file is, as its key's answer did."""
    grant = WORK | {"token_file": "id_token"}
    [told] = desk.send("POST", "/ui/v1/apps", 201, {"name": "backup", "grants": [grant]}).json()["grants"]

    assert told["token_file_path"].endswith("/tokens/backup/work")
    assert "all that the login may, its ID token kept in a file" in desk.part("apps")
    assert f"<code>{told['token_file_path']}</code>" in desk.part("apps/backup")
    assert 'value="id_token" selected' in desk.part("apps/backup?account=work")
    for wrong in ({"token_file": ""}, {"token_file": "refresh_token"}, {"token_file": "id_token", "mode": "proxy"}):
        desk.send("PUT", "/ui/v1/apps/backup/grants/work", 400, wrong)
    kept = desk.send("PUT", "/ui/v1/apps/backup/grants/work", 200, {"token_file": None}).json()
    assert (kept["token_file"], kept["token_file_path"]) == (None, None)


def test_a_share_is_kept_by_the_form(desk: Desk) -> None:
    """The page says it, its form holds it, and what is no share is refused."""
    desk.send("POST", "/ui/v1/apps", 201, {"name": "backup", "grants": [WORK | {"rate_share": 30}]})

    assert "all that the login may, 30 % of a rate limit" in desk.part("apps")
    assert 'max="100" value="30"' in desk.part("apps/backup?account=work")
    for wrong in (0, 101, 1.5, "30", True):
        desk.send("PUT", "/ui/v1/apps/backup/grants/work", 400, {"rate_share": wrong})
    assert desk.send("PUT", "/ui/v1/apps/backup/grants/work", 200, {}).json()["rate_share"] is None


def test_what_is_taken_back_counts_at_once(desk: Desk) -> None:
    """A grant that is revoked, a key that is replaced, an app that is removed."""
    old = desk.send("POST", "/ui/v1/apps", 201, {"name": "backup", "grants": [WORK, {"account": "play"}]}).json()["key"]

    desk.send("DELETE", "/ui/v1/apps/backup/grants/work", 204)
    asked(desk, old, "work", 403)
    new = desk.send("POST", "/ui/v1/apps/backup/rotate", 200, {}).json()["key"]
    asked(desk, old, "play", 401)
    asked(desk, new, "play", 200)
    desk.send("DELETE", "/ui/v1/apps/backup", 204)
    asked(desk, new, "play", 401)

    assert "No app is called" in desk.send("GET", "/ui/parts/apps/backup", 404).json()["detail"]


def test_what_waits_and_what_was_answered_is_listed(desk: Desk) -> None:
    """First the open questions, then what was allowed once or refused for good; each leads to its page."""
    key = desk.send("POST", "/ui/v1/apps", 201, {"name": "backup"}).json()["key"]
    once, never = asked(desk, key, "work", 403), asked(desk, key, "play", 403)
    html = desk.part("apps")
    assert 'data-waiting="2"' in html
    assert f'href="/ui/approvals/{once}"' in html

    desk.send("POST", f"/ui/v1/approvals/{once}", 200, {"decision": "allow", "remember": "once"})
    desk.send("POST", f"/ui/v1/approvals/{never}", 200, {"decision": "deny", "remember": "always"})

    html = desk.part("apps")
    assert 'data-waiting="0"' in html
    assert 'href="/ui/approvals/backup%3Aplay"' in html
    for words in ("allowed once, not used yet", "never allowed", "Answered lately"):
        assert words in html


def test_an_answer_is_taken_back_where_the_list_leads(desk: Desk) -> None:
    """A yes that was not used becomes a no, that no a yes, and a no for good is forgotten."""
    key = desk.send("POST", "/ui/v1/apps", 201, {"name": "backup"}).json()["key"]
    code = asked(desk, key, "work", 403)
    act = f"/ui/v1/approvals/{code}"

    desk.send("POST", act, 200, {"decision": "allow", "remember": "once"})
    assert "Take it back" in desk.part(f"approvals/{code}")
    desk.send("POST", act, 200, {"decision": "deny", "remember": "once"})
    asked(desk, key, "work", 403)
    html = desk.part(f"approvals/{code}")
    assert "Allow always" in html
    assert "Not now" not in html
    desk.send("POST", act, 200, {"decision": "deny", "remember": "always"})
    asked(desk, key, "work", 403)
    assert "Let it ask again" in desk.part("approvals/backup%3Awork")
    desk.send("POST", "/ui/v1/approvals/backup%3Awork", 200, {"decision": "deny", "remember": "once"})
    assert asked(desk, key, "work", 403)


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_only_what_still_counts_has_buttons(kind: Kind, state: State) -> None:
    """What can be answered, or answered anew, has a form; a program that was told no made its key in vain."""
    approval = Approval("BCDF-GHJK", kind, "a", (Wanted("w"),), None, 0.0, 0.0, 1, state, None)
    part = ApprovalPart(approval, "", ((Wanted("w"), None),), ())

    assert part.revisable is (state in ("once", "never") or (kind, state) == ("grant", "denied"))
    assert ("<form" in drawn(part)) is (part.revisable or state == "pending")


def test_many_apps_are_searched_and_paged(desk: Desk) -> None:
    """Fifty on a page; a word of a name, an account or a scope finds them; what fits nothing says so."""
    for number in range(60):
        desk.send("POST", "/ui/v1/apps", 201, {"name": f"app-{number:02}", "grants": [WORK] if number < 55 else []})

    first, second, found = desk.part("apps"), desk.part("apps?page=2"), desk.part("apps?q=WORK&page=2")

    assert "60 in all" in first
    assert first.count('href="/ui/apps/app-') == 50
    assert second.count('href="/ui/apps/app-') == 10
    assert found.count('href="/ui/apps/app-') == 5
    assert 'href="/ui/apps?q=WORK&amp;page=1"' in found
    assert "No app fits that" in desk.part("apps?q=nothing")


def test_where_there_are_too_many_accounts_the_name_is_typed() -> None:
    """A list of thousands is no choice; the browser completes what is typed."""
    some = tuple(f"a{number}" for number in range(MOST_CHOICES))

    few, many = (drawn(replace(NOTHING, accounts=names)) for names in (some, (*some, "one-more")))

    assert '<select name="grants.0.account"' in few
    assert "<datalist" not in few
    assert 'list="grants.0.account-names"' in many
    assert many.count("<option value=") - few.count("<option value=") == 0


def test_of_very_many_accounts_none_is_offered() -> None:
    """All their names would be megabytes: one types it, and nothing stands there to choose from."""
    most = tuple(f"a{number}" for number in range(pages.MOST_NAMES))

    many, too_many = (drawn(replace(NOTHING, accounts=names)) for names in (most, (*most, "one-more")))

    assert many.count("<option value=") - too_many.count("<option value=") == pages.MOST_NAMES
    assert '<input name="grants.0.account"' in too_many


def test_a_key_that_ended_is_told() -> None:
    """In the list and on its own page, with what helps; so is a grant that ended."""
    row = AppRow("old", (AppGrant("work", expires_at=NOW - 1.0),), NOW - 9.0, None, NOW - 1.0)

    listed, one = drawn(replace(NOTHING, sheet=Sheet((row,), 1, 1, 1, ""))), drawn(AppPart(row, (), None, NOW))

    assert "Its key has ended" in listed
    assert '<span class="pill bad">ended</span>' in listed
    assert "remove it and add it again" in one
    assert "Make a new key" not in one


def test_of_many_grants_some_are_named_in_the_list() -> None:
    """Its own page has all of them."""
    grants = tuple(AppGrant(f"account-{number}") for number in range(GRANTS_SHOWN + 2))
    row = AppRow("busy", grants, NOW, NOW, None)

    listed, one = drawn(replace(NOTHING, sheet=Sheet((row,), 1, 1, 1, ""))), drawn(AppPart(row, (), None, NOW))

    assert "and 2 more" in listed
    assert [one.count(f"<bdi>account-{number}</bdi>") for number in range(len(grants))] == [1] * len(grants)


def texts(text: str) -> tuple[pages.Rendered, ...]:
    """Return both pages, in both their forms, with a text in every field that takes one."""
    grant = AppGrant(text, (text, "openid"), text, text, token_file=text)
    row = AppRow(text, (grant,), NOW, NOW, NOW)
    states: tuple[State, ...] = ("pending", "never", "denied")
    requests = tuple(
        Approval(text, "grant", text, (Wanted(text),), Asker("socket"), NOW, NOW, 1, state, None) for state in states
    )
    account = Account(
        uuid="u",
        name=text,
        provider=text,
        destination=Destination("i", "t", "c"),
        version=1,
        generation=1,
        identity=None,
        asked_scope=(text,),
        resource=None,
        state=Active(NOW),
        token=Token("Bearer", (text,), NOW, NOW + 60.0),
        has_refresh_token=True,
        refresh_expires_at=None,
        created_at=NOW,
        last_refresh_at=None,
        last_used_at=None,
        forced_at=None,
    )
    listed = AppsPart(Sheet((row,), 1, 3, 1, text), requests[:1], requests[1:], (text,), NOW)
    many = replace(listed, accounts=(text,) * (MOST_CHOICES + 1))
    files = {text: Path(text)}
    return listed, many, AppPart(row, (text,), account, NOW), AppPart(row, (), None, NOW, files)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    """Names of apps and accounts, scopes and resources of grants, and all of a request."""
    for hostile, plain in zip(map(drawn, texts(text)), map(drawn, texts("plain")), strict=True):
        assert_inert(hostile, plain)


def test_wrong_addresses_say_what_is_wrong(desk: Desk) -> None:
    """An account that there is not, a parameter that nobody knows, a page that is no number."""
    desk.send("POST", "/ui/v1/apps", 201, {"name": "backup"})

    assert "No account is called 'nobody'" in desk.send("GET", "/ui/parts/apps/backup?account=nobody", 404).text
    desk.send("GET", "/ui/parts/apps?color=red", 400)
    desk.send("GET", "/ui/parts/apps?page=0", 400)


def test_nobody_else_sees_or_does_that(desk: Desk) -> None:
    """Every route wants the session; the app is as it was afterwards."""
    desk.send("POST", "/ui/v1/apps", 201, {"name": "backup", "grants": [WORK]})
    before = desk.house.owner.ask("GET", "/v1/apps", 200)

    for method, path in (
        ("GET", "/ui/parts/apps"),
        ("GET", "/ui/parts/apps/backup"),
        ("POST", "/ui/v1/apps"),
        ("DELETE", "/ui/v1/apps/backup"),
        ("POST", "/ui/v1/apps/backup/rotate"),
        ("PUT", "/ui/v1/apps/backup/grants/work"),
        ("DELETE", "/ui/v1/apps/backup/grants/work"),
    ):
        desk.refused(method, path)

    assert desk.house.owner.ask("GET", "/v1/apps", 200) == before


def test_the_addresses_show_nothing_by_themselves(desk: Desk, stranger: httpx2.Client) -> None:
    """Without a session they are the same for an app that there is and for one that there is not."""
    desk.send("POST", "/ui/v1/apps", 201, {"name": "backup"})

    pages_ = {
        stranger.get(desk.house.browser_url + path).text for path in ("/ui/apps", "/ui/apps/backup", "/ui/apps/x")
    }

    assert len(pages_) == 1
    assert "backup" not in pages_.pop()
