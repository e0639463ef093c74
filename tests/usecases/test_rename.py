"""A new name for an account: all that is its own goes with it, and nobody comes to have it by that."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.approval import Asker, Wanted
from broker.core.policy import App, AppGrant, Ask, Denied, Stranger
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, Locked, SecretChanged, UnknownAccount, UnknownApproval
from broker.usecases import accounts, approvals, apps, audit, locking, rename
from broker.usecases.approvals import Answer
from broker.usecases.outcomes import Outcome
from tests.store import made
from tests.usecases.house import House, opened, ready
from tests.usecases.kin import begin as begin_parent
from tests.usecases.kin import derived_from

PORT = Asker("port")
ONCE = Answer(allow=True, remember="once")
NEVER = Answer(allow=False)
Story = Callable[[House], Awaitable[None]]


def told(place: Path, story: Story) -> None:
    """Tell a story in a house with an account ``me``."""

    async def whole() -> None:
        async with opened(place) as house:
            await house.log_in()
            await house.heard()
            await story(house)

    asyncio.run(whole())


async def app_of(house: House, key: Secret) -> App:
    """Return the app that a key belongs to, with its grants as they are now."""
    app = await apps.identify(house.ctx, key.reveal())
    assert app is not None
    return app


async def asks(house: House, key: Secret, account: str) -> Outcome:
    """Ask for a token as an app does."""
    return await approvals.ask_token(house.ctx, await app_of(house, key), Ask(account), lambda: PORT)


async def refused(house: House, key: Secret, account: str) -> str:
    """Ask as an app, and be refused; return the code of the question that came of it, empty where none did."""
    outcome = await asks(house, key, account)
    assert isinstance(outcome, Denied)
    return outcome.approval_url.rpartition("/")[2]


async def waiting(house: House) -> dict[str, tuple[str, str]]:
    """Return what the owner sees: code -> the account and how it stands."""
    return {one.id: (one.wanted[0].account, one.state) for one in await approvals.listed(house.ctx)}


def test_the_account_is_the_same_under_its_new_name(tmp_path: Path) -> None:
    """Token, state and version stay; the old name is nobody's; it is told and recorded once."""

    async def story(house: House) -> None:
        token = ready(await house.token())
        await house.ctx.handouts.flush(house.store)
        before = await house.account()
        writing = asyncio.create_task(audit.record(house.ctx))
        await house.heard()
        renamed = await rename.rename(house.ctx, "me", "mail")
        assert renamed == replace(before, name="mail")
        assert await house.account("mail") == renamed
        assert ready(await house.token("mail")) == token
        with pytest.raises(UnknownAccount):
            await house.token("me")
        told = [event for event in await house.heard() if event.kind != "handed-out"]
        assert [(event.kind, event.account, event.detail) for event in told] == [
            ("renamed", "mail", "it was called 'me'")
        ]
        house.ctx.events.close()
        await writing
        (entry,) = await house.store.audit(account="mail", limit=1)
        assert (entry.action, entry.account, entry.detail) == ("renamed", "mail", "it was called 'me'")
        assert (await house.store.verify_audit()).broken is None

    told(tmp_path, story)


def test_its_own_name_changes_nothing(tmp_path: Path) -> None:
    """Whoever gives it the name that it has is told the account, and nobody is told of a change."""

    async def story(house: House) -> None:
        assert await rename.rename(house.ctx, "me", "me") == await house.account()
        assert await house.heard() == []

    told(tmp_path, story)


