"""Logins under way while an account gets another name: each lands in its own account, and takes no other's."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from broker.core.account import Account, NeedsLogin
from broker.core.login import Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, SecretChanged
from broker.usecases import accounts, device, login, refresh, rename
from tests.store import made
from tests.usecases import codes, kin, programs
from tests.usecases.house import House, opened
from tests.usecases.test_given import bring, bring_refresh, made_by_hand
from tests.usecases.test_store_faults import locked

Story = Callable[[House], Awaitable[None]]


async def names(house: House) -> dict[str, str]:
    """Return name -> uuid of every account."""
    return {account.name: account.uuid for account in await house.store.accounts()}


def told(place: Path, story: Story) -> None:
    """Tell a story in a house of its own."""

    async def whole() -> None:
        async with opened(place) as house:
            await story(house)

    asyncio.run(whole())


@pytest.mark.parametrize("flow", ["browser", "device"])
def test_a_login_of_the_account_lands_in_it(tmp_path: Path, flow: str) -> None:
    """The person has begun to log in again: that renews the account, and everybody is told its new name."""

    async def story(house: House) -> None:
        before = await house.log_in()
        begun = await (codes.start(house) if flow == "device" else house.begin())
        await rename.rename(house.ctx, "me", "mail")
        pending = await house.store.login(begun.id)
        assert pending is not None
        assert (pending.account, pending.state) == ("mail", "pending")
        await house.heard()
        if flow == "device":
            await codes.allow(begun)
            await codes.tick(house, codes.INTERVAL)
        else:
            await house.walk(begun)
        after = await house.account("mail")
        assert (after.uuid, after.generation) == (before.uuid, before.generation + 1)
        assert await names(house) == {"mail": before.uuid}
        (event,) = await house.heard()
        assert (event.kind, event.account, event.login) == ("logged-in", "mail", begun.id)

    told(tmp_path, story)


def test_a_login_that_fails_is_told_of_the_account_by_its_new_name(tmp_path: Path) -> None:
    """One that is given up after the rename is no matter of whoever gets the old name."""

    async def story(house: House) -> None:
        await house.log_in()
        begun = await house.begin()
        await rename.rename(house.ctx, "me", "mail")
        await house.heard()
        await login.cancel(house.ctx, begun.id)
        assert [(event.kind, event.account) for event in await house.heard()] == [("login-failed", "mail")]

    told(tmp_path, story)


def test_a_login_that_is_done_leads_to_the_account(tmp_path: Path) -> None:
    """Whoever waited for a login and asks late finds the account, and not the one that has the old name now."""

    async def story(house: House) -> None:
        begun = await house.begin()
        await house.walk(begun)
        await rename.rename(house.ctx, "me", "mail")
        done = await house.store.login(begun.id)
        assert done is not None
        assert (done.account, done.state) == ("mail", "done")

    told(tmp_path, story)


def test_a_login_that_was_prepared_before_has_the_new_name(tmp_path: Path) -> None:
    """It is written down under the name that its account has by then."""

    async def story(house: House) -> None:
        account = await house.log_in()
        begun = await house.begin()
        await rename.rename(house.ctx, "me", "mail")
        late = replace(begun, id="late", account="me")
        await house.store.put_login(late, state=Secret("late"), verifier=Secret("v"))
        found = await house.store.login("late")
        assert found is not None
        assert (found.account, found.replaces) == ("mail", account.uuid)

    told(tmp_path, story)


def test_a_login_that_was_changed_outside_is_not_made_right_by_a_new_name(tmp_path: Path) -> None:
    """A rename authenticates nothing that somebody else has written into a login's row."""

    async def story(house: House) -> None:
        await house.log_in()
        begun = await house.begin()
        made.behind(house.place, """UPDATE login SET scope = '["admin"]'""")
        await house.store.rename_account(await house.account(), "mail")
        with pytest.raises(SecretChanged):
            await house.store.take_login(id=begun.id, now=house.clock())

    told(tmp_path, story)


def test_the_login_that_callers_are_pointed_to_stays_the_same(tmp_path: Path) -> None:
    """A person who was sent to a login may open it after the rename as well, and it is not offered twice."""

    async def story(house: House) -> None:
        account = await house.log_in()
        await house.store.swap(replace(account, state=NeedsLogin(house.clock(), "ended")))
        before = await accounts.shown(house.ctx, "me")
        await rename.rename(house.ctx, "me", "mail")
        after = await accounts.shown(house.ctx, "mail")
        assert before.login_url == after.login_url != ""

    told(tmp_path, story)


