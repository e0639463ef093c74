"""What else happens to an account while its refresh is out: nothing is lost by it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.policy import Owner
from broker.core.secret import Secret
from broker.usecases import accounts, refresh
from tests.store import made
from tests.usecases.house import DUE, TTL, opened, ready


def test_a_new_name_during_a_flight_loses_nothing(tmp_path: Path) -> None:
    """A rename while the request is out: the rotated token arrives at the account under its new name."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            account = await house.log_in("before")
            house.clock.forward(TTL)
            flight = refresh.join(house.ctx, account)
            await house.until_asked()
            await house.store.rename_account(account, "me")
            await house.heard()
            house.practice.set_faults([])
            await flight
            renewed = await house.account("me")
            assert (renewed.state.name, renewed.generation) == ("active", 2)
            assert await house.holds_newest()
            assert [(event.kind, event.account) for event in await house.heard()] == [("refreshed", "me")]
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_a_rejection_reported_during_a_flight_joins_it(tmp_path: Path) -> None:
    """An app says that the old token was refused while its refresh is out: one request serves both, and all is kept."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            old, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            report = asyncio.create_task(accounts.rejected(house.ctx, Owner(), "me", Secret(old or "")))
            await house.store.accounts()  # the report has looked at the store and waits by now, or does so soon
            assert not report.done()
            house.practice.set_faults([])
            assert await report is None
            account = await house.account()
            assert (account.state.name, account.generation) == ("active", 2)
            assert ready(await house.token()) != old
            assert house.asked() == 1

    asyncio.run(live())


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("hold", "active"),
        ("status=503", "refreshing-failed"),
        ("error=invalid_grant", "needs-login"),
        ("invalid_client", "misconfigured"),
        ("drop", "uncertain"),
    ],
)
def test_a_row_that_changed_during_a_flight_hides_neither_token_nor_outcome(
    tmp_path: Path, fault: str, state: str
) -> None:
    """A rejection was noted between request and answer: what the answer means is written down all the same."""

    async def live() -> None:
        faults = [f"refresh:{one}" for one in dict.fromkeys(["hold", fault])]
        async with opened(tmp_path, *faults) as house:
            _, spent = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            marked = await house.store.swap(replace(await house.account(), forced_at=house.clock()))
            assert marked is not None
            house.practice.set_faults([])
            await house.landed()
            account = await house.account()
            assert account.state.name == state
            assert account.forced_at == house.clock()
            assert await house.store.open_intents() == []
            kept = (await house.secrets_of(account))[1]
            assert kept is not None
            assert (kept == spent) is (state != "active")
            if state == "active":
                assert await house.holds_newest()

    asyncio.run(live())


@pytest.mark.parametrize("fault", ["hold", "status=503", "error=invalid_grant"])
def test_a_new_login_during_a_flight_wins(tmp_path: Path, fault: str) -> None:
    """The answer to the old login's refresh, good or bad, says nothing about the login that came meanwhile."""

    async def live() -> None:
        faults = ["refresh:hold"] if fault == "hold" else ["refresh:hold", f"refresh:{fault}"]
        async with opened(tmp_path, *faults) as house:
            account = await house.log_in()
            house.clock.forward(TTL)
            flight = refresh.join(house.ctx, account)
            await house.until_asked()
            again = await house.log_in()
            secrets = await house.secrets_of(again)
            house.practice.set_faults([])
            await flight
            after = await house.account()
            assert (after.uuid, after.state.name, after.generation) == (account.uuid, "active", again.generation)
            assert await house.secrets_of(after) == secrets
            assert await house.store.open_intents() == []
            house.clock.forward(TTL)
            await house.tick()
            assert house.practice.log.all("refresh")[-1].result == "ok"

    asyncio.run(live())


def test_an_account_that_is_deleted_during_a_flight_stays_deleted(tmp_path: Path) -> None:
    """What the answer brings is dropped, and the flight ends in peace."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            account = await house.log_in()
            house.clock.forward(TTL)
            flight = refresh.join(house.ctx, account)
            await house.until_asked()
            await house.store.delete_account(account)
            house.practice.set_faults([])
            await flight
            assert await house.store.accounts() == []
            assert made.behind(tmp_path, "SELECT * FROM secret WHERE owner = ?", account.uuid) == []

    asyncio.run(live())
