"""A list that is long goes out in pieces, and is the same list."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse

from broker.web import stream


async def members(number: int) -> AsyncIterator[dict[str, Any]]:
    """Yield so many."""
    for index in range(number):
        yield {"account": f"account-{index}"}


async def body_of(answer: Response) -> bytes:
    """Return what an answer says, and how it would be sent."""
    if not isinstance(answer, StreamingResponse):
        return bytes(answer.body)
    return b"".join(
        [piece.encode() if isinstance(piece, str) else bytes(piece) async for piece in answer.body_iterator]
    )


LIMIT = stream.PIECE * stream.PIECES


@pytest.mark.parametrize("number", [0, 1, stream.PIECE, stream.PIECE + 1, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT])
def test_a_list_is_whole_however_it_is_sent(number: int) -> None:
    """Every member comes once, in order; a list of usual length has a length, a long one is sent while it is made."""

    async def story() -> None:
        answer = await stream.listed("accounts", members(number))
        assert ("content-length" in answer.headers) == (number < LIMIT)
        assert (answer.media_type, answer.headers["cache-control"]) == ("application/json", "no-store")
        expected = [one async for one in members(number)]
        assert json.loads(await body_of(answer)) == {"accounts": expected}

    asyncio.run(story())
