"""A token for an audience (RFC 8693 2.1): exchanged for, kept, and no way around what an app was granted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.core.policy import Denied
from broker.usecases.outcomes import Ready
from tests.usecases.house import TTL, opened
from tests.usecases.wishes import AUDIENCE, BY_EXCHANGE, BY_REFRESH, RESOURCE, SCOPES, app_with, ask, carries, settle_in


def test_it_is_got_once_and_kept(tmp_path: Path) -> None:
    """Each scope, resource and audience is kept apart, the answer says whom it is for, and it is renewed when stale."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            first, again = await ask(house, audience=AUDIENCE), await ask(house, audience=AUDIENCE)
            assert isinstance(first, Ready)
            assert isinstance(again, Ready)
            assert (first.audience, first.resource) == (AUDIENCE, None)
            assert again.access_token == first.access_token
            worth = house.practice.worth(first.access_token.reveal())
            assert worth is not None
            assert (worth.audience, worth.resource, set(worth.scopes)) == (AUDIENCE, "", set(SCOPES))
            less = await ask(house, "read", audience=AUDIENCE)
            both = await ask(house, resource=RESOURCE, audience=AUDIENCE)
            assert carries(house, less) == ({"read"}, "")
            assert carries(house, both) == (set(SCOPES), RESOURCE)
            assert house.asked("token_exchange") == 3
            house.clock.forward(TTL - 30)
            later = await ask(house, audience=AUDIENCE)
            assert isinstance(later, Ready)
            assert later.access_token != first.access_token
            own = await house.token()
            assert isinstance(own, Ready)
            assert own.audience is None

    asyncio.run(live())


def test_a_refresh_does_not_carry_it(tmp_path: Path) -> None:
    """However well a provider narrows by refresh, nobody is asked; where it exchanges as well, it is asked for that."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            denied = await ask(house, audience=AUDIENCE)
            assert isinstance(denied, Denied)
            assert "is not for audience 'billing', and Practice server" in denied.reason
            assert "gives no token for an audience beside the account's own" in denied.reason
            assert "RFC 8693" in denied.hint
            assert house.asked() == house.asked("token_exchange") == 0

    async def both_ways() -> None:
        async with opened(tmp_path / "both") as house:
            await settle_in(house, **BY_REFRESH, **BY_EXCHANGE)
            assert isinstance(await ask(house, audience=AUDIENCE), Ready)
            assert (house.asked(), house.asked("token_exchange")) == (0, 1)

    asyncio.run(live())
    (tmp_path / "both").mkdir()
    asyncio.run(both_ways())


@pytest.mark.parametrize(("fault", "why"), [("error=invalid_target", "invalid_target"), ("throttle=30", "throttling")])
def test_what_the_provider_does_not_give(tmp_path: Path, fault: str, why: str) -> None:
    """The account's own token never takes its place, for whoever asks, and the login is as well as before."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            house.practice.set_faults([f"token_exchange:{fault}"])
            try:
                outcome: object = await ask(house, audience=AUDIENCE)
            except Exception as exc:  # noqa: BLE001 -- either way it has to say why
                outcome = exc
            assert not isinstance(outcome, Ready)
            assert why in str(outcome)
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


@pytest.mark.parametrize(
    ("grant", "given"),
    [({}, set(SCOPES)), ({"scope": ("read",)}, {"read"}), ({"resource": RESOURCE}, None)],
    ids=["whole", "one scope", "one resource"],
)
def test_what_an_app_may_have(tmp_path: Path, grant: dict[str, Any], given: set[str] | None) -> None:
    """A grant without a resource may ask for an audience, within its scope; one with a resource may not."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            app = await app_with(house, **grant)
            outcome = await ask(house, audience=AUDIENCE, caller=app)
            if given is None:
                assert isinstance(outcome, Denied)
                assert "only, and no audience" in outcome.reason
                assert house.asked("token_exchange") == 0
            else:
                assert carries(house, outcome) == (given, "")

    asyncio.run(live())


@pytest.mark.parametrize("grant", [{}, {"scope": ("read",)}], ids=["whole", "one scope"])
def test_more_scope_at_another_audience_is_not_an_apps(tmp_path: Path, grant: dict[str, Any]) -> None:
    """Providers may give other scopes there; what carries more than the account has is not handed to an app."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            app = await app_with(house, **grant)
            house.practice.set_faults(['token_exchange:json={"scope": "read write offline_access billing.admin"}'])
            denied = await ask(house, audience=AUDIENCE, caller=app)
            assert isinstance(denied, Denied)
            assert "billing.admin" in denied.reason
            assert "carries more than was asked for" in denied.reason

    asyncio.run(live())
