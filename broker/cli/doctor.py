"""``keyfob doctor``: look at everything, say what is wrong and what to do about it.

Called by ``main``. It changes nothing and asks no provider, and works with the daemon down: then it looks at the files.
"""

import argparse
import os
import time
from dataclasses import asdict

from broker import __version__
from broker.cli import doctor_daemon, doctor_places, terminal
from broker.cli.arguments import json_flag
from broker.core.finding import Finding, worst

WIDTH = max(len(level) for level in ("ok", "warning", "trouble"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Look, tell what was found, and return 1 where something is in trouble."""
    findings = examine(time.time())
    state = worst(findings)
    if args.json:
        terminal.result_json(
            {"version": __version__, "state": state, "findings": [asdict(found) for found in findings]}
        )
    else:
        for found in findings:
            _print(found)
        counts = [(level, sum(found.level == level for found in findings)) for level in ("trouble", "warning")]
        said = " and ".join(f"{count} {_plural(level, count)}" for level, count in counts if count)
        terminal.result(f"Found: {said}." if said else "All is well.")
    return 1 if state == "trouble" else 0


def examine(now: float) -> list[Finding]:
    """Ask the daemon, look at the machine, and return everything that was found.

    Args:
        now: epoch seconds.
    """
    from broker import settings
    from broker.errors import CannotStart

    answers = doctor_daemon.ask()
    findings = list(answers.findings)
    if answers.status is not None:
        findings += doctor_daemon.look(answers.status, now)
    try:
        read = settings.read(os.environ)
    except CannotStart as exc:
        found = Finding("settings", "trouble", exc.detail, exc.hint)
        findings += [] if found in findings else [found]
    else:
        elsewhere = answers.status is not None and answers.status["doors"].get("socket") != str(read.socket)
        if elsewhere:
            findings.append(_elsewhere(str(read.socket)))
        findings += doctor_places.look(read, now, absent=answers.absent)
    if answers.accounts is None:
        findings.append(Finding("accounts", "warning", "They were not looked at: only the daemon can tell of them."))
    else:
        findings += doctor_daemon.set_back(answers.accounts, now)
        findings += doctor_daemon.judge(answers.accounts, now)
    return findings


def _elsewhere(socket: str) -> Finding:
    return Finding(
        "settings",
        "warning",
        f"The daemon listens elsewhere than these settings say ({socket}): it was started with others.",
        "Put them into the configuration file, which the daemon and every command read. What follows may be of others.",
    )


def _print(found: Finding) -> None:
    import sys

    level = terminal.paint(found.level.ljust(WIDTH), bold=found.level != "ok", stream=sys.stdout)
    terminal.result(f"{level}  {found.check.ljust(9)}  {terminal.clean(found.detail)}")
    if found.next_step:
        terminal.result(f"{' ' * WIDTH}  {' ' * 9}  -> {terminal.clean(found.next_step)}")


def _plural(level: str, count: int) -> str:
    return level if level == "trouble" or count == 1 else f"{level}s"
