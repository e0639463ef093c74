"""A token file holds a living token of whoever was granted it, for as long as that counts, and no longer."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.approval import Wanted, merged
from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.core.timing import LONGEST_SLEEP
from broker.errors import InvalidRequest
from broker.oauth import idtoken
from broker.store.tokenfiles import TokenFiles
from broker.usecases import accounts, apps, locking, rename
from broker.usecases.context import Latch
from broker.usecases.refresh import join
from tests.store import made
from tests.usecases.filing import FILED, Desk, desk
from tests.usecases.house import DUE, TTL
from tests.usecases.test_limits import set_clock
from tests.usecases.wishes import BOTH, BY_EXCHANGE, settle_in

# Of the practice provider, where a life shall be short.
SHORT = 10


def test_the_schedules_next_token_takes_the_place(tmp_path: Path) -> None:
    """It is there before the old one ends; each token is one hand-out, and looking at it is none."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            await at.given()
            for generation in (1, 2, 3):
                token, _ = await at.house.secrets_of(await at.house.account())
                assert at.read() == token
                assert await at.look() == LONGEST_SLEEP
                expected = [("job", "me", past, 1) for past in range(1, generation + 1)]
                assert await at.handed_out() == expected
                at.house.clock.forward(DUE)
                assert at.house.practice.worth(at.read()) is not None
                await at.house.tick()
                await at.look()

    asyncio.run(story())


@BOTH
def test_a_narrower_token_is_renewed_in_time(tmp_path: Path, data: dict[str, Any], kind: str) -> None:
    """It carries what was granted and no more, has a life of its own, and none that was read was ever over."""

    async def story() -> None:
        async with desk(tmp_path, settings={"ttl": SHORT}) as at:
            await settle_in(at.house, **data)
            await at.given(replace(FILED, scope=("read",)))
            seen = {at.read()}
            for _ in range(5 * SHORT):
                left = await at.look()
                assert 0 < left <= 2 / 3 * SHORT
                at.house.clock.forward(min(left, 1.0))
                await at.house.tick()
                await at.look()
                worth = at.house.practice.worth(at.read())
                assert worth is not None
                assert set(worth.scopes) == {"read"}
                seen.add(at.read())
            assert 5 <= len(seen) <= 9
            assert at.house.asked(kind) >= len(seen)
            assert sum(count or 0 for *_, count in await at.handed_out()) == len(seen)

    asyncio.run(story())


@pytest.mark.parametrize("scope", [(), ("read",)], ids=["own", "narrower"])
def test_a_token_with_hardly_a_life(tmp_path: Path, scope: tuple[str, ...]) -> None:
    """One of two seconds is not asked for again and again: the file is there now and then, with a token that lives."""

    async def story() -> None:
        async with desk(tmp_path, settings={"ttl": 2}) as at:
            await settle_in(at.house, **BY_EXCHANGE)
            await at.given(replace(FILED, scope=scope))
            seen = set()
            for _ in range(40):
                at.house.clock.forward(1.0)
                await at.house.tick()
                await at.look()
                if token := at.read():
                    assert at.house.practice.worth(token) is not None
                    seen.add(token)
            assert 4 <= len(seen) <= 8
            assert at.house.asked("token_exchange" if scope else "refresh") <= 8

    asyncio.run(story())


def test_an_id_token(tmp_path: Path) -> None:
    """It is the ID token that lies there, and it lives; a login without one, and a program's account, have none."""

    async def story() -> None:
        async with desk(tmp_path, settings={"ttl": SHORT}) as at:
            await at.house.log_in()
            await at.house.log_in("bare", scope=("read",))
            grants = [replace(FILED, account=name, token_file="id_token") for name in ("me", "bare")]
            await apps.add(at.house.ctx, "job", grants, None)
            await at.look()
            for _ in range(3 * SHORT):
                issued_at, expires_at = idtoken.life(Secret(at.read()))
                assert issued_at <= at.house.clock() < (expires_at or 0.0)
                at.house.clock.forward(1.0)
                await at.house.tick()
                await at.look()
            assert at.read("bare") == ""

    asyncio.run(story())


