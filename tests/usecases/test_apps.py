"""An app has a key that nobody can read again, and exactly what it was granted, for as long as it was."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant, Denied
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, UnknownAccount, UnknownApp
from broker.usecases import accounts, apps
from broker.usecases.outcomes import Ready
from tests.store import made
from tests.usecases.house import House, opened
from tests.usecases.wishes import NO_EXCHANGE

ME = AppGrant("me")


async def known(house: House, key: Secret) -> App:
    """Return the app that a key belongs to; there must be one."""
    app = await apps.identify(house.ctx, key.reveal())
    assert app is not None
    return app


async def gets(house: House, key: Secret) -> bool:
    """Tell whether an app gets the token of ``me`` with its key now."""
    outcome = await house.token("me", await known(house, key))
    assert isinstance(outcome, Ready | Denied)
    return isinstance(outcome, Ready)


def test_a_key_is_seen_once_and_stored_as_a_hash(tmp_path: Path) -> None:
    """The key opens what was granted; neither the database, nor the events, nor any listing holds it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            await house.heard()
            keys = [await apps.add(house.ctx, name, [ME], None) for name in ("editor", "backup")]
            for name, key in zip(("editor", "backup"), keys, strict=True):
                text = key.reveal()
                assert text.startswith("kf_")
                assert len(text) >= 46, "a prefix and 256 bits"
                assert (await known(house, key)) == App(name, (ME,))
                assert await gets(house, key)
                raw = made.stored_bytes(tmp_path)
                assert hashlib.sha256(text.encode()).digest() in raw
                assert text.encode() not in raw
                assert text.removeprefix("kf_").encode() not in raw
                assert text not in repr((await apps.listed(house.ctx), await house.heard(), key))
            assert keys[0] != keys[1]
            assert [row.name for row in await apps.listed(house.ctx)] == ["backup", "editor"]

    asyncio.run(story())


def test_what_is_nearly_a_key_is_none(tmp_path: Path) -> None:
    """A changed, cut or prefixless key names nobody."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            key = (await apps.add(house.ctx, "editor", [], None)).reveal()
            for nearly in (key.upper(), key[:-1], key + "x", key.removeprefix("kf_"), f" {key}", "kf_", ""):
                assert await apps.identify(house.ctx, nearly) is None, nearly

    asyncio.run(story())


def test_a_rotated_key_ends_the_old_one_at_once(tmp_path: Path) -> None:
    """After a rotation only the new key works, with the same grants."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            old = await apps.add(house.ctx, "editor", [ME], None)
            new = await apps.rotate(house.ctx, "editor")
            assert await apps.identify(house.ctx, old.reveal()) is None
            assert await gets(house, new)
            with pytest.raises(UnknownApp):
                await apps.rotate(house.ctx, "nobody")

    asyncio.run(story())


def test_a_removed_app_is_gone_at_once(tmp_path: Path) -> None:
    """Its key is dead, its name is free for an app that has none of its grants."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            key = await apps.add(house.ctx, "editor", [ME], None)
            await house.heard()
            await apps.remove(house.ctx, "editor")
            assert await apps.identify(house.ctx, key.reveal()) is None
            assert [(event.kind, event.app) for event in await house.heard()] == [("app-removed", "editor")]
            for late in (apps.remove, apps.shown):
                with pytest.raises(UnknownApp):
                    await late(house.ctx, "editor")
            again = await apps.add(house.ctx, "editor", [], None)
            assert not await gets(house, again)

    asyncio.run(story())


def test_grants_count_from_the_next_request_on(tmp_path: Path) -> None:
    """Granted, replaced and revoked: each is in force at once, for this account only."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(**NO_EXCHANGE)
            await house.log_in()
            await house.log_in("other", "grace")
            key = await apps.add(house.ctx, "editor", [AppGrant("other")], None)
            assert not await gets(house, key)
            await apps.grant(house.ctx, "editor", ME)
            assert await gets(house, key)
            await apps.grant(house.ctx, "editor", AppGrant("me", mode="proxy"))
            assert not await gets(house, key)
            await apps.grant(house.ctx, "editor", AppGrant("me", scope=("openid",)))
            assert not await gets(house, key), "the token carries more than that"
            await apps.grant(house.ctx, "editor", ME)
            await apps.revoke(house.ctx, "editor", "me")
            assert not await gets(house, key)
            assert [grant.account for grant in (await apps.shown(house.ctx, "editor")).grants] == ["other"]
            for name, account in (("editor", "me"), ("editor", "nobody"), ("nobody", "other")):
                with pytest.raises(UnknownApp):
                    await apps.revoke(house.ctx, name, account)

    asyncio.run(story())


