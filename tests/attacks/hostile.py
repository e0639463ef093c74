"""A provider that is a raw server, and a daemon that waits for one that drips.

Used by the tests of hostile answers; made by ``conftest``.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx2

from tests.attacks.ground import Ground, new_ground
from tests.e2e.home import PATIENCE
from tests.oauth.loopback import Loopback

# A whole exchange may take 20 s; a little more is a slow machine.
EXCHANGE = 20.0


class Hostile:
    """A provider that says what it is told, and what came of a login there."""

    def __init__(self, ground: Ground, server: Loopback) -> None:
        self.ground, self.server = ground, server
        self.name = f"hostile-{secrets.token_hex(4)}"
        added = {
            "name": self.name,
            "token_endpoint": f"{server.url}/token",
            "authorization_endpoint": f"{server.url}/authorize",
            "client_id": "x",
        }
        answer = ground.post("/v1/providers", json=added)
        assert answer.status_code == 201, answer.text

    def bring(self) -> httpx2.Response:
        """Bring a refresh token along, which goes to the token endpoint at once."""
        login = {"provider": self.name, "flow": "refresh-token", "refresh_token": "canary-of-a-refresh-token"}
        with self.ground.home.door() as owner:
            return owner.post("/v1/logins", json=login | {"account": self.name, "client_id": "x"}, timeout=PATIENCE * 2)


@contextlib.contextmanager
def dripping() -> Iterator[Future[tuple[float, int]]]:
    """Have a provider drip its answer while other tests go on; how long that is waited for, and its status."""
    with new_ground() as ground, Loopback() as server, ThreadPoolExecutor() as pool:
        server.default = server.drip(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        )
        slow = Hostile(ground, server)

        def wait() -> tuple[float, int]:
            began = time.monotonic()
            status = slow.bring().status_code
            return time.monotonic() - began, status

        yield pool.submit(wait)
        server.close()
