"""Each event of a refresh, one after the other: the daemon dies before the first, the second, until one gets through.

An event is a statement that changes something, a commit, a connection, and each write and each read on it (before it,
and again when the bytes are here). Nothing here knows the steps: what has to hold is the same wherever the death falls.
"""

import contextlib
from dataclasses import dataclass

import pytest

from broker.client import ClientError, LoginNeeded
from tests.e2e.home import until
from tests.failpoints.page import DISKS, ROTATIONS, Disk
from tests.failpoints.stage import HALF, MORE, TTL, Login, Stage

STAYS, WITH_GRACE, WITHOUT_GRACE = ROTATIONS
# A refresh has about forty; a loop that ends before this has tried nothing.
LEAST_EVENTS = 25
MOST_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Death:
    """One death.

    Attributes:
        disk: what was left.
        carried_out: the provider has carried the request out.
        got: the token that the app got all the same, or None.
    """

    disk: Disk
    carried_out: bool
    got: str | None

    def loses(self, rotation: str) -> bool:
        """Tell whether this is the one loss that nobody can prevent: done there, and not on the disk here."""
        return rotation == WITHOUT_GRACE and self.carried_out and self.disk == DISKS["intent"]


def test_wherever_it_dies_the_promises_hold(site: Stage) -> None:
    """A login ends only by an answer that was carried out and not on the disk; nothing else is ever handed out."""
    deaths: list[Death] = []
    for number in range(1, MOST_EVENTS):
        with site.account() as login:
            death = die(site, login, number=number)
            if death is None:
                break
            deaths.append(death)
            check_the_moment(site, death)
            site.start()
            check_afterwards(site, login, death)
    # Whether the app's answer or the audit's first statement is earlier is chance: so one is ended in between.
    with site.account() as login:
        death = die(site, login, failpoint="after the closing commit")
        assert death is not None
        deaths.append(death)
        check_the_moment(site, death)
        site.start()
        check_afterwards(site, login, death)
    assert LEAST_EVENTS < len(deaths) < MOST_EVENTS - 1
    # It was cut between any two steps: every kind of leftover was seen, and the one loss where there can be one.
    assert {words(site, death.disk) for death in deaths} == set(DISKS)
    assert any(death.loses(site.rotation) for death in deaths) == (site.rotation == WITHOUT_GRACE)
    assert {death.carried_out for death in deaths if death.disk == DISKS["intent"]} == {False, True}


def die(site: Stage, login: Login, *, failpoint: str = "", number: int = 0) -> Death | None:
    """Have a refresh end at a failpoint, or before its event of a number; None where it has none, and came through."""
    got = None
    site.board.arm(failpoint, number)
    with contextlib.suppress(ClientError):
        got = login.ask(MORE)
    site.board.disarm()
    if not site.died():
        assert got is not None
        assert login.works(got)
        return None
    site.quiet()
    return Death(login.disk(), login.results() == ["ok"], got)


def words(site: Stage, disk: Disk) -> str:
    """Return the page's words for what was left; raises KeyError for a state that no step leaves behind."""
    if site.rotation == STAYS:  # no new refresh token came
        disk = disk._replace(tokens=(int(disk.answer or disk.tokens[1] > 0), disk.tokens[1]))
    return {known: said for said, known in DISKS.items()}[disk]


def check_the_moment(site: Stage, death: Death) -> None:
    """Expect what must hold at the very moment of a death."""
    left = words(site, death.disk)
    if death.carried_out:
        assert left != "as before", "a request was sent that nobody has written down"
    if left in ("intent and answer", "the new tokens"):
        assert death.carried_out
    if death.got is not None:
        assert left == "the new tokens", "a token was handed out that is not on the disk"


def check_afterwards(site: Stage, login: Login, death: Death) -> None:
    """Expect that the next daemon serves a token at once, and that the login lives if it can."""
    asked_before = int(death.carried_out)
    served = login.ask()
    assert login.works(served)
    if death.got is not None:
        assert served == death.got
    if site.rotation == WITH_GRACE and death.disk == DISKS["intent"]:
        until("the lost answer was had again", lambda: login.shown()["state"] == "active")
        assert login.results() == ["ok", "grace"] if asked_before else ["ok"]
    else:
        assert len(login.results()) == asked_before, "the next start has asked by itself"
    site.board.sleep(TTL - HALF + 1)
    if death.loses(site.rotation):
        with pytest.raises(LoginNeeded):
            login.ask(MORE)
        assert login.results() == ["ok", "reuse"]
    else:
        assert login.works(login.ask(MORE))
        assert "reuse" not in login.results()
        assert login.shown()["state"] == "active"
