"""A refresh: on schedule, once, durable before anything is handed out, and told apart by its outcome."""

import asyncio
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.account import RefreshingFailed
from broker.core.policy import Owner
from broker.core.secret import Secret
from broker.practice.grants import fingerprint
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import accounts, refresh
from broker.usecases.context import PER_ISSUER
from broker.usecases.get_token import Ready
from tests.store import made
from tests.usecases.house import PATIENCE, Clock, House, opened

# The practice provider's tokens live for 600 s unless told otherwise; they are due 120 s before, or up to 30 s sooner.
TTL = 600.0
DUE = TTL - 120.0


async def current_at_provider(house: House) -> bool:
    """Tell whether the stored refresh token is the newest that the provider has issued."""
    _, stored = await house.secrets_of(await house.account())
    issued = [event.issued_refresh_token for event in house.practice.log.all() if event.issued_refresh_token]
    return fingerprint(stored or "") == issued[-1]


async def reported(house: House) -> bool:
    """Tell whether a rejection has been noted."""
    return (await house.account()).forced_at is not None


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_the_scheduler_refreshes_when_due_and_not_before(tmp_path: Path) -> None:
    """Nobody has to ask for a token to keep it fresh, and an early look costs the provider nothing."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            start = house.clock()
            due = await house.tick()
            assert due is not None
            assert DUE - 30 <= due - start <= DUE
            house.clock.now = due - 0.001
            assert await house.tick() == due
            assert house.asked() == 0
            house.clock.now = due
            await house.tick()
            assert house.asked() == 1
            account = await house.account()
            assert account.token is not None
            assert account.token.expires_at == due + TTL
            assert account.last_refresh_at == due
            assert await current_at_provider(house)

    asyncio.run(live())


def test_a_login_is_kept_fresh_for_hours_of_ticks(tmp_path: Path) -> None:
    """Strictly rotating tokens, looked at every 37 s: no refresh too many, none too late, none refused."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "ttl": 3600.0}) as house:
            await house.log_in()
            end = house.clock() + 6 * 3600
            while house.clock() < end:
                due = await house.tick()
                account = await house.account()
                assert account.token is not None
                assert not timing.is_expired(account.token, house.clock())
                house.clock.forward(timing.next_wake(due, house.clock()) + 0.5)
            # One every 3600 - 720 - (0 to 60) seconds.
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok"] * 7

    asyncio.run(live())


def test_after_a_long_sleep_every_account_is_refreshed_once(tmp_path: Path) -> None:
    """A machine that wakes up finds everything expired: one tick, one request for each account, all well."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            names = [f"a{number}" for number in range(5)]
            for name in names:
                await house.log_in(name)
            house.clock.forward(8 * 3600)
            await house.tick()
            await house.tick()
            assert house.asked() == 5
            for name in names:
                assert (await house.account(name)).generation == 2

    asyncio.run(live())


def test_a_provider_sees_few_refreshes_at_a_time(tmp_path: Path) -> None:
    """However many accounts are due at one issuer, only so many requests are under way there at once."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            for number in range(5):
                await house.log_in(f"a{number}")
            house.clock.forward(TTL)
            await refresh.refresh_due(house.ctx)
            await house.until_asked(count=PER_ISSUER)
            assert len(house.ctx.flights.tasks) == 5
            assert len(await house.store.open_intents()) == PER_ISSUER
            house.practice.set_faults([])
            await house.landed()
            assert house.asked() == 5

    asyncio.run(live())


def test_the_scheduler_does_not_start_what_is_in_the_air(tmp_path: Path) -> None:
    """Ticks while a request hangs join nothing and send nothing."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            for _ in range(3):
                house.clock.forward(37)
                await refresh.refresh_due(house.ctx)
            house.practice.set_faults([])
            await house.landed()
            assert house.asked() == 1

    asyncio.run(live())


def test_a_stopping_daemon_lets_flights_land_and_starts_none(tmp_path: Path) -> None:
    """``drain`` waits for what is in the air and says what did not land in time; nothing new begins."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in("one")
            await house.log_in("two")
            house.clock.forward(TTL)
            flight = refresh.join(house.ctx, await house.account("one"))
            await house.until_asked()
            assert await house.ctx.flights.drain(0.01) == 1
            await refresh.refresh_due(house.ctx)
            await refresh.join(house.ctx, await house.account("two"))
            house.practice.set_faults([])
            assert await house.ctx.flights.drain(PATIENCE) == 0
            await flight
            assert house.asked() == 1
            assert (await house.account("one")).generation == 2

    asyncio.run(live())