class Taken(asyncio.Lock):
    """A lock that tells when somebody wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        """Tell, and wait for it."""
        self.wanted.set()
        return await super().acquire()


def test_a_login_is_offered_to_whoever_asked_by_the_old_name(tmp_path: Path) -> None:
    """It is for the account that was refused, also where that was renamed while another caller was offered one."""

    async def story(house: House) -> None:
        account = await house.log_in()
        await house.store.swap(replace(account, state=NeedsLogin(house.clock(), "ended")))
        taken = house.ctx.offering[account.uuid] = Taken()
        async with taken:
            taken.wanted.clear()
            asking = asyncio.create_task(accounts.shown(house.ctx, "me"))
            await taken.wanted.wait()
            await rename.rename(house.ctx, "me", "mail")
        assert (await asking).login_url
        (offered,) = await house.store.logins_pending()
        assert (offered.account, offered.replaces) == ("mail", account.uuid)

    told(tmp_path, story)


@pytest.mark.parametrize(("flow", "endpoint"), [("browser", "register"), ("device", "device_authorization")])
def test_a_login_that_begins_holds_the_name(tmp_path: Path, flow: str, endpoint: str) -> None:
    """From its first look on: what the provider is asked before the person is takes a while, too."""

    async def story(house: House) -> None:
        issuer: dict[str, Any] = {"provider": house.practice.url, "base_url": ""}  # where it registers itself
        begin = codes.start(house, "new") if flow == "device" else house.begin("new", **issuer)
        await programs.log_in(house)
        house.practice.set_faults([f"{endpoint}:hold"])
        under_way = asyncio.create_task(begin)
        await house.until_asked(endpoint)
        with pytest.raises(Conflict, match="under way"):
            await rename.rename(house.ctx, "ci", "new")
        house.practice.set_faults([])
        assert (await under_way).account == "new"
        assert not house.ctx.names.held

    told(tmp_path, story)


def test_the_name_of_a_first_login_is_taken(tmp_path: Path) -> None:
    """Until it is given up; and before its end there is no account yet that could get another name."""

    async def story(house: House) -> None:
        await house.log_in()
        begun = await house.begin("new")
        with pytest.raises(Conflict, match="keyfob logout new"):
            await rename.rename(house.ctx, "me", "new")
        with pytest.raises(Conflict, match="no account yet"):
            await rename.rename(house.ctx, "new", "newer")
        await login.cancel(house.ctx, begun.id)
        assert (await rename.rename(house.ctx, "me", "new")).name == "new"

    told(tmp_path, story)


Tokens = tuple[str, str]
Begin = Callable[[House, str, Tokens], Coroutine[Any, Any, Account]]


async def by_client(house: House, account: str, _: Tokens) -> Account:
    """Log in as a program."""
    return await programs.log_in(house, account)


async def by_token(house: House, account: str, tokens: Tokens) -> Account:
    """Bring an access token along."""
    return await bring(house, tokens[0], account)


async def by_refresh_token(house: House, account: str, tokens: Tokens) -> Account:
    """Bring a refresh token along, which is spent at once."""
    return await bring_refresh(house, tokens[1], account)


async def by_exchange(house: House, account: str, _: Tokens) -> Account:
    """Derive it from ``root``."""
    return await kin.derived_from(house, "root", account)


# How a login is begun that asks nothing of a person, and the kind of request at which it can be held up.
AT_ONCE: dict[str, tuple[Begin, str]] = {
    "client-credentials": (by_client, "client_credentials"),
    "token": (by_token, "userinfo"),
    "refresh-token": (by_refresh_token, "refresh"),
    "token-exchange": (by_exchange, "token_exchange"),
}


async def furnished(house: House) -> Tokens:
    """Have at hand what such a login needs: tokens of ``ada``'s, and an account to derive from."""
    tokens = await made_by_hand(house)
    await house.log_in("root", "grace", scope=kin.SCOPES)
    return tokens


@pytest.mark.parametrize("flow", AT_ONCE)
def test_a_login_without_a_browser_holds_the_name(tmp_path: Path, flow: str) -> None:
    """While its request is out, no other account gets the name; what comes is a new account, and nothing is lost."""
    log_in, endpoint = AT_ONCE[flow]

    async def story(house: House) -> None:
        tokens = await furnished(house)
        before, asked = await names(house), house.asked(endpoint)
        house.practice.set_faults([f"{endpoint}:hold"])
        under_way = asyncio.create_task(log_in(house, "new", tokens))
        await house.until_asked(endpoint, asked + 1)
        with pytest.raises(Conflict, match="under way"):
            await rename.rename(house.ctx, "root", "new")
        house.practice.set_faults([])
        account = await under_way
        assert await names(house) == {**before, "new": account.uuid}
        assert not house.ctx.names.held

    told(tmp_path, story)