@pytest.mark.parametrize("new", ["", "two words", "-x", "a/b", "x" * 65, "ä", "me\n"])
def test_what_is_no_name_is_refused(tmp_path: Path, new: str) -> None:
    """A new name follows the rule that a login's does, and nothing has changed."""

    async def story(house: House) -> None:
        with pytest.raises(InvalidRequest, match="cannot be an account's name"):
            await rename.rename(house.ctx, "me", new)
        assert (await house.account()).state.name == "active"

    told(tmp_path, story)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    """Another account keeps its name; an account that is not there is said to be unknown."""

    async def story(house: House) -> None:
        await house.log_in("other", "grace")
        await house.heard()
        with pytest.raises(Conflict, match="There is an account 'other' already"):
            await rename.rename(house.ctx, "me", "other")
        with pytest.raises(UnknownAccount):
            await rename.rename(house.ctx, "ghost", "spirit")
        assert [one.name for one in await house.store.accounts()] == ["me", "other"]
        assert await house.heard() == []

    told(tmp_path, story)


def test_nothing_is_renamed_while_locked(tmp_path: Path) -> None:
    """From the lock on, also while the key is kept for what is under way."""

    async def story(house: House) -> None:
        locking.lock(house.ctx)
        with pytest.raises(Locked):
            await rename.rename(house.ctx, "me", "mail")
        assert (await house.account()).state.name == "active"

    told(tmp_path, story)


def test_an_account_that_was_changed_outside_is_not_made_right_by_a_new_name(tmp_path: Path) -> None:
    """A rename would authenticate what somebody else has written into its row."""

    async def story(house: House) -> None:
        made.behind(house.place, "UPDATE account SET token_endpoint = 'https://evil.example/token'")
        with pytest.raises(SecretChanged):
            await rename.rename(house.ctx, "me", "mail")
        assert (await house.account()).proven is False

    told(tmp_path, story)


def test_grants_go_with_the_account(tmp_path: Path) -> None:
    """The app asks by the new name, and has nothing of whoever gets the old one."""

    async def story(house: House) -> None:
        await house.log_in("other", "grace")
        key = await apps.add(house.ctx, "mail", [AppGrant("me")], None)
        theirs = ready(await asks(house, key, "me"))
        await rename.rename(house.ctx, "me", "old")
        await rename.rename(house.ctx, "other", "me")
        assert ready(await asks(house, key, "old")) == theirs
        assert await refused(house, key, "me")

    told(tmp_path, story)


def test_names_that_change_during_a_request_open_no_other_account(tmp_path: Path) -> None:
    """An app that was named before two accounts swapped names gets its own account's token, or none."""

    async def story(house: House) -> None:
        await house.log_in("other", "grace")
        key = await apps.add(house.ctx, "mail", [AppGrant("me")], None)
        early = await app_of(house, key)
        mine = ready(await house.token("me"))
        for old, new in (("me", "spare"), ("other", "me"), ("spare", "other")):
            await rename.rename(house.ctx, old, new)
        assert isinstance(await house.token("me", early), Denied)
        assert isinstance(await accounts.rejected(house.ctx, early, "me", Secret("x")), Denied)
        assert ready(await house.token("other", early)) == mine

    told(tmp_path, story)


def test_an_app_that_is_remembered_does_not_keep_the_old_name(tmp_path: Path) -> None:
    """While the database cannot be read, an app is known with the names of today, whoever was asked for before."""

    async def whole() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            key = await apps.add(house.ctx, "mail", [AppGrant("me")], None)
        async with opened(tmp_path, practice=house.practice, clock=house.clock) as house:
            await app_of(house, key)  # seen, and its account was not
            await rename.rename(house.ctx, "me", "mail")
            made.behind(tmp_path, "ALTER TABLE app RENAME TO gone")
            with pytest.raises(KeyfobError):
                await app_of(house, key)

    asyncio.run(whole())


def test_a_yes_for_one_token_goes_with_the_account(tmp_path: Path) -> None:
    """It opens the account that the owner meant, under whichever name, and not the one that has the old name now."""

    async def story(house: House) -> None:
        await house.log_in("other", "grace")
        key = await apps.add(house.ctx, "mail", [], None)
        mine, code = ready(await house.token("me")), await refused(house, key, "me")
        await approvals.answer(house.ctx, code, ONCE)
        await rename.rename(house.ctx, "me", "old")
        await rename.rename(house.ctx, "other", "me")
        assert (await waiting(house))[code] == ("old", "once")
        assert await refused(house, key, "me")
        assert ready(await asks(house, key, "old")) == mine
        assert await refused(house, key, "old")

    told(tmp_path, story)


