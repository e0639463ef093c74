"""What is written down: every act of the owner's, every refusal, and nothing that a stranger could flood it with."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant
from broker.errors import ConfirmNeeded, StoreUnavailable
from broker.events import Event
from broker.store.fence import beside
from broker.usecases import accounts, apps, audit, backup, providers
from broker.usecases.handouts import MOST_REFUSALS
from tests.store import made
from tests.usecases.house import House, opened

Entry = tuple[str, str | None, str | None, str]
STRANGER = App("stranger", (AppGrant("other"),))


async def written(house: House, story: Callable[[], Awaitable[object]]) -> list[Entry]:
    """Let the pen run during a story; return action, account, app and detail of what it wrote, oldest first."""
    writing = asyncio.create_task(audit.record(house.ctx))
    await story()
    house.ctx.events.close()
    await writing
    return [(entry.action, entry.account, entry.app, entry.detail) for entry in reversed(await house.store.audit())]


def test_every_act_is_written_down(tmp_path: Path) -> None:
    """Logins, providers, apps, grants and forced refreshes: with whom they are about, and the record is whole."""

    async def live() -> None:
        async with opened(tmp_path) as house:

            async def story() -> None:
                await house.log_in()
                limited = AppGrant("me", ("openid", "profile"), "https://a.example", "proxy", house.clock() + 60.0)
                await apps.add(house.ctx, "backup", [AppGrant("me")], None)
                await apps.grant(house.ctx, "backup", limited)
                await apps.rotate(house.ctx, "backup")
                await apps.revoke(house.ctx, "backup", "me")
                await apps.remove(house.ctx, "backup")
                await accounts.refresh_now(house.ctx, "me")
                await accounts.log_out(house.ctx, "me", local_only=True)
                await providers.remove(house.ctx, (await house.store.providers())[0].name)

            until = "scope openid profile, for https://a.example, through the proxy only, until 2027-01-15 08:01 UTC"
            entries = await written(house, story)
            title, name = entries[1][3], entries[0][3]
            assert entries == [
                ("provider-added", None, None, name),
                ("login-started", "me", None, title),
                ("logged-in", "me", None, entries[2][3]),
                ("app-added", None, "backup", ""),
                ("granted", "me", "backup", "every scope"),
                ("granted", "me", "backup", until),
                ("app-rotated", None, "backup", ""),
                ("grant-revoked", "me", "backup", ""),
                ("app-removed", None, "backup", ""),
                ("refresh-forced", "me", "owner", ""),
                ("refreshed", "me", None, entries[10][3]),
                ("logged-out", "me", None, ""),
                ("provider-removed", None, None, name),
            ]
            assert (await house.store.verify_audit()).broken is None

    asyncio.run(live())


def test_a_confirmed_refresh_says_so(tmp_path: Path) -> None:
    """That a copy is adopted is written down with the reason, and so is the word that lets a suspect one be asked."""

    async def before() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(refresh={"rotation": "always"})
            await house.log_in()

    async def after() -> None:
        async with opened(tmp_path) as house:

            async def story() -> None:
                await backup.recognise_copy(house.ctx)
                with pytest.raises(ConfirmNeeded):
                    await accounts.refresh_now(house.ctx, "me")
                await accounts.refresh_now(house.ctx, "me", confirm=True)

            why = house.store.copied
            found = [entry for entry in await written(house, story) if entry[0] in ("adopted", "refresh-forced")]
            assert found == [
                ("adopted", None, None, why),
                ("refresh-forced", "me", "owner", "even if that ends the login"),
            ]
            assert (await house.store.verify_audit()).broken is None

    asyncio.run(before())
    beside(made.database(tmp_path)).unlink()
    asyncio.run(after())


def test_the_pen_is_not_outrun_by_hand_outs(tmp_path: Path) -> None:
    """Thousands of hand-outs while the disk is slow push nothing else out of what waits to be written."""

    async def live() -> None:
        async with opened(tmp_path) as house:

            async def story() -> None:
                house.ctx.publish("app-added", app="first")
                for _ in range(3000):
                    house.ctx.publish("handed-out", "me", app="first")

            assert await written(house, story) == [("app-added", None, "first", "")]

    asyncio.run(live())


def test_what_was_missed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even so more came than could wait, the record says how many."""
    monkeypatch.setattr(audit, "BACKLOG", 2)

    async def live() -> None:
        async with opened(tmp_path) as house:

            async def story() -> None:
                for number in range(5):
                    house.ctx.publish("app-added", app=f"app-{number}")

            assert await written(house, story) == [
                ("missed", None, None, "3 events"),
                ("app-added", None, "app-3", ""),
                ("app-added", None, "app-4", ""),
            ]

    asyncio.run(live())


def test_the_pen_survives_what_it_cannot_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One event that the store refuses, in whatever way, is in the log; the next one is in the record."""

    async def live() -> None:
        async with opened(tmp_path) as house:

            async def story() -> None:
                made.behind(tmp_path, "CREATE TRIGGER t BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
                house.ctx.publish("app-added", app="lost")
                await house.until(lambda: _logged(caplog))
                made.behind(tmp_path, "DROP TRIGGER t")
                house.ctx.events.publish(Event("app-added", "noon", app="odd"))  # type: ignore[arg-type]  # a bug of ours
                house.ctx.publish("app-added", app="kept")

            assert ("app-added", None, "kept", "") in await written(house, story)

    asyncio.run(live())
    assert "lost: that is not in the audit" in caplog.text


async def _logged(caplog: pytest.LogCaptureFixture) -> bool:
    return "not in the audit" in caplog.text


def test_refusals_are_counted(tmp_path: Path) -> None:
    """Whoever asks for any number of names fills neither memory nor record, and what cannot be written is kept."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            for number in range(5 * MOST_REFUSALS):
                audit.refused(house.ctx, STRANGER, f"name-{number}", "no")
            for _ in range(3):
                audit.refused(house.ctx, STRANGER, "me", "not granted")
            audit.unauthorized(house.ctx, "app port", "no key")
            assert len(house.ctx.handouts._counts) <= MOST_REFUSALS + 3  # noqa: SLF001 -- nothing else shows it
            made.behind(tmp_path, "ALTER TABLE audit RENAME TO gone")
            with pytest.raises(StoreUnavailable):
                await house.ctx.handouts.flush(house.store)
            audit.unauthorized(house.ctx, "app port", "a wrong key")
            made.behind(tmp_path, "ALTER TABLE gone RENAME TO audit")
            await house.ctx.handouts.flush(house.store)
            counted = [(e.action, e.account, e.app, e.count, e.detail) for e in await house.store.audit() if e.count]
            assert sorted(counted, key=str) == [
                ("refused", None, "stranger", 5 * MOST_REFUSALS + 3, "not granted"),
                ("unauthorized", None, None, 2, "app port: a wrong key"),
            ]

    asyncio.run(live())
