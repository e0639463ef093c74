"""One seed from beginning to end: people, programs, weather, and the engine in the middle.

Called by ``__main__`` and ``test_simulation``. Everything that happens is drawn from the seed before it happens.
"""

import asyncio
import logging
import random
import shutil
import traceback
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.core import timing
from broker.core.policy import Ask, Owner
from broker.core.secret import Secret
from broker.errors import KeyfobError
from broker.store.migrate import prepare
from broker.usecases import accounts, get_token, login, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.outcomes import Outcome, Ready
from broker.usecases.providers import NewProvider
from tests.sim import profile
from tests.sim.disk import Disk, Life, mounted
from tests.sim.engine import Engine
from tests.sim.judge import Fault, Judge
from tests.sim.loop import Clocks, Stuck, VirtualLoop
from tests.sim.network import Link, Network
from tests.sim.profile import Profile
from tests.sim.provider import Login, Provider

START = 1_800_000_000.0
FIRST_PORT = 9001
ME = Owner()
# As ``timing``: what throttled accounts wait for at the most, and twice the cap of the back-off for everything else.
BOUND = max(timing.RETRY_AFTER_CAP, 2 * timing.BACKOFF_CAP) + 2 * timing.LONGEST_SLEEP


@dataclass(frozen=True, slots=True)
class Result:
    """How a seed went.

    Attributes:
        seed: which.
        failed: the invariant that does not hold and why; empty where all do.
        story: the last things that happened.
        profile: what the seed was about.
        counts: requests, refreshes, tokens, kills and the like.
    """

    seed: int
    failed: str
    story: tuple[str, ...]
    profile: Profile
    counts: dict[str, int]


