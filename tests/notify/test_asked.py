"""A program that asks the owner for something: told at once, by the command and on the desktop."""

import asyncio
import os
from pathlib import Path

import pytest

from broker.core.approval import Asker
from broker.core.policy import App, Ask, Stranger
from broker.usecases import approvals
from tests.notify.hooks import Hook, announcer, running
from tests.usecases.house import opened

ASKER = Asker("port", 1000)


def test_the_command_is_told_of_each_request_once(tmp_path: Path, hook: Hook) -> None:
    """What it needs stands in its environment and on its stdin, and asking again tells nobody again."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            crier = announcer(house, hook.command)
            for _ in range(2):
                await approvals.ask_token(house.ctx, App("mail", ()), Ask("work"), lambda: ASKER)
            await approvals.pair(house.ctx, Stranger(b"x"), "socket", "editor", (), ASKER)
            told = [event for event in await house.heard() if event.kind == "approval-asked"]
            for event in told:
                await crier.tell_asked(event)
            assert [event.app for event in told] == ["mail", "editor"]
            lines = hook.lines
            assert [line["event"] for line in lines] == ["approval-asked"] * 2
            assert lines[0]["reason"] == "'mail' asks for account 'work'."
            assert lines[1]["reason"] == "'editor' asks to become an app."
            for line, waiting in zip(lines, house.ctx.desk.all(house.ctx.steady()), strict=True):
                assert line["next_step"] == f"keyfob approve {waiting.approval.id}"

    asyncio.run(live())


def test_a_running_announcer_hears_of_it(tmp_path: Path, hook: Hook) -> None:
    """It waits for nothing else: the person is at the machine now, and so is the program."""

    async def live() -> None:
        async with opened(tmp_path) as house, running(house, hook.command):

            async def told() -> bool:
                house.ctx.publish("approval-asked", "work", app="mail", next_step="keyfob approve BCDF-GHJK")
                return hook.environ.get("KEYFOB_APP") == "mail"

            await house.until(told)

    asyncio.run(live())


def test_a_notice_that_breaks_ends_nothing(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with one notice is in the log, and the next one comes."""
    real, broken = os.pipe, [True]

    def pipe() -> tuple[int, int]:
        if broken:
            broken.clear()
            raise ValueError("a fault that nobody thought of")
        return real()

    monkeypatch.setattr(os, "pipe", pipe)

    async def live() -> None:
        async with opened(tmp_path) as house, running(house, hook.command):

            async def told() -> bool:
                house.ctx.publish("approval-asked", "work", app="mail", next_step="keyfob approve BCDF-GHJK")
                return bool(hook.lines)

            await house.until(told)
            assert "a fault that nobody thought of" in caplog.text

    asyncio.run(live())
