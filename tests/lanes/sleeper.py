"""A daemon on a machine that sleeps: the body of a process whose clocks jump when they are told.

Started by ``wake``. It is the daemon of ``keyfob serve`` but for two things: its wall clock and its boot clock are set
ahead by what the machine is said to have slept, and SIGUSR1 rings the scheduler's bell.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import uvloop

from broker import logs, settings
from broker.clock import boottime
from broker.daemon import Daemon, on_stop


def live(environ: Mapping[str, str], slept: Any) -> None:  # noqa: ANN401 -- multiprocessing has no public types
    """Run until SIGTERM.

    Args:
        environ: the settings are read from it, as ``keyfob serve`` does.
        slept: a shared number: by how many seconds both clocks are ahead.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(dict(environ), slept))


async def _live(environ: dict[str, str], slept: Any) -> None:  # noqa: ANN401 -- as above
    read = settings.read(environ)
    logs.set_up(read.log, read.log_format)
    os.environ.clear()  # nothing of whoever runs the lane is handed on
    stopping = asyncio.Event()
    on_stop(stopping.set)
    daemon = Daemon(read, environ, lambda: time.time() + slept.value, lambda: boottime() + slept.value)
    await daemon.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, daemon.ctx.wake.set)
    await stopping.wait()
    await daemon.stop()
