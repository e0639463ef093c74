"""An account of a program: it logs in as its client, renews itself on schedule, and has nothing that could be spent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.core import timing
from broker.core.account import RefreshingFailed, Renewal
from broker.core.policy import Owner
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, LoginFailed, ProviderUnavailable
from broker.usecases import accounts, due, login, machine
from broker.usecases.outcomes import MustLogin, Ready, Unavailable
from tests.usecases.house import DUE, TTL, opened, ready
from tests.usecases.programs import MACHINE, again, log_in, secret_changed

KIND = "client_credentials"


def test_a_login_is_done_at_once(tmp_path: Path) -> None:
    """One request, no browser: the account has a token, nobody's identity, the client's name, and a next refresh."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await log_in(house, "", scope=("read",), audience="https://api.example", resource="urn:thing")
            assert (account.name, account.state.name, account.identity) == (account.provider, "active", None)
            assert (account.label, account.scope, account.resource) == (MACHINE, ("read",), "urn:thing")
            assert account.renewal == Renewal("client_credentials", audience="https://api.example")
            assert (account.has_refresh_token, account.renewable, account.is_machine) == (False, True, True)
            assert house.asked(KIND) == 1
            told = [(event.kind, event.detail) for event in await house.heard()]
            assert told == [("provider-added", account.provider), ("logged-in", MACHINE)]
            at = await due.next_refresh_at(house.ctx, account)
            assert at is not None
            assert DUE - 30 <= at - house.clock() <= DUE
            assert (await log_in(house, "")).name == f"{account.name}-{MACHINE}"
            kept = await house.store.clients(account.provider)
            assert [(client.client_id, client.has_secret) for client in kept] == [(MACHINE, True)]

    asyncio.run(story())


def test_it_renews_itself_on_schedule_and_on_demand(tmp_path: Path) -> None:
    """When it is due, after its end, and when an app reports it: one request each, and always another token."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            seen = [ready(await house.token("ci")) for _ in [await log_in(house)]]
            house.clock.forward(DUE - 31)
            await house.tick()
            assert house.asked(KIND) == 1
            house.clock.forward(31)
            await house.tick()
            seen.append(ready(await house.token("ci")))
            house.clock.forward(TTL)
            seen.append(ready(await house.token("ci")))
            assert await accounts.rejected(house.ctx, Owner(), "ci", Secret(seen[-1])) is None
            seen.append(ready(await house.token("ci")))
            await accounts.refresh_now(house.ctx, "ci")
            seen.append(ready(await house.token("ci")))
            assert len(set(seen)) == house.asked(KIND) == 5
            assert (await house.account("ci")).generation == 5
            assert await house.store.open_intents() == []
            assert house.asked("refresh") == 0

    asyncio.run(story())


def test_a_renewal_asks_for_what_the_login_asked_for(tmp_path: Path) -> None:
    """The scope of the login, not the provider's default, and not what one answer happened to give."""

    async def story() -> None:
        async with opened(tmp_path, f'{KIND}:json={{"scope":"read"}}*1') as house:
            assert (await log_in(house, scope=("read", "write"))).scope == ("read",)
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account("ci")).scope == ("read", "write")
            house.practice.set_faults([f"{KIND}:without=scope"])
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account("ci")).scope == ("read", "write")

    asyncio.run(story())


@pytest.mark.parametrize(
    "fault", ["drop", "cut", "garbage", "status=503", "status=504", "html", "refuse", "throttle=1"]
)
def test_an_outage_passes(tmp_path: Path, fault: str) -> None:
    """However it fails, strict rotation or not: never uncertain, served while the token lives, and mended by itself."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await log_in(house)
            first = ready(await house.token("ci"))
            house.practice.set_faults([f"{KIND}:{fault}"])
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account("ci")
            assert isinstance(account.state, RefreshingFailed)
            assert account.state.lost_at == 0
            assert "revoked" not in account.state.reason
            assert ready(await house.token("ci")) == first
            house.clock.forward(TTL - DUE)
            refused = await house.token("ci")
            assert isinstance(refused, Unavailable)
            assert await house.store.open_intents() == []
            house.practice.set_faults([])
            house.clock.forward(refused.retry_after)
            assert ready(await house.token("ci")) != first
            assert (await house.account("ci")).state.name == "active"

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["invalid_client", "error=invalid_grant", "error=unauthorized_client"])
def test_a_refused_client_is_misconfigured(tmp_path: Path, fault: str) -> None:
    """No person can log in to it: the client has to be mended, and nobody is sent to a browser. It is tried again."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house)
            house.practice.set_faults([f"{KIND}:{fault}"])
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account("ci")
            assert account.state.name == "misconfigured"
            assert "Check the client" in account.state.reason
            assert isinstance(await house.token("ci"), Ready)  # while the old one lives
            house.clock.forward(TTL)
            assert await house.token("ci") == MustLogin("ci", account.state.reason, "", misconfigured=True)
            assert house.asked(KIND) == 2
            assert (await accounts.shown(house.ctx, "ci")).login_url == ""
            assert await house.store.logins_pending() == []
            await house.tick()
            assert (house.asked(KIND), (await house.account("ci")).state.name) == (3, "misconfigured")
            assert [event.kind for event in await house.heard()].count("misconfigured") == 1
            house.practice.set_faults([])
            house.clock.forward(2 * timing.REFUSED_FIRST)
            await house.tick()
            assert (await house.account("ci")).state.name == "active"

    asyncio.run(story())


