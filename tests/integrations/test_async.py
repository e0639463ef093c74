"""An asynchronous program asks Keyfob without standing still, and can change its mind."""

import asyncio
import socket
import time
from pathlib import Path

import anyio
import httpx2

from broker.client import Client
from broker.integrations.httpx2 import KeyfobAuth
from tests.cli.scripted_daemon import scripted_daemon
from tests.loopback import NO_TLS

# Far below the 45 s that the client itself would wait.
SOON = 10.0
TOGETHER = 60


def test_many_at_once(tmp_path: Path) -> None:
    """Tasks share one auth object, and each request has asked for its token."""
    with (
        scripted_daemon(tmp_path / "s.sock") as daemon,
        scripted_daemon(None) as api,
        Client(socket=daemon.where) as client,
    ):
        daemon.answers("GET /v1/accounts/work/token", {"access_token": "secret-1"})
        api.answers("GET /me", {})

        async def walk() -> list[int]:
            async with httpx2.AsyncClient(auth=KeyfobAuth("work", client), trust_env=False, verify=NO_TLS) as http:
                answers = await asyncio.gather(*(http.get(f"{api.where}/me") for _ in range(TOGETHER)))
            return [answer.status_code for answer in answers]

        assert asyncio.run(walk()) == [200] * TOGETHER
        assert len(daemon.requests) == TOGETHER
        assert {request.headers["authorization"] for request in api.requests} == {"Bearer secret-1"}


def test_nobody_waits_for_a_slow_daemon(tmp_path: Path) -> None:
    """While Keyfob says nothing, other tasks go on, and a request that is given up ends at once."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "s.sock"))
        mute.listen()  # and never answers
        steps = 0

        async def work() -> None:
            nonlocal steps
            while True:
                await asyncio.sleep(0.01)
                steps += 1

        async def walk() -> bool:
            auth = KeyfobAuth("work", Client(socket=tmp_path / "s.sock"))
            working = asyncio.create_task(work())
            async with httpx2.AsyncClient(auth=auth, trust_env=False, verify=NO_TLS) as http:
                with anyio.move_on_after(0.2) as scope:  # httpx2 itself waits in no other way
                    await http.get("http://127.0.0.1:9/")
            working.cancel()
            return scope.cancelled_caught

        began = time.monotonic()
        assert asyncio.run(walk())

        assert steps > 5
        assert time.monotonic() - began < SOON
