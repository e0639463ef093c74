"""How long the owner's page takes with a thousand accounts, against the same page with three, in the same run.

Started by ``benchmarks``. A daemon and a practice provider in a temporary place; the accounts are copies of a real
login in the real store. Takes about half a minute.
"""

import asyncio
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.fill import fill
from benchmarks.run import KEYFOB, answers, environment, log_in, practice, process, until
from benchmarks.table import compare
from broker import settings
from broker.client import Client

FEW, MANY = 3, 1000
ROUNDS = 40


class Page:
    """The owner's page, signed in, over a connection that is kept."""

    def __init__(self, client: Client) -> None:
        url = urlsplit(client.request("POST", "/v1/session", {})["url"])
        self._origin = f"{url.scheme}://{url.netloc}"
        self._line = http.client.HTTPConnection(url.hostname or "", url.port)
        said = self._ask("POST", "/ui/session", json.dumps({"ticket": url.fragment.removeprefix("s=")}))
        self._session = json.loads(said)["session"]

    def _ask(self, method: str, path: str, body: str | None = None, session: str = "") -> bytes:
        headers = {"Origin": self._origin, "Content-Type": "application/json", "Authorization": f"Bearer {session}"}
        self._line.request(method, path, body, headers)
        with self._line.getresponse() as answer:
            said = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"{method} {path}: {answer.status} {said.decode()}")
        return said

    def get(self, path: str) -> bytes:
        """Return what the page shows there."""
        return self._ask("GET", path, session=self._session)

    def seconds(self, path: str) -> float:
        """Return the median of what an answer takes."""
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            self.get(path)
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)


def measure(number: int) -> dict[str, float]:
    """Return what the pages take with so many accounts, seconds."""
    with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as place:
        ours = str(Path(place, "run/keyfob.sock"))
        environ = environment(place)
        with practice(environ) as provider:
            with process([KEYFOB, "serve"], environ):
                until(lambda: answers(ours), "the daemon")
                log_in(Client(socket=ours), "work", provider)
            read = settings.read(environ)
            asyncio.run(fill(read.database_url, read.key_file, number, "account"))
            with process([KEYFOB, "serve"], environ):
                until(lambda: answers(ours), "the daemon")
                page = Page(Client(socket=ours))
                return {
                    "first page": page.seconds("/ui/parts/overview"),
                    "search": page.seconds("/ui/parts/overview?q=account-7"),
                    "one account": page.seconds("/ui/parts/accounts/work"),
                    "apps": page.seconds("/ui/parts/apps"),
                    "settings": page.seconds("/ui/parts/settings"),
                }


def main() -> None:
    """Measure and print."""
    many, few = measure(MANY), measure(FEW)
    for name, seconds in many.items():
        compare(f"{name}, {MANY} accounts", 1e3 * seconds, f"with {FEW} accounts", 1e3 * few[name], "ms")


if __name__ == "__main__":
    main()