def test_a_grant_is_for_the_login_and_not_for_its_name(tmp_path: Path) -> None:
    """Who logs in under a name that was free again does not inherit the apps of the one before."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("me", "ada")
            key = await apps.add(house.ctx, "editor", [ME], None)
            await accounts.log_out(house.ctx, "me")
            await house.log_in("me", "grace")
            assert not await gets(house, key)

    asyncio.run(story())


def test_keys_and_grants_end_when_they_said(tmp_path: Path) -> None:
    """Both work until their last second, and not in the next."""

    async def story() -> None:
        async with opened(tmp_path, settings={"ttl": 3600}) as house:
            await house.log_in()
            until = house.clock() + 100
            short = await apps.add(house.ctx, "short", [ME], until)
            granted = await apps.add(house.ctx, "granted", [AppGrant("me", expires_at=until)], None)
            house.clock.forward(99)
            assert await gets(house, short)
            assert await gets(house, granted)
            house.clock.forward(1)
            assert await apps.identify(house.ctx, short.reveal()) is None
            assert not await gets(house, granted)

    asyncio.run(story())


def test_an_app_that_is_over_before_it_begins_is_refused(tmp_path: Path) -> None:
    """An end in the past is a slip: a key that never works would only be found out by the program that has it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pytest.raises(InvalidRequest):
                await apps.add(house.ctx, "editor", [], house.clock())
            assert await apps.listed(house.ctx) == []

    asyncio.run(story())


def test_what_cannot_be_an_app_leaves_nothing_behind(tmp_path: Path) -> None:
    """Bad names and bad grants are refused with the next step, before anything is kept."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            bad: list[tuple[str, list[AppGrant], type[KeyfobError]]] = [
                *((name, [], InvalidRequest) for name in ("", "a b", "-a", "x" * 65, "ä", "a/b", "a\n", "owner")),
                ("editor", [AppGrant("nobody")], UnknownAccount),
                ("editor", [AppGrant("me", mode="all")], InvalidRequest),
                ("editor", [AppGrant("me", expires_at=house.clock())], InvalidRequest),
                ("editor", [ME, AppGrant("me", mode="proxy")], Conflict),
            ]
            for name, grants, error in bad:
                with pytest.raises(error) as refused:
                    await apps.add(house.ctx, name, grants, None)
                assert refused.value.hint, (name, grants)
            assert await apps.listed(house.ctx) == []
            await apps.add(house.ctx, "editor", [], None)
            for _, grants, error in bad[-4:-1]:
                with pytest.raises(error):
                    await apps.grant(house.ctx, "editor", grants[0])
            with pytest.raises(UnknownApp):
                await apps.grant(house.ctx, "nobody", ME)
            assert (await apps.shown(house.ctx, "editor")).grants == ()

    asyncio.run(story())


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """Of two apps that want one name at the same time one gets it, and its key is the one that works."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            outcomes = await asyncio.gather(
                *(apps.add(house.ctx, "editor", [], None) for _ in range(3)), return_exceptions=True
            )
            (key,) = [outcome for outcome in outcomes if isinstance(outcome, Secret)]
            assert [type(outcome) for outcome in outcomes if outcome is not key] == [Conflict, Conflict]
            assert (await known(house, key)).name == "editor"

    asyncio.run(story())