@pytest.mark.parametrize("flow", AT_ONCE)
def test_a_login_without_a_browser_lands_in_its_account(tmp_path: Path, flow: str) -> None:
    """The account got another name while the request was out: it is renewed, and no second one is made."""
    log_in, endpoint = AT_ONCE[flow]

    async def story(house: House) -> None:
        access, refresh = await furnished(house)
        first = await log_in(house, "me", (access, refresh))
        tokens = (access, (await house.secrets_of(first))[1] or "")
        before, asked = await names(house), house.asked(endpoint)
        house.practice.set_faults([f"{endpoint}:hold"])
        under_way = asyncio.create_task(log_in(house, "me", tokens))
        await house.until_asked(endpoint, asked + 1)
        await rename.rename(house.ctx, "me", "mail")
        house.practice.set_faults([])
        account = await under_way
        assert (account.name, account.uuid) == ("mail", first.uuid)
        assert account.generation > first.generation
        assert await names(house) == {"mail" if name == "me" else name: uuid for name, uuid in before.items()}

    told(tmp_path, story)


def test_a_code_that_is_being_exchanged_holds_the_name(tmp_path: Path) -> None:
    """Also when the login's time runs out meanwhile: what the person consented to is not given back for a rename."""

    async def story(house: House) -> None:
        await house.log_in("mine", "grace")
        begun = await house.begin("new")
        house.practice.set_faults(["code:hold"])
        asked = house.asked("code")
        walking = asyncio.create_task(house.walk(begun))
        await house.until_asked("code", asked + 1)
        house.clock.forward(begun.expires_at - house.clock() + 1)
        with pytest.raises(Conflict, match="under way"):
            await rename.rename(house.ctx, "mine", "new")
        house.practice.set_faults([])
        finished = await walking
        assert finished.account is not None, finished.reason
        assert finished.account.name == "new"

    told(tmp_path, story)


@pytest.mark.parametrize("came", ["it is asked for", "it waits for the database"])
def test_a_device_that_was_allowed_in_time_holds_the_name(tmp_path: Path, came: str) -> None:
    """Its code has run out since; the account that comes of it has the name all the same."""

    async def begin(house: House) -> Login:
        begun = await codes.start(house, "new")
        await codes.allow(begun)
        return begun

    async def story(house: House) -> None:
        await house.log_in("mine", "grace")
        begun = await begin(house)
        if came == "it is asked for":
            house.practice.set_faults(["device_code:hold"])
            house.clock.forward(begun.expires_at - house.clock() - 1)
            await device.poll_due(house.ctx)
            await house.until_asked("device_code")
            house.clock.forward(2)
        else:
            async with locked(house):
                await codes.tick(house, codes.INTERVAL)
            house.clock.forward(begun.expires_at - house.clock() + 1)
        with pytest.raises(Conflict, match="under way"):
            await rename.rename(house.ctx, "mine", "new")
        house.practice.set_faults([])
        await codes.tick(house, 60.0)
        assert set(await names(house)) == {"mine", "new"}

    told(tmp_path, story)


def test_a_log_out_tells_the_name_that_the_account_has(tmp_path: Path) -> None:
    """It waited for a refresh, and the account got another name meanwhile."""

    async def story(house: House) -> None:
        account = await house.log_in()
        house.practice.set_faults(["refresh:hold"])
        refresh.join(house.ctx, account)
        await house.until_asked()
        leaving = asyncio.create_task(accounts.log_out(house.ctx, "me"))
        await house.store.accounts()
        await rename.rename(house.ctx, "me", "mail")
        house.practice.set_faults([])
        await leaving
        assert [event.account for event in await house.heard() if event.kind == "logged-out"] == ["mail"]
        assert await names(house) == {}

    told(tmp_path, story)


def test_a_login_that_is_refused_holds_no_name(tmp_path: Path) -> None:
    """What ends with an error lets go of it."""

    async def story(house: House) -> None:
        await house.log_in()
        unknown: dict[str, Any] = {"provider": "", "base_url": ""}
        with pytest.raises(InvalidRequest):
            await house.begin("new", **unknown)
        assert not house.ctx.names.held
        await rename.rename(house.ctx, "me", "new")

    told(tmp_path, story)
