"""What is there to ask a provider with: an account, the client that it goes by, and what the account shows.

Part of ``Store``. One read brings all rows that a refresh begins with; each secret is opened when it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.core.account import Account
from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import Misconfigured, UnknownAccount
from broker.store.accounts import Accounts, find, held
from broker.store.memory import Row
from broker.store.providers import opened_client, sealed_client


@dataclass(frozen=True, slots=True)
class Departure:
    """An account as it is, and what its refresh sends.

    Attributes:
        account: it.
        client: opens the client and its secret, and raises as :meth:`Departures.client_of`.
        refresh_token: opens the refresh token, None where there is none, and raises as :meth:`Accounts.refresh_token`.
    """

    account: Account
    client: Callable[[], tuple[Client, Secret | None]]
    refresh_token: Callable[[], Secret | None]


class Departures(Accounts):
    """The part of ``Store`` for what is sent."""

    async def departure(self, uuid: str) -> Departure | None:
        """Return all that a refresh begins with; None where the account is gone. Works while locked, opened as it is.

        Raises:
            StoreUnavailable: it cannot be read: none is sent without a word in the database.
        """
        epoch = self._memory.epoch

        def work(tx: Connection) -> tuple[Row, Row | None, Row | None] | None:
            row = find(tx, uuid)
            if row is None:
                return None
            return row, _client(tx, row), held(tx, uuid, row["generation"], "refresh_token")

        found = await self._db.read(work)
        if found is None:
            return None
        row, client, sealed = found
        self._memory.saw_account(row, epoch)
        account = self._account(row)
        return Departure(
            account,
            client=lambda: self._goes_by(account, row, client),
            refresh_token=lambda: self._held_token(account, sealed, "refresh_token"),
        )

    async def client_of(self, account: Account) -> tuple[Client, Secret | None]:
        """Return the client that ``account`` logged in with, and its secret.

        Raises:
            Misconfigured: the account has none: its token was pasted.
            StoreUnavailable: what decides about the account was changed behind Keyfob's back, so the secret could go
                to a stranger (RFC 9700 4.4.2), or sign for one.
            Locked: there is no key.
        """

        def work(tx: Connection) -> tuple[Row, Row | None]:
            row = find(tx, account.uuid)
            if row is None:
                raise UnknownAccount(f"There is no account '{account.name}'.", "See: keyfob accounts")
            return row, _client(tx, row)

        row, client = await self._db.read(work)
        self._check(account)
        return self._goes_by(self._account(row), row, client)

    def _goes_by(self, account: Account, row: Row, client: Row | None) -> tuple[Client, Secret | None]:
        """Open the client of an account that is read from this row."""
        self._check(account)
        if not row["client"]:
            raise Misconfigured(f"Account '{account.name}' has no client: its token was pasted.", "Log in again.")
        if client is None:
            raise Misconfigured(f"The client of account '{account.name}' is gone.", "Log in again.")
        return opened_client(self._vault, client)


def _client(tx: Connection, row: Row) -> Row | None:
    return sealed_client(tx, row["client"]) if row["client"] else None
