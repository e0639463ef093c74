"""The page of what happened: every kind of thing in words, narrowed and searched; and the check of the record."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from broker.events import Kind
from broker.notify import NOTIFIED
from broker.practice.server import PracticeServer
from broker.store.chain import DAMAGED
from broker.store.store import AuditEntry
from broker.store.tally import HANDOUT, REFUSED, UNAUTHORIZED
from broker.store.verify import Break, Verdict
from broker.web import pages
from broker.web.parts import activity, deeds
from broker.web.parts.activity import ActivityPart
from tests.store import made
from tests.web.desk import HOSTILE, Desk, assert_inert
from tests.web.house import running
from tests.web.walk import new_browser

# What stands in the audit and is no event.
NO_EVENTS = {HANDOUT, REFUSED, UNAUTHORIZED, NOTIFIED, DAMAGED, "missed"}
AT = 1_800_000_000.0


@pytest.fixture
def desk(tmp_path: Path, practice: PracticeServer) -> Iterator[Desk]:
    """Run a daemon with an account, and sign in."""
    with running(tmp_path) as house, new_browser() as browser:
        house.log_in("work", practice.url)
        yield Desk(house, browser)


def entry(action: str, account: str | None = "work", app: str | None = "job", **more: object) -> AuditEntry:
    """Make an entry of the record."""
    values = {"detail": "", "generation": None, "first": None, "last": None, "count": None, **more}
    return AuditEntry(id=1, number=1, at=AT, action=action, account=account, app=app, **values)  # type: ignore[arg-type]


def drawn(*entries: AuditEntry, **filters: str) -> str:
    """Return a page of these entries as HTML."""
    part = ActivityPart(tuple(deeds.told(one) for one in entries), filters, 2, more=True)
    return bytes(pages.render(part).body).decode()


def test_every_kind_of_entry_has_words() -> None:
    """Every event, and what else is written down, has a sentence and a kind under which it is found; nothing beside."""
    assert set(deeds.DEEDS) == {*get_args(Kind), *NO_EVENTS}
    for action, deed in deeds.DEEDS.items():
        assert deed.kinds, action
        assert set(deed.kinds) <= set(deeds.KINDS), action
    assert all(deeds.of_kind(kind) for kind in deeds.KINDS)


@pytest.mark.parametrize("action", deeds.DEEDS)
def test_names_stand_in_each_sentence_as_links(action: str) -> None:
    """Account and app are there once, as a way to all that is about them; where one is missing the sentence holds."""
    html = drawn(entry(action))
    assert html.count('<a href="/ui/activity?account=work"><bdi>work</bdi></a>') == 1
    assert html.count('<a href="/ui/activity?app=job"><bdi>job</bdi></a>') == 1

    bare = drawn(entry(action, None, None))
    assert "?account=" not in bare
    assert "None" not in bare
    assert "{" not in bare


def test_the_owner_is_you() -> None:
    """Also at the beginning of a sentence."""
    assert 'went to <a href="/ui/activity?app=owner"><bdi>you</bdi></a>' in drawn(entry("handout", app="owner"))
    assert "<bdi>You</bdi></a> had the token" in drawn(entry("refresh-forced", app="owner"))


def test_what_no_keyfob_like_this_one_wrote_is_shown_by_its_own_word() -> None:
    """A newer database, or somebody with an editor: the page does not break, and shows it."""
    assert "“teleported”" in drawn(entry("teleported"))


def test_counts_tell_how_often_and_since_when() -> None:
    """And which token it was."""
    html = drawn(entry(HANDOUT, generation=7, first=AT - 60.0, last=AT, count=42))

    assert "<strong>42 times</strong>, the first <time" in html
    assert "token 7" in html


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_entries_stay_text(text: str) -> None:
    """Whatever field of an entry a program or a provider had a say in, and what was typed into the filters."""

    def whole(text: str) -> str:
        strange = entry(text, text, text, detail=text, first=AT, count=2)
        known = [entry(action, text, text, detail=text) for action in deeds.DEEDS]
        return drawn(strange, *known, q=text, account=text, app=text)

    assert_inert(whole(text), whole("plain"))


def test_what_happened_is_there_at_once(desk: Desk) -> None:
    """A token that was handed out stands there for whoever looks, without the wait for the counts to be written."""
    key = desk.house.owner.ask("POST", "/v1/apps", 201, json={"name": "job", "grants": [{"account": "work"}]})["key"]
    app = desk.house.app(key)
    with app.http:
        for _ in range(3):
            app.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})

    html = desk.part("activity?kind=tokens")

    assert "<strong>3 times</strong>" in html
    assert 'data-every="5"' in html


def test_the_record_is_narrowed(desk: Desk) -> None:
    """By account, app, kind and words, alone and together; an empty field is no filter."""
    for name in ("job", "other"):
        desk.house.owner.ask("POST", "/v1/apps", 201, json={"name": name, "grants": [{"account": "work"}]})
    whole = desk.until("activity", lambda html: html.count("</a> may use <a") == 2 and "is logged in" in html)
    assert "Keyfob started" in whole

    apps, logins = desk.part("activity?kind=apps&q="), desk.part("activity?kind=logins&account=work")
    one, none = desk.part("activity?app=job&account=work"), desk.part("activity?q=GRANTED+other&app=job")
    found = desk.part("activity?q=GRANTED+other")

    assert apps.count('data-key="entry-') == 4
    assert "Keyfob started" not in apps
    assert logins.count('data-key="entry-') == 2
    assert one.count('data-key="entry-') == 1
    assert 'href="/ui/apps/job"' in one
    assert found.count('data-key="entry-') == 1
    assert "Nothing that happened fits that" in none


def test_the_record_is_paged(desk: Desk) -> None:
    """Fifty on a page, the newest first; the filters stay on the way."""
    for number in range(60):
        desk.house.owner.ask("POST", "/v1/apps", 201, json={"name": f"app-{number}"})
    first = desk.until("activity?kind=apps", lambda html: "<bdi>app-59</bdi>" in html)
    second, beyond = desk.part("activity?kind=apps&page=2"), desk.part("activity?kind=apps&page=9")

    assert first.count('data-key="entry-') == 50
    assert 'href="/ui/activity?kind=apps&amp;page=2"' in first
    assert ">Newer<" not in first
    assert second.count('data-key="entry-') == 10
    assert 'href="/ui/activity?kind=apps&amp;page=1"' in second
    assert ">Older<" not in second
    assert "So far back there is nothing" in beyond


def test_wrong_filters_say_what_is_right(desk: Desk) -> None:
    """A kind that there is not, and a parameter that nobody knows."""
    assert "Use one of trouble" in desk.send("GET", "/ui/parts/activity?kind=x", 400).json()["detail"]
    desk.send("GET", "/ui/parts/activity?since=1", 400)


def test_nobody_else_sees_what_happened(desk: Desk) -> None:
    """Both routes want the session."""
    desk.refused("GET", "/ui/parts/activity")
    desk.refused("POST", "/ui/v1/audit/check")


def test_a_whole_record_is_told(desk: Desk) -> None:
    """With how much was looked at, and where it begins."""
    told = desk.send("POST", "/ui/v1/audit/check", 200, {}).json()

    assert told["intact"] is True
    assert told["said"].startswith("Nothing was changed: ")
    assert "The oldest is entry 1 of" in told["said"]


def test_a_changed_record_is_told(tmp_path: Path) -> None:
    """Which entry, and what stands there, whatever that is."""
    with running(tmp_path) as house:
        for name in ("one", "two"):
            house.owner.ask("POST", "/v1/apps", 201, json={"name": name})
    (tmp_path / "there").mkdir()
    (tmp_path / "there/state").symlink_to(tmp_path / ".local/state/keyfob", target_is_directory=True)
    made.behind(tmp_path / "there", "UPDATE audit SET at = 1e300, app = 'x' WHERE link = 2")

    with running(tmp_path) as house, new_browser() as browser:
        told = Desk(house, browser).send("POST", "/ui/v1/audit/check", 200, {}).json()

    assert told["intact"] is False
    assert "Entry 2 was changed. What stands there now: app-added, app x." in told["said"]


def test_a_check_needs_the_key(desk: Desk) -> None:
    """Locked, it says so, and not that something is wrong."""
    desk.house.owner.ask("POST", "/v1/lock", 200)

    assert desk.send("POST", "/ui/v1/audit/check", 423, {}).json()["code"] == "locked"


def test_every_verdict_has_words() -> None:
    """One entry, old ones, those that were written while Keyfob was locked, and what does not fit."""
    assert activity.said(Verdict()) == "Nothing was changed: all 0 entries of this record fit."
    one = activity.said(Verdict(1, 5, 5, b"x", AT, old=3, late=1, unsealed=2))
    assert "the one entry of this record fit" in one
    assert "nothing can be said of them: 3." in one
    assert "sure only from then on: 3." in one
    lost = activity.said(Verdict(broken=Break("missing", 4, "Entry 4 is missing.")))
    assert lost == "This record is not as it was written. Entry 4 is missing."
    assert "\x1b" not in activity.said(Verdict(broken=Break("changed", 4, "Entry 4 was changed.", AT, HOSTILE[0])))
