"""What a look at one part of Keyfob came to.

Made by the doctor of the command line, which shows it; the owner's page shows what it says of the machine.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "trouble"]
# From harmless to bad.
LEVELS: tuple[Level, ...] = ("ok", "warning", "trouble")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``keyfob doctor``.

    Attributes:
        check: what was looked at; a stable word.
        level: ``ok``; ``warning``: works, but a person should know; ``trouble``: something does not work.
        detail: what was found, for people.
        next_step: what to do about it; empty where nothing has to be done.
        about: the account, file or door that it is about; empty where the check has only one subject.
    """

    check: str
    level: Level
    detail: str
    next_step: str = ""
    about: str = ""


def worst(findings: list[Finding]) -> Level:
    """Return the worst level among some findings."""
    return max((found.level for found in findings), key=LEVELS.index, default="ok")
