"""What a refresh or a new login leaves behind, in the order that loses no rotated token (security model, refresh).

Part of ``Store``. The order is the caller's: ``begin_refresh`` -> request -> ``keep_answer`` -> ``swap``; each is one
durable transaction.
"""

import asyncio
import contextlib
import logging
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.core.account import BY_REFRESH_TOKEN, Account, Destination, Identity, Renewal, State
from broker.core.secret import Secret
from broker.core.token import Grant, Wish
from broker.errors import SecretChanged, StoreUnavailable
from broker.store import readable
from broker.store import tables as t
from broker.store.account_rows import ANSWER, DATED, identity_columns, renewal_columns, state_columns
from broker.store.accounts import find
from broker.store.bindings import ACCOUNT, of_account
from broker.store.departures import Departures
from broker.store.derived import DerivedTokens
from broker.store.engine import REFUSALS, is_refusal
from broker.store.memory import Row
from broker.store.prepared import Prepared
from broker.store.shelf import Saved
from broker.store.vault import SEALED

log = logging.getLogger(__name__)

_intent = upsert(t.refresh_intent)
_INTEND = Prepared(
    _intent.on_conflict_do_update(
        index_elements=["account"], set_={name: _intent.excluded[name] for name in ("generation", "started_at", "wish")}
    )
)
_END_INTENT = Prepared(delete(t.refresh_intent).where(t.refresh_intent.c.account == bindparam("ended")))
_DATED = {column.name: column for column in DATED}
_CHANGE = Prepared(update(t.account).where(t.account.c.uuid == bindparam("changed")))


def _answer_of(generation: Any) -> Any:  # noqa: ANN401 -- columns, as SQLAlchemy takes them
    """Build the condition that a sealed reply belongs to the open intent: it came after that began."""
    return and_(
        t.secret.c.owner == t.account.c.uuid,
        t.secret.c.kind == ANSWER,
        t.secret.c.generation == t.account.c.generation,
        t.secret.c.generation > generation,
    )


