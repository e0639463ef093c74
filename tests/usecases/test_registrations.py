"""The clients that Keyfob registers itself: once, kept, changed with its address, renewed, deleted."""

import asyncio
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.secret import Secret
from broker.errors import InvalidRequest, Locked, LoginFailed, ProviderUnavailable, StoreUnavailable
from broker.usecases import accounts, given, login, providers, ration, registrations
from broker.usecases.newlogin import NewLogin
from tests.store import made
from tests.usecases.house import DUE, opened
from tests.usecases.registered import CONFIDENTIAL, begin, discovered, moved, the_client


def test_keyfob_registers_itself_and_logs_in(tmp_path: Path) -> None:
    """Nobody brings a client: one is registered at the first login, and serves every later one."""

    async def story() -> None:
        async with opened(tmp_path, CONFIDENTIAL) as house:
            await discovered(house)
            for name, user in (("me", "ada"), ("other", "grace")):
                account = await house.log_in(name, user, provider="theirs", base_url="")
                assert account.has_refresh_token
            client = await the_client(house)
            assert (client.origin, client.auth_method) == ("registered", "client_secret_basic")
            assert client.redirect_uris == ("http://127.0.0.1:8400/callback/theirs",)
            assert client.registration_uri == f"{house.practice.url}/register/{client.client_id}"
            kept = await house.store.management(client.uuid)
            assert kept is not None
            assert kept.token.reveal().encode() not in made.stored_bytes(tmp_path)
        async with opened(tmp_path, practice=house.practice, clock=house.clock) as again:
            assert await again.store.management(client.uuid) == kept
            assert house.asked("register") == 1

    asyncio.run(story())


def test_a_refresh_token_of_another_program_gets_no_new_client(tmp_path: Path) -> None:
    """It belongs to the client that it was issued to, so a person has to name that."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            with pytest.raises(InvalidRequest, match="client id is needed"):
                await given.bring_refresh_token(house.ctx, NewLogin("theirs", flow="refresh-token"), Secret("r"))
            assert house.asked("register") == 0

    asyncio.run(story())


def test_what_was_registered_follows_the_browser_door(tmp_path: Path) -> None:
    """At another port the registration is changed, not made anew: same client, and the new token counts at once."""

    async def story() -> None:
        async with opened(tmp_path, CONFIDENTIAL) as house:
            await discovered(house)
            await begin(house.ctx)
            before = await the_client(house)
            first = await house.store.management(before.uuid)
            assert (await begin(moved(house))).destination.client_id == before.client_id
            after = await the_client(house)
            assert after.redirect_uris == ("http://127.0.0.1:9000/callback/theirs",)
            second = await house.store.management(after.uuid)
            assert first is not None
            assert second is not None
            assert first.token != second.token
            await begin(moved(house, 9001))
            assert house.asked("register") == 1
            assert [event.result for event in house.practice.log.all("registration")] == ["ok", "ok"]
            await begin(moved(house, 9001), scope=("openid", "email"))
            assert set((await the_client(house)).scope) >= {"openid", "email"}
            assert house.asked("registration") == 3

    asyncio.run(story())


def test_more_scope_than_a_server_changes_gets_a_client_of_its_own(tmp_path: Path) -> None:
    """What a client was registered for is all that it may ask for; the account's login goes over to the new one."""

    async def story() -> None:
        async with opened(tmp_path, "register:without=registration_access_token*2") as house:
            await discovered(house)
            before = await house.log_in("me", provider="theirs", base_url="")
            after = await house.log_in("me", provider="theirs", base_url="", scope=("email",))
            assert after.uuid == before.uuid
            assert after.destination.client_id != before.destination.client_id
            registered = {client.client_id: client.scope for client in await house.store.clients("theirs")}
            assert set(registered[after.destination.client_id]) >= {"openid", "email"}
            assert (await begin(house.ctx)).destination.client_id == after.destination.client_id
            assert house.asked("register") == 2

    asyncio.run(story())


