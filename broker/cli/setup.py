"""``keyfob setup TOOL ACCOUNT``: tell another program to ask Keyfob, and take that back.

Called by ``main``. What belongs into which file is said by ``broker.integrations.setup``; here a person sees it, says
yes, and gets what was there before with ``--undo``.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from broker import settings
from broker.cli import setup_app, setup_files, terminal
from broker.cli.arguments import account_name, subverbs
from broker.cli.connect import connect
from broker.cli.service import own_program
from broker.cli.setup_options import TOOLS, options
from broker.cli.setup_record import Record
from broker.client import Client, quote
from broker.integrations.setup.changes import Change
from broker.integrations.setup.plan import App, Asked, Plan

# Stands in what is shown before a key was made.
TO_COME = "made-when-this-is-written"

# With these the command that another program runs may find another daemon than this one.
ELSEWHERE = ("KEYFOB_SOCKET", "KEYFOB_URL", "KEYFOB_RUNTIME_DIR", "KEYFOB_CONFIG")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the programs."""
    subverbs(parser, ACTIONS, "tool")


def run(args: argparse.Namespace) -> int:
    """Do it for the chosen program."""
    code: int = args.action(args)
    return code


def _configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of one program, whose name is the last word of the parser's."""
    account_name(parser)
    tool = parser.prog.rpartition(" ")[2]
    options(parser, tool)
    how = parser.add_mutually_exclusive_group()
    only_print = "print it, and write it nowhere"
    if TOOLS[tool].has_app:  # what is printed is worth nothing without a key
        only_print = "print it, and change nothing; an app and its key are made if there are none"
    how.add_argument("--print", action="store_true", dest="only_print", help=only_print)
    how.add_argument("--undo", action="store_true", help="take away what this command wrote, and nothing else")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(tool=tool)


def _run(args: argparse.Namespace) -> int:
    config = settings.read(os.environ).config.absolute().parent
    record = Record.load(config / "setup", args.tool, args.account)
    if args.undo:
        return _undo(args, record)
    with connect() as client:
        asked = _asked(client, args, config / "setup")
        return _print(client, asked, record) if args.only_print else _write(client, asked, record, yes=args.yes)


def _asked(client: Client, args: argparse.Namespace, own: Path) -> Asked:
    """Return what the plan is made from, of the command line, the daemon and the environment.

    Raises:
        ClientError: no such account; or it cannot serve this program.
    """
    module = _module(args.tool)
    account = client.request("GET", f"/v1/accounts/{quote(args.account)}")
    doors = client.request("GET", "/v1/status")["doors"]
    said = {name: str(getattr(args, name)) for name in TOOLS[args.tool].options if getattr(args, name, None)}
    label = str((account.get("identity") or {}).get("label") or "")
    if "user" in TOOLS[args.tool].defaults and "@" in label:
        said.setdefault("user", label)
    if "url" in TOOLS[args.tool].defaults and account.get("resource"):
        said.setdefault("url", account["resource"])
    told: dict[str, Any] = {"app_url": doors["app"], "agent": doors.get("oidc") or "", "options": said}
    if TOOLS[args.tool].has_file:
        named = Path(args.file).expanduser() if args.file else module.where(os.environ, _home())
        told["file"] = str(named.absolute())
    if hasattr(module, "told"):
        told |= module.told(client, account, said)
    if account["state"] in ("needs-login", "pending"):
        terminal.say(terminal.clean(f"Account '{args.account}' needs a login first: keyfob login {args.account}"))
    return Asked(args.tool, account["account"], str(own_program(sys.argv[0])), str(own), **told)


def _print(client: Client, asked: Asked, record: Record) -> int:
    """Print everything, and change nothing that is there."""
    plan = _printed(client, asked, record)
    for one in plan.variables:
        terminal.result(f"{one.name}={one.value}")
        if one.secret:
            terminal.say(f"The line {one.name}=... holds a secret: whoever has it gets this account's tokens.")
    for change in plan.changes:
        if not change.path.endswith(".env"):  # that is the variables
            terminal.result(f"# {change.path}\n{change.shown()}".removesuffix("\n"))
    if plan.paste:
        terminal.result(plan.paste.removesuffix("\n"))
    _tell(plan, commands=False)
    return 0


def _printed(client: Client, asked: Asked, record: Record) -> Plan:
    """Return the plan, with a key that is good: the one that is kept; where nothing is there yet, it is made.

    Without a key the printed lines would be worth nothing, and this is how a script gets them.

    Raises:
        Conflict: something would have to be changed or written over.
    """
    plan = _plan(asked)
    app, last = plan.app, record.asked
    if app is None:
        return plan
    # Asked before the key is: one for the other form is not good in this one, and would look like a dead one.
    if last is not None and (former := _plan(last).app) is not None:
        setup_app.same_form(app, former, asked)
    if key := setup_app.key_of(app, asked):
        return _plan(asked, key)
    named = {one.value for one in plan.variables}
    setup_app.nothing_there(app, named, known=last is not None)
    plan = _plan(asked, setup_app.make(client, app, asked, lambda: record.save(asked, app), ours=False))
    needed = [change for change in plan.changes if change.path in named]
    _carry_out(setup_files.steps(needed, (), record), record, asked, app)
    terminal.say(f"App '{app.name}' was made, and its key in {app.file}; --undo takes them away.")
    return plan


