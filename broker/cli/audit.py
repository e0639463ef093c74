"""``keyfob audit``: who got which token when, and what was done; and whether that record is as it was written.

Called by ``main``.
"""

from __future__ import annotations

import argparse
import time

from broker.cli import terminal
from broker.cli.arguments import begin, list_flags, name
from broker.cli.connect import connect

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds
if TYPE_CHECKING:
    from typing import Any

HEADER = ("WHEN", "WHAT", "ACCOUNT", "APP", "DETAIL")
# What the API gives at once, at the most.
MOST = 1000
USUAL = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--account", metavar="A", type=name, help="only of the account that has or had this name")
    parser.add_argument("--app", metavar="N", type=name, help="only of this app; 'owner' is you")
    parser.add_argument(
        "--since", metavar="T", type=begin, help="only from then on: how long ago (1h, 30d), a date (UTC) or a time"
    )
    parser.add_argument(
        "--limit", metavar="N", type=_limit, help=f"at most so many entries, the newest ones (default {USUAL})"
    )
    parser.add_argument("--verify", action="store_true", help="look whether the whole record is as it was written")
    list_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print the newest entries first; with ``--verify`` check all of them: 0 where they fit, 1 where one does not."""
    narrowed = {key: getattr(args, key) for key in ("account", "app", "since", "limit") if getattr(args, key)}
    if args.verify:
        return _verify(args, narrowed)
    from urllib.parse import urlencode

    query = "?" + urlencode(narrowed, errors="surrogateescape") if narrowed else ""
    with connect() as client:
        answer = client.request("GET", f"/v1/audit{query}")
    if args.json:
        terminal.result_json(answer)
        return 0
    entries, now = answer["entries"], time.time()
    if not entries:
        terminal.say("Nothing is recorded that fits." if narrowed else "Nothing is recorded yet.")
        return 0
    terminal.table(HEADER, [_row(entry, now) for entry in entries])
    if len(entries) == (args.limit or USUAL):
        terminal.say(f"These are the newest {len(entries)}; there may be more: keyfob audit --limit N --since T")
    return 0


def _row(entry: dict[str, Any], now: float) -> tuple[str, ...]:
    count = entry.get("count")
    parts = [f"token {entry['generation']}"] if entry.get("generation") is not None else []
    if count is not None:
        since = f", first {terminal.moment(entry.get('first'), now)}" if count > 1 else ""
        parts.append(f"{'once' if count == 1 else f'{count} times'}{since}")
    parts += [entry["detail"]] if entry.get("detail") else []
    who = (entry.get("account") or "", entry.get("app") or "")
    return (terminal.moment(entry["at"], now), entry["action"], *who, "; ".join(parts))


def _verify(args: argparse.Namespace, narrowed: dict[str, Any]) -> int:
    if narrowed:
        from broker.errors import InvalidRequest

        raise InvalidRequest(f"--verify looks at the whole record, so --{next(iter(narrowed))} does not go with it.")
    with connect() as client:
        verdict = client.request("GET", "/v1/audit/verify")
    if args.json:
        terminal.result_json(verdict)
    elif verdict["intact"]:
        _tell(verdict, time.time())
    broken = verdict["broken"]
    if broken is None:
        return 0
    terminal.fail(f"The audit is not as it was written ({broken['kind']}). {broken['detail']}", _standing(broken))
    return 1


def _tell(verdict: dict[str, Any], now: float) -> None:
    begins = terminal.when(verdict["begins_at"], now)
    span = f" The oldest is entry {verdict['first']}, {begins}; the newest is {verdict['last']}." if begins else ""
    terminal.result(f"Nothing was changed: all {verdict['entries']} entries of the audit fit.{span}")
    for key, words in (
        ("before_the_chain", "from before there was a chain: nothing can be said about them"),
        ("sealed_late", "written while Keyfob was locked: they are sure only from when it was unlocked"),
        ("unsealed", "written while Keyfob was locked, and not sealed yet"),
    ):
        if verdict[key]:
            terminal.result(f"  {verdict[key]} {words}")


def _standing(broken: dict[str, Any]) -> str:
    """Say what stands at the place that does not fit."""
    if not broken.get("action"):
        return ""
    whose = [f"{key} {broken[key]}" for key in ("account", "app") if broken.get(key)]
    at = f"{broken['at']}, " if broken.get("at") else ""
    return f"What stands there now: {at}{', '.join([broken['action'], *whose])}"


def _limit(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST}")
    return int(text)
