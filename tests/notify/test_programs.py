"""Commands that fail, hang, or come in crowds: none of them harms the daemon."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from broker import notify
from broker.core.account import NeedsLogin
from tests.notify.hooks import DAY, MINUTE, Hook, announcer, into, program, running
from tests.usecases.house import opened


def test_a_command_that_fails(tmp_path: Path, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, nobody counts as told, and it is tried again after ten minutes, then twenty, not every minute."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            crier = announcer(house, hook.command)
            hook.ends_with(3)
            runs = []
            for _ in range(40):
                await crier.look()
                runs.append(hook.runs)
                house.clock.forward(MINUTE)
            assert [runs[minute] for minute in (0, 9, 10, 29, 30, 39)] == [1, 1, 2, 2, 3, 3]
            assert "exit code 3" in caplog.text
            hook.ends_with(0)
            house.clock.forward(DAY)
            await crier.look()
            await crier.look()
            assert len(hook.lines) == 1

    asyncio.run(live())


@pytest.mark.parametrize("command", ["/no/such/program", "/"])
def test_a_command_that_cannot_be_run(tmp_path: Path, command: str, caplog: pytest.LogCaptureFixture) -> None:
    """A program that is not there, or is none, harms nothing and is named in the log."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            await announcer(house, command).look()
            assert f"{command} cannot be run" in caplog.text

    asyncio.run(live())


def test_a_command_that_hangs_is_killed(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not end in time is killed with its children."""
    monkeypatch.setattr(notify, "PATIENCE", 0.2)
    hanging(hook)

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            await announcer(house, hook.command).look()
            assert "was killed" in caplog.text
            await house.until(lambda: gone(hook))

    asyncio.run(live())


def test_a_stop_kills_what_runs(tmp_path: Path, hook: Hook) -> None:
    """The daemon's end waits for no command; who was not told to the end is told after the next start."""
    hanging(hook)

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            async with running(house, hook.command):
                await house.until(lambda: begun(hook))
            await house.until(lambda: gone(hook))
            assert [entry for entry in await house.store.audit() if entry.action == "notified"] == []

    asyncio.run(live())


def hanging(hook: Hook) -> None:
    """Make the command one that never ends, with a child that does not either."""
    program(
        hook.place / "hook",
        f"#!/bin/sh\ncd '{hook.place}'\nsleep 1000 &\necho $! > draft\nmv draft child\nwait\n",
    )


async def begun(hook: Hook) -> bool:
    """Tell whether the command that never ends has its child."""
    return (hook.place / "child").exists()


async def gone(hook: Hook) -> bool:
    """Tell whether the child of the command that never ends has ended."""
    try:
        status = Path("/proc", (hook.place / "child").read_text().strip(), "status").read_text()  # noqa: ASYNC240 -- no disk
    except (FileNotFoundError, ProcessLookupError):
        return True
    return "State:\tZ" in status  # whoever inherited it has not looked yet


@pytest.mark.parametrize("command", ["true", "cat", "sleep 0.01"])
def test_on_the_loop_of_the_daemon(tmp_path: Path, command: str, caplog: pytest.LogCaptureFixture) -> None:
    """A command that ends at once, reads its stdin or does not: the daemon's own event loop takes each of them well."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            for number in range(3):
                await into(house, NeedsLogin(house.clock(), "ended"), f"a{number}")
            await announcer(house, command).look()
            assert len([entry for entry in await house.store.audit() if entry.action == "notified"]) == 3

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())
    assert caplog.text == ""


def test_few_commands_at_a_time(tmp_path: Path, hook: Hook) -> None:
    """Of many accounts that die together each is told of, a few at a time."""
    # Each stays until as many have begun as may, and a moment longer: one too many would be seen.
    program(
        hook.place / "hook",
        f"""#!/bin/sh
cd '{hook.place}' && mkdir in.$$ && echo >> begun
while [ "$(wc -l < begun)" -lt {notify.AT_ONCE} ]; do sleep 0.01; done
sleep 0.05
ls -d in.* | wc -l >> crowd
cat >> lines
rmdir in.$$
""",
    )

    async def live() -> None:
        async with opened(tmp_path) as house:
            for number in range(6):
                await into(house, NeedsLogin(house.clock(), "ended"), f"a{number}")
            await announcer(house, hook.command).look()

    asyncio.run(live())
    assert sorted(line["account"] for line in hook.lines) == [f"a{number}" for number in range(6)]
    assert max(map(int, (hook.place / "crowd").read_text().split())) == notify.AT_ONCE