def test_a_yes_for_one_token_does_not_pass_to_the_next_of_that_name(tmp_path: Path) -> None:
    """Its account was logged out; the one that gets the name is another."""

    async def story(house: House) -> None:
        await house.log_in("other", "grace")
        key = await apps.add(house.ctx, "mail", [], None)
        await approvals.answer(house.ctx, await refused(house, key, "me"), ONCE)
        await accounts.log_out(house.ctx, "me", local_only=True)
        await rename.rename(house.ctx, "other", "me")
        assert await waiting(house) == {}
        assert await refused(house, key, "me")

    told(tmp_path, story)


def test_a_yes_that_is_in_use_comes_back_to_its_account_only(tmp_path: Path) -> None:
    """It was taken by a request that brought no token, and the name is another account's when it is given back."""

    async def story(house: House) -> None:
        await house.log_in("other", "grace")
        key = await apps.add(house.ctx, "mail", [], None)
        await approvals.answer(house.ctx, await refused(house, key, "me"), ONCE)
        taken = house.ctx.desk.take("mail", lambda _: True, house.ctx.steady())
        assert taken is not None
        for old, new in (("me", "spare"), ("other", "me")):
            await rename.rename(house.ctx, old, new)
        house.ctx.desk.put_back(taken)
        assert await refused(house, key, "me")
        for old, new in (("me", "other"), ("spare", "me")):
            await rename.rename(house.ctx, old, new)
        assert (await waiting(house))[taken.approval.id] == ("me", "once")
        assert ready(await asks(house, key, "me")) == ready(await house.token("me"))

    told(tmp_path, story)


def test_what_waits_goes_with_the_account(tmp_path: Path) -> None:
    """The owner's answer is about the account that was asked for, by the name that it has now."""

    async def story(house: House) -> None:
        key = await apps.add(house.ctx, "mail", [], None)
        code = await refused(house, key, "me")
        await rename.rename(house.ctx, "me", "new")
        assert await waiting(house) == {code: ("new", "pending")}
        await approvals.answer(house.ctx, code, Answer(allow=True))
        assert [grant.account for grant in (await app_of(house, key)).grants] == ["new"]
        assert ready(await asks(house, key, "new"))

    told(tmp_path, story)


def test_what_waited_under_the_new_name_is_asked_anew(tmp_path: Path) -> None:
    """An answer to a question that was about nobody does not open the account; the app's next try asks again."""

    async def story(house: House) -> None:
        key = await apps.add(house.ctx, "mail", [], None)
        code = await refused(house, key, "new")
        await rename.rename(house.ctx, "me", "new")
        with pytest.raises(UnknownApproval):
            await approvals.answer(house.ctx, code, Answer(allow=True))
        again = await refused(house, key, "new")
        assert again not in ("", code)
        assert await waiting(house) == {again: ("new", "pending")}

    told(tmp_path, story)


def test_a_pairing_goes_with_the_account_and_not_with_the_name(tmp_path: Path) -> None:
    """Of the accounts that a program wants, one that is renamed stays the one; for a new one it asks again."""

    async def story(house: House) -> None:
        mine, foreign = Stranger(b"1" * 32), Stranger(b"2" * 32)
        wants = await approvals.pair(house.ctx, mine, "here", "mail", [Wanted("me")], PORT)
        guess = await approvals.pair(house.ctx, foreign, "here", "other", [Wanted("new")], PORT)
        await rename.rename(house.ctx, "me", "new")
        assert await waiting(house) == {wants.id: ("new", "pending")}
        with pytest.raises(UnknownApproval):
            await approvals.answer(house.ctx, guess.id, Answer(allow=True))
        await approvals.answer(house.ctx, wants.id, Answer(allow=True))
        assert [grant.account for grant in (await apps.shown(house.ctx, "mail")).grants] == ["new"]

    told(tmp_path, story)


