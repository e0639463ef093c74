"""A browser login ends at one account, and only for the browser, the provider and the answer that it began with."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.core.login import LOGIN_LIFETIME, Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, LoginFailed, UnknownLogin
from broker.practice.grants import s256
from broker.usecases import login, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.store import made
from tests.usecases.callback import MINE, OTHER, Params, assert_failed, come_back, finish
from tests.usecases.house import BROWSER_URL, opened


def query_of(begun: Login) -> dict[str, str]:
    """Return what the authorization request says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(begun.authorization_url).query).items()}


def test_a_login_ends_at_an_account(tmp_path: Path) -> None:
    """A walked login makes the account that was named, knows who it is, and holds both tokens."""

    async def story() -> None:
        async with opened(tmp_path, settings={"ttl": 600}) as house:
            finished = await house.walk(await house.begin("me"), "grace")
            account = finished.account
            assert account is not None
            assert (account.name, account.state.name, account.generation) == ("me", "active", 1)
            assert account.identity is not None
            assert (account.identity.issuer, account.identity.label) == (house.practice.url, "grace")
            assert account.token is not None
            assert account.token.expires_at == house.clock() + 600
            access, refresh = await house.secrets_of(account)
            assert access is not None
            assert access.startswith("practice_at_")
            assert refresh is not None
            assert refresh.startswith("practice_rt_")
            ended = await house.store.login(finished.login.id)
            assert ended is not None
            assert (ended.state, ended.account) == ("done", "me")
            heard = [(event.kind, event.account, event.login) for event in await house.heard()]
            mine = [(kind, "me", ended.id) for kind in ("login-started", "logged-in")]
            assert heard == [("provider-added", "", ""), *mine]
            assert house.ctx.wake.is_set(), "the scheduler has to learn of the new account"

    asyncio.run(story())


def test_every_login_has_state_nonce_and_pkce_of_its_own(tmp_path: Path) -> None:
    """Two logins share no id, state, nonce or challenge, and both ask with S256 for the redirect URI of ours."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = [await house.begin("me"), await house.begin("me")]
            asked = [query_of(one) for one in begun]
            for name in ("state", "nonce", "code_challenge"):
                assert len({query[name] for query in asked}) == 2, name
                assert all(len(query[name]) >= 43 for query in asked), name
            assert begun[0].id != begun[1].id
            for query in asked:
                assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
                assert query["redirect_uri"] == f"{BROWSER_URL}/callback/{begun[0].provider}"
            assert login.start_url(house.ctx, begun[0].id) == f"{BROWSER_URL}/login/{begun[0].id}"

    asyncio.run(story())


def test_the_file_knows_the_state_as_a_hash_and_no_verifier(tmp_path: Path) -> None:
    """Whoever reads the database while a login is under way can neither answer it nor redeem its code."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin("me")
            query = query_of(begun)
            raw = made.stored_bytes(tmp_path)
            taken = await house.store.take_login(state=Secret(query["state"]), now=house.clock())
            assert taken is not None
            verifier = taken.verifier.reveal()
            assert s256(verifier) == query["code_challenge"]
            assert hashlib.sha256(query["state"].encode()).digest() in raw
            assert begun.id.encode() in raw
            for secret in (verifier, query["state"], query["code_challenge"]):
                assert secret.encode() not in raw

    asyncio.run(story())


