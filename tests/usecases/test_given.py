"""Tokens and refresh tokens that a person brings along: tried once, and then Keyfob's own."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from broker.core.account import Account
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, LoginFailed, ProviderUnavailable
from broker.usecases import accounts, given
from broker.usecases.newlogin import NewLogin
from broker.usecases.outcomes import MustLogin, Ready
from tests.loopback import NO_TLS
from tests.usecases.house import PATIENCE, House, opened

NO_TOKENS = ["", " ", "two words", "line\nbreak", "tokén", "x" * 65537]
Bring = Callable[[House, str], Awaitable[object]]


def new(house: House, account: str = "me", *, scope: tuple[str, ...] = ()) -> NewLogin:
    """Describe an account at the practice provider."""
    return NewLogin("practice", account, house.practice.url, scope=scope)


async def made_by_hand(house: House, user: str = "ada") -> tuple[str, str]:
    """Get an access token and a refresh token as another program at the provider would; Keyfob forgets them."""
    account = await house.log_in("elsewhere", user)
    access, refresh = await house.secrets_of(account)
    assert access is not None
    assert refresh is not None
    await accounts.log_out(house.ctx, "elsewhere", local_only=True)
    return access, refresh


async def bring(house: House, token: str, account: str = "me", expires_at: float | None = None) -> Account:
    """Bring an access token along."""
    finished = await given.bring_token(house.ctx, new(house, account), Secret(token), expires_at)
    assert finished.account is not None
    return finished.account


async def bring_refresh(house: House, token: str, account: str = "me") -> Account:
    """Bring a refresh token along."""
    finished = await given.bring_refresh_token(house.ctx, new(house, account), Secret(token))
    assert finished.account is not None
    return finished.account


async def accepts(house: House, access_token: str | None) -> bool:
    """Ask the provider whether an access token is good."""
    async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as http:
        url, headers = f"{house.practice.url}/userinfo", {"Authorization": f"Bearer {access_token}"}
        return (await http.get(url, headers=headers)).status_code == 200


def test_a_brought_token_is_tried_once_and_handed_out(tmp_path: Path) -> None:
    """A token from the provider's own pages becomes a static account of the person it belongs to."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            access, _ = await made_by_hand(house, "grace")
            until = house.clock() + 500
            await house.heard()
            account = await bring(house, access, expires_at=until)
            assert house.asked("userinfo") == 1
            assert (account.state.name, account.has_refresh_token) == ("static", False)
            assert account.identity is not None
            assert account.identity.label == "grace"
            assert account.token is not None
            assert account.token.expires_at == until
            assert [(event.kind, event.account) for event in await house.heard()] == [("logged-in", "me")]
            outcome = await house.token("me")
            assert isinstance(outcome, Ready)
            assert outcome.access_token == Secret(access)
            house.clock.forward(500)
            assert isinstance(await house.token("me"), MustLogin)
            assert house.asked("refresh") == 0

    asyncio.run(story())


def test_a_refused_token_is_not_kept(tmp_path: Path) -> None:
    """What the provider does not accept makes no account, and the message does not repeat it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pytest.raises(LoginFailed) as refused:
                await bring(house, "not-a-token-of-theirs")
            assert "does not accept this token" in str(refused.value)
            assert "not-a-token-of-theirs" not in str(refused.value)
            assert house.asked("userinfo") == 1
            assert await house.store.accounts() == []

    asyncio.run(story())


def test_a_token_that_cannot_be_tried_is_not_kept(tmp_path: Path) -> None:
    """While the provider is down nobody knows what a pasted token is worth: try again later."""

    async def story() -> None:
        async with opened(tmp_path, "userinfo:status=503") as house:
            with pytest.raises(ProviderUnavailable):
                await bring(house, "some-token")
            assert await house.store.accounts() == []

    asyncio.run(story())


def test_a_token_that_has_expired_is_not_tried(tmp_path: Path) -> None:
    """An end in the past, or right now, is refused before the provider is asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for expires_at in (house.clock(), house.clock() - 1, 0.0):
                with pytest.raises(InvalidRequest, match="expired"):
                    await bring(house, "some-token", expires_at=expires_at)
            assert house.practice.log.all() == []

    asyncio.run(story())


@pytest.mark.parametrize("bring_it", [bring, bring_refresh])
def test_what_is_no_token_is_not_sent(tmp_path: Path, bring_it: Bring) -> None:
    """Spaces, line breaks, foreign letters and nothing at all are slips of the clipboard: nobody is asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for text in NO_TOKENS:
                with pytest.raises(InvalidRequest, match="not a token"):
                    await bring_it(house, text)
            assert house.practice.log.all() == []

    asyncio.run(story())


def test_a_new_token_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """A token brought again for an account renews it in place; one of somebody else is refused with both names."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            mine, (mine_too, _), (foreign, _) = (
                await made_by_hand(house),
                await made_by_hand(house),
                await made_by_hand(house, "grace"),
            )
            first = await bring(house, mine[0])
            second = await bring(house, mine_too)
            assert (second.uuid, second.generation > first.generation) == (first.uuid, True)
            assert (await house.secrets_of(second))[0] == mine_too
            with pytest.raises(Conflict, match=r"'grace'.*'ada'"):
                await bring(house, foreign)
            assert await house.store.accounts() == [second]

    asyncio.run(story())


