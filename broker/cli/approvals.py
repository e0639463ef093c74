"""``keyfob approvals``: what programs ask for that they were not granted, and what was answered.

Called by ``main``; ``approve`` and ``deny`` use its words.
"""

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any

from broker.cli import terminal
from broker.cli.arguments import list_flags
from broker.cli.connect import connect
from broker.core.approval import STATE_WORDS


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    list_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line for each."""
    with connect() as client:
        answer = client.request("GET", "/v1/approvals")
    if args.json:
        terminal.result_json(answer)
        return 0
    if not answer["approvals"]:
        terminal.say("Nothing waits for you.")
        return 0
    now = time.time()
    rows = [
        (
            one["id"],
            STATE_WORDS.get(one["state"], one["state"]) if terminal.is_table() else one["state"],
            one["app"],
            what(one),
            terminal.moment(one["last_asked_at"], now),
        )
        for one in answer["approvals"]
    ]
    terminal.table(("CODE", "STATE", "APP", "ASKS FOR", "ASKED"), rows)
    if any(one["state"] == "pending" for one in answer["approvals"]):
        terminal.say("To answer: keyfob approve CODE, or keyfob deny CODE")
    return 0


def what(one: dict[str, Any]) -> str:
    """Return in a few words what is asked for."""
    accounts = ", ".join(wanted["account"] for wanted in one["wanted"])
    if one["kind"] == "pairing":
        return f"to become an app, with {accounts}" if accounts else "to become an app"
    return accounts


def describe(one: dict[str, Any]) -> Iterator[str]:
    """Say who asks and for what, line by line."""
    name = terminal.clean(one["app"])
    if one["kind"] == "pairing":
        yield f"A program that calls itself '{name}' wants to become an app."
        yield f"  It has to show this code: {one['id']}"
    else:
        yield f"App '{name}' asks for account '{terminal.clean(one['wanted'][0]['account'])}'."
    if (asker := one["asker"]) is not None:
        yield f"  Program  {terminal.clean(asker['executable'] or 'the kernel does not say')}{_process(asker)}"
        yield f"  User     {_user(asker['uid'])}, by the {asker['door']}"
    for wanted in one["wanted"]:
        about = f" of '{terminal.clean(wanted['account'])}'" if one["kind"] == "pairing" else ""
        yield f"  Scopes   {terminal.clean(wanted['scope']) or 'all that the login may'}{about}"
        if wanted["resource"]:
            yield f"  Only for {terminal.clean(wanted['resource'])}"
        if wanted.get("mode") == "proxy":
            yield "  How      through the proxy; it never sees the token"


def _process(asker: dict[str, Any]) -> str:
    return "" if asker["pid"] is None else f" (process {asker['pid']})"


def _user(uid: int | None) -> str:
    if uid is None:
        return "the kernel does not say"
    return f"{uid} (you)" if uid == os.getuid() else f"{uid} (not you)"