def test_where_it_cannot_be_changed_it_is_made_anew(tmp_path: Path) -> None:
    """A server without RFC 7592, or one that forgot the client, gets another registration; old accounts keep theirs."""

    async def story() -> None:
        async with opened(tmp_path, "register:without=registration_access_token*1") as house:
            await discovered(house)
            account = await house.log_in("me", provider="theirs", base_url="")
            assert (await the_client(house)).registration_uri == ""
            house.clock.forward(1)
            second = await begin(moved(house), "second")
            assert second.destination.client_id != account.destination.client_id
            house.practice.set_faults(["registration:status=405"])
            house.clock.forward(1)
            third = await begin(moved(house, 9001), "third")
            assert len({account.destination.client_id, second.destination.client_id, third.destination.client_id}) == 3
            assert house.asked("register") == 3
            assert (await house.store.client_of(account))[0].client_id == account.destination.client_id

    asyncio.run(story())


def test_an_outage_while_it_is_changed_makes_nothing_anew(tmp_path: Path) -> None:
    """What may be changed later is waited for."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            await begin(house.ctx)
            house.practice.set_faults(["registration:status=503"])
            with pytest.raises(ProviderUnavailable, match="HTTP 503"):
                await begin(moved(house))
            assert house.asked("register") == 1

    asyncio.run(story())


def test_a_secret_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """A task of the scheduler's changes it in its last days; accounts go on with the new one."""

    async def story() -> None:
        lives = {"client_secret_ttl": 40 * 86_400.0, "ttl": 3600.0}
        async with opened(tmp_path, CONFIDENTIAL, settings=lives) as house:
            await discovered(house)
            account = await house.log_in("me", provider="theirs", base_url="")
            client = await the_client(house)
            assert client.secret_expires_at == house.clock() + 40 * 86_400
            _, first = await house.store.client_of(account)
            house.clock.forward(36 * 86_400)
            await registrations.renew_due(house.ctx)
            assert not house.ctx.finishing
            house.clock.forward(86_400 + 1)
            await registrations.renew_due(house.ctx)
            await asyncio.gather(*house.ctx.finishing)
            renewed, second = await house.store.client_of(await house.account())
            assert renewed.secret_expires_at == house.clock() + 40 * 86_400
            assert (renewed.uuid, second != first) == (client.uuid, True)
            house.clock.forward(5 * 86_400)  # past the end of the first one
            assert (await house.store.expiring_clients())[0].uuid == client.uuid
            await house.token("me")
            assert (await house.account()).generation > account.generation

    asyncio.run(story())


def test_a_renewal_that_fails_is_tried_again_in_an_hour(tmp_path: Path) -> None:
    """Neither forgotten, nor hammered."""

    async def story() -> None:
        async with opened(tmp_path, CONFIDENTIAL, settings={"client_secret_ttl": 1000.0}) as house:
            await discovered(house)
            await begin(house.ctx)
            house.practice.set_faults(["registration:status=503"])
            house.clock.forward(501)
            for wait, asked in ((0.0, 1), (60.0, 1), (ration.PAUSE, 2)):
                house.clock.forward(wait)
                await registrations.renew_due(house.ctx)
                await asyncio.gather(*house.ctx.finishing)
                assert house.asked("registration") == asked

    asyncio.run(story())


def test_a_client_whose_secret_has_ended_is_not_used(tmp_path: Path) -> None:
    """It is renewed at the login where that is possible, else another is registered; one that was named is told of."""

    async def story() -> None:
        async with opened(tmp_path, CONFIDENTIAL, settings={"client_secret_ttl": 1000.0}) as house:
            await discovered(house)
            first = await begin(house.ctx)
            house.clock.forward(1001)
            assert (await begin(house.ctx)).destination.client_id == first.destination.client_id
            assert (await the_client(house)).secret_expires_at == house.clock() + 1000
            house.clock.forward(1001)
            house.practice.set_faults([CONFIDENTIAL, "registration:status=401"])
            with pytest.raises(InvalidRequest, match="its secret has ended"):
                await begin(house.ctx, client_id=first.destination.client_id)
            assert (await begin(house.ctx)).destination.client_id != first.destination.client_id

    asyncio.run(story())


