"""The house without its doors: a real store, a real provider over HTTP, and a clock that moves when told.

Imported by the tests beside it. A test writes ``async with opened(tmp_path) as house:`` inside ``asyncio.run``.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from broker.core.account import Account
from broker.core.login import Login
from broker.core.policy import Ask, Caller, Owner
from broker.core.secret import Secret
from broker.events import Event, Events, Subscription
from broker.oauth.http import DEADLINE, Http
from broker.oauth.idtoken import Jwks
from broker.practice.grants import fingerprint
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.providers.model import Provider
from broker.store.store import Store
from broker.usecases import get_token, login, providers, refresh
from broker.usecases.context import Context
from broker.usecases.login import Finished
from broker.usecases.newlogin import NewLogin
from broker.usecases.outcomes import Outcome, Ready
from broker.usecases.providers import NewProvider
from tests.loopback import NO_TLS
from tests.store import made

BROWSER_URL = "http://127.0.0.1:8400"
# The practice provider's tokens live for so long unless told otherwise, ...
TTL = PracticeSettings().ttl
# ... and are due two minutes before their end, or up to 30 s sooner.
DUE = TTL - 120.0
# Real seconds; everything here takes milliseconds, so this is a machine in trouble.
PATIENCE = 10.0


class Clock:
    """Epoch seconds that stand still until told; shared by Keyfob and the practice provider."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return what time it is."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(slots=True)
