"""In a copied or older database nothing is sent that a provider could take for theft, until a person says so."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.core.account import Suspect
from broker.core.policy import Owner
from broker.errors import ConfirmNeeded, StoreUnavailable
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.store.copies import back_up, put_back
from broker.store.fence import COPIED, OLDER, PUT_BACK, beside
from broker.store.keys import FileKey
from broker.usecases import accounts, refresh
from broker.usecases.backup import recognise_copy
from broker.usecases.outcomes import MustLogin, Ready
from tests.store import made
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready
from tests.usecases.world import crash

Work = Callable[[House], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class World:
    """What is there beside one life of Keyfob: the provider, the time, and the disk."""

    practice: PracticeServer
    clock: Clock
    place: Path

    def life(self, *works: Work, place: Path | None = None) -> None:
        """Start as the daemon does, do some work, and stop."""

        async def story() -> None:
            async with opened(place or self.place, practice=self.practice, clock=self.clock) as house:
                await recognise_copy(house.ctx)
                await refresh.settle(house.ctx)
                for work in works:
                    await work(house)

        asyncio.run(story())

    def save(self) -> Path:
        """Copy the bare database file, as somebody would who knows no better."""
        return Path(shutil.copy(made.database(self.place), self.place / "saved.db"))

    def put_back(self) -> None:
        """Put that copy in its place by hand."""
        shutil.copy(self.place / "saved.db", made.database(self.place))

    @property
    def refreshes(self) -> list[str]:
        """What came of the refreshes that the provider has seen."""
        return [event.result for event in self.practice.log.all("refresh")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a provider that ends the whole login when a spent refresh token comes back."""
    clock = Clock()
    with practice_in_thread(PracticeSettings(rotation="single-use", auto_approve=True), clock=clock) as practice:
        yield World(practice, clock, tmp_path)


async def log_in(house: House) -> None:
    """Log in."""
    await house.log_in()


async def refreshed(house: House) -> None:
    """Let the time come for a refresh, and let it be done."""
    house.clock.forward(DUE)
    await house.tick()
    assert (await house.account()).state.name == "active"


def is_suspect(why: str) -> Work:
    """Return the check that the account is suspect, for that reason."""

    async def check(house: House) -> None:
        account = await house.account()
        assert account.state == Suspect(account.state.since, why)

    return check


def older(world: World) -> None:
    """Make the database one from before the last two refreshes."""
    world.life(log_in)
    world.save()
    world.life(refreshed, refreshed)
    world.put_back()


def test_an_older_database(world: World) -> None:
    """Its account is suspect, an event and the log say why, and nothing is asked, however much time passes."""
    older(world)

    async def waits(house: House) -> None:
        told = [(event.kind, event.detail) for event in await house.heard()]
        assert told == [("suspect", OLDER), ("adopted", OLDER)]
        for _ in range(3):
            house.clock.forward(DUE)
            assert await house.tick() is None
        with pytest.raises(ConfirmNeeded, match=r"older.*keyfob refresh me --confirm"):
            await accounts.refresh_now(house.ctx, "me")
        outcome = await house.token()
        assert isinstance(outcome, MustLogin)
        assert (outcome.confirm, outcome.reason) == (True, OLDER)

    world.life(is_suspect(OLDER), waits)
    assert world.refreshes == ["ok", "ok"]


def test_the_provider_would_have_ended_the_login(world: World) -> None:
    """Without the suspicion the old token would have been sent: that is what it is for."""
    older(world)

    async def careless(house: House) -> None:
        await house.store.adopt()
        house.clock.forward(DUE)
        await house.tick()

    async def story() -> None:
        async with opened(world.place, practice=world.practice, clock=world.clock) as house:
            await careless(house)

    asyncio.run(story())
    assert world.refreshes[2:] == ["reuse"]


def test_what_lives_is_served(world: World) -> None:
    """The token in the copy is handed out while it lives, and reporting it as rejected asks for no new one."""
    world.life(log_in)
    world.save()
    world.life(lambda house: accounts.refresh_now(house.ctx, "me"))
    world.put_back()

    async def served(house: House) -> None:
        outcome = await house.token(min_ttl=TTL * 0.6)
        assert isinstance(outcome, Ready)
        await accounts.rejected(house.ctx, Owner(), "me", outcome.access_token)
        house.clock.forward(TTL - 1)
        assert ready(await house.token())
        house.clock.forward(2)
        assert isinstance(await house.token(), MustLogin)

    world.life(served)
    assert world.refreshes == ["ok"]


def test_the_suspicion_stays(world: World) -> None:
    """It outlives restarts of what is now the database in use, with its reason and since."""
    older(world)
    since = []

    async def note(house: House) -> None:
        since.append((await house.account()).state.since)
        assert house.store.copied == ""
        house.clock.forward(60)

    world.life(is_suspect(OLDER), note)
    world.life(is_suspect(OLDER), note)
    assert since[0] == since[1]


def test_a_confirmed_refresh_brings_it_back(world: World) -> None:
    """A backup whose refresh token is the one in force still: the person confirms, and all is as before."""
    world.life(log_in, refreshed)
    back_up(made.database(world.place), world.place / "backup.db")
    key = FileKey(made.key_file(world.place))
    put_back(world.place / "backup.db", made.database(world.place), key, world.clock())

    async def confirmed(house: House) -> None:
        account = await accounts.refresh_now(house.ctx, "me", confirm=True)
        assert not isinstance(account, MustLogin)
        assert (await house.account()).state.name == "active"
        assert await house.holds_newest()

    world.life(is_suspect(PUT_BACK), confirmed, refreshed)
    world.life(refreshed)
    assert world.refreshes == ["ok"] * 4


