"""A token with less scope, or for another resource: refreshed or exchanged for, kept, and never more than was asked."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.core.policy import Denied
from broker.errors import ProviderUnavailable
from broker.usecases import apps
from broker.usecases.narrower import DENIED_FOR
from broker.usecases.outcomes import MustLogin, Ready, Unavailable
from tests.usecases.house import DUE, TTL, opened
from tests.usecases.wishes import (
    BOTH,
    BY_EXCHANGE,
    BY_REFRESH,
    RESOURCE,
    SCOPES,
    app_with,
    ask,
    carries,
    settle_in,
)


@BOTH
def test_less_scope_is_got_once_and_kept(tmp_path: Path, data: dict[str, Any], kind: str) -> None:
    """The narrower token carries what was asked for and no more; the account's own stays, and so does its login."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **data)
            own = await house.token()
            first, again = await ask(house, "read"), await ask(house, "read")
            assert carries(house, first) == ({"read"}, "")
            assert isinstance(first, Ready)
            assert isinstance(again, Ready)
            assert again.access_token == first.access_token
            assert house.asked(kind) == 1
            assert house.asked("refresh") == (kind == "refresh")
            whole = await house.token()
            assert isinstance(own, Ready)
            assert isinstance(whole, Ready)
            assert whole.access_token == own.access_token
            assert carries(house, whole) == (set(SCOPES), "")
            assert await house.holds_newest()
            assert await house.store.open_intents() == []

    asyncio.run(live())


@BOTH
def test_another_resource_has_a_token_of_its_own(tmp_path: Path, data: dict[str, Any], kind: str) -> None:
    """Each pair of scopes and resource is kept apart, and the answer says which one it is for."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **data)
            other = await ask(house, resource=RESOURCE)
            both = await ask(house, "write", resource=RESOURCE)
            assert carries(house, other)[1] == carries(house, both)[1] == RESOURCE
            assert carries(house, both)[0] == {"write"}
            assert isinstance(other, Ready)
            assert other.resource == RESOURCE
            assert house.asked(kind) == 2

    asyncio.run(live())


@BOTH
def test_fifty_callers_with_the_same_wish_cost_one_request(tmp_path: Path, data: dict[str, Any], kind: str) -> None:
    """One flight for a wish, whoever waits for it; two wishes at a time spend the refresh token one after the other."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await settle_in(house, **data)
            wishes = [("read",), ("write",)] * 25
            outcomes = await asyncio.gather(*(ask(house, *wish) for wish in wishes))
            assert [carries(house, outcome)[0] for outcome in outcomes] == [set(wish) for wish in wishes]
            assert [event.result for event in house.practice.log.all(kind)] == ["ok", "ok"]
            assert await house.holds_newest() or kind == "token_exchange"

    asyncio.run(live())


def test_the_schedule_and_a_wish_do_not_meet(tmp_path: Path) -> None:
    """A refresh that is due while a narrower one is in the air waits for it, then renews the account's own token."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await settle_in(house, **BY_REFRESH)
            house.clock.forward(DUE)
            house.practice.set_faults(["refresh:hold"])
            narrow = asyncio.create_task(ask(house, "read"))
            await house.until_asked()
            own = asyncio.create_task(house.token(min_ttl=TTL / 2))
            await asyncio.sleep(0.01)
            assert house.asked() == 1
            house.practice.set_faults([])
            assert carries(house, await narrow) == ({"read"}, "")
            assert carries(house, await own) == (set(SCOPES), "")
            renewed = own.result()
            assert isinstance(renewed, Ready)
            assert renewed.facts.expires_at == house.clock() + TTL
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok", "ok"]

    asyncio.run(live())


def test_an_app_with_less_scope_gets_less_where_it_can_be_had(tmp_path: Path) -> None:
    """It is served with exactly what it was granted, although it names no scope at all (security model, R48)."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            app = await app_with(house, scope=("read",))
            assert carries(house, await ask(house, caller=app)) == ({"read"}, "")
            denied = await ask(house, "write", caller=app)
            assert isinstance(denied, Denied)
            assert denied.app == "backup"

    asyncio.run(live())


@pytest.mark.parametrize(
    ("data", "grant", "why", "hint"),
    [
        (
            {},
            {"scope": ("read",)},
            "carries more than app 'backup' may have: 'offline_access write', and Practice server at",
            "keyfob login NAME --provider practice-127-0-0-1",
        ),
        (
            {"refresh": {"narrows": True, "kills_old_access_token": True}},
            {"scope": ("read",)},
            "gives no token with less scope beside the account's own",
            "keyfob app grant backup --account me",
        ),
        (
            {"refresh": {"narrows": True}},
            {"resource": RESOURCE},
            "gives no token for another resource beside the account's own",
            f"--resource {RESOURCE}",
        ),
    ],
)
def test_an_app_with_less_is_refused_where_less_cannot_be_had(
    tmp_path: Path, data: dict[str, Any], grant: dict[str, Any], why: str, hint: str
) -> None:
    """It never gets the whole token; what is missing and what would help is said, and the provider is not asked."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **data)
            house.clock.forward(TTL + 1)
            denied = await ask(house, caller=await app_with(house, **grant))
            assert isinstance(denied, Denied)
            assert why in denied.reason
            assert hint in denied.hint
            assert house.asked() == 0

    asyncio.run(live())


def test_the_owner_gets_the_whole_token_where_less_cannot_be_had(tmp_path: Path) -> None:
    """For the owner a scope is what the token must carry at least: that the provider cannot narrow costs nothing."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house)
            assert carries(house, await ask(house, "read")) == (set(SCOPES), "")
            assert house.asked() == 0
            denied = await ask(house, resource=RESOURCE)
            assert isinstance(denied, Denied)
            assert "is not for resource" in denied.reason
            wider = await ask(house, "email")
            assert isinstance(wider, Denied)
            assert wider.hint.endswith("keyfob login me --scope email")

    asyncio.run(live())


