"""A derived account stands and falls with another one's login, says so, and goes on by itself when that is well."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.account import NeedsLogin, RefreshingFailed, Renewal
from broker.core.secret import Secret
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.store.fence import beside
from broker.usecases import accounts, backup, derived, refresh
from broker.usecases.outcomes import MustLogin, Unavailable
from tests.store import made
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready
from tests.usecases.kin import KIND, SCOPES, begin, derived_from, worth


async def dead(house: House) -> None:
    """Make an account with one that is derived from it, and let the login die at the provider."""
    await begin(house)
    await derived_from(house)
    house.practice.revoke_grants()
    house.clock.forward(DUE)
    await house.tick()


@pytest.mark.parametrize("by", ["the schedule", "a request"])
def test_a_dead_login_is_named_and_a_new_one_mends_both(tmp_path: Path, by: str) -> None:
    """It says whose login is needed and how; nobody is asked meanwhile; the new login there is enough."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await dead(house)
            await house.tick()
            bill = await house.account("bill")
            assert isinstance(bill.state, NeedsLogin)
            assert "Account 'me', which this one is derived from, needs a login." in bill.state.reason
            assert ready(await house.token("bill")), "the old one lives"
            view = await accounts.shown(house.ctx, "bill")
            assert isinstance(view, accounts.View)
            assert view.next_step.endswith("keyfob login me")
            assert view.login_url == (await accounts.shown(house.ctx, "me")).login_url != ""
            house.clock.forward(TTL)
            asked = house.asked(KIND)
            await house.tick()
            refused = await house.token("bill")
            assert isinstance(refused, MustLogin)
            assert refused.hint == view.next_step
            assert refused.login_url == (await accounts.shown(house.ctx, "me")).login_url
            assert isinstance(await accounts.refresh_now(house.ctx, "bill"), MustLogin)
            assert house.asked(KIND) == asked
            told = [event for event in await house.heard() if event.kind == "needs-login" and event.account == "bill"]
            assert [event.next_step for event in told] == [view.next_step]
            await house.log_in(scope=SCOPES)
            if by == "the schedule":
                await house.tick()
                assert (await house.account("bill")).state.name == "active"
            assert ready(await house.token("bill"))
            assert house.asked(KIND) == asked + 1
            assert (await house.account("bill")).generation == bill.generation + 1

    asyncio.run(story())


def test_a_person_is_told_once(tmp_path: Path) -> None:
    """One login that waits for a person is one matter, however much is derived from it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await dead(house)
            await house.tick()
            assert await derived.waits_for_parent(house.ctx, await house.account("bill"))
            assert not await derived.waits_for_parent(house.ctx, await house.account("me"))
            await accounts.log_out(house.ctx, "me", local_only=True)
            assert not await derived.waits_for_parent(house.ctx, await house.account("bill"))

    asyncio.run(story())


def test_removing_the_login_is_told(tmp_path: Path) -> None:
    """Who logs out learns what hung on it, and that says so at once; it asks nobody, and can be derived anew."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            await derived_from(house, account="other")
            assert (await accounts.log_out(house.ctx, "me")).derived == ("bill", "other")
            for _ in range(2):
                bill = await house.account("bill")
                assert bill.state.reason == "Account 'me', which this one is derived from, was removed."
                assert bill.state.name == "needs-login"
                house.clock.forward(TTL + 1)
                await house.tick()
            refused = await house.token("bill")
            assert isinstance(refused, MustLogin)
            assert refused.hint.endswith("keyfob login bill --flow token-exchange --from ACCOUNT")
            assert refused.login_url == ""
            assert house.asked(KIND) == 2
            again = await house.log_in("me", scope=SCOPES)
            await house.tick()
            assert (await house.account("bill")).state.name == "needs-login", "that is another login"
            assert (await derived_from(house)).renewal.subject == again.uuid
            assert (await house.account("bill")).state.name == "active"

    asyncio.run(story())


def test_one_that_was_not_told_finds_out(tmp_path: Path) -> None:
    """A stop between the two leaves it as it was: its next renewal says what has become of it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            await house.store.delete_account(await house.account("me"))
            house.clock.forward(DUE)
            await house.tick()
            bill = await house.account("bill")
            assert (bill.state.name, bill.state.reason) == ("needs-login", derived.GONE)
            assert house.asked(KIND) == 1

    asyncio.run(story())


def test_while_the_login_has_no_token_it_is_tried_again(tmp_path: Path) -> None:
    """An outage of the other account's refresh is one of this one, and passes with it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            house.practice.set_faults(["refresh:status=503"])
            house.clock.forward(TTL + 1)
            await house.tick()
            bill = await house.account("bill")
            assert isinstance(bill.state, RefreshingFailed)
            assert bill.state.reason.startswith(
                "Account 'me', which this one is derived from, has no living token now."
            )
            assert isinstance(await house.token("bill"), Unavailable)
            assert house.asked(KIND) == 1
            house.practice.set_faults([])
            house.clock.forward(60)
            await house.tick()
            assert ready(await house.token("bill"))

    asyncio.run(story())


