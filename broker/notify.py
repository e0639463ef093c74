"""Tells a person that an account, or a program, waits for one: by the command of the settings, and on the desktop.

Started and stopped by ``daemon``; a subscriber of ``events``. An event only says when to look: what is told comes from
the accounts themselves, so that nothing is forgotten by a restart or by an event that was missed. What was told stands
in the audit (``notified``), so that nothing is told twice.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from broker.core import advice
from broker.core.account import Account
from broker.core.advice import Need
from broker.errors import KeyfobError
from broker.events import Event, Kind, Subscription
from broker.usecases import derived
from broker.usecases.context import Context

log = logging.getLogger(__name__)

NOTIFIED = "notified"
# What makes an account wait for a person.
WORTH_A_LOOK: tuple[Kind, ...] = ("needs-login", "misconfigured", "suspect")
# What is told as it happens: a program is at work, and can go on once a person has answered.
TOLD_AT_ONCE: tuple[Kind, ...] = ("approval-asked", "scope-needed")
# A look without an event finds tokens that have run out and cannot be renewed, and what is to be said once more.
LOOK_EVERY = 600.0
# As long as nobody helps, a person is reminded once a day, and not more often; of a token that will end, once.
REMIND_EVERY = 86_400.0
# A command that failed (no network for its mail yet) is tried again after this, doubled each time up to a day.
RETRY_AFTER = 600.0
# A mail or a chat message is on its way within seconds; a command that waits for a person must not stay for ever.
PATIENCE = 30.0
# So many commands run at a time: a provider may end the logins of three hundred accounts at once.
AT_ONCE = 4
# A provider's words may be long; more than this nobody reads.
MOST_REASON = 500
# So many accounts are named on the desktop; the rest is counted.
MOST_NAMED = 5
# What the daemon was given for itself: settings with secrets in them, sockets, the watchdog, the key.
OWN = ("KEYFOB_", "LISTEN_", "WATCHDOG_", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")


@dataclass(slots=True)
class _Told:
    """What this process knows of one account's notice.

    Attributes:
        about: which need: its kind and its beginning.
        quiet_until: nothing is said before, epoch seconds.
        failures: of the command, in a row.
        shown: it was on the desktop already.
    """

    about: str
    quiet_until: float = 0.0
    failures: int = 0
    shown: bool = False


@dataclass(frozen=True, slots=True)
class _Notice:
    account: Account
    need: Need
    next_step: str
    told: _Told


class Announcer:
    """Looks for accounts that wait for a person, while the daemon runs.

    Args:
        ctx: the collaborators.
        command: the command line to run for each of them, split without a shell; empty for none.
        desktop: whether to speak up on the desktop where there is one.
        environ: the daemon's environment; the commands see it without what is the daemon's own.
    """

    def __init__(self, ctx: Context, *, command: str, desktop: bool, environ: Mapping[str, str]) -> None:
        self._ctx = ctx
        self._argv = shlex.split(command)
        self._desktop = desktop
        self._environ = {name: value for name, value in environ.items() if not name.startswith(OWN)}
        self._told: dict[str, _Told] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a first look at once."""
        if self._argv or self._desktop:
            self._task = asyncio.create_task(self._run(), name="announcer")

    async def stop(self) -> None:
        """End at once; a command that runs is killed, and run again after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        with self._ctx.events.listen(only=(*WORTH_A_LOOK, *TOLD_AT_ONCE)) as news:
            asked: Event | None = None
            while not news.closed:
                try:
                    await (self.look() if asked is None else self.tell_asked(asked))
                except KeyfobError as exc:
                    log.warning("whether an account waits for a person could not be seen: %s", exc)
                except Exception:
                    log.exception("a notice broke; the next look comes")
                asked = await _wait(news)

    async def tell_asked(self, event: Event) -> None:
        """Tell at once that a program asks for what it was not granted, or for more scope; of each request once."""
        if event.kind == "scope-needed":
            title, reason = "Keyfob: a login has too little scope", f"Account '{event.account}': {event.detail}."
        else:
            asks = f"for account '{event.account}'" if event.account else "to become an app"
            title, reason = "Keyfob: a program asks you", f"'{event.app}' asks {asks}."
        words = {
            "event": event.kind,
            "account": event.account,
            "app": event.app,
            "reason": reason,
            "since": _utc(event.at),
            "next_step": event.next_step,
        }
        words = {name: _clean(value)[:MOST_REASON] for name, value in words.items()}
        if self._argv:
            facts = {f"KEYFOB_{name.upper()}": value for name, value in words.items()}
            said = json.dumps(words).encode() + b"\n"
            if problem := await _run_program(self._argv, {**self._environ, **facts}, said):
                log.warning("%s: the notify command did not succeed: %s", event.app, problem)
        if self._desktop and _has_desktop(self._environ):
            # No words of an API: as below.
            foreign = event.kind == "scope-needed"
            lines = [f"See which: keyfob show {event.account}"] if foreign else [words["reason"], words["next_step"]]
            await self._notify(title, *lines)

    async def look(self) -> None:
        """Tell of every account that waits for a person and was not told of, or not for a day.

        Raises:
            StoreUnavailable: the accounts cannot be read.
        """
        shows = self._desktop and _has_desktop(self._environ)
        if not self._argv and not shows:
            return  # nobody was told, so nothing is remembered as told
        now = self._ctx.clock()
        notices = [
            _Notice(account, need, await derived.next_step(self._ctx, account), await self._remembered(account, need))
            for account in await self._ctx.store.needing(now + max(advice.REMINDERS.values()))
            if (need := advice.need(account, now)) is not None
            # One login that a person has to mend is told once, however much is derived from it.
            and not await derived.waits_for_parent(self._ctx, account)
        ]
        self._told = {notice.account.uuid: notice.told for notice in notices}
        due = [notice for notice in notices if notice.told.quiet_until <= now]
        if not due:
            return
        shown = await self._show([notice for notice in due if not notice.told.shown]) if shows else False
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:  # a stop waits for the killed commands of all of them
            for notice in due:
                group.create_task(self._tell(notice, gate, shown=shown))

    async def _remembered(self, account: Account, need: Need) -> _Told:
        about = f"{need.what} since {_utc(need.since)}"
        told = self._told.get(account.uuid)
        if told is not None and told.about == about:
            return told
        noted = await self._ctx.store.last_noted(account.uuid, NOTIFIED)
        if noted is not None and noted[1] == about:
            return _Told(about, math.inf if need.once else noted[0] + REMIND_EVERY)
        return _Told(about)

    async def _tell(self, notice: _Notice, gate: asyncio.Semaphore, *, shown: bool) -> None:
        """Run the command for one account, and remember that it is told."""
        told, name = notice.told, notice.account.name
        if self._argv:
            async with gate:
                problem = await _run_program(self._argv, {**self._environ, **self._facts(notice)}, _line(notice))
            if problem:
                told.quiet_until = self._ctx.clock() + min(REMIND_EVERY, RETRY_AFTER * 2.0**told.failures)
                told.failures += 1
                told.shown |= shown
                log.warning("%s: the notify command did not succeed: %s", name, problem)
                return
        elif not shown:
            told.quiet_until = self._ctx.clock() + LOOK_EVERY
            return
        now = self._ctx.clock()
        told.quiet_until = math.inf if notice.need.once else now + REMIND_EVERY
        told.failures, told.shown = 0, False
        log.info("%s: a person was told (%s)", name, told.about)
        try:
            # It may have got another name while the command ran.
            account = await self._ctx.store.account_by_uuid(notice.account.uuid) or notice.account
            await self._ctx.store.note(at=now, action=NOTIFIED, account=account.name, app=None, detail=told.about)
        except KeyfobError as exc:
            log.warning("%s: that a person was told is not in the audit: %s", name, exc)

    def _facts(self, notice: _Notice) -> dict[str, str]:
        """What the command finds in its environment."""
        return {
            **{f"KEYFOB_{name.upper()}": value for name, value in _words(notice).items()},
            "KEYFOB_SOCKET": _clean(self._ctx.doors.get("socket", "")),
        }

    async def _show(self, notices: Sequence[_Notice]) -> bool:
        """Show one notification for all of them; return whether that was possible."""
        if not notices:
            return False
        names = [notice.account.name for notice in notices]
        title = f"Keyfob: {names[0]} needs you" if len(names) == 1 else f"Keyfob: {len(names)} accounts need you"
        # No words of a provider: arguments can be read by every user, and some desktops take them for markup.
        lines = [notice.next_step for notice in notices[:MOST_NAMED]]
        if len(names) > MOST_NAMED:
            lines.append(f"and {len(names) - MOST_NAMED} more: keyfob accounts")
        return await self._notify(title, *lines)

    async def _notify(self, title: str, *lines: str) -> bool:
        argv = ["notify-send", "--app-name=Keyfob", "--", _clean(title), "\n".join(map(_clean, lines))]
        problem = await _run_program(argv, self._environ, b"")
        if problem:
            log.info("the desktop notification was not shown: %s", problem)
        return not problem


async def _wait(news: Subscription) -> Event | None:
    """Wait for an event, which is worth a look, but not for ever; return one that is to be told itself."""
    event = await news.next(LOOK_EVERY)
    return event if event is not None and event.kind in TOLD_AT_ONCE else None


async def _run_program(argv: Sequence[str], environ: Mapping[str, str], said: bytes) -> str:
    """Run a program to its end; return what went wrong, empty where nothing did. What it prints is not looked at."""
    # Written before the program is there: it may end at once, and not every event loop takes that for harmless while
    # it still writes. The few kilobytes fit into any pipe.
    heard, speak = os.pipe()
    try:
        with open(speak, "wb", closefd=True) as pipe:  # noqa: ASYNC230, PTH123 -- it never waits; a descriptor has no path
            pipe.write(said)
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environ,
            stdin=heard,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # so that its children can be ended with it
        )
    except OSError as exc:
        return f"{argv[0]} cannot be run: {exc.strerror}"
    finally:
        os.close(heard)
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        return f"it did not end within {PATIENCE:.0f} s, and was killed"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return f"it ended with exit code {process.returncode}" if process.returncode else ""


def _line(notice: _Notice) -> bytes:
    """What the command finds on its stdin: one line of JSON."""
    return json.dumps(_words(notice)).encode() + b"\n"


def _words(notice: _Notice) -> dict[str, str]:
    """What is told about an account, as plain text; never a secret."""
    account, need = notice.account, notice.need
    words = {
        "event": need.what,
        "account": account.name,
        "provider": account.provider,
        "reason": need.reason[:MOST_REASON],
        "since": _utc(need.since),
        "next_step": notice.next_step,
        "login_command": f"keyfob login {account.name}",
    }
    return {name: _clean(value) for name, value in words.items()}


def _has_desktop(environ: Mapping[str, str]) -> bool:
    """Whether there may be a desktop to speak up on: the program for it, and a session bus."""
    bus = Path(environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / "bus"
    reachable = bool(environ.get("DBUS_SESSION_BUS_ADDRESS")) or bus.exists()
    return reachable and shutil.which("notify-send", path=environ.get("PATH", os.defpath)) is not None


def _clean(text: str) -> str:
    # A provider's words: nothing that moves a cursor, ends a line or hides text; and no zero byte, which no program
    # could be given.
    return "".join(character if character.isprintable() else " " for character in text)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
