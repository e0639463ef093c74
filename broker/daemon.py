"""The composition root: build everything, open the doors, run, and stop in the right order.

Called by ``keyfob serve`` and ``keyfob demo``. Reading it top to bottom is reading a life of the daemon.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import random
import resource
import signal
import time
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from socket import socket as Socket  # noqa: N812 -- a type, named as one

from broker import __version__, logs, sdnotify
from broker.clock import SteadyClock, boottime, slept
from broker.core.finding import Finding
from broker.errors import CannotStart, KeyfobError, StoreUnavailable
from broker.events import Events
from broker.notify import Announcer
from broker.oauth.http import Http
from broker.oauth.idtoken import Jwks
from broker.oauth.upstream import Upstream
from broker.providers import catalog
from broker.scheduler import Scheduler
from broker.settings import Settings
from broker.store.files import lock_database, lock_state_directory, private_directory
from broker.store.keys import KeySource, key_source
from broker.store.store import Store, database_path
from broker.usecases import audit, backup, health, locking, refresh
from broker.usecases.checkup import Checkup
from broker.usecases.context import Context, Latch, Schedule
from broker.usecases.flights import Flights
from broker.usecases.limits import Limits
from broker.usecases.streams import Streams
from broker.usecases.tokenfiles import Keeper
from broker.web.asgi import app_door, browser_door
from broker.web.doors import LOOPBACK, Door, bind_beside, bind_port, bind_socket
from broker.web.emulate.oidc_door import OidcDoor

log = logging.getLogger(__name__)

# A refresh may take 20 s; whatever is in the air gets that long to land before the process ends.
DRAIN = 20.0
# What goes through the proxy is given less: much of it has no end, such as events, and its programs ask again.
STREAMS = 5.0
# All that a stop may take: refreshes, then logins whose code was sent, then the doors and the store.
STOPPING = 2 * DRAIN + 5.0


class Daemon:
    """One running Keyfob.

    Args:
        settings: where and how.
        environ: for what systemd passes on (sockets, credentials); what is meant for this process alone is removed.
        wall: the machine's wall clock, epoch seconds.
        boot: seconds that pass while the machine sleeps, too, and that nobody can set.
        slept: for how many seconds the machine has slept, all in all.
        examine: looks at the machine, for the owner's page.
    """

    def __init__(
        self,
        settings: Settings,
        environ: MutableMapping[str, str],
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = boottime,
        slept: Callable[[], float] = slept,
        examine: Callable[[], Sequence[Finding]] = tuple,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._wall, self._boot, self._slept = wall, boot, slept
        self._examine = examine
        self._ctx: Context | None = None
        # What is to be undone, last things first. Each step is taken, whatever became of those before it: a store that
        # stays open keeps its threads, and they keep the process.
        self._undo = contextlib.AsyncExitStack()

    @property
    def ctx(self) -> Context:
        """The collaborators, once started."""
        if self._ctx is None:
            raise CannotStart("The daemon has not been started.")
        return self._ctx

    async def start(self) -> None:
        """Take the state directory, open the store, settle what a crash left, open the doors, begin to tick.

        Raises:
            CannotStart: something is in the way; nothing was changed.
        """
        settings = self._settings
        catalog.presets(settings.presets_dir)  # one that cannot be read should be mended now, not at the next refresh
        os.umask(0o077)
        private_directory(settings.state_dir)
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise

    async def _open(self) -> None:
        settings, undo = self._settings, self._undo
        # The lock comes first: whoever holds it may replace a dead socket and open the database.
        undo.enter_context(lock_state_directory(settings.state_dir))
        undo.enter_context(lock_database(database_path(settings.database_url)))
        given = sdnotify.listen_fds(self._environ, os.getpid())
        browser = undo.enter_context(given.get("browser") or bind_port(settings.browser_port, "browser-port"))
        app = undo.enter_context(given.get("app-port") or bind_port(settings.app_port, "app-port"))
        local = undo.enter_context(given.get("app") or self._own_socket(settings.socket))
        oidc = (
            undo.enter_context(self._own_socket(settings.oidc_agent_socket)) if settings.oidc_socket == "on" else None
        )
        beside, squatted = bind_beside(browser.getsockname()[1])
        if beside is not None:
            undo.enter_context(beside)
        store = await self._open_store()
        undo.push_async_callback(_close, store)
        clock = SteadyClock(self._wall, self._boot, await store.last_seen())
        http = Http(ca_file=settings.ca_file, proxy=settings.http_proxy)
        undo.push_async_callback(http.aclose)
        upstream = Upstream()
        undo.push_async_callback(upstream.aclose)
        browser_port, app_port = browser.getsockname()[1], app.getsockname()[1]
        ctx = self._ctx = Context(
            store=store,
            http=http,
            jwks=Jwks(),
            events=Events(),
            clock=clock,
            ahead=clock.ahead,
            shift=clock.shift,
            rng=random.SystemRandom(),
            browser_url=f"http://{LOOPBACK}:{browser_port}",
            localhost_squatted=squatted,
            presets_dir=settings.presets_dir,
            token_dir=settings.token_dir,
            latch=Latch(
                idle=60.0 * settings.lock_after_idle, on_sleep=settings.lock_on_sleep == "on", slept=self._slept()
            ),
            slept=self._slept,
            source=self._source,
            checkup=Checkup(self._examine),
            schedule=Schedule(started_at=clock()),
            limits=Limits(settings.app_rate, settings.app_burst),
            streams=Streams(
                settings.proxy_streams,
                settings.proxy_body_limit,
                float(settings.proxy_idle),
                float(settings.proxy_wait),
            ),
            upstream=upstream,
            flights=Flights(settings.refreshes_per_issuer, settings.refreshes_in_all),
            doors={
                "socket": str(local.getsockname()),
                "app": f"http://{LOOPBACK}:{app_port}",
                "browser": f"http://{LOOPBACK}:{browser_port}",
            }
            | ({"oidc": str(oidc.getsockname())} if oidc is not None else {}),
        )
        undo.push_async_callback(audit.write_handouts, ctx)
        pages = browser_door(ctx, _names(browser_port))
        doors: list[Door | OidcDoor] = [
            Door(app_door(ctx, "socket", None), local),
            Door(app_door(ctx, "app", _names(app_port)), app),
            Door(pages, browser),
        ]
        if beside is not None:
            doors.append(Door(pages, beside))
        if oidc is not None:
            doors.append(OidcDoor(ctx, oidc))
        undo.push_async_callback(_close_doors, doors)
        undo.push_async_callback(_land, ctx, asyncio.create_task(audit.record(ctx), name="audit"))
        undo.push_async_callback(locking.stop, ctx)
        ctx.latch.used_at = ctx.steady()
        await _take_up(ctx)
        for door in doors:
            await door.open()
        self._start_tasks(ctx)
        log.info("Keyfob %s: %s", __version__, ", ".join(f"{name} {where}" for name, where in ctx.doors.items()))

    def _start_tasks(self, ctx: Context) -> None:
        """Begin what is done unasked."""
        settings, undo = self._settings, self._undo
        scheduler = Scheduler(ctx)
        scheduler.start()
        undo.push_async_callback(scheduler.stop)
        keeper = Keeper(ctx, settings.token_dir)
        keeper.start()
        undo.push_async_callback(keeper.stop)
        command, desktop = settings.notify_command, settings.notify_desktop == "on"
        announcer = Announcer(ctx, command=command, desktop=desktop, environ=self._environ)
        announcer.start()
        undo.push_async_callback(announcer.stop)

    def _own_socket(self, path: Path) -> Socket:
        private_directory(self._settings.runtime_dir)
        sock = bind_socket(path)
        self._undo.callback(path.unlink, missing_ok=True)
        return sock

    async def _open_store(self) -> Store:
        settings = self._settings
        key = self._source(settings.key_source)
        url, kept = settings.database_url, settings.audit_entries
        return await Store.open(url, key=key, now=self._wall(), most_entries=kept)

    def _source(self, kind: str) -> KeySource:
        settings = self._settings
        credentials = self._environ.get("CREDENTIALS_DIRECTORY")
        return key_source(
            kind,
            file=settings.key_file,
            command=settings.key_command,
            credentials_dir=Path(credentials) if credentials else None,
            database=database_path(settings.database_url),
        )

    async def stop(self) -> None:
        """Begin nothing, let refreshes land, close the doors, then the store."""
        await self._undo.aclose()


async def _take_up(ctx: Context) -> None:
    """Say that a life begins, and settle what the last one left open."""
    ctx.publish("started", detail=f"Keyfob {__version__}")
    await backup.recognise_copy(ctx)
    ctx.sweep.set()
    if ctx.store.locked:
        ctx.publish("locked", detail=ctx.store.locked)
        log.warning("locked: %s %s", ctx.store.locked, ctx.store.locked_hint)
    else:
        try:
            await refresh.settle(ctx)
        except StoreUnavailable as exc:
            # A disk that is full now is no reason not to hand out what lives.
            log.warning("what the last run left open cannot be settled yet: %s", exc)


async def _land(ctx: Context, recording: asyncio.Task[None]) -> None:
    """Let requests through the proxy, refreshes and logins end, and with them what listens to events."""
    ctx.rates.close()
    late, _ = await asyncio.gather(ctx.flights.drain(DRAIN), ctx.streams.close(STREAMS))
    if late:
        log.warning("%d refreshes did not end in time; they are settled at the next start", late)
    if ctx.finishing:
        await asyncio.wait(set(ctx.finishing), timeout=DRAIN)
    ctx.events.close()
    await recording


async def _close_doors(doors: Sequence[Door | OidcDoor]) -> None:
    await asyncio.gather(*(door.close() for door in doors))


async def _close(store: Store) -> None:
    try:
        await store.close()
    except StoreUnavailable as exc:
        log.warning("the database was closed as it is: %s", exc)


def _names(port: int) -> frozenset[str]:
    # What a browser or a program writes when it means this port; any other Host came through a foreign name.
    return frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})


# All doors full, and as much again.
FILES = 4096
# Of prctl(2) and of glibc's mallopt(3).
PR_SET_DUMPABLE, M_ARENA_MAX = 4, -8


def hide_memory() -> None:
    """Let no core dump be written, and no other process of this user read the memory of this one (ptrace(2)).

    Root and whoever has CAP_SYS_PTRACE still can. Programs that this one runs are not concerned (execve(2)). Where the
    kernel does not know it, there is one wall less, and no reason not to start.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None and prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("other processes of this user can read this one's memory: the kernel does not hide it")


