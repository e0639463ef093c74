"""``keyfob service install|uninstall``: Keyfob as a service of the user's systemd.

Called by ``main``. Where no user manager runs (a container, another system) the units are written all the same, and a
person is told what to do.
"""

import argparse
import getpass
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from broker import settings
from broker.cli import service_units, systemctl, terminal
from broker.cli.service_units import RUNTIME, SERVICE, SOCKET
from broker.client import Client, ClientError, DaemonNotRunning
from broker.errors import CannotStart, Conflict, KeyfobError

# The unit is Type=notify, so the doors are open when systemctl returns; this only covers a loaded machine.
ANSWER_WITHIN = 10.0
PAUSE = 0.1
OK = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the two verbs and their flags."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="install|uninstall")
    install = verbs.add_parser("install", help="write the user units, start the daemon now and at every login")
    install.add_argument("--print", action="store_true", dest="only_print", help="print the units; change nothing")
    install.add_argument("--system", action="store_true", help="print the unit for a whole machine; change nothing")
    install.add_argument("--force", action="store_true", help="overwrite a unit that was edited by hand")
    uninstall = verbs.add_parser("uninstall", help="stop the daemon and remove its units; logins are kept")
    uninstall.add_argument("--force", action="store_true", help="remove a unit that was edited by hand")


def run(args: argparse.Namespace) -> int:
    """Install or uninstall.

    Raises:
        CannotStart: a setting or path is in the way, or this command's own program is not to be found.
        Conflict: a unit was edited by hand, or a daemon runs outside systemd.
        KeyfobError: systemd refuses.
    """
    if args.action == "uninstall":
        return _uninstall(force=args.force)
    program = own_program(sys.argv[0])
    if args.system:
        terminal.result(f"# /etc/systemd/system/{SERVICE}\n{service_units.system_unit(program)}".rstrip())
        if program.is_relative_to(Path.home()):
            terminal.say(f"The unit cannot see {program}, which is in a home: install Keyfob for all users first.")
        return 0
    fitting = _user_settings()
    if args.only_print:
        for name, text in service_units.user_units(program, fitting, os.environ, sandbox=True).items():
            terminal.result(f"# {_unit_directory() / name}\n{text}")
        return 0
    return _install(program, fitting, force=args.force)


def own_program(argv0: str) -> Path:
    """Return the absolute path of the keyfob command that runs now. Links are kept: they outlive an upgrade.

    Raises:
        CannotStart: there is none.
    """
    for path in (Path(argv0), Path(sysconfig.get_path("scripts")) / "keyfob"):
        if path.name == "keyfob" and path.is_file() and os.access(path, os.X_OK):
            return path.absolute()
    raise CannotStart("The keyfob command itself is not to be found.", "Install Keyfob, for example: pipx install .")


def _install(program: Path, fitting: settings.Settings, *, force: bool) -> int:
    missing = systemctl.why_not()
    sandbox = not missing and systemctl.sandbox_holds()
    units = service_units.user_units(program, fitting, os.environ, sandbox=sandbox or bool(missing))
    _refuse_edited(units, force=force)
    socket = settings.read(os.environ).socket
    if not missing:
        _refuse_foreign_daemon(socket)
    changed = [name for name, text in units.items() if _write(_unit_directory() / name, text)]
    for name in units:
        terminal.say(f"{'Wrote' if name in changed else 'Unchanged:'} {_unit_directory() / name}")
    for name in service_units.kept_back(os.environ):
        terminal.say(f"{name} holds a password and was not written: put http_proxy into {fitting.config} instead.")
    if missing:
        terminal.say(f"Nothing was started: {missing}.")
        terminal.say("  Where systemd runs:")
        terminal.say("      systemctl --user daemon-reload")
        terminal.say(f"      systemctl --user enable --now {SOCKET} {SERVICE}")
        terminal.say("  Anywhere else:")
        terminal.say(f"      {program} serve")
        return 0
    if not sandbox:
        terminal.say("User namespaces are not to be had here; the part of the sandbox that needs them was left out.")
    _start(changed)
    _await(socket)
    terminal.say(f"Keyfob runs, and starts by itself when you log in. Programs find it at {socket}.")
    terminal.say("  How it is:       keyfob status    and    systemctl --user status keyfob")
    terminal.say("  First login:     keyfob login ACCOUNT --provider NAME-OR-ISSUER-URL")
    if not Path("/var/lib/systemd/linger", getpass.getuser()).exists():
        terminal.say("  It ends with your last session; to keep it running:  loginctl enable-linger")
    return 0


