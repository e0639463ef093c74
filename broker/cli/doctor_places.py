"""What the machine says: settings, files and their modes, the key, the disk, the clock, ports, systemd, notifications.

Called by ``doctor``, whether a daemon runs or not. Nothing is changed, no command of the settings is run, and no
provider is asked.
"""

import importlib.util
import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from broker.cli import systemctl
from broker.cli.doctor_daemon import SLACK, listens
from broker.cli.service_units import SERVICE
from broker.core.finding import Finding
from broker.errors import CannotStart, KeyfobError, Locked
from broker.settings import Settings
from broker.store.keys import FileKey
from broker.store.store import database_path

MEGABYTE = 1_000_000
# A migration copies the database, and the write-ahead log grows to a few megabytes: below this a start may fail.
LEAST_SPACE = 20 * MEGABYTE
# Time enough to do something about it.
LITTLE_SPACE = 200 * MEGABYTE
# From so many restarts on a service does not just recover from an upgrade.
MANY_RESTARTS = 3


def look(settings: Settings, now: float, *, absent: bool) -> Iterator[Finding]:
    """Look at everything that can be seen without the daemon.

    Args:
        settings: as this command reads them.
        now: epoch seconds.
        absent: no daemon runs, so that its ports should be free.
    """
    try:
        database = database_path(settings.database_url)
    except CannotStart as exc:
        yield Finding("settings", "trouble", exc.detail, exc.hint)
        return
    there = settings.config.exists()
    where = (
        f"{settings.config} and the environment"
        if there
        else f"defaults and the environment; there is no {settings.config}"
    )
    yield Finding("settings", "ok", f"Read from {where}.")
    yield from _files(settings, database)
    yield _key(settings, database)
    yield _disk(database)
    yield _clock(settings, database, now)
    if absent:
        yield from _ports(settings)
        yield from _hidden_daemon(settings)
    yield _service()
    yield _notices(settings)


def _files(settings: Settings, database: Path) -> Iterator[Finding]:
    """Judge who may look into Keyfob's places. The daemon closes its own at the start; what it refuses is trouble."""
    wrong: list[Finding] = []
    for path in dict.fromkeys((settings.config.parent, settings.key_file.parent)):
        # Whoever may write there can plant settings or a key. Reading the names harms nothing, and /etc is root's.
        wrong += _place(path, 0o022, "chmod go-w", owners=(os.geteuid(), 0))
    for path in (settings.state_dir, settings.runtime_dir):
        wrong += _place(path, 0o077, "chmod 700")
    for path in (settings.socket, settings.state_dir / "lock", *sorted(database.parent.glob(f"{database.name}*"))):
        wrong += _place(path, 0o077, "chmod 600")
    yield from wrong
    if not wrong:
        state = f"{database} is not there yet; the first start makes it" if not database.exists() else str(database)
        yield Finding("files", "ok", f"Closed to other users: {state}.")


def _place(path: Path, others: int, mend: str, *, owners: tuple[int, ...] = ()) -> Iterator[Finding]:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        yield Finding("files", "trouble", f"{path} cannot be looked at: {exc.strerror}.", "", str(path))
        return
    quoted = shlex.quote(str(path))
    if stat.S_ISLNK(found.st_mode):
        detail, step = "is a symbolic link, which Keyfob does not follow", f"Look where it leads: ls -l {quoted}"
    elif found.st_uid not in (owners or (os.geteuid(),)):
        detail = f"belongs to user {found.st_uid}, and you are user {os.geteuid()}"
        step = "Run this as the user who runs Keyfob, or give the file back to that user."
    else:
        if found.st_mode & others:
            mode = stat.S_IMODE(found.st_mode)
            yield Finding(
                "files", "warning", f"{path} is open to other users ({mode:04o}).", f"{mend} {quoted}", str(path)
            )
        return
    yield Finding("files", "trouble", f"{path} {detail}.", step, str(path))


def _key(settings: Settings, database: Path) -> Finding:
    """Judge the key source. A key command is not run: it may ask a person something."""
    match settings.key_source:
        case "file":
            if not os.path.lexists(settings.key_file) and not database.exists():
                return Finding("key", "ok", f"{settings.key_file} is not there yet; the first start makes it.")
            try:
                FileKey(settings.key_file).load()
            except Locked as exc:
                return Finding("key", "trouble", exc.detail, exc.hint)
            return Finding("key", "ok", f"{settings.key_file} can be read, by you only.")
        case "command":
            problem = _command_problem(settings.key_command)
            if problem:
                return Finding("key", "trouble", f"The key command {problem}.", "Mend KEYFOB_KEY_COMMAND.")
            return Finding("key", "ok", "It comes from a command, which was not run: it may ask you something.")
        case "secret-service":
            if importlib.util.find_spec("secretstorage") is None:
                step = "Install secretstorage beside Keyfob; with pipx: pipx inject keyfob secretstorage."
                return Finding("key", "trouble", "The package for the Secret Service is not installed.", step)
            return Finding("key", "ok", "It is in the desktop's keyring, which was not asked.")
        case "passphrase":
            return Finding("key", "ok", "It is made of a passphrase, which is in no file.")
        case _:
            return Finding("key", "ok", "systemd hands it to the service; from here it cannot be seen.")


def _command_problem(command: str) -> str:
    """Return what is wrong with a command line, as far as can be seen without running it."""
    try:
        argv = shlex.split(command)
    except ValueError as exc:
        return f"cannot be understood: {exc}"
    if not argv:
        return "is not set"
    return "" if shutil.which(argv[0]) else f"is not to be found: {argv[0]}"