def keep_one_heap() -> None:
    """Let glibc have one heap, and not one for each of the first threads: what is free in one helps no other.

    Python's own lock lets one thread work at a time, but for SQLite's and OpenSSL's part: they hardly wait for each
    other here. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def on_stop(stop: Callable[[], None]) -> None:
    """Call ``stop`` at SIGTERM, Ctrl-C, and when the terminal goes away; under nohup it may go."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signum, stop)


async def serve(
    settings: Settings, environ: MutableMapping[str, str], examine: Callable[[], Sequence[Finding]] = tuple
) -> None:
    """Run until it is told to stop.

    Args:
        settings: where and how.
        environ: as :class:`Daemon` takes it.
        examine: looks at the machine, for the owner's page.

    Raises:
        CannotStart: something is in the way; nothing was changed.
    """
    logs.set_up(settings.log, settings.log_format)
    hide_memory()
    keep_one_heap()
    # The usual soft limit of 1024 descriptors is less than full doors need; the database and the way out need some too.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most == resource.RLIM_INFINITY else min(most, FILES), most))
    stopping = asyncio.Event()
    on_stop(stopping.set)
    # First of all: no child that the start may run (a key command) shall speak for the daemon.
    notify = sdnotify.Notifier(environ)
    daemon = Daemon(settings, environ, examine=examine)
    try:
        await daemon.start()
    except KeyfobError as exc:
        notify.status(exc.detail)
        raise
    notify.ready(_standing(daemon.ctx))
    watchdog = asyncio.create_task(_feed_watchdog(daemon.ctx, notify, sdnotify.watchdog_interval(environ, os.getpid())))
    telling = asyncio.create_task(_tell(daemon.ctx, notify))
    await stopping.wait()
    log.info("stopping")
    notify.stopping()
    notify.extend_timeout(STOPPING)
    watchdog.cancel()
    telling.cancel()
    await daemon.stop()


def _standing(ctx: Context) -> str:
    return f"locked: {ctx.store.locked}" if ctx.store.locked else "handing out tokens"


async def _tell(ctx: Context, notify: sdnotify.Notifier) -> None:
    """Let ``systemctl status`` show whether Keyfob is locked."""
    with ctx.events.listen(only=("locked", "unlocked")) as listener:
        async for _ in listener:
            notify.status(_standing(ctx))


async def _feed_watchdog(ctx: Context, notify: sdnotify.Notifier, interval: float | None) -> None:
    """Tell systemd that the loop, the store and the scheduler are alive - and say nothing when they are not."""
    while interval is not None:
        await asyncio.sleep(interval)
        if await health.is_alive(ctx):
            notify.watchdog()
