"""The line of the accounts that are due: who is next, and how many are on their way at a time."""

from dataclasses import replace

from broker.core.account import Account, Active
from broker.usecases.line import Line
from tests.core.test_account import an_account

NOW = 1_800_000_000.0
MANY = 100


def crowd(issuer: str, number: int) -> list[tuple[str, Account]]:
    """Make accounts at one issuer."""
    like = an_account(Active(NOW))
    return [(issuer, replace(like, uuid=f"{issuer}{index:03}")) for index in range(number)]


def taken(line: Line, per_issuer: int = 2, in_all: int = 4) -> list[str]:
    """Take as many as can be taken now."""
    found = []
    while (account := line.take(per_issuer, in_all)) is not None:
        found.append(account.uuid)
    return found


def test_a_crowd_at_one_issuer_leaves_room_for_others() -> None:
    """Each issuer has its share of the places, and who is first in the line goes first where there is room."""
    line = Line()
    line.form([*crowd("a", MANY), *crowd("b", 1), *crowd("c", MANY)])
    assert taken(line) == ["a000", "a001", "b000", "c000"]
    line.landed("a000")
    assert taken(line) == ["a002"]
    line.landed("c000")
    assert taken(line) == ["c001"]


def test_everybody_in_the_line_is_taken_once() -> None:
    """However landings and new looks come between each other, nobody is taken twice and nobody is forgotten."""
    line, seen = Line(), []
    everybody = [*crowd("a", MANY), *crowd("b", MANY)]
    line.form(everybody)
    while now := taken(line):
        seen += now
        waiting = [(issuer, account) for issuer, account in everybody if account.uuid not in seen[: -len(now)]]
        line.form(waiting)  # a look still sees those on their way as due
        for uuid in now:
            line.landed(uuid)
            line.landed(uuid)  # the second time there is nothing to give back
        line.form([(issuer, account) for issuer, account in everybody if account.uuid not in seen])
    assert not line
    assert sorted(seen) == sorted(account.uuid for _, account in everybody)
    assert len(seen) == 2 * MANY


def test_whoever_is_not_in_the_new_line_waits_no_more() -> None:
    """A look forms the line anew: who is not due any more is not taken."""
    line = Line()
    line.form(crowd("a", MANY))
    line.form(crowd("b", 1))
    assert taken(line) == ["b000"]
    assert not line


def test_who_is_named_twice_waits_once() -> None:
    """A place that is taken for nobody would never be given back, and once all are, an issuer is not asked any more."""
    line, (one,) = Line(), crowd("a", 1)
    for _ in range(MANY):
        line.form([one, one])
        assert taken(line) == ["a000"]
        line.landed("a000")
        assert not line
