"""An app asks for a token: what it gets, when it waits, and what the provider sees of it."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant, Ask, Denied, Owner
from broker.errors import Locked, UnknownAccount
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import get_token as story
from broker.usecases.get_token import MustLogin, Outcome, Ready, Unavailable, get_token
from tests.store import made
from tests.usecases.house import Clock, House, opened

# The practice provider's tokens live for 600 s unless told otherwise.
TTL = 600.0
GRANTED = App("backup", (AppGrant("me"),))
STRANGER = App("stranger", (AppGrant("other"),))


def ready(outcome: Outcome) -> str:
    """Return the token of an outcome that must be one."""
    assert isinstance(outcome, Ready), outcome
    return outcome.access_token.reveal()


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


def test_fifty_callers_of_a_stale_token_cost_one_request(tmp_path: Path) -> None:
    """All who ask while the token is stale share one refresh, and all get the new token."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
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


def test_with_no_living_token_and_no_provider_the_caller_learns_when_to_come_back(tmp_path: Path) -> None:
    """The provider cannot be reached: at once "unavailable", with the seconds after which Keyfob itself will try."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            clock.forward(TTL + 1)
            outcome = await house.token()
            assert isinstance(outcome, Unavailable)
            assert "cannot be reached" in outcome.reason
            account = await house.account()
            assert account.state.name == "refreshing-failed"
            assert account.has_refresh_token
            due = await house.tick()
            assert due is not None
            assert outcome.retry_after == pytest.approx(due - clock())
            assert outcome.retry_after > 1

    asyncio.run(live())


def test_the_retry_after_of_a_throttling_provider_is_passed_on(tmp_path: Path) -> None:
    """Who asks too early would only be refused again, so the provider's own number is what the caller gets."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=300") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            outcome = await house.token()
            assert isinstance(outcome, Unavailable)
            assert outcome.retry_after == pytest.approx(300)
            house.clock.forward(100)
            later = await house.token()
            assert isinstance(later, Unavailable)
            assert later.retry_after == pytest.approx(200)
            assert house.asked() == 1

    asyncio.run(live())


def test_a_dead_grant_is_answered_at_once_with_the_page_where_a_person_can_help(tmp_path: Path) -> None:
    """The provider says invalid_grant: every caller is told to log in, with a URL that does, and nobody asks again."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            house.practice.revoke_grants()
            house.clock.forward(TTL + 1)
            outcomes = [await house.token() for _ in range(3)]
            urls = set()
            for outcome in outcomes:
                assert isinstance(outcome, MustLogin)
                assert "invalid_grant" in outcome.reason
                urls.add(outcome.login_url)
            assert house.asked() == 1
            assert len(urls) == 1, "one unopened login is enough"
            again = await house.store.login(urls.pop().rpartition("/")[2])
            assert again is not None
            finished = await house.walk(again)
            assert finished.account is not None
            assert finished.account.uuid == account.uuid
            ready(await house.token())

    asyncio.run(live())


def test_the_old_token_of_a_dead_grant_is_served_while_it_lives(tmp_path: Path) -> None:
    """A dead grant does not take the rest of the token's life away, nor promise more than is left of it."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            house.practice.revoke_grants()
            house.clock.forward(TTL - 120)  # due for the scheduler
            await house.tick()
            assert (await house.account()).state.name == "needs-login"
            assert ready(await house.token()) == token
            assert isinstance(await house.token(min_ttl=121), MustLogin)
            house.clock.forward(90)
            assert isinstance(await house.token(), MustLogin), "30 s are less than callers want by default"
            assert ready(await house.token(min_ttl=20)) == token
            house.clock.forward(31)
            assert isinstance(await house.token(min_ttl=0), MustLogin)
            assert house.asked() == 1

    asyncio.run(live())


def test_a_refused_client_keeps_the_login(tmp_path: Path) -> None:
    """invalid_client is a matter of configuration: the refresh token stays, and the provider is left in peace."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:invalid_client") as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            house.clock.forward(TTL - 30)
            assert ready(await house.token()) == token
            house.clock.forward(31)
            for _ in range(3):
                outcome = await house.token()
                assert isinstance(outcome, MustLogin)
                assert outcome.misconfigured
                assert "invalid_client" in outcome.reason
            account = await house.account()
            assert account.state.name == "misconfigured"
            assert (await house.secrets_of(account))[1] == refresh_token
            assert house.asked() == 1
            assert await house.tick() is None

    asyncio.run(live())


def test_an_app_without_a_grant_is_denied_before_anything_is_done_for_it(tmp_path: Path) -> None:
    """An app that was not granted the account gets no token and causes no refresh."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            denied = await house.token(caller=STRANGER)
            assert denied == Denied("app 'stranger' was not granted account 'me'")
            wider = await get_token(house.ctx, GRANTED, Ask("me", ("write",)))
            assert isinstance(wider, Denied)
            other = await get_token(house.ctx, Owner(), Ask("me", resource="https://api.example.org"))
            assert isinstance(other, Denied)
            assert house.asked() == 0
            assert not house.ctx.handouts
            ready(await house.token(caller=GRANTED))

    asyncio.run(live())


