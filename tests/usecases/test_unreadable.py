"""Rows that nobody can read, because somebody wrote nonsense into them: told of, and in nobody else's way."""

import asyncio
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import accounts, apps, audit, derived, health, judging, refresh
from tests.store import made
from tests.test_scheduler import ticking
from tests.usecases import programs
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready
from tests.usecases.kin import begin, derived_from

# No text, no JSON, no state that there is, no scopes; times that are no numbers, or none that a calendar has.
UNREADABLE = (
    "asked_scope = '['",
    "asked_scope = '5'",
    "scope = '[1]'",
    "state = 'new'",
    "state_reason = CAST(x'ff' AS TEXT)",
    "state_reason = x'ff'",
    "state_since = 'x'",
    "state = 'refreshing-failed', retry_at = 'x'",
    "state = 'refreshing-failed', retry_at = 9e999",
    "refresh_expires_at = 'x'",
    "last_refresh_at = 'x'",
    "expires_at = 9e999",
    "expires_at = x'00'",
)


def spoil(house: House, what: str, name: str = "bad") -> None:
    """Write something into an account's row, as another program would."""
    made.behind(house.place, f"UPDATE account SET {what} WHERE name = '{name}'")  # noqa: S608 -- our own


async def told(house: House) -> list[str]:
    """Return what is said to have been changed outside Keyfob."""
    audit.tell_changed(house.ctx)
    return [event.detail.partition(":")[0] for event in await house.heard() if event.kind == "changed-outside"]


async def listed(house: House) -> list[str]:
    """Return the names in the list of accounts."""
    return [view.account.name async for view in accounts.listed(house.ctx) if isinstance(view, accounts.View)]


@pytest.mark.parametrize("what", UNREADABLE)
def test_the_others_are_renewed_and_listed_and_the_doctor_tells(tmp_path: Path, what: str) -> None:
    """At a start, at each look, in the list, in every choice of accounts, and in what is wrong with the daemon."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for name, user in (("bad", "ada"), ("good", "ada"), ("well", "grace")):
                await house.log_in(name, user)
            good = await house.account("good")
            spoil(house, what)
            await house.heard()
            assert await listed(house) == ["good", "well"]
            assert await told(house) == ["account 'bad'"]
            assert good.identity is not None
            mine = await house.store.accounts_at(good.provider, good.identity)
            assert [account.name for account in mine] == ["good"]
            report = await health.report(house.ctx)
            assert report.state == "degraded"
            assert "account 'bad'" in " ".join(report.reasons)
            await refresh.settle(house.ctx)
            house.clock.forward(DUE)
            await house.tick()
            await house.tick()
            house.clock.forward(TTL - DUE)
            for name in ("good", "well"):
                assert (await house.account(name)).state.name == "active"
                ready(await house.token(name))
            assert {event.client for event in house.practice.log.all("refresh")} == {"keyfob"}

    asyncio.run(story())


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_derived_beside_it_goes_on(tmp_path: Path, what: str) -> None:
    """The other accounts that are derived from the same login are found, and are told when that is logged out."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            parent = await begin(house)
            await derived_from(house, account="bad")
            await derived_from(house, account="bill")
            spoil(house, what)
            assert [child.name for child in await derived.children_of(house.ctx, parent)] == ["bill"]
            await accounts.log_out(house.ctx, "me")
            assert (await house.account("bill")).state.name == "needs-login"

    asyncio.run(story())


def test_a_person_logs_in_beside_an_account_that_cannot_be_read(tmp_path: Path) -> None:
    """A login that names no account looks at those that there are; one of them is damaged."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("bad", "ada")
            spoil(house, "asked_scope = '['")
            account = await house.log_in("", "ada")
            assert account.name != "bad"
            assert account.identity is not None

    asyncio.run(story())


@pytest.mark.parametrize(
    ("spoiled", "called"),
    [
        ("UPDATE client SET redirect_uris = '[' WHERE provider = 'other'", "client 'keyfob-machine'"),
        ("UPDATE provider SET overrides = '[' WHERE name = 'other'", "provider 'other'"),
        ("UPDATE provider SET overrides = '5' WHERE name = 'other'", "provider 'other'"),
        ("UPDATE app SET name = CAST(x'6f74686572ff' AS TEXT) WHERE name = 'other'", "app 'other\\xff'"),
    ],
)
def test_other_rows_that_cannot_be_read(tmp_path: Path, spoiled: str, called: str) -> None:
    """A client, a provider and an app are found by the same look, and those beside them stay in use."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            await house.add_provider("other")
            secret = house.practice.client_secret
            await house.log_in(
                "second", provider="other", base_url="", client_id="keyfob-machine", client_secret=secret
            )
            for name in ("one", "other"):
                await apps.add(house.ctx, name, [], None)
            made.behind(house.place, spoiled)
            assert called in await house.store.changed_outside()
            assert called in await house.store.changed_outside(), "also where nobody has written since"
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account()).generation == 2
            await house.log_in("third")

    asyncio.run(story())