def test_each_provider_has_a_redirect_path_of_its_own(tmp_path: Path) -> None:
    """A login's redirect URI names its provider, on the loopback literal; an answer at another's path is a mix-up."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for name in ("one", "other"):
                await providers.add(house.ctx, NewProvider(name, "practice", house.practice.url))
            other = await login.begin(house.ctx, NewLogin("other", "me"))
            assert other.redirect_uri == "http://127.0.0.1:8400/callback/other"
            _, provider, params = await come_back(house, provider="one", base_url="")
            assert provider == "one"
            await assert_failed(house, await finish(house, "other", params))
            assert house.asked("code") == 0
            with pytest.raises(LoginFailed):
                await finish(house, provider, params)

    asyncio.run(story())


def test_an_answer_counts_once(tmp_path: Path) -> None:
    """A replayed callback is refused, asks the provider nothing and leaves the account as it is."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            _, provider, params = await come_back(house)
            first = await finish(house, provider, params)
            for shown in ({provider: MINE}, {first.login.id: MINE}, {first.login.id: OTHER}):
                with pytest.raises(LoginFailed):
                    await login.finish(house.ctx, provider, params, shown.get)
            assert house.asked("code") == 1
            assert await house.store.accounts() == [first.account]

    asyncio.run(story())


def test_a_forged_state_is_refused_and_the_true_one_still_works(tmp_path: Path) -> None:
    """A guessed, empty or missing state touches no login; nothing is sent to the provider."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun, provider, params = await come_back(house)
            rest = [pair for pair in params if pair[0] != "state"]
            state = dict(params)["state"]
            for forged in (["x" * 43], [""], [], ["x" * 43, state], [begun.id], ["\ud800"]):
                with pytest.raises(LoginFailed):
                    await finish(house, provider, [*rest, *(("state", value) for value in forged)])
            assert house.asked("code") == 0
            assert (await finish(house, provider, params)).account is not None

    asyncio.run(story())


@pytest.mark.parametrize(
    "extra",
    [
        [("code", "another-code")],
        [("state", "another-state")],
        [("iss", "http://127.0.0.1:1")],
        [("error", "access_denied")],
        [("anything", "x" * 2049)],
        [(f"p{count}", "") for count in range(40)],
    ],
    ids=["code twice", "state twice", "iss twice", "code and error", "too long", "too many"],
)
def test_an_answer_that_says_too_much_is_not_believed(tmp_path: Path, extra: Params) -> None:
    """Doubled or oversized parameters end the login; its code is not sent on."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            _, provider, params = await come_back(house)
            await assert_failed(house, await finish(house, provider, [*params, *extra]))
            assert house.asked("code") == 0

    asyncio.run(story())


@pytest.mark.parametrize("browser", [OTHER, None], ids=["another one", "one that never opened it"])
def test_only_the_browser_that_began_may_finish(tmp_path: Path, browser: Secret | None) -> None:
    """An answer in another browser ends the login: no code is sent, and the owner cannot go on either."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            _, provider, params = await come_back(house)
            await assert_failed(house, await login.finish(house.ctx, provider, params, lambda _: browser))
            assert house.asked("code") == 0
            with pytest.raises(LoginFailed):
                await finish(house, provider, params)

    asyncio.run(story())


def test_a_login_that_nobody_opened_cannot_be_finished(tmp_path: Path) -> None:
    """Who reads the authorization URL elsewhere and skips the start page gets no account (security.md R08)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            path, params = await house.consent(await house.begin("me"))
            await assert_failed(house, await finish(house, path.rpartition("/")[2], params))
            assert house.asked("code") == 0

    asyncio.run(story())


