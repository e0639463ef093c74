"""A login is used once, by the browser that opened it, in time."""

import asyncio
from dataclasses import replace
from pathlib import Path

from broker.core.secret import Secret
from broker.store.store import Store
from tests.store.made import NOW, PROVIDER, behind, opened, pending_login, reveal

STATE = Secret("state-1")
BROWSER = Secret("cookie-1")
OTHER = Secret("cookie-2")


async def begun(store: Store, id: str = "login-1", state: Secret = STATE) -> None:  # noqa: A002 -- Login's own field
    """Store one pending login."""
    await store.put_provider(PROVIDER)
    await store.put_login(pending_login(id), state=state, verifier=Secret(f"verifier-{id}"))


def test_a_login_comes_back_as_it_was_put(tmp_path: Path) -> None:
    """Everything about a pending login is there after a restart, its authorization URL included."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
        async with opened(tmp_path) as store:
            assert await store.login("login-1") == pending_login()
            assert await store.logins_pending() == [pending_login()]
            assert await store.login("nobody") is None

    asyncio.run(story())


def test_the_first_browser_owns_the_login(tmp_path: Path) -> None:
    """Of many browsers that open a login at once one gets it; it may come back, the others may not."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            browsers = [Secret(f"cookie-{count}") for count in range(6)]
            answers = await asyncio.gather(*(store.claim_login("login-1", browser) for browser in browsers))
            assert sorted(answers) == [False] * 5 + [True]
            owner = browsers[answers.index(True)]
            assert await store.claim_login("login-1", owner) is True
            assert await store.claim_login("login-1", OTHER if owner != OTHER else BROWSER) is False
            assert await store.claim_login("nobody", owner) is False

    asyncio.run(story())


def test_a_callback_takes_the_login_once(tmp_path: Path) -> None:
    """Of many callbacks with the same state one gets the verifier; nothing of the login's secrets is left."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            await begun(store, "login-2", Secret("state-2"))
            assert await store.claim_login("login-1", BROWSER)
            answers = await asyncio.gather(*(store.take_login(state=STATE, now=NOW + 1.0) for _ in range(5)))
            [taken] = [answer for answer in answers if answer is not None]
            assert taken.login == replace(pending_login(), authorization_url="")
            assert reveal(taken.verifier) == "verifier-login-1"
            assert behind(tmp_path, "SELECT DISTINCT owner FROM data_key") == [("login-2",)]
            assert behind(tmp_path, "SELECT state_hash FROM login WHERE id = 'login-1'") == [(None,)]
            assert await store.claim_login("login-1", BROWSER) is False
            assert await store.take_login(id="login-1", now=NOW) is None
            seen = await store.login("login-1")
            assert seen is not None
            assert (seen.state, seen.authorization_url) == ("pending", "")

    asyncio.run(story())


def test_the_browser_that_opened_a_login_is_known_to_its_end(tmp_path: Path) -> None:
    """Before, while and after a login is taken, one browser is told from another; one that nobody opened has none."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            assert await store.opened_by("login-1", BROWSER) is False
            assert await store.claim_login("login-1", BROWSER)
            for _ in range(2):
                assert await store.opened_by("login-1", BROWSER) is True
                assert await store.opened_by("login-1", OTHER) is False
                assert await store.opened_by("nobody", BROWSER) is False
                await store.take_login(state=STATE, now=NOW)

    asyncio.run(story())


def test_a_pasted_answer_takes_the_login_by_id(tmp_path: Path) -> None:
    """A login can be taken by its id; where a state is shown too, both must fit, and a misfit uses nothing up."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            await begun(store, "login-2", Secret("state-2"))
            assert await store.take_login(state=Secret("state-2"), id="login-1", now=NOW) is None
            assert await store.take_login(now=NOW) is None
            both = await store.take_login(state=Secret("state-2"), id="login-2", now=NOW)
            assert both is not None
            alone = await store.take_login(id="login-1", now=NOW)
            assert alone is not None
            assert (alone.login.id, reveal(alone.verifier)) == ("login-1", "verifier-login-1")

    asyncio.run(story())


def test_logins_without_state_do_not_meet(tmp_path: Path) -> None:
    """Flows without a state may run side by side, and an empty state takes none of them."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store, "login-1", Secret(""))
            await begun(store, "login-2", Secret(""))
            assert await store.take_login(state=Secret(""), now=NOW) is None
            assert await store.take_login(id="login-2", now=NOW) is not None

    asyncio.run(story())


def test_an_expired_login_cannot_be_taken(tmp_path: Path) -> None:
    """At its expiry a login is over, whether or not anybody has cleaned up."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            assert await store.take_login(state=STATE, now=NOW + 600.0) is None
            assert await store.take_login(state=STATE, now=NOW + 599.0) is not None

    asyncio.run(story())


def test_expiry_is_told_once_and_forgotten_later(tmp_path: Path) -> None:
    """Expired logins are returned once, lose their secrets, and are deleted an hour later."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            assert await store.expire_logins(NOW + 599.0) == []
            [expired] = await store.expire_logins(NOW + 600.0)
            assert (expired.id, expired.state) == ("login-1", "expired")
            assert expired.reason
            assert behind(tmp_path, "SELECT * FROM secret") == behind(tmp_path, "SELECT * FROM data_key") == []
            assert await store.expire_logins(NOW + 601.0) == []
            assert await store.logins_pending() == []
            assert await store.login("login-1") == expired
            await store.expire_logins(NOW + 600.0 + 3600.0)
            assert await store.login("login-1") is None

    asyncio.run(story())


def test_the_first_end_stays(tmp_path: Path) -> None:
    """A finished login stays finished; only one that expired under way may still turn out well."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            await begun(store, "login-2", Secret("state-2"))
            await store.end_login("login-1", state="done", account="work", reason="")
            await store.end_login("login-1", state="failed", account="", reason="too late")
            done = await store.login("login-1")
            assert done is not None
            assert (done.state, done.account, done.reason) == ("done", "work", "")
            assert await store.take_login(state=STATE, now=NOW) is None
            await store.expire_logins(NOW + 600.0)
            await store.end_login("login-2", state="done", account="me", reason="")
            late = await store.login("login-2")
            assert late is not None
            assert (late.state, late.reason) == ("done", "")
            await store.end_login("nobody", state="failed", account="", reason="")

    asyncio.run(story())


def test_a_verifier_that_was_changed_uses_the_login_up(tmp_path: Path) -> None:
    """Single use holds even where the answer is an error (RFC 9700 4.7.1)."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await begun(store)
            behind(tmp_path, "UPDATE secret SET sealed = zeroblob(300) WHERE kind = 'verifier'")
            for expected in ("SecretChanged", "None"):
                try:
                    answer = repr(await store.take_login(state=STATE, now=NOW))
                except Exception as exc:  # noqa: BLE001 -- told apart by its name
                    answer = type(exc).__name__
                assert answer == expected

    asyncio.run(story())
