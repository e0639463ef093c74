"""``keyfob status``: how the daemon is, and where it listens.

Called by ``main``.
"""

import argparse
import time
from typing import Any

from broker.cli import terminal
from broker.cli.arguments import json_flag
from broker.cli.connect import connect

# What a terminal shows as one sentence.
HEAD = ("version", "pid", "state")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print what ``/v1/status`` tells."""
    with connect() as client:
        status = client.request("GET", "/v1/status")
    if args.json:
        terminal.result_json(status)
        return 0
    now = time.time()
    if terminal.is_table():
        version, pid, state = (terminal.clean(status[key]) for key in HEAD)
        terminal.result(f"Keyfob {version} runs as process {pid}: {state}")
        for reason in status.get("reasons") or []:
            terminal.result(f"  {terminal.clean(reason)}")
    else:
        terminal.facts({key: status[key] for key in HEAD}, now)
        for reason in status.get("reasons") or []:
            terminal.facts({"reason": reason}, now)
    terminal.facts(_lines(status, now), now)
    return 0


def _lines(status: dict[str, Any], now: float) -> dict[str, object]:
    doors, key, clock = (status.get(part) or {} for part in ("doors", "key", "scheduler"))
    counts = status.get("accounts") or {}
    due, tick = clock.get("due"), terminal.moment(clock.get("next_tick_at"), now)
    return {
        "socket": doors.get("socket"),
        "app port": doors.get("app"),
        "browser port": doors.get("browser"),
        "oidc-agent": doors.get("oidc"),
        "key": f"{key.get('source', '?')}, {'locked' if key.get('locked') else 'open'}",
        "accounts": ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none",
        "refreshes": f"{due or 0} due{f', next look {tick}' if tick else ''}",
    }