def test_an_answer_and_a_rename_do_not_overtake_each_other(tmp_path: Path) -> None:
    """One waits for the other: a yes to a name that was nobody's opens nothing, however near they come."""

    async def story(house: House) -> None:
        key = await apps.add(house.ctx, "mail", [], None)
        code = await refused(house, key, "new")
        async with house.ctx.names.changing:  # as a rename holds it
            answering = asyncio.create_task(approvals.answer(house.ctx, code, ONCE))
            await house.store.accounts()  # the answer would have looked by now
            account = await house.store.rename_account(await house.account(), "new")
            house.ctx.desk.rename(account.uuid, "me", "new")
        with pytest.raises(UnknownApproval):
            await answering
        assert await refused(house, key, "new")
        async with house.ctx.names.changing:  # as an answer holds it, and a login that begins
            renaming = asyncio.create_task(rename.rename(house.ctx, "new", "newer"))
            for _ in range(9):
                await house.store.accounts()
            house.ctx.names.held["newer"] += 1
        with pytest.raises(Conflict):
            await renaming

    told(tmp_path, story)


@pytest.mark.parametrize("remember", ["once", "always"])
def test_a_no_goes_with_the_account(tmp_path: Path, remember: str) -> None:
    """An app that was refused the account does not get to ask again by a new name of it."""

    async def story(house: House) -> None:
        key = await apps.add(house.ctx, "mail", [], None)
        no = NEVER if remember == "always" else Answer(allow=False, remember="once")
        await approvals.answer(house.ctx, await refused(house, key, "me"), no)
        await rename.rename(house.ctx, "me", "new")
        assert await refused(house, key, "new") == ""
        assert {account for account, _ in (await waiting(house)).values()} == {"new"}

    told(tmp_path, story)


def test_a_no_to_the_new_name_stays_one(tmp_path: Path) -> None:
    """It was said of a name that was nobody's, also where the account itself was refused to the same app."""

    async def story(house: House) -> None:
        key = await apps.add(house.ctx, "mail", [], None)
        for account in ("new", "me"):
            await approvals.answer(house.ctx, await refused(house, key, account), NEVER)
        await rename.rename(house.ctx, "me", "new")
        assert await refused(house, key, "new") == ""
        assert await waiting(house) == {"mail:new": ("new", "never")}

    told(tmp_path, story)


def test_a_refusal_is_recorded_of_the_account_that_was_asked_for(tmp_path: Path) -> None:
    """What was counted under the old name is written down before that may be another account's."""

    async def story(house: House) -> None:
        key = await apps.add(house.ctx, "mail", [], None)
        audit.refused(house.ctx, await app_of(house, key), "me", "no")
        await rename.rename(house.ctx, "me", "new")
        assert [(entry.account, entry.detail) for entry in await house.store.audit(app="mail")] == [("new", "no")]

    told(tmp_path, story)


def test_what_is_derived_stays_derived(tmp_path: Path) -> None:
    """The account that others come from may be called otherwise, and so may they."""

    async def whole() -> None:
        async with opened(tmp_path) as house:
            await begin_parent(house)
            await derived_from(house)
            await rename.rename(house.ctx, "me", "root")
            await rename.rename(house.ctx, "bill", "invoices")
            view = await accounts.shown(house.ctx, "invoices")
            assert isinstance(view, accounts.View)
            assert view.parent == "root"
            assert isinstance(await accounts.refresh_now(house.ctx, "invoices"), type(view.account))
            gone = await accounts.log_out(house.ctx, "root", local_only=True)
            assert gone.derived == ("invoices",)

    asyncio.run(whole())
