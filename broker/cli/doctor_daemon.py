"""What the daemon says of itself and of the accounts, or why it says nothing.

Called by ``doctor``.
"""

import os
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from broker import __version__
from broker.cli import terminal
from broker.cli.accounts import standing
from broker.cli.connect import connect
from broker.client import ClientError, DaemonNotRunning, NotAllowed
from broker.core.finding import Finding, Level
from broker.errors import CannotStart

# A daemon that is well answers in milliseconds; one that needs longer than this is what the doctor looks for.
PATIENCE = 5.0
# The scheduler looks at least every 37 s; three missed looks mean that it is gone, not late.
LATE = 120.0
# A clock may be a little behind the one that wrote a time: rounding, and a correction that is under way.
SLACK = 120.0
# The states that mend themselves, and the one in which a person is busy already.
PASSING = ("refreshing-failed", "uncertain", "pending")
WELL = ("active", "static")


class Answers:
    """What the daemon answered.

    Attributes:
        status: of ``/v1/status``; None where it gave none.
        accounts: of ``/v1/accounts``; None where it gave none.
        absent: nothing listens at all.
        findings: what there is to say about asking it.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = None
        self.accounts: list[dict[str, Any]] | None = None
        self.absent = False
        self.findings: list[Finding] = []


def ask() -> Answers:
    """Ask the daemon how it is. It is asked for nothing that would make it ask a provider."""
    answers = Answers()
    try:
        with connect() as client:
            answers.status = client.request("GET", "/v1/status", timeout=PATIENCE)
            answers.accounts = client.request("GET", "/v1/accounts", timeout=PATIENCE)["accounts"]
    except DaemonNotRunning as exc:
        answers.absent = True
        answers.findings.append(Finding("daemon", "trouble", exc.detail, exc.hint))
    except NotAllowed as exc:
        keys = [name for name in ("KEYFOB_APP_KEY", "KEYFOB_APP_KEY_FILE") if os.environ.get(name)]
        as_app = bool(keys) and exc.code != "server_not_proven"  # else the key was not sent
        step = f"Unset {keys[0]}: with it you are an app, not the owner." if as_app else exc.hint
        answers.findings.append(Finding("daemon", "trouble", exc.detail, step))
    except ClientError as exc:
        answers.findings.append(Finding("daemon", "trouble", exc.detail, exc.hint or "Look at its log."))
    except CannotStart as exc:
        answers.findings.append(Finding("daemon", "trouble", "It was not asked: the settings do not tell where it is."))
        answers.findings.append(Finding("settings", "trouble", exc.detail, exc.hint))
    return answers


def look(status: dict[str, Any], now: float) -> Iterator[Finding]:
    """Judge what the daemon says of itself.

    Args:
        status: what ``/v1/status`` told.
        now: epoch seconds.
    """
    version, doors = status["version"], status["doors"]
    yield Finding("daemon", "ok", f"Keyfob {version} answers at {doors.get('socket')} (process {status['pid']}).")
    if version == __version__:
        yield Finding("version", "ok", f"The daemon and this command are both {version}.")
    else:
        yield Finding(
            "version",
            "warning",
            f"The daemon is Keyfob {version}, this command is {__version__}.",
            "Restart the daemon; as a service: systemctl --user restart keyfob",
        )
    yield from _state(status)
    yield _scheduler(status["scheduler"], now)
    yield from _doors(doors)


def _state(status: dict[str, Any]) -> Iterator[Finding]:
    if status["state"] == "ok":
        yield Finding("state", "ok", "The database answers, and the secrets can be opened.")
    for reason in status["reasons"]:
        step = "Mend that, then: keyfob unlock" if status["state"] == "locked" and "keyfob unlock" not in reason else ""
        yield Finding("state", "trouble", f"The daemon is {status['state']}: {reason}", step)


def _scheduler(scheduler: dict[str, Any], now: float) -> Finding:
    ahead, due = _seconds(scheduler["next_tick_at"], now), scheduler["due"]
    if abs(ahead) > LATE:
        how = f"{-ahead:.0f} s ago" if ahead < 0 else f"only in {ahead:.0f} s"
        return Finding(
            "scheduler",
            "trouble",
            f"The scheduler wanted to look for due refreshes {how}.",
            "If the clock was not set just now, restart the daemon.",
        )
    return Finding("scheduler", "ok", f"Refreshes are looked after; {due} due now.")


def _doors(doors: dict[str, str]) -> Iterator[Finding]:
    for name in ("app", "browser"):
        url = urlsplit(doors.get(name, ""))
        if not url.hostname or not url.port:
            continue
        if listens(url.port, url.hostname):
            yield Finding("door", "ok", f"The {name} port answers at {url.netloc}.", about=name)
        else:
            yield Finding(
                "door",
                "trouble",
                f"The {name} port does not answer at {url.netloc}.",
                "Look for a firewall on this machine, then restart the daemon.",
                name,
            )


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens at a port of this machine."""
    with socket.socket() as knock:
        knock.settimeout(PATIENCE)
        return knock.connect_ex((host, port)) == 0


def judge(accounts: list[dict[str, Any]], now: float) -> Iterator[Finding]:
    """Judge each account that is not well, and count the others.

    Args:
        accounts: what ``/v1/accounts`` told.
        now: epoch seconds.
    """
    well = 0
    for account in accounts:
        name, state, step = account["account"], account["state"], account.get("next_step") or ""
        if state in WELL and not step:
            well += 1
            continue
        if state in WELL and (ends := terminal.when(account.get("expires_at"), now)):
            over = terminal.is_past(account["expires_at"], now)
            detail = f"{name}: its token {'expired' if over else 'ends'} {ends}, and nothing can renew it."
            yield Finding("account", "trouble" if over else "warning", detail, step, name)
            continue
        level: Level = "warning" if state in PASSING else "trouble"
        reason = f" {account['reason']}" if account.get("reason") else ""
        yield Finding("account", level, f"{name}: {standing(account, now)}.{reason}", step, name)
    if not accounts:
        yield Finding("accounts", "ok", "There are none yet. Log in: keyfob login --provider NAME-OR-ISSUER-URL")
    elif well:
        yield Finding("accounts", "ok", f"{well} of {len(accounts)} {'is' if well == 1 else 'are'} well.")


def set_back(accounts: list[dict[str, Any]], now: float) -> Iterator[Finding]:
    """Tell whether something happened to an account in what the clock takes for the future."""
    for account in accounts:
        ahead = max(_seconds(account.get(key), now) for key in ("since", "last_refresh_at", "last_used_at"))
        if ahead > SLACK:
            detail = f"Account '{account['account']}' was last changed {ahead:.0f} s in this clock's future."
            step = "Set the clock: timedatectl set-ntp true. Until then tokens may be taken for fresh that are not."
            yield Finding("clock", "trouble", detail, step)
            return


def _seconds(moment: object, now: float) -> float:
    """Return how far a time of the API lies ahead; 0 for none."""
    try:
        return datetime.fromisoformat(str(moment)).timestamp() - now
    except ValueError:
        return 0.0
