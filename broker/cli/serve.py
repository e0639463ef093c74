"""``keyfob serve``: the daemon, in the foreground.

Called by ``cli.main``, and by the systemd units.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING

from broker import settings
from broker.core.finding import Finding
from broker.errors import CannotStart

if TYPE_CHECKING:
    import argparse

# What the flags are where none is given: a test holds it against the parser.
PLAIN = {spec.name: None for spec in fields(settings.Settings)}

# Packages that the daemon loads when somebody first needs them. One that is missing is told at the start, and not to
# that somebody.
LATER = ("alembic", "authlib", "httpx2", "jinja2", "joserfc", "nacl", "segno")

# Seconds after which a thread that works for the store lets the event loop have its turn. With Python's own 5 ms, each
# step of an answer to a program could wait for so long behind refreshes that are written down.
SWITCH_INTERVAL = 0.0005


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each setting."""
    for spec in fields(settings.Settings):
        parser.add_argument(
            f"--{spec.name.replace('_', '-')}",
            metavar="VALUE",
            help=f"{spec.metadata['what']} ({settings.variable(spec.name)})",
        )


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop.

    Raises:
        CannotStart: a setting, a file or a port is in the way, or a package is missing.
    """
    read = settings.read(os.environ, {spec.name: getattr(args, spec.name) for spec in fields(settings.Settings)})
    # The daemon's imports are heavy: they come after the settings, so that a wrong flag is told at once.
    import gc

    gc.disable()  # what is imported stays: to look through it again and again is a tenth of the start
    import asyncio
    from importlib.util import find_spec

    import uvloop

    from broker import daemon

    for name in LATER:
        if find_spec(name) is None:
            raise CannotStart(f"The Python package {name} is missing.", "Install Keyfob again, with what it needs.")
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(daemon.serve(read, os.environ, lambda: _examine(read)))
    return 0


def _examine(read: settings.Settings) -> list[Finding]:
    """Look at the machine as ``keyfob doctor`` does; what a daemon says of itself is not asked of it by itself."""
    from broker.cli import doctor_places

    return list(doctor_places.look(read, time.time(), absent=False))