def test_a_landing_wakes_the_scheduler(tmp_path: Path) -> None:
    """When a refresh has ended, the next due time is another one, so the scheduler looks again."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            house.ctx.wake.clear()
            await refresh.join(house.ctx, account)
            await asyncio.wait_for(house.ctx.wake.wait(), PATIENCE)

    asyncio.run(live())


# --- durable before handed out ----------------------------------------------------------------------------------------


def test_the_rotated_token_is_durable_before_the_new_token_is_handed_out(tmp_path: Path) -> None:
    """While the reply is still being judged, it and the new refresh token are in the store, and nobody has it."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            old, spent = await house.secrets_of(await house.log_in())
            house.clock.forward(4000)  # the provider's keys are an hour old as well: they are asked for after the reply
            house.practice.set_faults(["jwks:hold"])
            before = house.asked("jwks")
            caller = asyncio.create_task(house.token())
            await house.until_asked("jwks", before + 1)
            account = await house.account()
            access_token, refresh_token = await house.secrets_of(account)
            assert refresh_token not in (None, spent)
            assert await current_at_provider(house)
            assert access_token == old
            assert not caller.done()
            assert [answered for _, _, answered in await house.store.open_intents()] == [True]
            house.practice.set_faults([])
            outcome = await caller
            assert isinstance(outcome, Ready)
            assert await house.secrets_of(await house.account()) == (outcome.access_token.reveal(), refresh_token)
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_a_store_that_stumbles_does_not_lose_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply is here and the disk is full: it is tried until it is written, and the login lives on."""
    monkeypatch.setattr(refresh, "KEEP_PAUSE", 0.01)  # real seconds

    async def tried_twice() -> bool:
        return caplog.text.count("could not be written yet") >= 2

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL)
            caller = asyncio.create_task(house.token())
            await house.until_asked()
            made.behind(tmp_path, "ALTER TABLE secret RENAME TO gone")
            house.practice.set_faults([])
            await house.until(tried_twice)
            made.behind(tmp_path, "ALTER TABLE gone RENAME TO secret")
            assert isinstance(await caller, Ready)
            assert await current_at_provider(house)
            assert house.asked() == 1

    asyncio.run(live())


def test_the_previous_refresh_token_stays_until_the_new_one_has_been_used(tmp_path: Path) -> None:
    """After each refresh the store holds the new token and the one before, and nothing older."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            held = "SELECT generation FROM secret WHERE owner = ? AND kind = 'refresh_token' ORDER BY generation"
            for generations in ([(1,), (2,)], [(2,), (3,)], [(3,), (4,)]):
                house.clock.forward(TTL)
                await house.tick()
                assert made.behind(tmp_path, held, account.uuid) == generations

    asyncio.run(live())


# --- what happens meanwhile -------------------------------------------------------------------------------------------


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
            assert await current_at_provider(house)
            assert [(event.kind, event.account) for event in await house.heard()] == [("refreshed", "me")]
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_a_rejection_reported_during_a_flight_loses_nothing(tmp_path: Path) -> None:
    """An app says that the old token was refused while its refresh is out: it joins, and all is kept."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            old, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            report = asyncio.create_task(accounts.rejected(house.ctx, Owner(), "me", Secret(old or "")))
            await house.until(lambda: reported(house))
            house.practice.set_faults([])
            assert await report is None
            account = await house.account()
            assert (account.state.name, account.generation, account.forced_at) == ("active", 2, house.clock())
            assert await current_at_provider(house)
            assert house.asked() == 1
            assert await house.store.open_intents() == []

    asyncio.run(live())


@pytest.mark.parametrize("fault", ["status=503", "error=invalid_grant", "invalid_client"])
def test_a_rejection_reported_during_a_flight_does_not_hide_how_it_ended(tmp_path: Path, fault: str) -> None:
    """A failure is noted as well although the row changed between request and answer."""

    async def live() -> None:
        async with opened(tmp_path, f"refresh:{fault}", "refresh:hold") as house:
            old, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            report = asyncio.create_task(accounts.rejected(house.ctx, Owner(), "me", Secret(old or "")))
            await house.until(lambda: reported(house))
            house.practice.set_faults([])
            await report
            assert (await house.account()).state.name in ("refreshing-failed", "needs-login", "misconfigured")
            assert await house.store.open_intents() == []

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


# --- the outcomes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("", "active"),
        ("status=500", "refreshing-failed"),
        ("status=503", "refreshing-failed"),
        ("status=408", "refreshing-failed"),
        ("status=404", "refreshing-failed"),
        ("html", "refreshing-failed"),
        ("html=403", "refreshing-failed"),
        ("empty", "refreshing-failed"),
        ("throttle=60", "refreshing-failed"),
        ("redirect=http://127.0.0.1:9/", "refreshing-failed"),
        ("error=temporarily_unavailable", "refreshing-failed"),
        ("error=invalid_request", "refreshing-failed"),
        ("error=invalid_scope", "refreshing-failed"),
        ("error=access_denied", "refreshing-failed"),
        ("error=invalid_grant", "needs-login"),
        ("invalid_client", "misconfigured"),
        ("error=unauthorized_client", "misconfigured"),
        ("drop", "uncertain"),
        ("refuse", "uncertain"),
        ("token_type=DPoP", "refreshing-failed"),
        ("wrong_sub", "refreshing-failed"),
        ("bad_signature", "refreshing-failed"),
        ("alg_none", "refreshing-failed"),
    ],
)
def test_every_outcome_is_told_apart_and_ends_the_refresh(tmp_path: Path, fault: str, state: str) -> None:
    """Only the preset's dead-grant errors end a login; the refresh token stays in any case; no intent stays open."""

    async def live() -> None:
        async with opened(tmp_path, *([f"refresh:{fault}"] if fault else [])) as house:
            await house.log_in()
            await house.heard()
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == state
            assert account.has_refresh_token
            assert (await house.secrets_of(account))[1] is not None
            assert await house.store.open_intents() == []
            assert house.asked() == 1
            kinds = [event.kind for event in await house.heard()]
            assert kinds == ["refreshed" if state == "active" else state.replace("refreshing", "refresh")]

    asyncio.run(live())