@pytest.mark.parametrize("what", ["started_at = 'x'", "wish = '['", "wish = '5'"])
def test_a_refresh_left_open_of_which_nobody_can_tell_when_or_for_what(tmp_path: Path, what: str) -> None:
    """It counts as lost, long ago; what was left open beside it is settled, and no start fails."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for name, user in (("bad", "ada"), ("good", "grace")):
                intended = await house.store.begin_refresh(await house.log_in(name, user), house.clock())
                assert intended is not None
                answer = Secret('{"access_token": "new", "token_type": "Bearer", "expires_in": 600}')
                await house.store.keep_answer(intended, answer, Secret(f"new of {name}"))
            mine = "account = (SELECT uuid FROM account WHERE name = 'bad')"
            made.behind(house.place, f"UPDATE refresh_intent SET {what} WHERE {mine}")  # noqa: S608 -- our own
            await refresh.settle(house.ctx)
            assert ready(await house.token("good")) == "new"
            bad = await house.account("bad")
            assert bad.state.name == ("active" if "started_at" in what else "uncertain")
            assert (await house.secrets_of(bad))[1] == "new of bad"
            assert await house.store.open_intents() == []

    asyncio.run(story())


def test_a_login_that_cannot_be_read_stops_no_look(tmp_path: Path) -> None:
    """Its time is over, so each look of the scheduler comes upon it; what is due is renewed all the same."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            await house.begin("other")
            made.behind(house.place, "UPDATE login SET scope = '[' WHERE account = 'other'")
            house.clock.forward(TTL + 1)
            async with ticking(house.ctx):
                await house.until_asked()
                await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(story())


def test_a_kept_answer_whose_account_depends_on_one_that_cannot_be_read(tmp_path: Path) -> None:
    """It stays open, and no flight of it begins, until that can be read again; everybody else's is settled."""

    async def story() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await begin(house)
                for account in (await derived_from(house), await house.log_in("good", "grace")):
                    intended = await house.store.begin_refresh(account, house.clock())
                    assert intended is not None
                    answer = Secret('{"access_token": "new", "token_type": "Bearer", "expires_in": 600}')
                    await house.store.keep_answer(intended, answer, None)
            [(scope,)] = made.behind(tmp_path, "SELECT asked_scope FROM account WHERE name = 'me'")
            made.behind(tmp_path, "UPDATE account SET asked_scope = '[' WHERE name = 'me'")
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await refresh.settle(house.ctx)
                assert ready(await house.token("good")) == "new"
                assert [account.name for account, _, _ in await house.store.open_intents()] == ["bill"]
                made.behind(tmp_path, "UPDATE account SET asked_scope = ? WHERE name = 'me'", scope)
                await house.tick()
                assert await house.store.open_intents() == []

    asyncio.run(story())


def test_a_kept_answer_that_breaks_the_judge_breaks_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of Keyfob's own would meet the same answer at every start: it counts as lost, and the rest goes on."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async def story() -> None:
        async with opened(tmp_path) as house:
            intended = await house.store.begin_refresh(await house.log_in(), house.clock())
            assert intended is not None
            await house.store.keep_answer(intended, Secret('{"access_token": "new"}'), Secret("new refresh token"))
            with monkeypatch.context() as patched:
                patched.setattr(judging, "read_grant", broken)
                await refresh.settle(house.ctx)
            account = await house.account()
            assert account.state.name == "uncertain"
            assert (await house.secrets_of(account))[1] == "new refresh token"
            assert await house.store.open_intents() == []

    asyncio.run(story())


def test_an_account_whose_data_key_was_changed_takes_what_comes(tmp_path: Path) -> None:
    """What the key sealed is lost, and nothing else: a program's account gets its next token, and no start fails."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await programs.log_in(house)
            mine = "owner = (SELECT uuid FROM account WHERE name = 'ci')"
            for damage in ("wrapped = zeroblob(60)", "wrapped = 'x'", "generation = 'x'"):
                made.behind(house.place, f"UPDATE data_key SET {damage} WHERE {mine}")  # noqa: S608 -- our own
                house.clock.forward(DUE)
                await house.tick()
                assert (await house.account("ci")).state.name == "active"
                ready(await house.token("ci"))
                assert await house.store.open_intents() == []

    asyncio.run(story())