def test_a_confirmed_refresh_of_a_spent_token(world: World) -> None:
    """The risk that the person took: the provider ends the login, and the account says that a login is needed."""
    older(world)

    async def confirmed(house: House) -> None:
        assert isinstance(await accounts.refresh_now(house.ctx, "me", confirm=True), MustLogin)
        assert (await house.account()).state.name == "needs-login"

    world.life(confirmed)
    assert world.refreshes == ["ok", "ok", "reuse"]


def test_a_new_login_brings_it_back(world: World) -> None:
    """After a new login the account is active, and is refreshed again by itself."""
    older(world)
    world.life(is_suspect(OLDER), log_in, refreshed)
    assert world.refreshes == ["ok"] * 3


def test_a_copy_beside_its_original(world: World) -> None:
    """Two daemons on one login: the original goes on as ever, the copy asks nothing."""
    world.life(log_in)
    shutil.copytree(world.place, world.place / "copy")

    async def nothing(house: House) -> None:
        house.clock.forward(DUE)
        assert await house.tick() is None

    world.life(is_suspect(COPIED), nothing, place=world.place / "copy")
    assert world.refreshes == []
    world.life(refreshed)
    world.life(is_suspect(COPIED), nothing, place=world.place / "copy")
    world.life(refreshed)
    assert world.refreshes == ["ok", "ok"]


@pytest.mark.parametrize("answered", [False, True])
def test_a_refresh_under_way_in_the_copy(world: World, *, answered: bool) -> None:
    """A copy from the middle of a refresh closes that refresh unjudged: what came after it nobody here knows."""

    async def dies(house: House) -> None:
        await house.log_in()
        house.clock.forward(4000)  # the provider's keys are old as well, so that they are asked for
        world.practice.set_faults(["jwks:hold" if answered else "refresh:hold"])
        before = house.asked("jwks" if answered else "refresh")
        refresh.join(house.ctx, await house.account())
        await house.until_asked("jwks" if answered else "refresh", before + 1)
        await crash(house)
        world.practice.set_faults([])
        assert [kept for _, _, kept in await house.store.open_intents()] == [answered]

    async def closed(house: House) -> None:
        assert await house.store.open_intents() == []
        assert made.behind(world.place, "SELECT count(*) FROM secret WHERE kind = 'answer'") == [(0,)]
        assert await house.tick() is None

    world.life(dies)
    beside(made.database(world.place)).unlink()
    world.life(is_suspect(COPIED), closed)
    assert world.refreshes == ["ok"]


def test_who_is_suspected(world: World) -> None:
    """Accounts that can be harmed are: those that rotate and those of unknown rules. The others go on."""

    async def household(house: House) -> None:
        await house.add_provider(refresh={"rotation": "never"})
        await house.log_in("lasting")
        (config,) = await house.store.providers()
        for name, rotation in (("strict", "always"), ("sometimes", "sometimes")):
            await house.store.put_provider(replace(config, name=name, overrides={"refresh": {"rotation": rotation}}))
        await house.store.put_provider(replace(config, name="gone", preset="no-such-preset"))
        for name in ("strict", "sometimes", "gone", "dead", "tired", "bare"):
            await house.log_in(name, user=name)
        for name in ("strict", "sometimes", "gone"):
            made.behind(world.place, "UPDATE account SET provider = ? WHERE name = ?", name, name)
        for name, state in (("dead", "needs-login"), ("tired", "refreshing-failed"), ("bare", "active")):
            made.behind(world.place, "UPDATE account SET provider = 'strict', state = ? WHERE name = ?", state, name)
        made.behind(world.place, "UPDATE account SET refresh_generation = NULL WHERE name = 'bare'")

    states: dict[str, str] = {}

    async def look(house: House) -> None:
        states.update({account.name: account.state.name for account in await house.store.accounts()})

    world.life(household)
    beside(made.database(world.place)).unlink()
    world.life(look)
    assert states == {
        "lasting": "active",
        "strict": "suspect",
        "sometimes": "suspect",
        "gone": "suspect",
        "dead": "needs-login",
        "tired": "suspect",
        "bare": "active",
    }


def test_a_crash_while_accounts_are_marked(world: World) -> None:
    """Where the marking ends halfway, the next start begins it anew, and nothing was asked in between."""
    older(world)
    made.behind(world.place, "CREATE TRIGGER no BEFORE UPDATE ON instance BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreUnavailable):
        world.life()
    made.behind(world.place, "DROP TRIGGER no")
    made.behind(world.place, "UPDATE account SET state = 'active', state_reason = ''")
    world.life(is_suspect(COPIED))
    world.life(is_suspect(COPIED))


def test_a_locked_copy(world: World) -> None:
    """Without its key a copy is recognised all the same; the key may come later, the suspicion is there already."""
    older(world)
    key = made.key_file(world.place)
    key.rename(key.with_name("away"))

    async def story() -> None:
        async with opened(world.place, practice=world.practice, clock=world.clock) as house:
            assert house.store.locked
            await recognise_copy(house.ctx)
            await is_suspect(OLDER)(house)

    asyncio.run(story())
    key.with_name("away").rename(key)
    world.life(is_suspect(OLDER))


def test_the_database_in_use_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An ordinary start marks nobody, says nothing and publishes nothing."""
    world.life(log_in)

    async def quiet(house: House) -> None:
        assert await house.heard() == []
        assert (await house.account()).state.name == "active"

    with caplog.at_level(logging.WARNING):
        world.life(quiet, refreshed)
    assert caplog.records == []
