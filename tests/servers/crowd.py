"""Many requests at the same moment, from a process of its own: ``python -m tests.servers.crowd``, by ``walk_race``.

The first line of stdin is JSON and says what to do; the word ``ready`` is printed when everything stands in line, the
next line of stdin starts it, each request that has left prints ``sent``, and the last line is the outcome as JSON.
The standard library only: there are eight of these.
"""

import http.client
import json
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

# A walk gives up on a process before that.
PATIENCE = 60.0


class Line(http.client.HTTPConnection):
    """A connection through a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """See http.client."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Crowd:
    """The requests of one process, a thread each.

    Args:
        count: how many.
        one: makes one of them, given its number and what to call when the request has left; returns the token.
    """

    def __init__(self, count: int, one: Callable[[int, Callable[[], None]], str]) -> None:
        self._one = one
        self._go, self._lock = threading.Event(), threading.Lock()
        self.tokens: list[str] = []
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def run(self) -> None:
        """Stand in line, wait for the word, go."""
        for thread in self._threads:
            thread.start()
        self.say("ready")
        sys.stdin.readline()
        self._go.set()
        for thread in self._threads:
            thread.join()
        self.say(json.dumps({"tokens": self.tokens, "errors": self.errors}))

    def say(self, word: str) -> None:
        """Print a line at once."""
        with self._lock:
            sys.stdout.write(f"{word}\n")
            sys.stdout.flush()

    def _run(self, number: int) -> None:
        self._go.wait()
        try:
            self.tokens.append(self._one(number, lambda: self.say("sent")))
        except (
            OSError,
            http.client.HTTPException,
            ValueError,
            KeyError,
        ) as exc:  # whatever it was, it brought no token
            self.errors.append(f"{type(exc).__name__}: {exc}")


def from_keyfob(plan: dict[str, Any]) -> Callable[[int, Callable[[], None]], str]:
    """Ask the daemon: every other request at its socket, the rest at its port with an app key."""
    wish = f"?min_ttl={plan['min_ttl']:g}" if plan["min_ttl"] else ""

    def one(number: int, sent: Callable[[], None]) -> str:
        if number % 2:
            line: http.client.HTTPConnection = Line(plan["socket"])
            headers = {}
        else:
            line = http.client.HTTPConnection(urlsplit(plan["url"]).netloc, timeout=PATIENCE)
            headers = {"Authorization": f"Bearer {plan['key']}"}
        line.request("GET", f"/v1/accounts/{plan['account']}/token{wish}", headers=headers)
        sent()
        return str(_answer(line)["access_token"])

    return one


def from_file(plan: dict[str, Any]) -> Callable[[int, Callable[[], None]], str]:
    """Read the shared file, refresh, write the file back: what tools do without a broker."""
    shared = Path(plan["file"])

    def one(_number: int, sent: Callable[[], None]) -> str:
        endpoint = urlsplit(plan["token_endpoint"])
        kept = json.loads(shared.read_text())
        form = {"grant_type": "refresh_token", "client_id": "native", "refresh_token": kept["refresh_token"]}
        line = http.client.HTTPConnection(endpoint.netloc, timeout=PATIENCE)
        line.request("POST", endpoint.path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
        sent()
        told = _answer(line)
        fresh = shared.with_name(f"{shared.name}.{threading.get_native_id()}")
        fresh.write_text(json.dumps(told))
        fresh.replace(shared)
        return str(told["access_token"])

    return one


def _answer(line: http.client.HTTPConnection) -> dict[str, Any]:
    try:
        answer = line.getresponse()
        body = answer.read().decode()
    finally:
        line.close()
    if answer.status != http.client.OK:
        raise OSError(f"HTTP {answer.status} {body[:300]}")
    told: dict[str, Any] = json.loads(body)
    return told


def main() -> None:
    """Be one process of the crowd."""
    plan = json.loads(sys.stdin.readline())
    Crowd(plan["count"], from_file(plan) if "file" in plan else from_keyfob(plan)).run()


if __name__ == "__main__":
    main()