class World:
    """Everything of one seed.

    Args:
        seed: from which everything is drawn.
        hours: how long the faults go on.
        place: a directory with a database that knows nothing yet, and its key.
        loop: virtual time.
    """

    def __init__(self, seed: int, hours: float, place: Path, loop: VirtualLoop) -> None:
        self.rng = random.Random(seed)  # noqa: S311 -- the same in every run
        self.profile = profile.draw(self.rng, hours)
        self.loop = loop
        self.place = place
        self.hours = hours
        self.clocks = Clocks(loop, START)
        self.disk = Disk(self._rng(), self._step)
        loop.busy = self.disk.busy
        self.judge = Judge(place / "keyfob.db", self.clocks, self._alarm, self._step)
        self.providers = [Provider(f"p{index}", rules, self._rng()) for index, rules in enumerate(self.profile.rules)]
        links = {FIRST_PORT + index: Link(found) for index, found in enumerate(self.providers)}
        self.network = Network(links, self.clocks, self._rng(), self.judge)
        self.engine: Engine | None = None
        self.given: dict[str, str] = {}
        self.logged_out: set[str] = set()
        self.at_login: set[str] = set()
        self.fuse: int | None = None
        self.news = asyncio.Event()
        self.absent: Fault | None = None
        self.open_faults: list[Callable[[], None]] = []

    def _rng(self) -> random.Random:
        return random.Random(self.rng.random())  # noqa: S311 -- the same in every run

    def _alarm(self) -> None:
        self.news.set()

    def _step(self) -> None:
        """The engine does something that can be cut in two: before it, or after it."""
        if self.fuse is not None and not self.disk.life.dead:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                self.cut()

    def cut(self) -> None:
        """End the engine's life this instant."""
        self.judge.note("--- killed")
        self.judge.counts["kills"] += 1
        self.engine = None
        self.disk.life.end()
        self.judge.died()
        self.absent = self.judge.begin("absent")
        self.news.set()

    def broke(self, what: str) -> None:
        """Something broke that nobody foresaw; what breaks in a dying engine is the way it dies."""
        if not self.disk.life.dead:
            self.judge.fail("sound", what)

    # --- the engine's lives -------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the engine, as often as it takes; killed engines are buried first."""
        while not self.judge.failed:
            await self.bury()
            self.disk.life = Life()
            start = Engine.start(self.place, self.network, self.clocks, self.disk.life, self._rng())
            # A task of its own: it may be killed like any other.
            starting = asyncio.create_task(start)
            await asyncio.wait([starting])
            if not starting.cancelled() and starting.exception() is None:
                self.engine = starting.result()
                self.judge.belief = self.engine.ctx.clock
                self.judge.life += 1
                self.engine.ticking.add_done_callback(self._ticked)
                self.judge.note("--- started")
                if self.absent is not None:
                    self.judge.over(self.absent)
                    self.absent = None
                return
            if not starting.cancelled():
                self.judge.note(f"    the engine cannot start: {starting.exception()}")
                if not isinstance(starting.exception(), KeyfobError) or not self.judge.store_failing:
                    self.judge.fail("sound", f"the engine does not start: {starting.exception()!r}")
            self.disk.life.end()
            await asyncio.sleep(self.rng.uniform(1.0, 10.0))

    def _ticked(self, ticking: asyncio.Task[None]) -> None:
        if not ticking.cancelled() and ticking.exception() is not None:
            self.broke(f"the scheduler ended with {ticking.exception()!r}")

    async def bury(self) -> None:
        """End every task of a dead engine: none of them can do anything any more, and none may be left."""
        self.engine = None
        for _ in range(20):
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                self.disk.life.bury()
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        self.judge.fail("sound", "a task of a dead engine does not end")

    async def restart(self) -> None:
        """Stop in good order, and start again a little later."""
        if self.engine is None:
            return
        self.judge.note("--- stopping")
        stopping = self.spawn(self.engine.stop)
        await asyncio.wait([stopping])
        if not self.disk.life.dead:
            self.cut()
        await asyncio.sleep(self.rng.uniform(0.2, 5.0))
        await self.begin()

    async def until(self, when: float) -> None:
        """Let time pass; a killed engine is started again by whoever watches over it."""
        while not self.judge.failed and (left := when - self.loop.time()) > 0:
            self.news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.news.wait()
            if self.disk.life.dead and not self.judge.failed:
                await self.bury()
                # A unit with RestartSec=2, a person who notices, or a machine that was off over night.
                await asyncio.sleep(self.rng.choice((0.5, 2.0, 2.0, 30.0, 400.0, 30000.0)))
                await self.begin()

    # --- what programs and people do ----------------------------------------------------------------------------------

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]], *, may_fail: bool = True) -> asyncio.Task[None]:
        """Let a program do something; a dying engine takes its requests with it."""

        async def guarded() -> None:
            try:
                await work()
            except KeyfobError as exc:
                self.judge.note(f"    {type(exc).__name__}: {exc.detail[:90]}")
                if not may_fail:
                    self.judge.fail("I8", f"without any fault, a request ended with {exc!r}")
            except Exception as exc:  # noqa: BLE001 -- that is what is looked for
                self.broke(f"a request ended with {exc!r}")

        return asyncio.create_task(guarded(), name="request")

    async def ask(self, account: str, min_ttl: float | None = None, scope: tuple[str, ...] = ()) -> None:
        """A program asks for a token."""
        if self.engine is None:
            return
        outcome = await get_token.get_token(self.engine.ctx, ME, Ask(account, scope), min_ttl=min_ttl)
        if isinstance(outcome, Ready):
            access = self.judge.handed_out(account, outcome, self.provider(account))
            if access is not None and access.scope and not scope:
                self.judge.fail("I5", f"{account} gave a narrower token as its own")
            self.given[account] = outcome.access_token.reveal()

    async def outcome(self, account: str) -> Outcome:
        """Ask as a program does, and return whatever comes."""
        assert self.engine is not None
        return await get_token.get_token(self.engine.ctx, ME, Ask(account))

    async def reject(self, account: str) -> None:
        """A program reports that a resource server does not take its token."""
        if self.engine is None or account not in self.given:
            return
        self.judge.forced(account)
        await accounts.rejected(self.engine.ctx, ME, account, Secret(self.given[account]))

    async def insist(self, account: str) -> None:
        """A person refreshes by hand, and sometimes confirms what he is warned of."""
        if self.engine is None:
            return
        confirm = self.rng.random() < 0.3
        self.judge.forced(account, confirmed=confirm)
        await accounts.refresh_now(self.engine.ctx, account, confirm=confirm)

    async def log_in(self, account: str) -> None:
        """A person logs in: for the first time, again, or because Keyfob said so."""
        if self.engine is None or account in self.at_login:
            return  # Of two logins at once nobody could say which one Keyfob holds in the end.
        self.at_login.add(account)
        try:
            await self._log_in(account, self.engine)
        finally:
            self.at_login.discard(account)

    async def _log_in(self, account: str, engine: Engine) -> None:
        self.judge.note(f"    a person logs in {account}")
        provider, ctx, browser = self.provider(account), engine.ctx, Secret(f"browser of {account}")
        begun = await login.begin(ctx, NewLogin(provider=provider.name, account=account))
        await login.opened(ctx, begun.id, browser)
        query = dict(part.split("=", 1) for part in begun.authorization_url.partition("?")[2].split("&"))
        params = [("code", provider.consent(account)), ("state", query["state"])]
        self.logged_out.discard(account)
        finished = await login.finish(ctx, provider.name, params, lambda _: browser)
        self.judge.note(f"    logged in {account}: {finished.reason or 'yes'}")
        if finished.account is not None and (held := self.login(account)) is not None:
            held.arrived()

    async def log_out(self, account: str) -> None:
        """A person logs out."""
        if self.engine is None:
            return
        self.judge.note(f"    a person logs out {account}")
        self.logged_out.add(account)
        await accounts.log_out(self.engine.ctx, account)

    def provider(self, account: str) -> Provider:
        """Return an account's provider."""
        return self.providers[self.profile.accounts[account]]

    def login(self, account: str) -> Login | None:
        """Return an account's login as its provider knows it."""
        return self.provider(account).newest.get(account)

    async def set_up(self) -> None:
        """Configure the providers, and log everybody in."""
        await self.begin()
        assert self.engine is not None
        for port, link in self.network.links.items():
            rules, base = link.provider.rules, f"http://127.0.0.1:{port}"
            endpoints = {"authorization": f"{base}/authorize", "token": f"{base}/token", "revocation": f"{base}/revoke"}
            policy = {
                "rotation": rules.rotation,
                "reuse_grace_s": rules.grace,
                "kills_old_access_token": rules.kills_old_access,
                "narrows": True,
            }
            await providers.add(
                self.engine.ctx,
                NewProvider(
                    name=link.provider.name,
                    preset="generic",
                    overrides={"endpoints": endpoints, "refresh": policy, "scopes": ["read", "write"]},
                    client_id="keyfob",
                ),
            )
        for account in self.profile.accounts:
            await self.log_in(account)