def _disk(database: Path) -> Finding:
    place = next(path for path in database.parents if path.exists())
    try:
        found = os.statvfs(place)
    except OSError as exc:
        return Finding("disk", "trouble", f"{place} cannot be looked at: {exc.strerror}.", "Look at the system log.")
    free = found.f_bavail * found.f_frsize
    said = f"{free / MEGABYTE:.0f} MB are free where the database is"
    if found.f_flag & os.ST_RDONLY or not os.access(place, os.W_OK):
        return Finding(
            "disk", "trouble", f"{place} cannot be written.", "Refreshes wait until it can be. Mend the mount."
        )
    if free < LEAST_SPACE or (found.f_files and not found.f_favail):
        what = said if free < LEAST_SPACE else "No more files can be made where the database is"
        return Finding("disk", "trouble", f"{what}.", f"Make room: {place}")
    if free < LITTLE_SPACE:
        return Finding("disk", "warning", f"Only {said}.", f"Make room: {place}")
    return Finding("disk", "ok", f"{said}.")


def _clock(settings: Settings, database: Path, now: float) -> Finding:
    """Compare the clock with the newest file that Keyfob has written, and with this program's own."""
    paths = [Path(__file__), settings.key_file, settings.state_dir / "lock", *database.parent.glob(f"{database.name}*")]
    written = {path: path.stat().st_mtime for path in paths if path.exists()}
    newest = max(written, key=lambda path: written[path])
    ahead = written[newest] - now
    if ahead > SLACK:
        return Finding(
            "clock",
            "trouble",
            f"{newest} was written {ahead:.0f} s in this clock's future.",
            "Set the clock: timedatectl set-ntp true. Until then tokens may be taken for fresh that are not.",
        )
    local = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    return Finding("clock", "ok", f"{local}; no file of Keyfob is from later.")


def _ports(settings: Settings) -> Iterator[Finding]:
    for name, port in (("browser", settings.browser_port), ("app", settings.app_port)):
        if port and listens(port):
            yield Finding(
                "door",
                "trouble",
                f"Port {port} is taken by another program, and Keyfob's {name} port is to be there.",
                f"See which: ss -ltnp 'sport = :{port}'. Or move yours: KEYFOB_{name.upper()}_PORT",
                name,
            )


def _hidden_daemon(settings: Settings) -> Iterator[Finding]:
    """Find a daemon that runs with these files and does not listen where it was looked for."""
    try:
        lock = settings.state_dir / "lock"
        pid = int(lock.read_text(encoding="ascii").strip() or 0)
        held = f":{lock.stat().st_ino} " in Path("/proc/locks").read_text(encoding="ascii")
    except (OSError, ValueError):
        return
    if held and pid:
        yield Finding(
            "daemon",
            "trouble",
            f"Process {pid} is a daemon with these files, but listens elsewhere than at {settings.socket}.",
            "Set KEYFOB_SOCKET to where its log says that it listens. Without a session XDG_RUNTIME_DIR is missing.",
        )


def _service() -> Finding:
    try:
        if missing := systemctl.why_not():
            return Finding("service", "ok", f"Not a service of yours: {missing}.")
        names = "LoadState,ActiveState,SubState,UnitFileState,NRestarts"
        shown = systemctl.ask("systemctl", "--user", "show", SERVICE, f"--property={names}").stdout
        unit = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        failed = unit.get("ActiveState") == "failed"
        last_words = systemctl.last_words(SERVICE) if failed else ""
    except KeyfobError as exc:
        return Finding("service", "warning", exc.detail, exc.hint)
    state = f"{unit.get('ActiveState')} ({unit.get('SubState')})"
    if unit.get("LoadState") != "loaded":
        return Finding("service", "ok", "Not installed; to have it at every login: keyfob service install")
    if failed or unit.get("SubState") == "auto-restart":
        said = f": {last_words.rstrip('.')}" if last_words else ""
        return Finding("service", "trouble", f"The service is {state}{said}.", f"journalctl --user -u {SERVICE} -n 30")
    if unit.get("NRestarts", "0").isdigit() and int(unit.get("NRestarts", "0")) >= MANY_RESTARTS:
        often = f"The service is {state}, and was restarted {unit['NRestarts']} times by systemd."
        return Finding("service", "warning", often, f"journalctl --user -u {SERVICE} -n 100")
    if unit.get("UnitFileState") not in ("enabled", "enabled-runtime", "linked"):
        return Finding("service", "warning", f"The service is {state}, but not enabled.", "keyfob service install")
    return Finding("service", "ok", f"The service is {state}.")


def _notices(settings: Settings) -> Finding:
    """Tell how a person hears of a login that is needed."""
    if settings.notify_command:
        problem = _command_problem(settings.notify_command)
        if problem:
            return Finding("notify", "warning", f"The notify command {problem}.", "Mend KEYFOB_NOTIFY_COMMAND.")
        return Finding("notify", "ok", "By these settings a command is run when an account needs you.")
    if settings.notify_desktop == "on" and shutil.which("notify-send"):
        return Finding("notify", "ok", "By these settings the desktop tells when an account needs you.")
    return Finding(
        "notify", "ok", "By these settings nobody is told when an account needs you: see KEYFOB_NOTIFY_COMMAND."
    )
