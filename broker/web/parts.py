"""What the owner sees in the browser once signed in: one frozen dataclass for each part of a page.

Filled by ``signed_in``, drawn by ``pages.render``. Whatever a program said of itself is escaped and cleaned there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from broker.core.account import Account
from broker.core.approval import STATE_WORDS, Approval, State, Wanted


@dataclass(frozen=True, slots=True)
class ShellPage:
    """A page that shows nothing before it is signed in, and then one part.

    Attributes:
        part: where the part comes from.
        code: of the request that the page is about.
        status: the HTTP status.
    """

    template: ClassVar[str] = "shell.html.j2"
    part: str
    code: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class ApprovalsPart:
    """What waits for the owner, and what was answered.

    Attributes:
        waiting: oldest first.
        answered: a short while ago, or for good.
        status: the HTTP status.
    """

    template: ClassVar[str] = "approvals.html.j2"
    words: ClassVar[Mapping[State, str]] = STATE_WORDS
    waiting: tuple[Approval, ...]
    answered: tuple[Approval, ...]
    status: int = 200


@dataclass(frozen=True, slots=True)
class ApprovalPart:
    """One request: who asks, for what, and the buttons.

    Attributes:
        approval: it.
        user: the user who asked, in words.
        asked: when and how often, in words.
        accounts: what is wanted, each with the account, or None where there is none of that name.
        names: all accounts, for a program that names none.
        status: the HTTP status.
    """

    template: ClassVar[str] = "approval.html.j2"
    words: ClassVar[Mapping[State, str]] = STATE_WORDS
    approval: Approval
    user: str
    asked: str
    accounts: tuple[tuple[Wanted, Account | None], ...]
    names: tuple[str, ...]
    status: int = 200

    @property
    def open(self) -> bool:
        """Whether it waits for an answer."""
        return self.approval.state == "pending"