def test_a_client_that_may_not_exchange(tmp_path: Path) -> None:
    """It is misconfigured and asks nobody, until the client was mended and somebody logs in to either."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            house.practice.set_faults([f"{KIND}:error=unauthorized_client"])
            house.clock.forward(DUE)
            await house.tick()
            bill = await house.account("bill")
            assert bill.state.name == "misconfigured"
            assert "Check client 'keyfob', and that it may exchange tokens there." in bill.state.reason
            view = await accounts.shown(house.ctx, "bill")
            assert isinstance(view, accounts.View)
            assert view.next_step.endswith("keyfob login bill")
            assert (await house.account("me")).state.name == "active"
            house.clock.forward(60)
            await house.tick()
            assert house.asked(KIND) == 2
            house.practice.set_faults([])
            await house.log_in(scope=SCOPES)
            await house.tick()
            assert (await house.account("bill")).state.name == "active"

    asyncio.run(story())


def test_another_client_of_the_login(tmp_path: Path) -> None:
    """Its token would be another client's: that is said, and to log in by name alone derives it anew."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            await house.log_in(scope=SCOPES, client_id="keyfob-machine", client_secret=house.practice.client_secret)
            house.clock.forward(TTL + 1)
            await house.tick()
            bill = await house.account("bill")
            assert bill.state.name == "needs-login"
            assert "has logged in with another client" in bill.state.reason
            assert (await derived.next_step(house.ctx, bill)).endswith("keyfob login bill")
            assert house.asked(KIND) == 1
            again = await derived_from(house, parent="")
            assert again.destination.client_id == "keyfob-machine"
            assert (await worth(house)).grant.client_id == "keyfob-machine"

    asyncio.run(story())


def test_a_chain_is_never_followed(tmp_path: Path) -> None:
    """However a row came to say so: what is derived from a derived account is not renewed."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            me = await begin(house)
            bill = await derived_from(house)
            for parent, said in (
                (replace(me, renewal=Renewal("token_exchange", subject=bill.uuid)), "is derived itself now"),
                (replace(me, state=NeedsLogin(0.0, "Dead.")), "needs a login. Dead."),
                (replace(me, has_refresh_token=False, token=None), "needs a login."),
                (replace(me, provider="elsewhere"), "another client or at another address"),
                (None, "was removed"),
            ):
                assert said in derived.trouble(bill, parent, house.clock())
                assert "keyfob login" in derived.help_for(bill, parent, house.clock())
            assert derived.trouble(bill, me, house.clock()) == ""

    asyncio.run(story())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE account SET renewal_subject = (SELECT uuid FROM account WHERE name = 'other') WHERE name = 'bill'",
        "UPDATE account SET renewal_audience = 'evil' WHERE name = 'bill'",
        "UPDATE account SET renewal = 'client_credentials' WHERE name = 'bill'",
        "UPDATE account SET token_endpoint = 'https://evil.example/token' WHERE name IN ('bill', 'me')",
    ],
)
def test_who_changes_the_row_does_not_change_whose_token_is_exchanged(tmp_path: Path, change: str) -> None:
    """From whom it is derived, for whom and where is authenticated: after a change nothing is sent."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            await house.log_in("other", "grace", scope=SCOPES)
            made.behind(tmp_path, change)
            house.clock.forward(DUE)
            await house.tick()
            assert house.asked(KIND) == 1
            assert house.asked("client_credentials") == 0

    asyncio.run(story())


@pytest.mark.parametrize("answered", [False, True])
def test_a_crash_loses_nothing(tmp_path: Path, answered: bool) -> None:  # noqa: FBT001 -- a case
    """An open intent is closed at the next start: an answer that was kept is used, else it is asked for again."""
    clock = Clock()
    kind = "urn:ietf:params:oauth:token-type:access_token"
    raw = Secret(
        f'{{"access_token":"kept","token_type":"Bearer","expires_in":600,"scope":"read","issued_token_type":"{kind}"}}'
    )

    async def first_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await begin(house)
            account = await derived_from(house, scope=("read",))
            clock.forward(DUE)
            intended = await house.store.begin_refresh(account, clock())
            assert intended is not None
            if answered:
                assert await house.store.keep_answer(intended, raw, None) is not None

    async def second_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await refresh.settle(house.ctx)
            await house.landed()
            assert (await house.account("bill")).state.name == ("active" if answered else "refreshing-failed")
            assert await house.store.open_intents() == []
            clock.forward(16)
            await house.tick()
            assert (await house.account("bill")).state.name == "active"
            assert (ready(await house.token("bill")) == "kept") is answered
            assert house.asked(KIND) == (1 if answered else 2)

    with practice_in_thread(PracticeSettings(rotation="single-use", auto_approve=True), clock=clock) as practice:
        asyncio.run(first_life())
        asyncio.run(second_life())


def test_a_copied_database(tmp_path: Path) -> None:
    """The login is suspected, what is derived from it is not: it waits for it while its token lives, and after."""
    clock = Clock()

    async def first_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await begin(house)
            await derived_from(house)

    async def second_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await backup.recognise_copy(house.ctx)
            assert [account.state.name for account in await house.store.accounts()] == ["active", "suspect"]
            clock.forward(TTL + 1)
            await house.tick()
            assert (await house.account("bill")).state.name == "refreshing-failed"
            assert house.asked() == 0
            await accounts.refresh_now(house.ctx, "me", confirm=True)
            clock.forward(60)
            await house.tick()
            assert (await house.account("bill")).state.name == "active"

    with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
        asyncio.run(first_life())
        beside(made.database(tmp_path)).unlink()
        asyncio.run(second_life())
