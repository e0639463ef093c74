"""The command that a refusal names is one that helps: it does not lead back to where the person came from."""

import asyncio
from pathlib import Path

import pytest

from broker.core import advice
from broker.core.policy import Owner
from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.usecases import accounts, again, given
from broker.usecases.newlogin import NewLogin
from broker.usecases.outcomes import MustLogin
from broker.web import refusals, render
from tests.usecases.house import opened
from tests.usecases.programs import MACHINE, log_in

BRING = "keyfob login {} --flow token --token-file FILE"


def said(outcome: object) -> str:
    """Return the words of a refusal."""
    assert isinstance(outcome, MustLogin)
    return str(refusals.refusal(outcome))


def test_of_a_token_made_by_hand_a_new_one_is_wanted(tmp_path: Path) -> None:
    """When it expired, and when it was refused: no login in the browser is offered, which would want a client."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            access, _ = await house.secrets_of(await house.log_in("other"))
            new = NewLogin("practice", "s1", house.practice.url, flow="token")
            await given.bring_token(house.ctx, new, Secret(access or ""), house.clock() + 500)
            house.clock.forward(500)
            outcome = await house.token("s1")
            assert BRING.format("s1") in said(outcome)
            assert isinstance(outcome, MustLogin)
            assert (outcome.login_url, "refresh token" in outcome.reason) == ("", False)

            await given.bring_token(house.ctx, new, Secret(access or ""), house.clock() + 500)
            house.practice.revoke_grants()
            await accounts.rejected(house.ctx, Owner(), "s1", Secret(access or ""))
            account = await house.account("s1")
            assert account.state.name == "needs-login"
            assert BRING.format("s1") in advice.next_step(account, house.clock())
            house.clock.forward(500)
            assert BRING.format("s1") in said(await house.token("s1"))

    asyncio.run(story())


def test_an_unfinished_login_is_begun_anew_as_it_was(tmp_path: Path) -> None:
    """With its provider, client, scopes and flow: nothing of it is kept before it has succeeded."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            new = {"client_id": "mine", "scope": ("profile", "read"), "flow": "paste"}
            begun = await house.begin("first", **new)
            anew = f"keyfob login first --provider {begun.provider} --scope profile read --client-id mine --flow paste"
            assert anew in said(await house.token("first"))
            view = await accounts.shown(house.ctx, "first")
            assert isinstance(view, accounts.PendingView)
            assert render.account(view)["next_step"].endswith(anew)
            await house.log_in("me")
            assert again.describe(await house.begin("me"), await house.add_provider("other")) == "keyfob login me"
            strict = await house.add_provider("strict", auth_methods=["client_secret_basic"])
            begun = await house.begin("safe", provider="strict", base_url="", client_id="x", client_secret=Secret("s"))
            assert again.describe(begun, strict).endswith(" --client-id x --client-secret-file FILE")
            begun = await house.begin("dash", provider="strict", base_url="", client_id="-x", client_secret=Secret("s"))
            assert again.describe(begun, strict).endswith(" --client-id=-x --client-secret-file FILE")

    asyncio.run(story())


def test_what_stays_at_the_provider_is_said(tmp_path: Path) -> None:
    """Logging a program out leaves its client there, whether the token could be revoked or not."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for fault in ([], ["revoke:status=500"]):
                house.practice.set_faults(fault)
                await log_in(house)
                done = await accounts.log_out(house.ctx, "ci")
                assert done.revoked == (not fault)
                assert f"The client '{MACHINE}' stays there" in done.detail

    asyncio.run(story())


def test_an_id_token_wants_its_scope_and_a_person(tmp_path: Path) -> None:
    """An account without one is told the scope that brings it; an account of a program has none, and is told so."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("me", scope=("profile",))
            assert "keyfob login me --scope openid" in said(await house.token("me", id_token=True))
            await log_in(house)
            with pytest.raises(InvalidRequest, match="such an account has no ID token"):
                await house.token("ci", id_token=True)

    asyncio.run(story())
