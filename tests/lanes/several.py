"""Many accounts at several providers: for the lanes that look at a crowd.

Used by ``drain`` and ``wake``.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from broker.client import ClientError
from broker.practice.grants import fingerprint
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.lanes.person import Site
from tests.lanes.stage import Broken, House, say, until

Plan = TypeVar("Plan")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Login:
    """Where an account belongs.

    Attributes:
        practice: its provider.
        grant: the provider's name for it.
    """

    practice: PracticeServer
    grant: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A refresh that a provider saw.

    Attributes:
        provider: its URL.
        grant: the provider's name for the login.
        at: when, epoch seconds.
        result: what it made of it.
    """

    provider: str
    grant: str
    at: float
    result: str


@contextlib.contextmanager
def providers(
    count: int, settings: PracticeSettings, clock: Callable[[], float] = time.time
) -> Iterator[list[PracticeServer]]:
    """Run so many providers that are alike."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(practice_in_thread(settings, clock=clock)) for _ in range(count)]


def log_in(home: House, practices: Sequence[PracticeServer], names: Sequence[str]) -> dict[str, Login]:
    """Make the accounts in this order, one provider after the other in turn."""
    logins = {}
    with home.client() as client:
        for number, name in enumerate(names):
            practice = practices[number % len(practices)]
            tokens = Site(practice.url).log_in(name)
            home.bring(client, name, tokens.refresh_token, practice.url)
            spent = fingerprint(tokens.refresh_token)
            grant = next(event.grant for event in practice.log.all("refresh", "ok") if event.refresh_token == spent)
            logins[name] = Login(practice, grant)
    return logins


def refreshes(practices: Sequence[PracticeServer]) -> list[Seen]:
    """Return every refresh that the providers saw, by time."""
    found = [
        Seen(practice.url, event.grant, event.at, event.result)
        for practice in practices
        for event in practice.log.all("refresh")
    ]
    return sorted(found, key=lambda seen: seen.at)


def set_faults(practices: Sequence[PracticeServer], *faults: str) -> None:
    """Put the same faults in force everywhere."""
    for practice in practices:
        practice.set_faults(list(faults))


def wait_until_fresh(home: House, names: Sequence[str], now: Callable[[], float], seconds: float) -> None:
    """Wait until every account is active and its token lives.

    Raises:
        Broken: some are not, in time; with what they are instead.
    """
    stale: dict[str, str] = {}

    def fresh() -> bool:
        with home.client() as client:
            shown = home.accounts(client)
        stale.clear()
        for name in names:
            account = shown[name]
            if account["state"] != "active" or datetime.fromisoformat(account["expires_at"]).timestamp() <= now():
                stale[name] = f"{account['state']}: {account['reason']}"
        return not stale

    try:
        until("every account is fresh", fresh, seconds)
    except Broken as exc:
        raise Broken(f"{exc}; not fresh: {dict(list(stale.items())[:3])} and so on, {len(stale)} in all") from exc


def check_tokens(home: House, logins: dict[str, Login]) -> None:
    """Use the token of every account at its provider.

    Raises:
        Broken: one is not to be had, or not good.
    """
    with home.client() as client:
        for name, login in logins.items():
            try:
                good = Site(login.practice.url).accepts(client.token(name).access_token)
            except ClientError as exc:
                raise Broken(f"no token for {name}: {exc}") from exc
            if not good:
                raise Broken(f"the token of {name} was handed out and is not valid")


def try_all(
    plans: Iterable[Plan], run: Callable[[Plan], Result], judge: Callable[[Result], None]
) -> tuple[list[Result], bool]:
    """Run every plan; say which broke a promise.

    Returns:
        What came of those that came to their end, and whether all promises held.
    """
    done: list[Result] = []
    held = True
    for plan in plans:
        try:
            done.append(run(plan))
            judge(done[-1])
        except Broken as exc:
            held = False
            say(f"BROKEN: {plan}: {exc}")
    return done, held