@pytest.mark.parametrize("fault", ["error=invalid_scope", "error=invalid_target", 'json={"scope": "read write"}'])
@BOTH
def test_a_wish_that_the_provider_refuses_harms_nothing(
    tmp_path: Path, data: dict[str, Any], kind: str, fault: str
) -> None:
    """The login stays well, what carries more than was asked is not handed out, and nobody asks every second."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **data)
            app = await app_with(house, scope=("read",))
            house.practice.set_faults([f"{kind}:{fault}"])
            for _ in range(3):
                denied = await ask(house, caller=app)
                assert isinstance(denied, Denied)
                assert "invalid_" in denied.reason or "more than was asked for: 'write'" in denied.reason
            assert house.asked(kind) == 1
            assert (await house.account()).state.name == "active"
            assert await house.store.open_intents() == []
            house.practice.set_faults([])
            assert carries(house, await ask(house)) == (set(SCOPES), "")
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account()).state.name == "active"
            house.clock.forward(DENIED_FOR - DUE)
            assert carries(house, await ask(house, caller=app)) == ({"read"}, "")

    asyncio.run(live())


def test_an_exchange_for_another_kind_of_token_is_not_used(tmp_path: Path) -> None:
    """What issued_token_type says is believed (RFC 8693 2.2.1)."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            for fault in (
                'json={"issued_token_type": "urn:ietf:params:oauth:token-type:jwt"}',
                "without=issued_token_type",
            ):
                house.practice.set_faults([f"token_exchange:{fault}"])
                denied = await ask(house, resource=RESOURCE)
                assert isinstance(denied, Denied)
                assert "issued_token_type" in denied.reason
                house.clock.forward(601)

    asyncio.run(live())


def test_less_than_was_asked_for_is_told(tmp_path: Path) -> None:
    """A token that lacks a scope that the caller named is not handed out: asked and granted are both named."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            house.practice.set_faults(['refresh:json={"scope": "read"}'])
            denied = await ask(house, "read", "write")
            assert isinstance(denied, Denied)
            assert "asked for the scope 'read write', granted was 'read'" in denied.reason

    asyncio.run(live())


def test_while_the_provider_is_away(tmp_path: Path) -> None:
    """A limited app is told to come back, the owner gets what there is; a narrower token is served while it lives."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            app = await app_with(house, scope=("read",))
            house.practice.set_faults(["token_exchange:status=500"])
            with pytest.raises(ProviderUnavailable):
                await ask(house, caller=app)
            assert carries(house, await ask(house, "write"))[0] == set(SCOPES)
            house.practice.set_faults([])
            kept = await ask(house, caller=app)
            house.clock.forward(TTL - 30)  # stale, and alive
            await house.tick()
            house.practice.set_faults(["token_exchange:status=500"])
            again = await ask(house, caller=app)
            assert isinstance(kept, Ready)
            assert isinstance(again, Ready)
            assert again.access_token == kept.access_token
            assert house.asked("token_exchange") == 4

    asyncio.run(live())


def test_a_refresh_that_fails_for_a_wish_is_the_accounts_own(tmp_path: Path) -> None:
    """It spends the account's refresh token, so a dead one means a login, and a throttle holds the account back."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            app = await app_with(house, scope=("read",))
            house.practice.set_faults(["refresh:throttle=30"])
            outcome = await ask(house, caller=app)
            assert isinstance(outcome, Unavailable)
            assert outcome.retry_after == pytest.approx(30)
            assert (await house.account()).state.name == "refreshing-failed"
            house.practice.set_faults([])
            house.practice.revoke_grants()
            house.clock.forward(TTL + 1)
            assert isinstance(await ask(house, caller=app), MustLogin)
            assert (await house.account()).state.name == "needs-login"

    asyncio.run(live())


@pytest.mark.parametrize("fault", ["delay=0", "garbage"], ids=["it came", "it did not"])
@pytest.mark.parametrize("grant", [{"scope": ("read",)}, {}], ids=["limited", "may have all"])
def test_an_app_that_was_removed_while_it_waited_gets_nothing(
    tmp_path: Path, grant: dict[str, Any], fault: str
) -> None:
    """What the owner decided meanwhile counts, whether the narrower token came or not."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            app = await app_with(house, **grant)
            house.practice.set_faults(["token_exchange:hold", f"token_exchange:{fault}"])
            waiting = asyncio.create_task(ask(house, "read", caller=app))
            await house.until_asked("token_exchange")
            await apps.remove(house.ctx, "backup")
            house.practice.set_faults([])
            outcome = await waiting
            assert isinstance(outcome, Denied)
            # A limited app is told first what the provider did; neither learns or gets anything of the account's own.
            assert "was removed" in outcome.reason or (grant and "not usable" in outcome.reason)

    asyncio.run(live())
