"""How Keyfob talks to the systemd that runs for this user.

Called by ``service``.
"""

import shutil
import subprocess
from pathlib import Path

from broker.cli import terminal
from broker.errors import KeyfobError

# A start that needs longer is ended by systemd itself (TimeoutStartSec=, 90 s by default); this is for a hung manager.
PATIENCE = 120.0
# What the unit's last block needs most, in the form of a question: does a home directory become read-only?
PROBE = (
    *("PrivateUsers=yes", "CapabilityBoundingSet=", "PrivateDevices=yes", "PrivateTmp=yes", "ProtectProc=invisible"),
    *("ProtectKernelLogs=yes", "ProtectKernelTunables=yes", "ProtectSystem=strict", "ProtectHome=read-only"),
)


def why_not() -> str:
    """Return why the user's service manager cannot be asked, or nothing where it can."""
    if not shutil.which("systemctl"):
        return "there is no systemd on this machine"
    answer = ask("systemctl", "--user", "show-environment")
    if answer.returncode == 0:
        return ""
    said = terminal.clean(answer.stderr.strip().splitlines()[-1]) if answer.stderr.strip() else "it does not answer"
    return f"no systemd user manager runs for you ({said.rstrip('.')})"


def sandbox_holds() -> bool:
    """Whether the part of the sandbox works that needs user namespaces.

    Some systems forbid them; on some of those the service would not start, on others the lines silently do nothing.
    """
    if not shutil.which("systemd-run"):
        return False
    properties = [word for name in PROBE for word in ("--property", name)]
    probe = ("test", "!", "-w", str(Path.home()))
    return ask("systemd-run", "--user", "--wait", "--collect", "--quiet", *properties, *probe).returncode == 0


def is_active(unit: str) -> bool:
    """Whether the unit runs, or listens."""
    return ask("systemctl", "--user", "is-active", "--quiet", unit).returncode == 0


def do(*words: str) -> None:
    """Give the user manager an order.

    Raises:
        KeyfobError: it refuses.
    """
    answer = ask("systemctl", "--user", *words)
    if answer.returncode != 0:
        raise KeyfobError(
            f"systemctl --user {' '.join(words)} failed: {answer.stderr.strip().rstrip('.') or answer.returncode}.",
            "Mend that and run this command again; it takes up where it was.",
        )


def last_words(unit: str) -> str:
    """Return what the unit's program said about its failure a moment ago, or nothing where that cannot be known."""
    status = ask("systemctl", "--user", "show", "--property=StatusText", "--value", unit).stdout.strip()
    if status or not shutil.which("journalctl"):
        return status
    log = ask(
        *("journalctl", "--user", "--quiet", "--no-pager", "--output=cat", "--since=-30s"), f"_SYSTEMD_USER_UNIT={unit}"
    )
    said = [line.removeprefix("keyfob: ") for line in log.stdout.splitlines() if line.startswith("keyfob: ")]
    return said[-1] if said else ""


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of systemd's and return what came of it.

    Raises:
        KeyfobError: it cannot be run, or hangs.
    """
    try:
        return subprocess.run(  # noqa: S603 -- our own words, no shell
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise KeyfobError(
            f"{' '.join(words[:3])} did not answer within {PATIENCE:.0f} s.", "Look at: systemctl --user status"
        ) from exc
    except OSError as exc:
        raise KeyfobError(f"{words[0]} cannot be run: {exc.strerror}.", "Mend that, or use --print.") from exc
