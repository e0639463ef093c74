"""An app asks for a token: what it gets, when it waits, and what the provider sees of it."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import refresh
from broker.usecases.outcomes import MustLogin, Ready, Unavailable
from tests.store import made
from tests.usecases.house import TTL, Clock, opened, ready

# The practice provider's ID tokens live for so long.
ID_TTL = 300.0
GRANTED = App("backup", (AppGrant("me"),))
STRANGER = App("stranger", (AppGrant("other"),))


def test_a_fresh_token_is_handed_out_without_asking_the_provider(tmp_path: Path) -> None:
    """As long as the stored token lives long enough, a request costs the provider nothing."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            before = len(house.practice.log.all())
            outcomes = [await house.token(), await house.token(caller=GRANTED), await house.token(min_ttl=TTL - 10)]
            stored, _ = await house.secrets_of(account)
            assert [ready(outcome) for outcome in outcomes] == [stored] * 3
            assert len(house.practice.log.all()) == before

    asyncio.run(live())


@pytest.mark.parametrize("grace", [0, 30])
def test_fifty_callers_of_a_stale_token_cost_one_request(tmp_path: Path, grace: int) -> None:
    """All who ask while the token is stale share one refresh, and all get the new token."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.add_provider(refresh={"reuse_grace_s": grace})
            account = await house.log_in()
            old, _ = await house.secrets_of(account)
            house.clock.forward(TTL + 1)
            callers = [asyncio.create_task(house.token()) for _ in range(50)]
            await house.until_asked()
            house.practice.set_faults([])
            tokens = {ready(outcome) for outcome in await asyncio.gather(*callers)}
            stored, _ = await house.secrets_of(await house.account())
            assert tokens == {stored}
            assert stored != old
            assert house.asked() == 1

    asyncio.run(live())


def test_callers_of_different_accounts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A refresh that hangs at the provider holds up its own account only."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold*1") as house:
            await house.add_provider(refresh={"reuse_grace_s": 30})
            await house.log_in("slow")
            await house.log_in("quick")
            house.clock.forward(TTL + 1)
            slow = asyncio.create_task(house.token("slow"))
            await house.until_asked()
            ready(await house.token("quick"))
            assert not slow.done()
            house.practice.set_faults([])
            ready(await slow)

    asyncio.run(live())


def test_a_caller_that_goes_away_does_not_take_the_refresh_with_it(tmp_path: Path) -> None:
    """The first caller is cancelled in the middle of its refresh; the next one gets its token all the same."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            first = asyncio.create_task(house.token())
            await house.until_asked()
            second = asyncio.create_task(house.token())
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            house.practice.set_faults([])
            token = ready(await second)
            account = await house.account()
            assert account.state.name == "active"
            assert (await house.secrets_of(account))[0] == token
            assert house.asked() == 1

    asyncio.run(live())


def test_a_refresh_whose_every_caller_left_still_lands(tmp_path: Path) -> None:
    """The rotated token of a refresh that nobody waits for any more is kept all the same."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            _, spent = await house.secrets_of(await house.log_in())
            house.clock.forward(TTL + 1)
            only = asyncio.create_task(house.token())
            await house.until_asked()
            only.cancel()
            with pytest.raises(asyncio.CancelledError):
                await only
            house.practice.set_faults([])
            await house.landed()
            account = await house.account()
            assert account.state.name == "active"
            assert account.generation == 2
            assert (await house.secrets_of(account))[1] != spent

    asyncio.run(live())


@pytest.mark.parametrize(
    ("fault", "rotation", "state", "why"),
    [
        ("status=503", "always", "refreshing-failed", "HTTP 503"),
        ("html", "always", "refreshing-failed", "a web page instead of JSON"),
        ("throttle=5", "always", "refreshing-failed", "throttling"),
        ("error=temporarily_unavailable", "always", "refreshing-failed", "temporarily_unavailable"),
        ("drop", "never", "refreshing-failed", "lost"),
        ("drop", "always", "uncertain", "lost"),
    ],
)
def test_the_living_token_is_served_while_a_refresh_fails(
    tmp_path: Path, fault: str, rotation: str, state: str, why: str
) -> None:
    """A provider in trouble is no reason to refuse a token that still lives; the account says what is the matter."""

    async def live() -> None:
        async with opened(tmp_path, f"refresh:{fault}", settings={"rotation": "keep"}) as house:
            await house.add_provider(refresh={"rotation": rotation})
            token, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(TTL - 30)  # less than the 60 s that callers want
            assert ready(await house.token()) == token
            account = await house.account()
            assert account.state.name == state
            assert why in account.state.reason
            # Until it is time to try again, further callers do not cost the provider a request each.
            for _ in range(5):
                assert ready(await house.token()) == token
            assert house.asked() == 1

    asyncio.run(live())


def test_the_id_token_is_handed_out_on_request(tmp_path: Path) -> None:
    """``id_token`` gives the ID token that came with the present access token, a refreshed one after a refresh."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            first = ready(await house.token(id_token=True))
            assert first.count(".") == 2
            assert first == made.reveal(await house.store.id_token(account))
            assert first != ready(await house.token())
            house.clock.forward(TTL + 1)
            assert ready(await house.token(id_token=True)) != first

    asyncio.run(live())