class Refreshes(DerivedTokens, Departures):
    """The part of ``Store`` that changes tokens."""

    async def begin_refresh(self, account: Account, now: float, wish: Wish | None = None) -> Account | None:
        """Make it durable that a refresh token is about to be sent; None where the account has changed meanwhile.

        Args:
            account: as it was read.
            now: epoch seconds.
            wish: what the token is to carry; None for the account's own.

        Raises:
            StoreUnavailable: nothing was recorded, so nothing may be sent.
        """

        def work(tx: Connection) -> Account | None:
            row = self._if_version(tx, account)
            if row is None:
                return None
            self._count(tx)
            asked = None if wish is None else [list(wish.scope), wish.resource]
            intent = {"account": account.uuid, "generation": row["generation"], "started_at": now, "wish": asked}
            _INTEND.run(tx, intent)
            self._date(tx, account.uuid, t.refresh_intent.c.started_at)
            return self._write(tx, row, {})

        return await self._db.write_jointly(work, account=account.uuid)

    async def keep_answer(self, account: Account, raw: Secret, refresh_token: Secret | None) -> Account | None:
        """Make a token endpoint's answer durable before anybody has judged it.

        The new refresh token, where one is plainly there, takes over at once; the one before stays until the new one
        has been used. Compared is the generation, not the version: whatever else changed meanwhile (a forced refresh, a
        name), the rotated token is the account's only one and must not be lost.

        Args:
            account: as :meth:`begin_refresh` returned it.
            raw: the whole reply.
            refresh_token: the new refresh token, or None where the reply has none.

        Returns:
            The account in its new generation, or None where another login or refresh was faster, or it is gone.

        Raises:
            StoreUnavailable: nothing was kept.
        """

        def work(tx: Connection) -> Account | None:
            row = find(tx, account.uuid)
            if row is None or row["generation"] != account.generation:
                return None
            generation = row["generation"] + 1
            where: dict[str, Any] = {"destination": account.destination, "client": row["client"] or ""}
            values: dict[str, Any] = {"generation": generation}
            secrets = {ANSWER: raw}
            if refresh_token is not None:
                self._count(tx)
                self._retire(tx, row, brought=True)
                secrets["refresh_token"] = refresh_token
                values["refresh_generation"] = generation
            self._vault.put_all(tx, secrets, owner=account.uuid, generation=generation, alone=(ANSWER,), **where)
            return self._write(tx, row, values)

        kept = await self._db.write_jointly(work, account=account.uuid)
        await self._discard(account.uuid, account.generation)
        return kept

    async def save_answer(self, account: Account, raw: Secret, refresh_token: Secret | None) -> None:
        """Put an answer that the database does not take now into the emergency journal, for the next start.

        Takes what :meth:`keep_answer` takes, which is still to be called again and again; once it succeeds, the journal
        is emptied.

        Raises:
            StoreUnavailable: the journal does not take it either.
        """
        journal = self._journal  # a lock may take it away meanwhile; then this one is closed
        if journal is None or self._fence is None:
            raise StoreUnavailable("There is no emergency journal.", "See the log of the start.")
        saved = Saved(account.uuid, account.generation, raw, refresh_token)
        blob = self._vault.sealer.seal_entry(saved.written(), self._fence.line)
        self._saved.append(saved)
        try:
            async with self._at_journal:
                await asyncio.to_thread(journal.append, blob)
        except OSError as exc:
            raise StoreUnavailable(
                f"The emergency journal cannot be written: {exc.strerror}.", "Look at its disk."
            ) from exc
        if saved not in self._saved:
            await self._erase_unless_needed()  # the database took it meanwhile

    @property
    def unwritten(self) -> int:
        """How many answers wait in the emergency journal for the database to take them."""
        return len(self._saved)

    async def recover(self) -> None:
        """Take the answers over that an earlier process could only put into the emergency journal.

        Raises:
            StoreUnavailable: the database does not take them yet; they stay where they are.
        """
        for saved in list(self._saved):
            query = select(t.account).where(t.account.c.uuid == saved.owner)
            found = await self._db.read(lambda tx, query=query: readable.or_none(tx, query, self._vault))  # type: ignore[misc]
            row = found[0] if found else None
            account = None if row is None else readable.one(row._mapping, self._account, self._vault)  # noqa: SLF001 -- SQLAlchemy's public name for it
            if account is None and found:
                continue  # It cannot be read, so no flight of it begins; the others go on.
            if account is None or account.generation != saved.generation:
                await self._discard(saved.owner, saved.generation)
            else:
                with contextlib.suppress(SecretChanged):  # its trouble alone: nothing can be sealed for it any more
                    if await self.keep_answer(account, saved.raw, saved.refresh_token) is not None:
                        log.warning("the answer for '%s' was recovered from the emergency journal", account.name)

    async def _discard(self, owner: str, generation: int) -> None:
        """Forget a saved answer that is in the database now, or of no use any more."""
        if not self._saved:
            return
        self._saved = [saved for saved in self._saved if (saved.owner, saved.generation) != (owner, generation)]
        await self._erase_unless_needed()

    async def _erase_unless_needed(self) -> None:
        if self._saved:
            return  # nobody waits for a slow disk without need
        try:
            async with self._at_journal:  # another answer may come to stand in it meanwhile, or a lock close it
                if self._journal is not None and not self._saved:
                    await asyncio.to_thread(self._journal.erase)
        except OSError as exc:
            # Harmless: a generation that has passed is not taken over.
            log.warning("the emergency journal could not be emptied: %s", exc.strerror)

    async def swap(
        self, account: Account, *, grant: Grant | None = None, settled: bool = False, wish: Wish | None = None
    ) -> Account | None:
        """Write the account's state, identity and times, and what a grant brought, if nobody was faster.

        The name, the client and the destination are not written: :meth:`rename_account` and :meth:`replace_login` do
        that.

        Args:
            account: the account as it shall be; its version is the one that it must still have.
            grant: new tokens. They get a generation of their own, which is the present one if :meth:`keep_answer` has
                just opened it for the answer that they are from. The kept answer and the intent are dropped, and the
                previous refresh token too once the one in force has been used.
            settled: the open refresh has ended without a grant: the intent and the kept answer are dropped too.
            wish: the access token of the grant is the one for this wish, and the account's own stays.

        Returns:
            The new account, or None where the stored one has another version or is gone.

        Raises:
            Locked: there is a grant and no key to seal it with.
            StoreUnavailable: nothing was written.
        """

        def work(tx: Connection) -> Account | None:
            row = self._if_version(tx, account)
            if row is None:
                return None
            values = state_columns(account.state) | identity_columns(account.identity)
            values |= {
                "forced_at": account.forced_at,
                "last_refresh_at": account.last_refresh_at,
                "refresh_expires_at": account.refresh_expires_at,
            }
            if grant is not None:
                generation = row["generation"] + (wish is None and row["access_generation"] == row["generation"])
                held = row["refresh_generation"]
                brought = grant.refresh_token is not None and held != generation
                if brought:
                    self._count(tx)
                if brought or (held is not None and held < generation):
                    self._retire(tx, row, brought=brought)
                if wish is None:
                    if not set(row["scope"]) <= set(grant.token.scope):
                        self._drop_derived(tx, account.uuid)
                    client = row["client"] or ""
                    where = (account.uuid, client, account.destination)
                    values |= self._stow(tx, *where, generation, grant, held=held)
                else:
                    self._stow_derived(tx, row, account.destination, generation, wish, grant)
                    values["last_refresh_at"] = grant.token.issued_at
                values["generation"] = generation
            if grant is not None or settled:
                self._close(tx, account.uuid, answered=grant is None or wish is not None)
            return self._write(tx, row, values)

        return await self._db.write_jointly(work, account=account.uuid)

    async def replace_login(  # noqa: PLR0913 -- a login is that much, and each part is named
        self,
        account: Account,
        *,
        client: str,
        destination: Destination,
        identity: Identity | None,
        asked_scope: tuple[str, ...],
        resource: str | None,
        state: State,
        grant: Grant,
        now: float,
        renewal: Renewal = BY_REFRESH_TOKEN,
    ) -> Account | None:
        """Put a new login in the place of the account's old one: all secrets are new, under a new key.

        The name, the grants of apps and the history stay. Returns None where the account has changed meanwhile.

        Raises:
            Locked: there is no key to seal with.
            SecretChanged: the account was changed behind Keyfob's back. A login does not mend that: what was granted of
                it may have been meant for another account, which was called so.
            StoreUnavailable: nothing was written.
        """

        def work(tx: Connection) -> Account | None:
            row = self._if_version(tx, account)
            if row is None:
                return None
            _ = self._vault.sealer
            self._check(self._account(row))
            generation = row["generation"] + 1
            self._count(tx)
            self._drop_derived(tx, account.uuid)
            self._vault.forget(tx, account.uuid)
            self._close(tx, account.uuid)
            values = state_columns(state) | identity_columns(identity) | renewal_columns(renewal)
            values |= {
                "client": client or None,
                "issuer": destination.issuer,
                "token_endpoint": destination.token_endpoint,
                "client_id": destination.client_id,
                "asked_scope": list(asked_scope),
                "resource": resource,
                "generation": generation,
                "refresh_generation": None,
                "id_generation": None,
                "refresh_expires_at": None,
                "forced_at": None,
            }
            values |= self._stow(tx, account.uuid, client, destination, generation, grant)
            return self._write(tx, row, values | {"last_refresh_at": now, "logged_in_at": now})

        return await self._db.write(work)

    async def open_intents(self) -> list[tuple[Account, float, bool]]:
        """Return every refresh that was begun and not finished: account, when it began, whether its answer is kept.

        Without those of accounts of which something is stored that cannot be read: no flight of theirs can begin.
        """
        query = select(
            t.account,
            t.refresh_intent.c.started_at,
            exists().where(_answer_of(t.refresh_intent.c.generation)).label("has_answer"),
        ).join(t.refresh_intent, t.refresh_intent.c.account == t.account.c.uuid)
        found = await self._db.read(lambda tx: readable.rows(tx, query, self._vault))
        read = readable.accounts(found, self._account, self._vault)
        begun = ((account, row["started_at"], bool(row["has_answer"])) async for account, row in read)
        # What is no time was long ago: no grace runs any more.
        return [(account, at if isinstance(at, float) else 1.0, kept) async for account, at, kept in begun]

    async def open_wish(self, account: Account) -> Wish | None:
        """Return what the open refresh asked for; None for the account's own token.

        Raises:
            SecretChanged: that cannot be read.
        """
        query = select(t.refresh_intent.c.wish).where(t.refresh_intent.c.account == account.uuid)

        def work(tx: Connection) -> Wish | None:
            try:
                asked = tx.execute(query).scalar_one_or_none()
                return None if asked is None else Wish(tuple(asked[0]), asked[1])
            except (*REFUSALS, TypeError, LookupError) as exc:
                if is_refusal(exc):
                    raise
                raise self._vault.suspect(f"account '{account.name}'") from exc

        return await self._db.read(work)

    async def kept_answer(self, account: Account) -> Secret | None:
        """Return the raw reply that the open refresh got, or None where it got none (yet).

        Raises:
            Locked: there is no key.
            SecretChanged: it does not open.
        """
        query = (
            select(t.account.c.client, t.account.c.generation, *SEALED)
            .select_from(
                t.account.join(t.refresh_intent, t.refresh_intent.c.account == t.account.c.uuid)
                .join(t.secret, _answer_of(t.refresh_intent.c.generation))
                .join(t.data_key, t.data_key.c.owner == t.account.c.uuid)
            )
            .where(t.account.c.uuid == account.uuid)
        )
        row = await self._db.read(lambda tx: tx.execute(query).mappings().one_or_none())
        return None if row is None else self._opened(account, row, ANSWER, row["generation"])

    def _if_version(self, tx: Connection, account: Account) -> Row | None:
        row = find(tx, account.uuid)
        return row if row is not None and row["version"] == account.version else None

    def _write(self, tx: Connection, row: Row, values: dict[str, Any]) -> Account:
        """Set columns of a row that this transaction has read; the version grows. Return the account as it then is.

        A row that was changed behind Keyfob's back does not become right by that.
        """
        # What stays as it is costs no index anything.
        changed = {name: value for name, value in values.items() if value != row[name]}
        # A time that is only handed on is still by the clock that it was written by.
        self._date(tx, row["uuid"], *(column for name, column in _DATED.items() if name in changed))
        anew = not changed.keys().isdisjoint(ACCOUNT) and self._is_proven(row) is not False
        changed["version"] = row["version"] + 1
        if anew:
            changed["binding"] = of_account(self._vault.sealer, {**row, **changed})
        _CHANGE.run(tx, {"changed": row["uuid"], **changed})
        return self._left(tx, {**row, **changed})

    def _close(self, tx: Connection, owner: str, *, answered: bool = True) -> None:
        _END_INTENT.run(tx, {"ended": owner})
        if answered:
            self._vault.drop(tx, owner, ANSWER)

    def _retire(self, tx: Connection, row: Row, *, brought: bool) -> None:
        """Drop the refresh tokens that nothing needs any more.

        The one in force has proved itself by now. Where a new one was brought, it becomes the previous one and stays
        until the new one has proved itself too; where none was, it stays alone.
        """
        held = row["refresh_generation"]
        if held is None:
            return
        self._vault.drop(tx, row["uuid"], "refresh_token", "before" if brought else "others", held)
