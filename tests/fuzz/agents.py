"""Targets: what comes to the socket of oidc-agent, in the clear and in a box.

Used by ``targets``.
"""

import asyncio
import base64
import json
import os

from nacl.public import Box, PrivateKey, PublicKey

from broker.errors import InvalidRequest
from broker.web.emulate import oidc_agent
from broker.web.emulate.oidc_door import read_request
from tests.fuzz.doors import house
from tests.fuzz.target import CANARY, Target, picked, repeated, run
from tests.web.oidc_client import sealed

OURS = PrivateKey.generate()
PUBLIC = base64.b64encode(bytes(OURS.public_key))


def _sent(data: bytes) -> None:
    """Send it as it is, behind a handshake, or in a box; of what is read, an answer has to come."""
    how, data = picked(data, ("plain", "after a handshake", "in a box"))
    there = house()

    async def asked() -> None:
        reader = asyncio.StreamReader()

        def shake(key: bytes) -> None:
            if how != "plain":
                box = Box(OURS, PublicKey(base64.b64decode(key)))
                reader.feed_data(sealed(box, data) if how == "in a box" else data)
                reader.feed_eof()

        reader.feed_data(data if how == "plain" else PUBLIC)
        if how == "plain":
            reader.feed_eof()
        values, _ = await read_request(reader, shake)
        told = await oidc_agent.answer(there.ctx, values, (os.getpid(), os.getuid()))
        assert told["status"] in ("success", "failure")
        assert ("error" in told) == (told["status"] == "failure")
        assert "fault of Keyfob" not in json.dumps(told)

    run(asked())


REQUEST = {
    "request": "access_token",
    "account": "me",
    "issuer": "https://corp.example",
    "min_valid_period": 60,
    "scope": "openid",
    "audience": "a",
    "application_hint": "b",
}
PLAIN, BEHIND, BOXED = b"\0", b"\1", b"\2"
AGENTS = (
    Target(
        "oidc-agent",
        "requests of oidc-agent's clients: keys, lengths, boxes, JSON",
        _sent,
        (InvalidRequest, asyncio.IncompleteReadError),
        (
            PLAIN + json.dumps(REQUEST).encode(),
            PLAIN + b'{"request":"account_info"}',
            PLAIN + PUBLIC,
            PLAIN + CANARY.encode().ljust(44, b"=") + b"1:",
            PLAIN + b'{"x":"' + CANARY.encode() + b'"]}',
            BEHIND + b"5:" + b"A" * 32 + b":" + b"A" * 28,
            BEHIND + b"99999:",
            BOXED + json.dumps(REQUEST).encode(),
            BOXED + b'{"request":"id_token","issuer":"https://corp.example/"}',
            BOXED + b'{"request":"loaded_accounts"}',
            BOXED + CANARY.encode(),
        ),
        (
            repeated(PLAIN + b'{"a":"', b"}", b'"}'),
            repeated(PLAIN + b"{", b" "),
            repeated(BEHIND, b"1"),
            repeated(BOXED + b'{"a":[', b"1,", b"1]}"),
        ),
        tuple(f'"{name}":'.encode() for name in REQUEST),
        examples=100,
    ),
)