def test_what_is_taken_back_is_gone(tmp_path: Path) -> None:
    """A revoked grant, one without a file, a removed app, a log-out: each takes its own file, and no other."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            ctx, home = at.house.ctx, replace(FILED, account="home")
            for account in ("me", "home"):
                await at.house.log_in(account)
            for app in ("one", "two", "three", "four"):
                await apps.add(ctx, app, [FILED, home], None)
            await at.look()
            await apps.revoke(ctx, "one", "me")
            await apps.grant(ctx, "two", AppGrant("me"))
            await apps.remove(ctx, "three")
            await at.look()
            there = {(app, account) for app in ("one", "two", "three", "four") for account in ("me", "home")}
            left = {(app, account) for app, account in there if at.read(account, app)}
            assert left == {("one", "home"), ("two", "home"), ("four", "me"), ("four", "home")}
            await accounts.log_out(ctx, "home")
            await at.look()
            assert TokenFiles(at.directory).there() == {("four", "me")}

    asyncio.run(story())


def test_what_ends_is_gone_in_time(tmp_path: Path) -> None:
    """The end of a grant, and that of the app's key, is when the next look is due."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            now = at.house.clock()
            await at.given(replace(FILED, expires_at=now + 20.0), "grant")
            await at.given(FILED, "key", expires_at=now + 30.0)
            assert await at.look() == 20.0
            at.house.clock.forward(20.0)
            assert await at.look() == 10.0
            assert (at.read(app="grant"), at.read(app="key") != "") == ("", True)
            at.house.clock.forward(10.0)
            await at.look()
            assert TokenFiles(at.directory).there() == set()

    asyncio.run(story())


def test_locked_nothing_lies_there(tmp_path: Path) -> None:
    """A lock takes the files, also while one is on its way; unlocked they are there again. Keeping them is no use."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            ctx = at.house.ctx
            await settle_in(at.house, **BY_EXCHANGE)
            await at.given(app="own")
            await apps.add(ctx, "job", [replace(FILED, scope=("read",))], None)
            at.house.practice.set_faults(["token_exchange:hold"])
            await at.keeper.look()
            await at.house.until_asked("token_exchange")
            locking.lock(ctx)
            at.house.practice.set_faults([])
            await at.look()
            assert TokenFiles(at.directory).there() == set()
            await locking.unlock(ctx, None)
            await at.look()
            assert at.read(app="own") != ""
            assert at.read() != ""
            object.__setattr__(ctx, "latch", Latch(idle=DUE, used_at=ctx.steady()))
            at.house.clock.forward(DUE)
            await at.house.tick()
            await at.look()
            locking.watch(ctx)
            await at.look()
            assert at.read(app="own") == ""

    asyncio.run(story())


def test_a_new_name_is_a_new_place(tmp_path: Path) -> None:
    """The file goes with the account's name; an account that gets the old name has nothing to do with it."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            await at.given()
            token = at.read()
            await rename.rename(at.house.ctx, "me", "work")
            await at.house.log_in("me", user="bob")
            await at.look()
            assert (at.read("work"), at.read()) == (token, "")

    asyncio.run(story())


