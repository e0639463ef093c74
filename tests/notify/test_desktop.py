"""A desktop speaks up: once for many accounts, only where there is one, and without a provider's words."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from broker import notify
from broker.core.account import NeedsLogin
from broker.notify import Announcer
from tests.notify.hooks import MINUTE, Hook, announcer, into, program
from tests.usecases.house import House, opened


@pytest.fixture
def desktop(tmp_path: Path) -> Path:
    """A directory with a notify-send that writes its arguments down, one to a line, into `shown`."""
    place = tmp_path / "bin"
    place.mkdir()
    program(
        place / "notify-send",
        f"#!/bin/sh\necho run >> {place}/runs\nprintf '%s\\n' \"$@\" >> {place}/shown\nexit $FAIL\n",
    )
    return place


def on_desktop(house: House, place: Path, command: str = "", **environ: str) -> Announcer:
    """Make an announcer with a desktop."""
    path = f"{place}{os.pathsep}{os.environ['PATH']}"
    bus = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere", "FAIL": "0"}
    return announcer(house, command, {"PATH": path, **bus, **environ}, desktop=True)


def test_one_notification_for_many_accounts(tmp_path: Path, desktop: Path) -> None:
    """The desktop shows one notification, with what to do and without a word of a provider; the audit remembers."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            for number in range(notify.MOST_NAMED + 2):
                await into(house, NeedsLogin(house.clock(), "<b>words</b> of a provider"), f"a{number}")
            crier = on_desktop(house, desktop)
            await crier.look()
            await crier.look()
            shown = (desktop / "shown").read_text().splitlines()
            assert shown[2:5] == ["Keyfob: 7 accounts need you", *[f"Log in again: keyfob login a{n}" for n in (0, 1)]]
            assert shown[-1] == "and 2 more: keyfob accounts"
            assert "words" not in "".join(shown)
            assert (desktop / "runs").read_text() == "run\n"
            assert len([entry for entry in await house.store.audit() if entry.action == "notified"]) == 7

    asyncio.run(live())


def test_no_desktop(tmp_path: Path, desktop: Path) -> None:
    """Without a session bus nothing is started, and nobody counts as told; once there is one, it is shown."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            await on_desktop(house, desktop, DBUS_SESSION_BUS_ADDRESS="").look()
            assert not (desktop / "runs").exists()
            await on_desktop(house, desktop).look()
            assert (desktop / "runs").read_text() == "run\n"

    asyncio.run(live())


def test_a_desktop_that_does_not_show_it(tmp_path: Path, desktop: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before the person's session stands nobody can see it: it is shown at a later look, and only then counts."""
    caplog.set_level(logging.INFO)

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            await on_desktop(house, desktop, FAIL="1").look()
            assert await house.store.last_noted((await house.account()).uuid, "notified") is None
            assert "was not shown" in caplog.text
            house.clock.forward(10 * MINUTE)
            await on_desktop(house, desktop).look()
            assert await house.store.last_noted((await house.account()).uuid, "notified") is not None

    asyncio.run(live())


def test_a_failing_command_does_not_fill_the_desktop(tmp_path: Path, desktop: Path, hook: Hook) -> None:
    """While the command is tried again, what the desktop has shown is not shown again."""
    hook.ends_with(1)

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            crier = on_desktop(house, desktop, hook.command)
            await crier.look()
            house.clock.forward(10 * MINUTE)
            await crier.look()
            assert hook.runs == 2
            assert (desktop / "runs").read_text() == "run\n"

    asyncio.run(live())
