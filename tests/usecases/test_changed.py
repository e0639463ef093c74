"""What was changed outside Keyfob is told of once, stands in the status, and no login or app goes on with it."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import AppGrant, Denied
from broker.errors import Conflict, Locked, SecretChanged
from broker.usecases import accounts, apps, audit, health, locking, providers, refresh
from broker.usecases.newlogin import NewLogin, prepare
from tests.store import made
from tests.usecases.house import DUE, opened

WIDENED = "UPDATE app_grant SET resource = NULL, expires_at = NULL"
EVIL = "UPDATE account SET token_endpoint = 'https://evil.example/token'"


def test_it_is_told_of(tmp_path: Path) -> None:
    """One event for each thing, however often somebody comes upon it; the status names all until they are mended."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            expires = house.clock() + 60
            key = await apps.add(house.ctx, "app", [AppGrant("me", expires_at=expires)], None)
            await house.heard()
            assert (await health.report(house.ctx)).state == "ok"
            made.behind(tmp_path, WIDENED)
            for _ in range(3):
                app = await apps.identify(house.ctx, key.reveal())
                assert app is not None
                assert isinstance(await house.token("me", app), Denied)
            made.behind(tmp_path, EVIL)
            for _ in range(3):
                with pytest.raises(SecretChanged):
                    await house.token("me")
            audit.tell_changed(house.ctx)
            audit.tell_changed(house.ctx)
            told = [event.detail for event in await house.heard() if event.kind == "changed-outside"]
            after = ": changed outside Keyfob, so it is not used"
            assert told == [f"a grant of app 'app' (account 'me'){after}", f"account 'me'{after}"]
            report = await health.report(house.ctx)
            named = "account 'me', a grant of app 'app' (account 'me')"
            assert (report.state, report.reasons) == ("degraded", (f"Changed outside Keyfob, so not used: {named}.",))
            with pytest.raises(Conflict, match="keyfob logout me --local-only"):
                await prepare(house.ctx, NewLogin(account="me", provider=""))
            await accounts.log_out(house.ctx, "me", local_only=True)
            await house.log_in()
            assert (await health.report(house.ctx)).state == "ok"

    asyncio.run(story())


def test_locked_nobody_can_tell(tmp_path: Path) -> None:
    """An app is told that Keyfob is locked, and no file of the owner's; a stranger is told nothing."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            key = await apps.add(house.ctx, "app", [AppGrant("me")], None)
            locking.lock(house.ctx)
            forgetting = house.ctx.latch.forgetting
            assert forgetting is not None
            await forgetting
            with pytest.raises(Locked, match="not at hand"):
                await apps.identify(house.ctx, key.reveal())
            assert await apps.identify(house.ctx, "kf_nobody") is None
            made.behind(tmp_path, WIDENED)
            await locking.unlock(house.ctx, None)
            assert house.ctx.sweep.is_set()  # then the scheduler looks
            await house.store.changed_outside()
            audit.tell_changed(house.ctx)
            assert "changed-outside" not in [event.kind for event in await house.heard()]
            made.behind(tmp_path, "UPDATE app_grant SET mode = 'proxy'")
            locking.lock(house.ctx)
            await locking.unlock(house.ctx, None)
            await house.store.changed_outside()
            audit.tell_changed(house.ctx)
            assert "changed-outside" in [event.kind for event in await house.heard()]

    asyncio.run(story())


def test_a_provider_is_looked_up_anew_once_anything_has_changed(tmp_path: Path) -> None:
    """While refreshes come and go it is the one that was found; after a change it is not, whoever made that."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            found = await providers.find(house.ctx, account.provider)
            await refresh.join(house.ctx, account)
            assert await providers.find(house.ctx, account.provider) is found
            await house.add_provider("another")
            assert await providers.find(house.ctx, account.provider) is not found
            await providers.find(house.ctx, account.provider)
            made.behind(tmp_path, "UPDATE provider SET base_url = 'https://evil.example'")
            with pytest.raises(SecretChanged):
                await providers.find(house.ctx, account.provider)

    asyncio.run(story())


def test_a_look_reads_anew_only_what_may_have_changed(tmp_path: Path) -> None:
    """While nothing was written, nothing is read twice; who writes, be it another program, is heard at once."""
    read = []

    async def story() -> None:
        async with opened(tmp_path) as house:

            async def found() -> int:
                read.append(len(await house.ctx.store.accounts()))
                return read[-1]

            async def looked() -> int:
                return await house.ctx.unchanged("how many", found)

            assert [await looked() for _ in range(3)] == [0, 0, 0]
            await house.log_in()
            assert [await looked() for _ in range(3)] == [1, 1, 1]
            made.behind(tmp_path, "DELETE FROM account")
            assert [await looked() for _ in range(3)] == [0, 0, 0]
            house.ctx.schedule.moved += 1.0  # the clock was set: nobody knows how old anything is
            assert await looked() == 0

    asyncio.run(story())
    assert read == [0, 1, 0, 0]


UNREADABLE = ["asked_scope = '['", "asked_scope = 'null'", "state = 'new'", "state_reason = CAST(x'ff' AS TEXT)"]
NAMELESS = "name = CAST(x'626164ff' AS TEXT)"


@pytest.mark.parametrize("what", [*UNREADABLE, NAMELESS])
def test_an_account_that_cannot_be_read_keeps_no_other_from_its_refresh(tmp_path: Path, what: str) -> None:
    """Neither broken text nor broken JSON in one row holds others up, due or left open by a crash; it is told of."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(refresh={"reuse_grace_s": 3000})
            open_one, _ = await house.log_in("open"), await house.log_in("due")
            bad = await house.log_in("bad")
            for account in (open_one, bad):
                assert await house.store.begin_refresh(account, house.clock()) is not None
            made.behind(tmp_path, f"UPDATE account SET {what} WHERE name = 'bad'")  # noqa: S608 -- our own
            await refresh.settle(house.ctx)
            house.clock.forward(DUE)
            await house.tick()
            for name in ("open", "due"):
                account = await house.account(name)
                assert (account.state.name, account.generation) == ("active", 2)
            assert house.asked() == 2
            audit.tell_changed(house.ctx)
            told = [event.detail for event in await house.heard() if event.kind == "changed-outside"]
            called = "bad" if what != NAMELESS else "bad\\xff"
            assert told == [f"account '{called}': changed outside Keyfob, so it is not used"]

    asyncio.run(story())
