"""The room itself: what a walk must never see is noticed, so that a green walk means something."""

import pytest

from broker.practice.server import practice_in_thread
from tests.browser.room import Room
from tests.browser.visit import OpenVisit, Visit

INLINE = "document.body.append(Object.assign(document.createElement('script'), { textContent: '1' }))"
FOREIGN = "fetch('http://127.0.0.1:1/').catch(() => {})"


@pytest.mark.parametrize(
    ("does", "noticed"),
    [
        ("console.error('this is lost')", "console error: this is lost"),
        ("console.warn('this is late')", "console warning: this is late"),
        ("setTimeout(() => { throw new Error('this broke'); })", "uncaught: this broke"),
        (INLINE, "Content Security Policy"),
        (FOREIGN, "Content Security Policy"),
        ("fetch('/nowhere')", "status of 404"),
        ("alert('this runs')", "alert: this runs"),
    ],
    ids=["error", "warning", "exception", "inline script", "foreign fetch", "refused", "box"],
)
def test_what_a_page_does_wrong_is_noticed(room: Room, guest: Visit, does: str, noticed: str) -> None:
    """A word in the console, an exception, what the policy forbids, a box, a refusal: none is missed."""
    guest.page.goto(f"{room.url}/ui/")
    assert guest.problems() == []

    guest.page.evaluate(f"async () => {{ await {does}; await new Promise(seen => setTimeout(seen)); }}")

    problems = guest.problems()
    assert problems
    assert all(noticed in line for line in problems), problems
    guest.watch.allow(noticed)
    assert guest.problems() == []


def test_a_request_to_a_foreign_origin_is_noticed(room: Room, guest: Visit, open_visit: OpenVisit) -> None:
    """Another port of this machine is a foreign origin, unless the walk says that it goes there."""
    with practice_in_thread() as other:
        address = f"{other.url}/.well-known/openid-configuration"
        guest.page.goto(address)
        traveller = open_visit(signed_in=False, foreign=other.url)
        traveller.page.goto(address)
        traveller.page.evaluate("console.error('not ours')")

        assert guest.problems() == [f"foreign request: GET {address}"]
        assert traveller.problems() == []
        traveller.page.goto(f"{room.url}/ui/")
        traveller.page.evaluate("console.error('ours')")
        assert len(traveller.problems()) == 1
    guest.watch.allow("foreign request")
    traveller.watch.allow(": ours")


def test_what_is_allowed_has_to_come(guest: Visit) -> None:
    """An allowance that nothing needs any more does not stay unnoticed."""
    guest.watch.allow("status of 418")
    assert guest.problems() == ["allowed, and never seen: status of 418"]
    guest.page.evaluate("console.error('status of 418')")
    assert guest.problems() == []


def test_pale_letters_and_wide_pages_are_noticed(room: Room, guest: Visit) -> None:
    """axe-core and the ruler find what is wrong, and name the place."""
    guest.page.goto(f"{room.url}/ui/")
    guest.axe()
    guest.fits()

    guest.page.evaluate("document.querySelector('h1').style.color = '#ccc'")
    guest.page.evaluate("document.querySelector('h1').style.width = '2000px'")

    with pytest.raises(AssertionError, match=r"(?s)serious: color-contrast.* h1"):
        guest.axe()
    with pytest.raises(AssertionError, match="px wide"):
        guest.fits()
