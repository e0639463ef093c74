"""The proof for an app: given while the database cannot be read to who was known before, and to nobody on a guess."""

import asyncio
from pathlib import Path

import pytest

from broker import challenge
from broker.errors import StoreUnavailable, Unauthorized
from broker.usecases import apps
from tests.usecases.house import opened
from tests.usecases.test_store_faults import damaged

NONCE = b"n" * challenge.NONCE_BYTES
ADDRESS = "127.0.0.1:8401"


def test_while_the_database_cannot_be_read(tmp_path: Path) -> None:
    """Who would get a token then has to get the proof first; of others nobody knows whether their key is good."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            seen, unseen = [(await apps.add(house.ctx, name, [], None)).reveal() for name in ("seen", "unseen")]
            assert await apps.identify(house.ctx, seen)
            hashes = [challenge.hash_key(key) for key in (seen, unseen)]
            ids = [challenge.key_id(hashed) for hashed in hashes]
            right = [challenge.proof(hashed, NONCE, ADDRESS) for hashed in hashes]
            async with damaged(house):
                assert await apps.prove(house.ctx, ids[0], NONCE, ADDRESS) == right[0]
                for unknown in (ids[1], "0" * challenge.KEY_ID_DIGITS):
                    with pytest.raises(StoreUnavailable):
                        await apps.prove(house.ctx, unknown, NONCE, ADDRESS)
            assert [await apps.prove(house.ctx, key_id, NONCE, ADDRESS) for key_id in ids] == right
            with pytest.raises(Unauthorized):
                await apps.prove(house.ctx, "0" * challenge.KEY_ID_DIGITS, NONCE, ADDRESS)

    asyncio.run(story())