def test_an_id_token_is_judged_by_its_own_life(tmp_path: Path) -> None:
    """One that the refreshes do not renew is served while it lives, with its own expiry, and never once it is dead."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:no_id_token") as house:
            born = house.clock()
            await house.log_in()
            house.clock.forward(ID_TTL - 100)
            newer = await house.token(min_ttl=TTL / 2 + 150)
            old = await house.token(id_token=True)
            assert isinstance(newer, Ready)
            assert isinstance(old, Ready)
            assert newer.facts.expires_at == born + ID_TTL - 100 + TTL
            assert old.facts.expires_at == born + ID_TTL
            house.clock.forward(100)
            for _ in range(3):
                dead = await house.token(id_token=True)
                assert isinstance(dead, MustLogin)
                assert "ID token" in dead.reason
                assert dead.login_url
            assert isinstance(await house.token(), Ready)
            # Asking again would bring none either: nobody is bothered for it.
            assert house.asked() == 1

    asyncio.run(live())


def test_a_stale_id_token_is_renewed(tmp_path: Path) -> None:
    """``min_ttl`` counts for the ID token when that is wanted: a refresh brings one that lasts."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.clock.forward(ID_TTL / 2)
            outcome = await house.token(id_token=True, min_ttl=ID_TTL / 2 + 1)
            assert isinstance(outcome, Ready)
            assert outcome.facts.remaining(outcome.now) == ID_TTL
            assert outcome.access_token != (await house.store.access_token(outcome.account))
            assert house.asked() == 1

    asyncio.run(live())


def test_id_tokens_that_are_born_dead_do_not_cost_a_refresh_each(tmp_path: Path) -> None:
    """A provider whose clock is slow sends ID tokens that are over by ours: that costs one refresh in 30 s."""

    async def live() -> None:
        clock, behind = Clock(), [0.0]
        settings = PracticeSettings(auto_approve=True)
        with practice_in_thread(settings, clock=lambda: clock() - behind[0]) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
                clock.forward(ID_TTL)
                behind[0] = ID_TTL + 20
                for _ in range(15):
                    assert isinstance(await house.token(id_token=True), MustLogin)
                    clock.forward(1)
                assert house.asked() == 1

    asyncio.run(live())


def test_a_caller_is_not_kept_longer_than_it_has_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that answers too slowly: the living token is served, the refresh goes on and lands later."""
    monkeypatch.setattr(refresh, "PATIENCE", 0.05)  # real seconds

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            token, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(TTL - 30)
            assert ready(await house.token()) == token
            house.clock.forward(31)
            outcome = await house.token()
            assert isinstance(outcome, Unavailable)
            assert outcome.retry_after > 0
            house.practice.set_faults([])
            await house.landed()
            assert ready(await house.token()) != token
            assert house.asked() == 1

    asyncio.run(live())


def test_a_wish_out_of_reach_is_served_with_the_freshest_token(tmp_path: Path) -> None:
    """``min_ttl`` beyond the provider's lifetime: a minute of requests, one a second, costs two refreshes at most."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            for _ in range(60):
                ready(await house.token(min_ttl=10 * TTL))
                house.clock.forward(1)
            assert house.asked() == 1
            house.clock.forward(1)
            newest = ready(await house.token(min_ttl=10 * TTL))
            assert house.asked() == 2
            assert newest == (await house.secrets_of(await house.account()))[0]

    asyncio.run(live())


def test_min_ttl_demands_a_refresh_before_it_is_due(tmp_path: Path) -> None:
    """A caller with long work gets a token that lasts for it, although the scheduler would still wait."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.clock.forward(TTL / 2)
            outcome = await house.token(min_ttl=TTL - 100)
            assert isinstance(outcome, Ready)
            assert outcome.account.token is not None
            assert outcome.account.token.remaining(outcome.now) == TTL
            assert house.asked() == 1

    asyncio.run(live())


def test_a_store_that_cannot_note_the_intent_sends_nothing(tmp_path: Path) -> None:
    """If it cannot be written down that a refresh token is being spent, it is not spent; the living token is served."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(TTL - 30)
            made.behind(tmp_path, "ALTER TABLE refresh_intent RENAME TO gone")
            assert ready(await house.token()) == token
            assert house.asked() == 0
            made.behind(tmp_path, "ALTER TABLE gone RENAME TO refresh_intent")
            assert ready(await house.token()) != token

    asyncio.run(live())