def test_the_first_browser_owns_the_login(tmp_path: Path) -> None:
    """The first browser may open the start page again; every other one is told that it came too late."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin("me")
            assert (await login.opened(house.ctx, begun.id, MINE)).authorization_url == begun.authorization_url
            with pytest.raises(Conflict):
                await login.opened(house.ctx, begun.id, OTHER)
            path, params = await house.consent(await login.opened(house.ctx, begun.id, MINE))
            assert (await finish(house, path.rpartition("/")[2], params)).account is not None
            for gone in (begun.id, "no such login"):
                with pytest.raises(UnknownLogin):
                    await login.opened(house.ctx, gone, MINE)

    asyncio.run(story())


@pytest.mark.parametrize("faults", [["authorize:wrong_iss"], ["no_iss"], ["deny", "authorize:wrong_iss"]])
def test_an_answer_of_another_issuer_or_of_none_is_not_believed(tmp_path: Path, faults: list[str]) -> None:
    """Where the provider promises ``iss``, a wrong or missing one ends the login (RFC 9207 2.4), in errors as well."""

    async def story() -> None:
        async with opened(tmp_path, *faults) as house:
            _, provider, params = await come_back(house)
            finished = await finish(house, provider, params)
            await assert_failed(house, finished)
            assert house.practice.url in finished.reason
            assert house.asked("code") == 0

    asyncio.run(story())


def test_where_no_iss_is_promised_its_absence_is_fine_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    """A provider without RFC 9207 can be used; what it does say is still compared."""

    async def story() -> None:
        async with opened(tmp_path, "authorize:wrong_iss") as house:
            await house.add_provider(iss_parameter=False)
            _, provider, params = await come_back(house)
            await assert_failed(house, await finish(house, provider, params))
            house.practice.set_faults(["no_iss"])
            _, provider, params = await come_back(house)
            assert "iss" not in dict(params)
            assert (await finish(house, provider, params)).account is not None

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "says"), [("deny", "choose to allow it"), ("deny=server_error", "server_error: practice fault")]
)
def test_a_refusal_at_the_provider_is_told_in_words(tmp_path: Path, fault: str, says: str) -> None:
    """No at the consent page is a failed login with the next step; other errors are named."""

    async def story() -> None:
        async with opened(tmp_path, fault) as house:
            _, provider, params = await come_back(house)
            finished = await finish(house, provider, params)
            assert says in finished.reason
            await assert_failed(house, finished)
            assert house.asked("code") == 0

    asyncio.run(story())


def test_a_login_is_good_for_ten_minutes(tmp_path: Path) -> None:
    """Until its last second a login can be finished; after it neither opened nor finished, and it says so."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            late, provider, params = await come_back(house)
            house.clock.forward(LOGIN_LIFETIME - 1)
            again = await login.opened(house.ctx, late.id, MINE)
            _, in_time = await house.consent(again)
            house.clock.forward(1)
            for answer in (params, in_time):
                with pytest.raises(LoginFailed):
                    await finish(house, provider, answer)
            with pytest.raises(UnknownLogin):
                await login.opened(house.ctx, late.id, MINE)
            assert house.asked("code") == 0
            await house.heard()
            await login.expire(house.ctx)
            ended = await house.store.login(late.id)
            assert ended is not None
            assert ended.state == "expired"
            assert [(event.kind, event.login) for event in await house.heard()] == [("login-failed", late.id)]

            begun, provider, _ = await come_back(house)
            house.clock.forward(LOGIN_LIFETIME - 1)
            _, in_time = await house.consent(begun)
            assert (await finish(house, provider, in_time)).account is not None

    asyncio.run(story())


def test_what_cannot_be_begun_says_the_next_step(tmp_path: Path) -> None:
    """No provider, an impossible name, an account elsewhere: each is refused before anything is kept."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for name in ("a b", "-a", "a/b", "x" * 65, "ä", "a\n"):
                with pytest.raises(InvalidRequest, match="cannot be an account's name"):
                    await house.begin(name)
            with pytest.raises(InvalidRequest, match="--provider"):
                await login.begin(house.ctx, NewLogin("", "me"))
            assert await house.store.logins_pending() == []
            await house.log_in("me")
            await providers.add(house.ctx, NewProvider("other", "practice", house.practice.url))
            with pytest.raises(Conflict, match="'me' is at provider"):
                await login.begin(house.ctx, NewLogin("other", "me"))
            await providers.add(
                house.ctx,
                NewProvider("machine", overrides={"endpoints": {"token": f"{house.practice.url}/token"}}),
            )
            with pytest.raises(InvalidRequest, match="--flow"):
                await login.begin(house.ctx, replace(NewLogin("machine", "it"), client_id="x"))

    asyncio.run(story())
