"""What a person reads when the daemon refuses, or is not there.

Called by ``main``, by ``login`` for a login that the daemon ended, and by the verbs that other programs call.
"""

import os

from broker.cli import terminal
from broker.client import ClientError, LoginNeeded, NotAllowed


def report(exc: ClientError, account: str | None, *, one_line: bool = False) -> int:
    """Say what happened and every next step that is known; return the exit code.

    Args:
        exc: what the client raised.
        account: the account that the command was about, or None.
        one_line: another program asked, which shows the person one line of it or quotes it in its own error.
    """
    if one_line:
        terminal.say(f"keyfob: {sentence(exc, account)}")
    else:
        terminal.fail(exc.detail, *_hints(exc, account))
    return exc.exit_code


def sentence(exc: ClientError, account: str | None) -> str:
    """Return what happened and every next step in one line, for a program that quotes it."""
    # A step may be a command: nothing that follows is to be taken for a part of it.
    said = (part if part.endswith(".") else f"{part} -" for part in (exc.detail, *_hints(exc, account)) if part)
    return terminal.clean(" ".join(said).removesuffix(" -"))


def _hints(exc: ClientError, account: str | None) -> list[str]:
    """Return the next steps; some may be empty."""
    about = str(exc.problem.get("account") or "")
    name = account or about
    hints = [exc.hint]
    if exc.login_url and exc.login_url in str(exc):
        hints.append("" if "keyfob login" in str(exc) else f"Or begin it anew: keyfob login {name}")
    else:
        if isinstance(exc, LoginNeeded) and name:
            # Another account may be the one to log in to; then the daemon's words name it.
            hints.append("" if "keyfob login" in str(exc) else f"Run: keyfob login {name}")
        elif exc.code == "confirm_needed" and about:  # else it is another thing that wants a yes, such as a provider
            hints.append(_unless_said(exc, f"keyfob refresh {about} --confirm"))
        if exc.login_url:
            hints.append(f"Or open: {exc.login_url}")
    if exc.approval_url:
        hints.append(f"The owner can allow it at {exc.approval_url}")
    if exc.retry_after:
        hints.append(f"Try again in {terminal.span(exc.retry_after)}.")
    if isinstance(exc, NotAllowed) and exc.code != "server_not_proven":  # then nobody was asked anything
        used = [name for name in ("KEYFOB_APP_KEY", "KEYFOB_APP_KEY_FILE") if os.environ.get(name)]
        hints += [f"{used[0]} is set, so this was asked as an app and not as the owner." if used else ""]
    return hints


def _unless_said(exc: ClientError, command: str) -> str:
    """Return the command as a next step, or nothing where the daemon's own words name it already."""
    return "" if command in str(exc) else f"Run: {command}"
