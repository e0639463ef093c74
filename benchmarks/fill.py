"""Many accounts in the store of a daemon that is not running: copies of real logins, made by the store's own code.

Called by ``page.py``, ``scale.py`` and ``refreshes.py``, and by the walk through a page with many accounts.
"""

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from broker.core.account import Account, Active
from broker.core.secret import Secret
from broker.core.token import Grant, Token
from broker.store.keys import FileKey
from broker.store.store import Store

DAY = 86_400.0
# So many accounts are one transaction: a commit for each would take most of the time.
AT_ONCE = 500


class _Together:
    """What the store would write one by one, to be written as one transaction."""

    def __init__(self) -> None:
        self.works: list[Callable[[Any], Any]] = []

    async def write(self, work: Callable[[Any], Any]) -> None:
        self.works.append(work)

    def __call__(self, tx: Connection) -> None:
        for work in self.works:
            work(tx)


@asynccontextmanager
async def opened(database_url: str, key_file: Path) -> AsyncIterator[Store]:
    """Open the store for the length of the block."""
    store = await Store.open(database_url, key=FileKey(key_file), now=time.time())
    try:
        yield store
    finally:
        await store.close()


def grants(like: Account, number: int, *, issued_at: float, lifetime: float = DAY) -> Iterator[Grant]:
    """Return so many grants, numbered from one, as a login would have brought them that nobody made."""
    token = Token("Bearer", like.scope, issued_at, issued_at + lifetime)
    for index in range(1, number + 1):
        yield Grant(token, Secret(f"access-{index}"), Secret(f"refresh-{index}"))


async def copies(store: Store, like: Account, named: Iterable[tuple[str, Grant]]) -> None:
    """Make accounts as ``like`` is one, with these names and grants."""
    client, _ = await store.client_of(like)
    database, left = store._db, iter(named)  # noqa: SLF001 -- so that many accounts are one transaction
    while some := list(itertools.islice(left, AT_ONCE)):
        together = _Together()
        store._db = together  # type: ignore[assignment]  # noqa: SLF001 -- as above
        try:
            for name, grant in some:
                await store.create_account(
                    name=name,
                    provider=like.provider,
                    client=client.uuid,
                    destination=like.destination,
                    identity=like.identity,
                    asked_scope=like.asked_scope,
                    resource=like.resource,
                    state=Active(grant.token.issued_at),
                    grant=grant,
                    now=grant.token.issued_at,
                )
        finally:
            store._db = database  # noqa: SLF001 -- as above
        await database.write(together)


async def fill(database_url: str, key_file: Path, number: int, name: str) -> None:
    """Make so many accounts of the one that there is, numbered, with tokens that nobody has to renew today."""
    async with opened(database_url, key_file) as store:
        (like,) = await store.accounts()
        names = (f"{name}-{index:03}" for index in range(1, number))
        await copies(store, like, zip(names, grants(like, number - 1, issued_at=time.time()), strict=True))
