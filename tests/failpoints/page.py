"""The table "Wherever it dies" of docs/refresh.md, as data: what the tests of this folder hold the daemon against.

The page is the only place where the behaviour is written down. Its cells are words of a small vocabulary, given here
with what they mean in a test; a cell with other words cannot be read, so neither page nor behaviour can move alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs/refresh.md"
HEADING = "## Wherever it dies"


class Disk(NamedTuple):
    """What is on the disk.

    Attributes:
        intent: an open intent.
        answer: an answer that was kept and not put to use.
        tokens: by how many generations the refresh token, and the access token, have moved. At a provider that does
            not rotate, the refresh token stays where it is.
    """

    intent: bool
    answer: bool
    tokens: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Start:
    """What the next start does.

    Attributes:
        asks: how many requests it sends by itself.
        renewed: whether the new access token is in force without anybody asking.
        wait: next try not before and not after so many seconds; None where it is the end of the access token.
    """

    asks: int = 0
    renewed: bool = False
    wait: tuple[float, float] | None = None


# "the refresh token"
ROTATIONS = ("stays the same", "rotates, with a grace", "rotates, without a grace")
ANY = "any"
# "on the disk"
DISKS: Mapping[str, Disk] = {
    "as before": Disk(intent=False, answer=False, tokens=(0, 0)),
    "intent": Disk(intent=True, answer=False, tokens=(0, 0)),
    "intent and answer": Disk(intent=True, answer=True, tokens=(1, 0)),
    "the new tokens": Disk(intent=False, answer=False, tokens=(1, 1)),
}
# "the provider": the requests that it has carried out
PROVIDER: Mapping[str, int] = {"was not asked": 0, "has carried it out": 1}
# "the next start"
STARTS: Mapping[str, Start] = {
    "has nothing to settle": Start(),
    "tries again within 15 s": Start(wait=(7.5, 15.0)),
    "asks again at once": Start(asks=1, renewed=True),
    "waits until the access token has ended": Start(),
    "puts the answer to use, without a request": Start(renewed=True),
}
WAITS = "waits until the access token has ended"
# "the login"
LIVES, ENDS = "lives", "ends then: `needs-login`"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the words of the page."""

    dies: str
    rotation: str
    disk: str
    provider: str
    start: str
    state: str
    login: str


def rows() -> list[Row]:
    """Read the table.

    Raises:
        ValueError, KeyError: there is a word that the tests do not know.
    """
    section = PAGE.read_text(encoding="utf-8").split(HEADING, 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    found = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]
    for row in found:
        known = (row.disk in DISKS, row.provider in PROVIDER, row.start in STARTS, row.login in (LIVES, ENDS))
        if not all(known) or row.rotation not in (*ROTATIONS, ANY):
            raise ValueError(f"{PAGE.name} has words that the tests do not know: {row}")
    return found


def row_of(dies: str, rotation: str) -> Row:
    """Return the one row for a death and a kind of provider.

    Raises:
        ValueError: there is none, or more than one.
    """
    (row,) = [row for row in rows() if row.dies == dies and row.rotation in (rotation, ANY)]
    return row
