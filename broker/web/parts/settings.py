"""Settings and health: the doors, the key, the lock, the backup, and what the doctor says.

Put behind the browser door by ``browser``.
"""

import os
import platform
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker import __version__
from broker.core.finding import Finding
from broker.usecases import backup, health
from broker.usecases.context import Context
from broker.usecases.health import Report
from broker.web import pages, render
from broker.web.body import Fields, Query
from broker.web.parts.locked import Lock


@dataclass(frozen=True, slots=True)
class SettingsPart:
    """How Keyfob is and where it listens.

    Attributes:
        version: of the daemon.
        pid: its process.
        python: of the interpreter.
        doors: name -> where it listens.
        report: how it is.
        next_tick_at: when it looks for due refreshes, epoch seconds, or None.
        lock: whether it is locked.
        lock_after: minutes without use after which it locks by itself; 0 for never.
        lock_on_sleep: it locks when the machine has slept.
        backed_up: when a backup was last made and where it is, or None where the record tells of none.
        findings: what the doctor says of the machine.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/settings.html.j2"
    version: str
    pid: int
    python: str
    doors: dict[str, str]
    report: Report
    next_tick_at: float | None
    lock: Lock
    lock_after: float
    lock_on_sleep: bool
    backed_up: tuple[float, str] | None
    findings: tuple[Finding, ...]
    status: int = 200


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/settings``."""
    Query(request)
    backups = await ctx.store.audit(actions=("backed-up",), limit=1)
    part = SettingsPart(
        version=__version__,
        pid=os.getpid(),
        python=platform.python_version(),
        doors=ctx.doors,
        report=await health.report(ctx),
        next_tick_at=ctx.schedule.next_tick_at,
        lock=Lock.of(ctx),
        lock_after=ctx.latch.idle / 60,
        lock_on_sleep=ctx.latch.on_sleep,
        backed_up=(backups[0].at, backups[0].detail) if backups else None,
        findings=await ctx.checkup.findings(ctx.steady()),
    )
    return pages.render(part)


async def back_up(request: Request, ctx: Context) -> Response:
    """``POST /ui/v1/backup``: a copy of the database, in a folder beside it."""
    body = await Fields.read(request)
    body.end()
    made = await backup.back_up(ctx)
    said = f"Everything Keyfob remembers is in {made}, sealed. The key is not: keep a copy of that too, elsewhere."
    return render.answer({"file": str(made), "detail": said}, 201)