def test_a_start_sweeps(tmp_path: Path) -> None:
    """What nobody is granted any more goes, and so does what nobody knows the end of and cannot be replaced."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            await at.house.log_in("dead")
            at.house.practice.revoke_grants()
            at.house.clock.forward(TTL)
            await at.house.tick()
            await at.house.log_in()
            files = TokenFiles(at.directory)
            for key in (("gone", "me"), ("job", "gone"), ("job", "dead"), ("job", "me")):
                files.write(key, Secret("of an earlier life"))
            (at.directory / "job/.me").write_text("half of")
            await apps.add(at.house.ctx, "job", [FILED, replace(FILED, account="dead")], None)
            await at.look()
            assert files.there() == {("job", "me")}
            assert at.house.practice.worth(at.read()) is not None
            await at.keeper.stop()
            assert files.there() == {("job", "me")}, "a stop takes nothing away"

    asyncio.run(story())


@pytest.mark.parametrize("scope", [(), ("read",)], ids=["own", "narrower"])
def test_an_outage(tmp_path: Path, scope: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    """The living token stays, goes when it ends, and the next is there when the provider is; it is logged once."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await settle_in(at.house, **BY_EXCHANGE)
            await at.given(replace(FILED, scope=scope))
            token = at.read()
            at.house.practice.set_faults(["refresh:status=503", "token_exchange:status=503"])
            caplog.clear()
            for _ in range(int(TTL // LONGEST_SLEEP)):
                at.house.clock.forward(LONGEST_SLEEP)
                await at.house.tick()
                await at.look()
                assert at.read() == token
            assert len(await at.handed_out()) == 1
            at.house.clock.forward(LONGEST_SLEEP)
            await at.look()
            assert at.read() == ""
            assert len([one for one in caplog.records if one.name.endswith("tokenfiles")]) <= 3
            at.house.practice.set_faults([])
            await at.house.until(lambda: _comes_back(at))
            assert at.house.practice.worth(at.read()) is not None

    caplog.set_level(logging.WARNING)
    asyncio.run(story())


async def _comes_back(at: Desk) -> bool:
    at.house.clock.forward(await at.look())
    await at.house.tick()
    await at.look()
    return at.read() != ""


def test_a_login_that_is_needed(tmp_path: Path) -> None:
    """The file stays while its token lives; nobody is pointed to a login that nobody asked for."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            await at.given()
            at.house.practice.set_faults(["refresh:error=invalid_grant"])
            at.house.clock.forward(DUE)
            await at.house.tick()
            await at.look()
            assert (await at.house.account()).state.name == "needs-login"
            assert at.read() != ""
            at.house.clock.forward(TTL - DUE)
            await at.look()
            assert at.read() == ""
            assert await at.house.store.logins_pending() == []
            at.house.practice.set_faults([])
            await at.house.log_in()
            await at.look()
            assert at.house.practice.worth(at.read()) is not None

    asyncio.run(story())


def test_something_in_the_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link in a directory's place is not followed; the log says so once, and once it is away the file comes."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            (elsewhere := tmp_path / "elsewhere").mkdir()
            at.directory.mkdir(parents=True)
            (at.directory / "job").symlink_to(elsewhere)
            caplog.clear()
            await at.given()
            at.house.clock.forward(LONGEST_SLEEP)
            await at.look()
            assert list(elsewhere.iterdir()) == []
            assert [one.getMessage().count("symbolic link") for one in caplog.records] == [1]
            assert await at.handed_out() == []
            (at.directory / "job").unlink()
            at.house.clock.forward(LONGEST_SLEEP)
            await at.look()
            assert at.read() != ""
            (at.directory / "job/me").unlink()
            await at.look()
            assert at.read() != "", "whoever removes it gets it again"

    caplog.set_level(logging.WARNING)
    asyncio.run(story())


def test_a_clock_that_is_set(tmp_path: Path) -> None:
    """Set forward by a day it ends no token that lives."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            await at.given()
            token = at.read()
            await set_clock(at.house, 86_400.0)
            await at.look()
            assert at.read() == token

    asyncio.run(story())


def test_the_news_is_heard(tmp_path: Path) -> None:
    """A running keeper needs no clock: a grant makes the file, a refresh another one, a revocation takes it."""

    async def story() -> None:
        async with desk(tmp_path) as at:

            async def there() -> bool:
                return at.read() != ""

            async def away() -> bool:
                return at.read() == ""

            await at.house.log_in()
            at.keeper.start()
            await apps.add(at.house.ctx, "job", [FILED], None)
            await at.house.until(there)
            first = at.read()
            await join(at.house.ctx, await at.house.account("me"))

            async def another() -> bool:
                return at.read() not in ("", first)

            await at.house.until(another)
            await apps.revoke(at.house.ctx, "job", "me")
            await at.house.until(away)

    asyncio.run(story())


def test_a_grant_that_cannot_be_filed(tmp_path: Path) -> None:
    """Another kind of token, and an app that never sees one, are refused; a yes to more keeps the file."""

    async def story() -> None:
        async with desk(tmp_path) as at:
            await at.house.log_in()
            for given, why in (
                (replace(FILED, token_file="refresh_token"), "nothing that is kept in a file"),
                (replace(FILED, mode="proxy"), "never sees the token"),
            ):
                with pytest.raises(InvalidRequest, match=why):
                    await apps.add(at.house.ctx, "job", [given], None)

    asyncio.run(story())
    old, wanted = replace(FILED, scope=("read",)), Wanted("me", ("write",))
    assert merged(old, wanted, made.NOW, mode="token", expires_at=None) == replace(FILED, scope=("read", "write"))
    assert merged(old, wanted, made.NOW, mode="proxy", expires_at=None).token_file is None