def test_registrations_are_rationed(tmp_path: Path) -> None:
    """A flood of providers is stopped, with the time until when and the way by hand."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for number in range(ration.MOST):
                await discovered(house, f"p{number}")
                await login.begin(house.ctx, NewLogin(f"p{number}"))
                house.clock.forward(60)
            await discovered(house)
            with pytest.raises(ProviderUnavailable) as refused:
                await begin(house.ctx)
            wait = ration.WINDOW - 60 * ration.MOST
            assert refused.value.extra["retry_after"] == wait
            assert ration.moment(house.clock() + wait) in refused.value.detail
            assert "--client-id" in refused.value.hint
            house.clock.forward(wait)
            await begin(house.ctx)
            assert house.asked("register") == ration.MOST + 1

    asyncio.run(story())


def test_a_provider_that_limits_registrations_is_left_alone(tmp_path: Path) -> None:
    """The person hears until when and what to do by hand; it is not asked again before."""

    async def story() -> None:
        async with opened(tmp_path, "register:throttle=3000") as house:
            await discovered(house)
            until = ration.moment(house.clock() + 3000)
            for _ in range(2):
                with pytest.raises(ProviderUnavailable) as refused:
                    await begin(house.ctx)
                assert until in refused.value.detail
                assert refused.value.extra["retry_after"] == 3000
                assert "by hand" in refused.value.hint
                assert refused.value.extra["registration"] == refused.value.detail
                assert refused.value.extra["redirect_uri"] == "http://127.0.0.1:8400/callback/theirs"
            assert house.asked("register") == 1
            house.practice.set_faults([])
            house.clock.forward(3000)
            await begin(house.ctx)

    asyncio.run(story())


def test_nobody_puts_a_registration_off_for_years() -> None:
    """However long a provider says that it wants to be left alone, it is asked again after an hour."""
    asked = ration.Ration()
    for seconds, wait in ((60.0, 60.0), (3e9, timing.RETRY_AFTER_CAP), (None, ration.PAUSE)):
        assert asked.leave_alone("registration", 1000.0, seconds) == 1000.0 + wait
        assert asked.left_alone_until("registration", 1000.0 + wait) is None


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("register:error=access_denied", "practice fault"),
        ('register:json={"redirect_uris": ["https://evil.example/"]}', "other redirect URIs"),
        ('register:json={"token_endpoint_auth_method": "tls_client_auth"}', "tls_client_auth"),
    ],
)
def test_a_registration_that_is_not_what_was_asked_is_not_used(tmp_path: Path, fault: str, says: str) -> None:
    """Refused or different: nothing is kept here, and what was made there is deleted again."""

    async def story() -> None:
        async with opened(tmp_path, fault) as house:
            await discovered(house)
            with pytest.raises(LoginFailed, match=says) as refused:
                await begin(house.ctx)
            assert refused.value.hint
            assert refused.value.extra["provider"] == "theirs"
            assert await house.store.clients("theirs") == []
            assert house.asked("registration") == (0 if "error=" in fault else 1)

    asyncio.run(story())


def test_a_removed_provider_takes_its_registration_along(tmp_path: Path) -> None:
    """It is deleted there as well, and what became of it is told; here it is gone either way."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for faults, deleted, says in (
                ([], True, "Deleted at"),
                (["registration:status=503"], False, "HTTP 503"),
                (["register:without=registration_client_uri"], False, "lets nobody delete it"),
            ):
                house.practice.set_faults(faults)
                await discovered(house)
                await house.log_in("me", provider="theirs", base_url="")
                await accounts.log_out(house.ctx, "me")
                client = await the_client(house)
                (gone,) = await providers.remove(house.ctx, "theirs")
                assert (gone.client_id, gone.deleted) == (client.client_id, deleted)
                assert says in gone.detail
                assert await house.store.provider("theirs") is None
            house.practice.set_faults([])
            await discovered(house)
            await begin(house.ctx)
            asked = house.asked("registration")
            assert await providers.remove(house.ctx, "theirs", local_only=True) == []
            assert house.asked("registration") == asked

    asyncio.run(story())