def _write(client: Client, asked: Asked, record: Record, *, yes: bool) -> int:
    plan, last = _plan(asked), _planned(record)
    app, key = plan.app, setup_app.key_of(plan.app, asked) if plan.app else ""
    steps = setup_files.steps(_plan(asked, key or TO_COME).changes, last, record)
    if (key or app is None) and not any(step.changes for step in steps):
        terminal.say(f"Nothing to change: {asked.tool} gets the tokens of '{asked.account}' already.")
        _tell(plan, commands=True)
        return 0
    renewed = app is not None and not key and setup_app.is_there(client, app, ours=record.app == app.name)
    _show(steps)
    if app is not None and not key:
        what = "gets another key, and the one that it has ends; the new one" if renewed else "is made for it; its key"
        terminal.say(f"App '{app.name}' {what} goes to {app.file}")
    # Without a key, or with that of another form, --print would do more than look, or refuse.
    otherwise = "Add --yes, or only look: --print" if key or app is None else "Add --yes."
    if code := _refused("Write this?", otherwise, yes=yes):
        return code
    if app is not None and not key:
        plan, _ = _with_key(client, asked, record)
        steps = setup_files.steps(plan.changes, last, record)
    _carry_out(steps, record, asked, app)
    _tell(plan, commands=True)
    for name in (name for name in ELSEWHERE if app is None and os.environ.get(name)):
        terminal.say(f"{name} is set here; where {asked.tool} does not have it, it asks at another place.")
    terminal.say(f"To take it back: keyfob setup {asked.tool} {asked.account} --undo")
    return 0


def _undo(args: argparse.Namespace, record: Record) -> int:
    if record.asked is None:
        account = terminal.clean(args.account)
        terminal.say(f"There is nothing to undo: 'keyfob setup {args.tool} {account}' wrote nothing here.")
        return 0
    plan = _plan(record.asked)
    steps = setup_files.steps_back(plan.changes, record)
    _show(steps)
    if plan.app is not None:
        terminal.say(f"App '{plan.app.name}' goes, and with it its key.")
    if code := _refused("Take this away?", "Add --yes.", yes=args.yes):
        return code
    if plan.app is not None:
        with connect() as client:
            setup_app.end(client, plan.app)
    setup_files.write(steps, record)
    record.forget()
    terminal.say(f"Undone: {args.tool} asks for no token of '{terminal.clean(args.account)}' any more.")
    return 0


def _plan(asked: Asked, key: str = TO_COME) -> Plan:
    made: Plan = _module(asked.tool).plan(asked, key)
    return made


def _planned(record: Record) -> tuple[Change, ...]:
    """Return what was done the last time."""
    return _plan(record.asked).changes if record.asked else ()


def _with_key(client: Client, asked: Asked, record: Record) -> tuple[Plan, App | None]:
    """Return the plan, with the key of its app, which is made where it is not there; and that app."""
    app = _plan(asked).app
    if app is None:
        return _plan(asked), None
    key = setup_app.key_of(app, asked)
    if not key:
        key = setup_app.make(
            client, app, asked, lambda: record.save(record.asked or asked, app), ours=record.app == app.name
        )
    return _plan(asked, key), app


def _carry_out(steps: list[setup_files.Step], record: Record, asked: Asked, app: App | None) -> None:
    """Write, and remember what was written, if it is only a part."""
    try:
        setup_files.write(steps, record)
    finally:
        record.save(asked, app)


def _show(steps: list[setup_files.Step]) -> None:
    for step in steps:
        for line in setup_files.difference(step):
            terminal.say(terminal.clean(line.expandtabs(4)))


def _refused(question: str, otherwise: str, *, yes: bool) -> int:
    """Ask the person; return 0 for a yes, else what the command ends with."""
    if yes:
        return 0
    if not sys.stdin.isatty():
        terminal.fail("Nothing was changed: no terminal is here to say yes at.", otherwise)
        return 2
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return 0
    terminal.say("Nothing was changed.")
    return 1


def _tell(plan: Plan, *, commands: bool) -> None:
    """Say what the person has to know; what is a result goes to stdout."""
    for note in plan.notes:
        terminal.say(terminal.clean(note))
    if not commands:
        return
    for one in plan.variables:
        if not one.secret:
            terminal.result(f"{one.name}={one.value}")
    if plan.paste:
        terminal.result(plan.paste.removesuffix("\n"))
    for command in plan.commands:
        terminal.say(f"  {terminal.clean(command)}")


def _module(tool: str) -> Any:  # noqa: ANN401 -- a module with ``plan``, and perhaps ``where`` and ``told``
    return importlib.import_module(f"broker.integrations.setup.{tool.replace('-', '_')}")


def _home() -> Path:
    return Path(os.environ.get("HOME") or Path.home())


ACTIONS = {name: (tool.summary, _configure, _run) for name, tool in TOOLS.items()}
