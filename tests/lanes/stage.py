"""The stage of both lanes: a provider that can be watched, a home whose daemon can be killed, and what is printed.

Used by ``crash``, ``race`` and ``story``.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from broker.client import Client, ClientError
from tests.e2e.home import Home, Running, short_place

SHIPPED = Path(__file__).parents[2] / "broker/providers/presets/practice.toml"
# A start takes half a second; this is a machine in trouble.
PATIENCE = 30.0
# What must not be said on stderr whatever is killed: a traceback, and the words that stand in one's place.
NEVER_SAID = ("Traceback", "this is a bug in Keyfob", "fault of Keyfob", "never retrieved", "never awaited")


class Broken(Exception):
    """A promise that did not hold."""


def say(line: str = "") -> None:
    """Print a line at once: whoever waits wants to see how far it is."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def until(what: str, seen: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Look again and again until something is so.

    Raises:
        Broken: it is not so in time.
    """
    end = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > end:
            raise Broken(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table that reads well in a terminal and in Markdown."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


class House(Home):
    """A home whose preset knows the provider's grace, and whose daemon is killed and started again.

    Args:
        place: an empty directory with a short path.
        grace: what the preset says, in seconds.
    """

    def __init__(self, place: Path, grace: float) -> None:
        super().__init__(place)
        self.environ["KEYFOB_LOG"] = "warning"  # a line for each refresh would only be memory
        presets = place / ".config/keyfob/presets"
        presets.mkdir(parents=True)
        # [refresh] is the last section of the shipped one.
        (presets / "practice.toml").write_text(f"{SHIPPED.read_text()}reuse_grace_s = {grace:g}\n")
        self.daemon: Running | None = None

    def begin_daemon(self) -> Running:
        """Start the daemon without waiting for it."""
        self.daemon = self.begin("serve")
        return self.daemon

    def wait_for_daemon(self) -> None:
        """Wait until the daemon answers.

        Raises:
            Broken: it ended instead, or took too long.
        """
        running = self.daemon
        if running is None:
            raise Broken("no daemon was started")

        def answers() -> bool:
            if running.process.poll() is not None:
                raise Broken(f"keyfob serve ended by itself: {running.end()}")
            with contextlib.suppress(ClientError), self.client() as client:
                return client.send("GET", "/healthz").status == 200
            return False

        until("the daemon answers", answers)

    def kill_daemon(self) -> float:
        """End the daemon as a power cut would; return when, in epoch seconds."""
        if self.daemon is None:
            raise Broken("no daemon was started")
        at = time.time()
        done = self.daemon.end(signal.SIGKILL)
        if done.code != -signal.SIGKILL:
            raise Broken(f"keyfob serve had ended by itself before it was killed: {done}")
        for words in NEVER_SAID:
            if words in done.err:
                raise Broken(f"the daemon said: {done.err}")
        self._all.clear()  # it has ended: nothing is left to be closed
        return at

    def client(self) -> Client:
        """Return a client of the app socket."""
        return Client(socket=self.socket)

    def bring(self, client: Client, account: str, refresh_token: str, provider: str) -> None:
        """Give Keyfob a login that was made elsewhere; it spends the refresh token at once."""
        brought = {"flow": "refresh-token", "refresh_token": refresh_token, "account": account}
        client.request("POST", "/v1/logins", brought | {"provider": "practice", "base_url": provider})

    def accounts(self, client: Client) -> dict[str, dict[str, Any]]:
        """Return every account as the API shows it, by name."""
        return {shown["account"]: shown for shown in client.request("GET", "/v1/accounts")["accounts"]}


@contextlib.contextmanager
def house(grace: float) -> Iterator[House]:
    """Make a home in a temporary place; at the end nothing of it runs any more."""
    with short_place() as place:
        made = House(place, grace)
        try:
            yield made
        finally:
            made.close()