class House:
    """Everything that a story needs, and what a test looks at.

    Attributes:
        ctx: for the use cases.
        practice: the provider; ``practice.set_faults([...])``, ``practice.log``, ``practice.revoke_grants()``.
        clock: moves Keyfob and the provider together.
        news: hears every event that the stories publish.
        place: the directory that holds the database (``made.behind(place, sql)`` looks inside).
    """

    ctx: Context
    practice: PracticeServer
    clock: Clock
    news: Subscription
    place: Path

    @property
    def store(self) -> Store:
        """What is remembered."""
        return self.ctx.store

    async def add_provider(self, name: str = "", **overrides: Any) -> Provider:  # noqa: ANN401 -- a preset file's own types
        """Configure the practice provider ahead of a login, e.g. ``refresh={"reuse_grace_s": 30}``."""
        return await providers.add(
            self.ctx, NewProvider(name=name, preset="practice", base_url=self.practice.url, overrides=overrides)
        )

    async def log_in(self, account: str = "me", user: str = "", **new: Any) -> Account:  # noqa: ANN401 -- NewLogin's fields
        """Walk a whole browser login and return the account."""
        finished = await self.walk(await self.begin(account, **new), user)
        assert finished.account is not None, finished.reason
        return finished.account

    async def begin(self, account: str = "me", **new: Any) -> Login:  # noqa: ANN401 -- as above
        """Begin a login at the practice provider."""
        where = {"provider": "practice", "base_url": self.practice.url}
        return await login.begin(self.ctx, NewLogin(**{"account": account, **where, **new}))

    async def walk(self, begun: Login, user: str = "") -> Finished:
        """Open a login in a browser of its own, say yes at the provider, and come back to the callback."""
        browser = Secret(secrets.token_urlsafe(16))
        opened_login = await login.opened(self.ctx, begun.id, browser)
        path, params = await self.consent(opened_login, user)
        return await login.finish(self.ctx, path.rpartition("/")[2], params, lambda _: browser)

    async def consent(self, begun: Login, user: str = "") -> tuple[str, list[tuple[str, str]]]:
        """Go to the provider, which says yes at once; return the callback's path and what the browser brings there."""
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE, verify=NO_TLS) as browser:
            answer = await browser.get(begun.authorization_url + (f"&login_hint={user}" if user else ""))
        assert answer.status_code == 303, answer.text
        location = urlsplit(answer.headers["location"])
        return location.path, parse_qsl(location.query, keep_blank_values=True)

    async def token(self, account: str = "me", caller: Caller | None = None, **more: Any) -> Outcome:  # noqa: ANN401 -- get_token's own arguments
        """Ask for a token, as the owner unless told otherwise."""
        return await get_token.get_token(self.ctx, caller or Owner(), Ask(account), **more)

    async def account(self, name: str = "me") -> Account:
        """Read an account that must exist."""
        account = await self.store.account(name)
        assert account is not None
        return account

    async def secrets_of(self, account: Account) -> tuple[str | None, str | None]:
        """Return the stored access token and refresh token."""
        access_token = await self.store.access_token(account)
        refresh_token = await self.store.refresh_token(account)
        return made.reveal(access_token), made.reveal(refresh_token)

    async def holds_newest(self, name: str = "me") -> bool:
        """Tell whether the stored refresh token is the newest that the provider has issued."""
        _, stored = await self.secrets_of(await self.account(name))
        issued = [event.issued_refresh_token for event in self.practice.log.all() if event.issued_refresh_token]
        return fingerprint(stored or "") == issued[-1]

    def asked(self, kind: str = "refresh") -> int:
        """Count the requests of a kind that reached the provider."""
        return len(self.practice.log.all(kind))

    async def until_asked(self, kind: str = "refresh", count: int = 1) -> None:
        """Wait until so many requests of a kind have reached the provider."""
        await asyncio.to_thread(self.practice.log.wait_for, kind, count, timeout=PATIENCE)

    async def tick(self) -> float | None:
        """Do what one tick of the scheduler does, wait for the refreshes, and return when the next one is due."""
        due = await refresh.refresh_due(self.ctx)
        await self.landed()
        return due

    async def landed(self) -> None:
        """Wait until no refresh is in the air; where one lands, the next one in line is begun."""
        async with asyncio.timeout(PATIENCE):
            while self.ctx.flights.tasks:
                await asyncio.wait(self.ctx.flights.tasks.values())

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so that is about to be so.

        Raises:
            TimeoutError: it did not come about.
        """
        async with asyncio.timeout(PATIENCE):
            while not await check():  # noqa: ASYNC110 -- what is waited for happens in another thread or in the store
                await asyncio.sleep(0.002)  # real seconds; it takes a few of these

    async def heard(self) -> list[Event]:
        """Return the events since the last look."""
        found = []
        while (event := await self.news.next(timeout=0)) is not None:
            found.append(event)
        return found


def ready(outcome: Outcome) -> str:
    """Return the token of an outcome that must be one."""
    assert isinstance(outcome, Ready), outcome
    return outcome.access_token.reveal()


@contextlib.asynccontextmanager
async def opened(
    place: Path,
    *faults: str,
    practice: PracticeServer | None = None,
    clock: Clock | None = None,
    deadline: float = DEADLINE,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[House]:
    """Open a house for one block.

    Args:
        place: an empty directory, or one where a house was before: then it is that house after a restart.
        *faults: of the practice provider, in ``--fault``'s grammar.
        practice: one that runs already (with ``clock``), to outlive this block; else one is started.
        clock: time; else it starts at a round number.
        deadline: real seconds after which Keyfob gives a request up.
        settings: of the practice provider (``ttl``, ``rotation``, ``grace`` ...); it approves at once by default.
    """
    clock = clock or Clock()
    async with contextlib.AsyncExitStack() as stack:
        if practice is None:
            wanted = PracticeSettings(faults=faults, **{"auto_approve": True, **(settings or {})})
            practice = stack.enter_context(practice_in_thread(wanted, clock=clock))
        store = await stack.enter_async_context(made.opened(place, clock()))
        events = Events()
        news = stack.enter_context(events.listen())
        ctx = Context(
            store=store,
            http=Http(deadline=deadline, clock=clock),
            jwks=Jwks(),
            events=events,
            clock=clock,
            rng=random.Random(20240601),  # noqa: S311 -- a jitter that is the same in every run
            browser_url=BROWSER_URL,
        )
        try:
            yield House(ctx, practice, clock, news, place)
        finally:
            if ctx.flights.tasks:
                practice.set_faults([])  # an answer that is held must not hold the end of a test
            await ctx.flights.drain(PATIENCE)
            await ctx.http.aclose()