def make_template(place: Path) -> None:
    """Make an empty database: its schema costs more than a seed."""
    prepare(place / "keyfob.db", START)


def run(seed: int, hours: float, template: Path, place: Path) -> Result:
    """Play one seed.

    Args:
        seed: which.
        hours: simulated hours of faults; some quiet ones follow.
        template: a directory made by :func:`make_template`.
        place: a directory for the database, on a file system in memory; made new.
    """
    from tests.sim.script import play  # noqa: PLC0415 -- the script knows the world

    shutil.copytree(template, place)
    loop = VirtualLoop()
    # What the tasks of a dead engine end with is of no interest.
    loop.set_exception_handler(lambda _loop, _context: None)
    world: World | None = None
    draws = random.Random(seed)  # noqa: S311 -- the same in every run

    def drawn_uuid() -> uuid.UUID:
        return uuid.UUID(int=draws.getrandbits(128), version=4)

    async def life() -> World:
        nonlocal world
        world = World(seed, hours, place, loop)
        with mounted(world.disk, place), listening(world):
            try:
                await play(world)
            finally:
                world.disk.life.end()
                await world.bury()
        return world

    # The uuid of an account spreads its refreshes: the one thing that Keyfob draws by itself and that moves time.
    with pytest.MonkeyPatch.context() as drawn, asyncio.Runner(loop_factory=lambda: loop) as runner:
        drawn.setattr(uuid, "uuid4", drawn_uuid)
        try:
            world = runner.run(life())
        except Stuck as exc:
            assert world is not None
            world.judge.fail("I8", str(exc))
        except Exception as exc:
            if world is None:
                raise
            world.judge.fail("sound", "".join(traceback.format_exception(exc)[-3:]))
    world.judge.close()
    shutil.rmtree(place)
    judge = world.judge
    return Result(seed, judge.failed, tuple(judge.story), world.profile, dict(judge.counts))


def play_one(seed: int, hours: float, base: Path) -> Result:
    """Play a seed below a directory that holds the template."""
    return run(seed, hours, base / "template", base / f"seed-{seed}")


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Read what Keyfob logs: a fault of its own that nobody else would hear of."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.broke(f"Keyfob logs: {record.getMessage()} {record.exc_info and record.exc_info[1]!r}")

    log, ear = logging.getLogger("broker"), Ear(logging.ERROR)
    pool = logging.getLogger("sqlalchemy.pool")
    before = [(heard, heard.level, heard.propagate) for heard in (log, pool)]
    log.addHandler(ear)
    log.setLevel(logging.ERROR)
    log.propagate = False
    pool.setLevel(logging.CRITICAL + 1)  # it mourns for the connections of a dead engine
    try:
        yield
    finally:
        log.removeHandler(ear)
        for heard, level, propagate in before:
            heard.setLevel(level)
            heard.propagate = propagate