def test_a_pasted_token_stays_beside_a_login(tmp_path: Path) -> None:
    """What nobody can tell the scope of is replaced by its own kind only."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            access, _ = await made_by_hand(house)
            pasted = await bring(house, access, "")
            walked = await house.log_in("")
            assert walked.uuid != pasted.uuid
            access, _ = await made_by_hand(house)
            assert (await bring(house, access, "")).uuid == pasted.uuid

    asyncio.run(story())


@pytest.mark.parametrize("brought", ["access", "refresh"])
def test_a_token_of_somebody_else_is_not_revoked(tmp_path: Path, brought: str) -> None:
    """A token that a person brought belongs to them, whatever account they named: refusing it does not kill it."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "keep"}) as house:
            await house.log_in("me", "ada")
            access, refresh = await made_by_hand(house, "grace")
            with pytest.raises(Conflict, match="grace"):
                await (bring(house, access) if brought == "access" else bring_refresh(house, refresh))
            assert house.asked("revoke") == 0
            assert await accepts(house, access)

    asyncio.run(story())


def test_a_static_token_can_be_replaced_by_a_real_login_and_back(tmp_path: Path) -> None:
    """One account, one person: a browser login makes a static account refreshable, a pasted token makes it static."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            access, _ = await made_by_hand(house)
            static = await bring(house, access)
            active = await house.log_in("me")
            assert (active.uuid, active.state.name, active.has_refresh_token) == (static.uuid, "active", True)
            back = await bring(house, access)
            assert (back.uuid, back.state.name, back.has_refresh_token) == (static.uuid, "static", False)
            assert await house.store.refresh_token(back) is None

    asyncio.run(story())


def test_a_brought_refresh_token_is_used_at_once(tmp_path: Path) -> None:
    """From then on only Keyfob holds the newest refresh token; what the other program has is spent."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "ttl": 600}) as house:
            _, brought = await made_by_hand(house)
            account = await bring_refresh(house, brought)
            access, held = await house.secrets_of(account)
            assert (account.state.name, account.has_refresh_token) == ("active", True)
            assert held not in (None, brought)
            assert await accepts(house, access)
            assert account.identity is not None
            assert account.identity.label == "ada"
            house.clock.forward(590)
            assert isinstance(await house.token("me"), Ready)
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok", "ok"]

    asyncio.run(story())


def test_a_provider_that_does_not_rotate_leaves_the_brought_token_in_use(tmp_path: Path) -> None:
    """Where the answer brings no new refresh token, the one that was brought stays (RFC 6749 6)."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "keep"}) as house:
            _, brought = await made_by_hand(house)
            account = await bring_refresh(house, brought)
            assert (await house.secrets_of(account))[1] == brought

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refresh:error=invalid_grant", LoginFailed),
        ("refresh:invalid_client", LoginFailed),
        ("refresh:status=503", ProviderUnavailable),
        ("refresh:throttle=30", ProviderUnavailable),
        ("refresh:html", ProviderUnavailable),
        ("refresh:drop", ProviderUnavailable),
        ("refresh:token_type=DPoP", LoginFailed),
    ],
)
def test_a_refresh_token_that_is_not_accepted_makes_no_account(
    tmp_path: Path, fault: str, error: type[KeyfobError]
) -> None:
    """Each way to fail is told, with the next step where there is one, and never repeats the token."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            _, brought = await made_by_hand(house)
            house.practice.set_faults([fault])
            with pytest.raises(error) as failed:
                await bring_refresh(house, brought)
            assert not re.search("practice_[ar]t_", str(failed.value))
            assert house.asked("refresh") == 1
            assert await house.store.accounts() == []

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["userinfo:status=503", "userinfo:html", "userinfo:drop"])
def test_a_rotated_refresh_token_is_not_lost_for_want_of_a_name(tmp_path: Path, fault: str) -> None:
    """The brought token is spent by then: who it belongs to may stay unknown, but the new one is kept."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            _, brought = await made_by_hand(house)
            house.practice.set_faults([fault])
            account = await bring_refresh(house, brought)
            house.practice.set_faults([])
            await accounts.refresh_now(house.ctx, account.name)
            assert (await house.account("me")).state.name == "active"

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["wrong_aud", "bad_signature", "wrong_iss", "expired_id_token"])
def test_an_id_token_that_is_not_in_order_is_never_handed_out(tmp_path: Path, fault: str) -> None:
    """An ID token that comes with the first refresh is checked before it is kept, or not kept at all (security R27)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            _, brought = await made_by_hand(house)
            house.practice.set_faults([f"refresh:{fault}"])
            try:
                account = await bring_refresh(house, brought)
            except LoginFailed:
                return
            assert await house.store.id_token(account) is None

    asyncio.run(story())