def test_an_unreachable_provider_is_a_passing_failure(tmp_path: Path) -> None:
    """Nothing was sent, so nothing is uncertain: the account says so, keeps its login and will try again."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                _, refresh_token = await house.secrets_of(await house.log_in())
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert isinstance(account.state, RefreshingFailed)
            assert "cannot be reached" in account.state.reason
            assert (await house.secrets_of(account))[1] == refresh_token
            assert await house.store.open_intents() == []
            assert await house.tick() == account.state.retry_at

    asyncio.run(live())


def test_failures_in_a_row_are_spaced_out_and_end_with_the_first_success(tmp_path: Path) -> None:
    """An hour of 503 costs twelve requests at most; the first answer that is good makes the account active again."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:status=503") as house:
            await house.log_in()
            house.clock.forward(DUE)
            began = house.clock()
            while house.clock() < began + 3600:
                due = await house.tick()
                house.clock.forward(timing.next_wake(due, house.clock()) + 0.01)
            assert 6 <= house.asked() <= 12
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert (state.since, state.attempts) == (began, house.asked())
            house.practice.set_faults([])
            house.clock.now = state.retry_at
            await house.tick()
            assert (await house.account()).state.name == "active"
            assert await current_at_provider(house)

    asyncio.run(live())


@pytest.mark.parametrize("fault", ["throttle=120", "throttle_date=120"])
def test_retry_after_is_honoured_in_both_forms(tmp_path: Path, fault: str) -> None:
    """Neither the scheduler nor a caller asks a throttling provider before the time that it named."""

    async def live() -> None:
        async with opened(tmp_path, f"refresh:{fault}*1") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            await house.tick()
            until = house.clock() + 120
            assert await house.tick() == pytest.approx(until)
            house.clock.now = until - 1
            await house.tick()
            await house.token()
            assert house.asked() == 1
            house.clock.now = until
            await house.tick()
            assert house.asked() == 2
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_a_retry_after_of_days_does_not_park_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider's number is believed up to a cap; then Keyfob asks again."""
    monkeypatch.setattr(timing, "RETRY_AFTER_CAP", 100.0)  # the practice provider names an hour at the most

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=3600*1") as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            assert await house.tick() == pytest.approx(house.clock() + 100)

    asyncio.run(live())
    monkeypatch.undo()
    assert timing.RETRY_AFTER_CAP == 3600


def test_a_client_authentication_that_keyfob_does_not_know_is_said_and_nothing_is_sent(tmp_path: Path) -> None:
    """The account is misconfigured and keeps its login; the intent that was noted for nothing is closed."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            _, refresh_token = await house.secrets_of(await house.log_in())
            made.behind(tmp_path, "UPDATE client SET auth_method = 'private_key_jwt'")
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == "misconfigured"
            assert "private_key_jwt" in account.state.reason
            assert (await house.secrets_of(account))[1] == refresh_token
            assert await house.store.open_intents() == []
            assert house.asked() == 0

    asyncio.run(live())


def test_a_provider_that_does_not_rotate_keeps_its_refresh_token(tmp_path: Path) -> None:
    """A reply without a refresh token leaves the old one in force, refresh after refresh (RFC 6749 6)."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "keep"}) as house:
            _, refresh_token = await house.secrets_of(await house.log_in())
            for generation in (2, 3, 4):
                house.clock.forward(TTL)
                await house.tick()
                account = await house.account()
                assert account.generation == generation
                assert (await house.secrets_of(account))[1] == refresh_token

    asyncio.run(live())


def test_a_lifetime_of_zero_does_not_become_a_storm(tmp_path: Path) -> None:
    """A provider whose every token is dead on arrival is spared like one that fails, whoever asks."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:expires_in=0") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            for _ in range(60):
                await house.tick()
                await house.token()
                house.clock.forward(1)
            assert 2 <= house.asked() <= 4  # the first waits of the back-off are 7 to 15, 15 to 30, 30 to 60 s

    asyncio.run(live())


def test_a_lifetime_of_zero_is_never_handed_out(tmp_path: Path) -> None:
    """``expires_in: 0`` is no token for anybody, and the login is kept."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:expires_in=0*1") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            assert not isinstance(await house.token(), Ready)
            assert (await house.account()).state.name != "needs-login"
            house.clock.forward(60)
            assert isinstance(await house.token(), Ready)
            assert await current_at_provider(house)

    asyncio.run(live())
