"""New keys for everything: the outside key where its source can, the master key, and every data key.

Part of ``Store``. All rows change in one transaction, so there is no state in between: whatever ends before the commit
leaves the old keys in force, and whatever ends after it the new ones. A source that makes its own keys has the new one
ready before the commit, and keeps the old one until after it; a start takes whichever fits (``locking``).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.engine import RowMapping

from broker.core.account import Destination
from broker.core.secret import Secret
from broker.errors import Conflict, Locked, StoreUnavailable
from broker.store import tables as t
from broker.store.bindings import CALLED, MACS, WHERE, living
from broker.store.chain import Chain
from broker.store.keys import KeySource, PassphraseKey
from broker.store.locking import Locking, record_of
from broker.store.passphrase import Derivation, check_new
from broker.store.providers import REGISTRATION
from broker.store.seal import Binding, Broken, Sealer, is_key_of, new_record, open_record
from broker.store.transactions import after_commit

log = logging.getLogger(__name__)

# Seconds for which rows that were read before the commit can still be opened: longer than any read takes.
OVERLAP = 15.0
AGAIN = "then rotate again."
# How many owners are sealed anew between two turns of the event loop: some milliseconds' work.
AT_A_TIME = 32


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        source: the kind of key source from now on.
        new_key: the outside key is another one; it is not where the source makes none and still gives the old one.
        generation: of the master key.
        secrets: how many were sealed anew.
    """

    source: str
    new_key: bool
    generation: int
    secrets: int


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose secrets are sealed anew, where they may go, and what that is called in a message."""

    uuid: str
    client: str
    whose: str
    destination: Callable[[str], Destination]


class Rotation(Locking):
    """The part of ``Store`` that makes new keys."""

    async def rotate(self, to: KeySource, passphrase: Secret | None) -> Rotated:
        """Make new keys; nothing may be in the air that seals outside a transaction.

        Args:
            to: where the outside key comes from, from now on.
            passphrase: the new one, for the source that is one.

        Raises:
            Locked: the store is locked, or ``to`` has no key to give.
            InvalidRequest: the passphrase is too short.
            Conflict: a secret was changed behind Keyfob's back: it would not open afterwards either.
            StoreUnavailable: the database cannot be written, or answers wait for it; nothing was changed.
        """
        async with self._turn:
            if self.locked:
                raise Locked(self.locked, self.locked_hint)
            if self._saved:
                raise StoreUnavailable("Answers of refreshes wait for the database.", "See that it can be written.")
            former = await self._db.read(record_of)
            if former is None:
                raise Locked("The database has no key yet.", "Unlock it first: keyfob unlock")
            kek, kdf = await asyncio.to_thread(_next_key, to, passphrase)
            record = new_record(kek, kdf, former)
            old, new = self._vault.sealer, open_record(kek, record)

            def work(tx: Connection) -> int:
                sealed = sum(_reseal(tx, chunk, old, new) for chunk in _chunks(_owners(tx)))
                _bind(tx, old, new)
                self._bind_apps(tx, new)
                Chain(tx, old, self._told).hand_over(new)
                tx.execute(
                    update(t.instance).values(
                        key_id=record.key_id, master_generation=record.generation, master=record.master, kdf=record.kdf
                    )
                )
                after_commit(tx, partial(self._vault.rotate, new))
                after_commit(tx, self._memory.forget)
                return sealed

            self._vault.expect(new)
            try:
                secrets = await self._db.write(work)
            finally:
                self._vault.expect(None)
            asyncio.get_running_loop().call_later(OVERLAP, self._vault.drop_former)
            self.key = to
            try:
                await asyncio.to_thread(to.settle, kek)
                await self._db.truncate()  # the old sealed rows stand in the write-ahead log
            except (Locked, StoreUnavailable) as exc:
                log.warning("the new keys are in force; what is left to tidy up follows at the next start: %s", exc)
            return Rotated(to.name, not is_key_of(kek, former), record.generation, secrets)

    def _bind_apps(self, tx: Connection, new: Sealer) -> None:
        """Seal the apps and the register anew. Grants that nobody granted stay what they are: they are on no list."""
        here = self._register(tx)
        rows = tx.execute(select(t.app)).mappings().all()
        for row in rows:
            if not here.knows(row):
                raise _stays_broken(f"app '{row['name']}'", f"Remove it (keyfob app remove {row['name']}); {AGAIN}")
        here.sealer = new
        for row in rows:
            here.put(row["name"], row["listed"])
        if rows or not here.missing:
            self._save(tx, here)


def _next_key(to: KeySource, passphrase: Secret | None) -> tuple[bytes, dict[str, Any] | None]:
    if not isinstance(to, PassphraseKey):
        return to.stage(), None
    check_new(passphrase := passphrase or Secret(""))
    derivation = Derivation.fresh()
    return derivation.key(passphrase), derivation.written()


def _owners(tx: Connection) -> Iterator[_Owner]:
    """Yield all that own secrets."""
    for row in tx.execute(select(t.account)).mappings().all():
        there = Destination(*(row[name] for name in WHERE))
        yield _Owner(row["uuid"], row["client"] or "", f"account '{row['name']}'", partial(_always, there))
    for row in tx.execute(select(t.client)).mappings().all():
        yield _Owner(row["uuid"], row["uuid"], f"client '{row['client_id']}'", partial(_of_client, row))
    for row in tx.execute(select(t.login)).mappings().all():
        there = Destination(*(row[name] for name in WHERE))
        yield _Owner(row["id"], row["client"] or "", "a login", partial(_always, there))


def _chunks(owners: Iterator[_Owner]) -> Iterator[dict[str, _Owner]]:
    while chunk := {owner.uuid: owner for owner in islice(owners, AT_A_TIME)}:
        yield chunk


def _always(there: Destination, kind: str) -> Destination:
    del kind
    return there


def _of_client(row: RowMapping, kind: str) -> Destination:
    where = row["registration_uri"] if kind == REGISTRATION else row["token_endpoint"]
    return Destination(row["issuer"], where or "", row["client_id"])


def _reseal(tx: Connection, owners: dict[str, _Owner], old: Sealer, new: Sealer) -> int:
    """Give owners new data keys, and seal all their secrets with them; return how many secrets there are."""
    keys = {row.owner: row for row in tx.execute(select(t.data_key).where(t.data_key.c.owner.in_(owners))).all()}
    made = {key.owner: new.new_data_key(key.owner, key.generation + 1) for key in keys.values()}
    sealed = []
    for row in tx.execute(select(t.secret).where(t.secret.c.owner.in_(owners))).all():
        owner, key = owners[row.owner], keys[row.owner]
        bound_to = Binding(owner.uuid, row.uuid, row.kind, row.generation, owner.destination(row.kind), owner.client)
        try:
            value = old.open(row.sealed, bound_to, key.generation, key.wrapped)
        except Broken as exc:
            raise _stays_broken(owner.whose) from exc
        anew = new.seal(value, bound_to, key.generation + 1, made[row.owner])
        sealed.append({"row": row.uuid, "anew": anew})
    if sealed:
        one = update(t.secret).where(t.secret.c.uuid == bindparam("row"))
        tx.execute(one.values(sealed=bindparam("anew")), sealed)
    if made:
        one = update(t.data_key).where(t.data_key.c.owner == bindparam("row"))
        grown = one.values(generation=t.data_key.c.generation + 1, wrapped=bindparam("anew"))
        tx.execute(grown, [{"row": uuid, "anew": wrapped} for uuid, wrapped in made.items()])
    return len(sealed)


def _bind(tx: Connection, old: Sealer, new: Sealer) -> None:
    """Authenticate anew what decides where secrets go. What was changed before must not become right by that."""
    for table, mac in MACS.items():
        (primary,) = table.primary_key
        bound_anew = []
        for row in tx.execute(select(table).where(living(table))).mappings().all():
            if mac(old, row) != row["binding"]:
                raise _stays_broken(CALLED[table](row))
            bound_anew.append({"row": row[primary.name], "anew": mac(new, row)})
        if bound_anew:
            one = update(table).where(primary == bindparam("row"))
            tx.execute(one.values(binding=bindparam("anew")), bound_anew)


def _stays_broken(whose: str, hint: str = "") -> Conflict:
    hint = hint or f"Remove it (an account: keyfob logout NAME --local-only); {AGAIN}"
    detail = f"What is stored of {whose} was changed outside Keyfob."
    return Conflict(f"{detail} New keys would hide that for ever, so nothing was changed.", hint)