def test_a_changed_secret_is_mended_by_naming_the_account(tmp_path: Path) -> None:
    """The old secret is refused; the new one alone, brought under the account's name, is a login as before."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            before = await log_in(house, scope=("read", "write"), audience="https://api.example")
            new = await secret_changed(house)
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account("ci")).state.name == "misconfigured"
            with pytest.raises(LoginFailed, match="refused client"):
                await again(house)
            assert (await house.account("ci")).state.name == "misconfigured"
            after = await again(house, client_secret=new)
            assert (after.uuid, after.state.name, after.asked_scope) == (before.uuid, "active", ("read", "write"))
            assert after.renewal == before.renewal
            assert (await house.store.client_of(after))[1] == new

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("invalid_client", LoginFailed),
        ("error=invalid_scope", LoginFailed),
        ("token_type=DPoP", LoginFailed),
        ("status=503", ProviderUnavailable),
        ("throttle=30", ProviderUnavailable),
        ("drop", ProviderUnavailable),
    ],
)
def test_a_login_that_fails_keeps_nothing(tmp_path: Path, fault: str, error: type[KeyfobError]) -> None:
    """No account, no client; and the message repeats no secret."""

    async def story() -> None:
        async with opened(tmp_path, f"{KIND}:{fault}") as house:
            with pytest.raises(error) as failed:
                await log_in(house)
            assert house.practice.client_secret.reveal() not in str(failed.value)
            assert await house.store.accounts() == []
            (provider,) = await house.store.providers()
            assert await house.store.clients(provider.name) == []
            assert house.asked(KIND) == 1

    asyncio.run(story())


def test_what_a_client_does_not_need_is_not_kept(tmp_path: Path) -> None:
    """A refresh token or an ID token in the answer, at login or later, is left where it is (RFC 6749 4.4.3)."""
    more = '{"refresh_token":"unasked","refresh_expires_in":60,"id_token":"a.b.c"}'

    async def story() -> None:
        async with opened(tmp_path, f"{KIND}:json={more}") as house:
            await log_in(house)
            for _ in range(2):
                account = await house.account("ci")
                assert (account.has_refresh_token, account.id_token_generation) == (False, None)
                assert (account.refresh_expires_at, account.state.name) == (None, "active")
                assert await house.secrets_of(account) == (ready(await house.token("ci")), None)
                house.clock.forward(DUE)
                await house.tick()
            assert house.asked(KIND) == 3

    asyncio.run(story())


@pytest.mark.parametrize("answer", ['{"refresh_token":"only"}', '{"access_token":"a","access_token":"b"}', '{"access'])
def test_an_answer_that_cannot_be_used_is_a_passing_failure(tmp_path: Path, answer: str) -> None:
    """Where a person's rotated token might be lost with it, a program asks again."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house)
            house.practice.set_faults([f"{KIND}:body={answer}"])
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account("ci")).state.name == "refreshing-failed"
            house.practice.set_faults([])
            house.clock.forward(20)
            await house.tick()
            assert (await house.account("ci")).state.name == "active"

    asyncio.run(story())


def test_it_is_nobodys(tmp_path: Path) -> None:
    """A person's account is not taken over by a program, and nobody is asked; the other way round it may be."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("me")
            with pytest.raises(Conflict, match="'ada'"):
                await log_in(house, "me")
            assert house.asked(KIND) == 0
            await log_in(house)
            person = await house.log_in("ci", client_id="keyfob")
            assert (person.is_machine, person.label, person.has_refresh_token) == (False, "ada", True)
            house.clock.forward(DUE)
            await house.tick()
            assert (house.asked("refresh"), house.asked(KIND)) == (2, 1)

    asyncio.run(story())


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    """No client, one without a secret, an unknown one, a subject without a signature: told before anybody is asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            wrong: list[tuple[dict[str, Any], str]] = [
                ({"client_id": "", "client_secret": None}, "no client with a secret or key"),
                ({"client_secret": None}, "nothing to prove itself with"),
                ({"client_id": "", "client_secret": Secret("s")}, "no client"),
                ({"auth_method": "tls_client_auth"}, "no client authentication method"),
                ({"subject": "ada"}, "jwt-bearer"),
                ({"provider": "", "base_url": ""}, "Which provider"),
            ]
            for words, said in wrong:
                with pytest.raises(InvalidRequest, match=said):
                    await log_in(house, **words)
            assert house.asked(KIND) == 0

    asyncio.run(story())


def test_logout_ends_the_token_and_names_the_client(tmp_path: Path) -> None:
    """The token is revoked; that the client itself lives on is said."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house)
            token = ready(await house.token("ci"))
            gone = await accounts.log_out(house.ctx, "ci")
            assert gone.revoked
            assert f"client '{MACHINE}'" in gone.detail
            assert [event.result for event in house.practice.log.all("revoke")] == ["ok"]
            assert token
            assert await house.store.accounts() == []

    asyncio.run(story())


def test_a_login_by_name_goes_the_way_it_went(tmp_path: Path) -> None:
    """An account of a program logs in as such; one of a person, and one that is new, have no such way."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house)
            await house.log_in("me", client_id="keyfob")
            flows = [await machine.former_flow(house.ctx, name) for name in ("ci", "me", "new", "")]
            assert flows == ["client-credentials", None, None, None]
            assert await login.offer(house.ctx, await house.account("ci")) == ""

    asyncio.run(story())