def _uninstall(*, force: bool) -> int:
    paths = [path for path in (_unit_directory() / SERVICE, _unit_directory() / SOCKET) if os.path.lexists(path)]
    if not paths:
        terminal.say(f"There is nothing to remove: no Keyfob unit in {_unit_directory()}.")
        return 0
    _refuse_edited(dict.fromkeys(path.name for path in paths), force=force)
    missing = systemctl.why_not()
    if not missing:
        systemctl.do("disable", "--now", *(path.name for path in paths))
    for path in paths:
        path.unlink()
        for wanted in (path.parent / target / path.name for target in ("default.target.wants", "sockets.target.wants")):
            if wanted.is_symlink():  # the links of `enable`, where no manager could be asked to remove them
                wanted.unlink()
        terminal.say(f"Removed {path}")
    if missing:
        terminal.say(f"If a daemon runs, it still does: {missing}.")
    else:
        systemctl.do("daemon-reload")
    _say_what_stays()
    return 0


def _say_what_stays() -> None:
    try:
        kept = settings.read(os.environ)
    except CannotStart:  # a broken configuration must not keep anybody from uninstalling
        terminal.say("Your logins, the configuration and the key were kept.")
        return
    kept_paths = [path for path in (kept.state_dir, kept.config.parent) if path.exists()]
    if kept_paths:
        terminal.say(f"Kept, with your logins in it: {' and '.join(map(str, kept_paths))}")


def _user_settings() -> settings.Settings:
    """Read the settings as the service will find them."""
    return settings.read({**os.environ, "XDG_RUNTIME_DIR": RUNTIME})


def _unit_directory() -> Path:
    return Path(os.environ.get("HOME") or Path.home()) / ".config/systemd/user"


def _refuse_edited(units: Mapping[str, object], *, force: bool) -> None:
    for name in units:
        path = _unit_directory() / name
        if force or not os.path.lexists(path):
            continue
        try:
            ours = not path.is_symlink() and service_units.is_ours(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise CannotStart(f"The unit {path} cannot be read: {exc}.", "Look at it, or use --force.") from exc
        if not ours:
            raise Conflict(
                f"The unit {path} was not written by this command, or was edited since.",
                "Move your lines to 'systemctl --user edit keyfob' and use --force.",
            )


def _refuse_foreign_daemon(socket: Path) -> None:
    """Refuse to take the socket from a daemon that was started by hand: systemd would do so without a word."""
    if systemctl.is_active(SOCKET) or systemctl.is_active(SERVICE):
        return
    who = ""
    try:
        with Client(socket=socket) as client:
            status = client.request("GET", "/v1/status", timeout=ANSWER_WITHIN)
            who = f" (process {status['pid']})" if isinstance(status, dict) and "pid" in status else ""
    except DaemonNotRunning:
        return
    except ClientError as exc:  # somebody answers, which is all that matters here
        who = f" ({exc.detail})"
    raise Conflict(
        f"A Keyfob daemon that systemd did not start answers at {socket}{who}.",
        "Stop it (Ctrl-C, or kill that process), then install again. Its logins stay.",
    )


def _write(path: Path, text: str) -> bool:
    """Write a unit, whole or not at all; return whether it changed."""
    try:
        if not path.is_symlink() and path.is_file() and path.read_bytes() == text.encode():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", encoding="utf-8", delete=False) as draft:
            draft.write(text)
        Path(draft.name).replace(path)
    except OSError as exc:
        raise CannotStart(f"The unit {path} cannot be written: {exc.strerror}.", "Mend that, or use --print.") from exc
    return True


def _start(changed: list[str]) -> None:
    systemctl.do("daemon-reload")
    if changed:
        # A socket whose service runs cannot be opened anew, and the service would keep its old settings.
        systemctl.do("stop", SERVICE, SOCKET)
    systemctl.do("enable", "--quiet", SOCKET, SERVICE)
    systemctl.do("start", SOCKET)
    if systemctl.ask("systemctl", "--user", "start", SERVICE).returncode != 0:
        why = systemctl.last_words(SERVICE)
        raise KeyfobError(
            f"The service does not start{': ' + why.rstrip('.') if why else ''}.",
            f"See why: journalctl --user -u {SERVICE} -n 30    or in the foreground: keyfob serve",
        )


def _await(socket: Path) -> None:
    deadline = time.monotonic() + ANSWER_WITHIN
    while True:
        try:
            with Client(socket=socket) as client:
                if client.send("GET", "/healthz", timeout=ANSWER_WITHIN).status == OK:
                    return
        except ClientError as exc:
            if time.monotonic() > deadline:
                raise KeyfobError(
                    f"The service was started, but nothing answers at {socket}: {exc.detail}",
                    "Look at: systemctl --user status keyfob",
                ) from exc
        if time.monotonic() > deadline:
            raise KeyfobError(
                f"The service was started, but what answers at {socket} is not well.",
                "Look at: systemctl --user status keyfob",
            )
        time.sleep(PAUSE)