def test_an_unknown_account_is_named_to_the_owner_and_to_nobody_else(tmp_path: Path) -> None:
    """The owner learns that there is no such account; an app cannot find out which names exist."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            with pytest.raises(UnknownAccount, match="No account is called 'nobody'"):
                await house.token("nobody")
            missing = await house.token("nobody", caller=STRANGER)
            existing = await house.token("me", caller=STRANGER)
            assert isinstance(missing, Denied)
            assert isinstance(existing, Denied)
            assert missing.reason.replace("nobody", "me") == existing.reason

    asyncio.run(live())


def test_an_account_whose_first_login_is_under_way_points_to_it(tmp_path: Path) -> None:
    """Nobody waits for the person at the browser: the caller gets the page where the login goes on."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin()
            outcome = await house.token()
            assert isinstance(outcome, MustLogin)
            assert outcome.login_url.endswith(f"/login/{begun.id}")

    asyncio.run(live())


def test_an_expired_token_that_nothing_can_refresh_asks_for_a_login(tmp_path: Path) -> None:
    """Where the provider gave no refresh token, the end of the token is the end of the login."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "none"}) as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            assert refresh_token is None
            house.clock.forward(TTL - 5)
            assert ready(await house.token()) == token
            house.clock.forward(5)
            outcome = await house.token()
            assert isinstance(outcome, MustLogin)
            assert "no refresh token" in outcome.reason
            assert outcome.login_url
            assert house.asked() == 0

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


def test_who_wants_an_id_token_that_never_came_is_told_why(tmp_path: Path) -> None:
    """Without the scope ``openid`` there is none, and the reason says so; the access token is served as ever."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in(scope=("read", "offline_access"))
            outcome = await house.token(id_token=True)
            assert isinstance(outcome, MustLogin)
            assert "openid" in outcome.reason
            ready(await house.token())

    asyncio.run(live())


@pytest.mark.parametrize("age", [0.0, TTL - 30, TTL + 1])
def test_a_locked_store_hands_out_nothing_and_spends_nothing(tmp_path: Path, age: float) -> None:
    """Without the key every request says "locked", whatever the token's age, and no refresh token leaves."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
            key = made.key_file(tmp_path)
            key.rename(key.with_name("elsewhere"))
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                clock.forward(age)
                with pytest.raises(Locked):
                    await house.token()
                assert house.asked() == 0
                assert await house.store.open_intents() == []
            key.with_name("elsewhere").rename(key)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                ready(await house.token())

    asyncio.run(live())


def test_a_caller_is_not_kept_longer_than_it_has_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that answers too slowly: the living token is served, the refresh goes on and lands later."""
    monkeypatch.setattr(story, "PATIENCE", 0.05)  # real seconds

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


async def handed_out(house: House) -> list[tuple[str | None, str | None, int | None, int | None]]:
    """Return account, app, generation and count of every hand-out in the audit, newest first."""
    entries = await house.store.audit()
    return [(entry.account, entry.app, entry.generation, entry.count) for entry in entries if entry.count]


def test_hand_outs_are_counted_per_app_and_generation(tmp_path: Path) -> None:
    """The audit tells who got which generation of which token, when first, when last and how often."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            start = house.clock()
            for _ in range(3):
                await house.token(caller=GRANTED)
                house.clock.forward(1)
            await house.token()
            assert await handed_out(house) == []
            await house.ctx.handouts.flush(house.store)
            house.clock.forward(TTL)
            await house.token(caller=GRANTED)
            await house.token(caller=STRANGER)
            await house.ctx.handouts.flush(house.store)
            assert sorted(await handed_out(house), key=str) == [
                ("me", "backup", 1, 3),
                ("me", "backup", 2, 1),
                ("me", "owner", 1, 1),
            ]
            first = next(entry for entry in await house.store.audit() if entry.count == 3)
            assert (first.first, first.last) == (start, start + 2)
            assert (await house.account()).last_used_at == start + 3 + TTL

    asyncio.run(live())


def test_hand_outs_that_cannot_be_written_now_are_written_later(tmp_path: Path) -> None:
    """A store that stumbles loses no count: what came before and after is in one entry."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            start = house.clock()
            await house.token()
            made.behind(tmp_path, "ALTER TABLE audit RENAME TO gone")
            with pytest.raises(Exception, match="database"):
                await house.ctx.handouts.flush(house.store)
            assert house.ctx.handouts
            house.clock.forward(2)
            await house.token()
            made.behind(tmp_path, "ALTER TABLE gone RENAME TO audit")
            await house.ctx.handouts.flush(house.store)
            assert not house.ctx.handouts
            assert await handed_out(house) == [("me", "owner", 1, 2)]
            entry = (await house.store.audit())[0]
            assert (entry.first, entry.last) == (start, start + 2)

    asyncio.run(live())


def test_a_hand_out_is_an_event_that_names_the_app(tmp_path: Path) -> None:
    """Who listens learns at once which app got which generation."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            await house.heard()
            await house.token(caller=GRANTED)
            assert [(e.kind, e.account, e.app, e.generation) for e in await house.heard()] == [
                ("handed-out", "me", "backup", 1)
            ]

    asyncio.run(live())