def test_two_names_of_one_issuer_have_a_registration_each(tmp_path: Path) -> None:
    """Each with the redirect URI of its own name only, and the end of one is not the end of the other's logins."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for name in ("theirs", "again"):
                await discovered(house, name)
                await house.log_in(f"me-{name}", provider=name, base_url="")
            one, other = await the_client(house), await the_client(house, "again")
            assert one.client_id != other.client_id
            assert [client.redirect_uris for client in (one, other)] == [
                (f"http://127.0.0.1:8400/callback/{name}",) for name in ("theirs", "again")
            ]
            await house.log_in("third", "grace", provider=house.practice.url, base_url="")
            assert house.asked("register") == 2, "who names the issuer gets one that is there"
            await accounts.log_out(house.ctx, "me-again")
            for name in [account.name for account in await house.store.accounts() if account.provider == "again"]:
                await accounts.log_out(house.ctx, name)
            (gone,) = await providers.remove(house.ctx, "again")
            assert (gone.client_id, gone.deleted) == (other.client_id, True)
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account("me-theirs")).generation == 2

    asyncio.run(story())


def test_what_manages_a_registration_is_bound_to_its_place(tmp_path: Path) -> None:
    """Whoever changes the address in the database does not get the token sent there; without the key nothing goes."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            await begin(house.ctx)
            client = await the_client(house)
        made.behind(tmp_path, "UPDATE client SET registration_uri = 'https://evil.example/register'")
        async with opened(tmp_path, practice=house.practice, clock=house.clock) as house_again:
            with pytest.raises(StoreUnavailable, match="changed outside Keyfob"):
                await house_again.store.management(client.uuid)
            with pytest.raises(StoreUnavailable, match="changed outside Keyfob"):
                await providers.remove(house_again.ctx, "theirs")

    asyncio.run(story())


def test_a_server_with_weaker_proofs_only_gets_no_login(tmp_path: Path) -> None:
    """S256 or nothing where the server says what it takes; where it says nothing, S256 is sent (R03, R04)."""

    async def story() -> None:
        async with opened(tmp_path, 'discovery:json={"code_challenge_methods_supported": ["plain"]}') as house:
            await discovered(house)
            with pytest.raises(InvalidRequest, match=r"only weaker proofs .*plain") as refused:
                await begin(house.ctx)
            assert "S256" in refused.value.hint
            assert house.asked("register") == 0
            house.practice.set_faults(["discovery:without=code_challenge_methods_supported"])
            await discovered(house, "silent")
            account = await house.log_in("me", provider="silent", base_url="")
            assert account.has_refresh_token

    asyncio.run(story())


def test_locked_nothing_is_withdrawn(tmp_path: Path) -> None:
    """Without the key the registration cannot be deleted there, so the provider stays until that is told otherwise."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            await begin(house.ctx)
        made.key_file(tmp_path).rename(tmp_path / "away")
        async with opened(tmp_path, practice=house.practice, clock=house.clock) as shut:
            assert shut.store.locked
            with pytest.raises(Locked):
                await providers.remove(shut.ctx, "theirs")
            assert await shut.store.provider("theirs") is not None
            assert await providers.remove(shut.ctx, "theirs", local_only=True) == []

    asyncio.run(story())
