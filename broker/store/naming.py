"""What keeps an account by its name, and follows it when it gets another one.

Used by ``accounts``, in the transaction that renames.
"""

from functools import partial

from sqlalchemy import Connection, and_, delete, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.store import tables as t
from broker.store.bindings import bind, of_login
from broker.store.memory import Row
from broker.store.vault import Vault


def follow(tx: Connection, vault: Vault, account: Row, name: str) -> None:
    """Let logins and remembered refusals go with an account.

    Args:
        tx: the transaction.
        vault: with the key.
        account: the row, with the name that it had.
        name: the one that it gets.
    """
    _logins(tx, vault, account["uuid"], account["name"], name)
    _refusals(tx, account["name"], name)


def _logins(tx: Connection, vault: Vault, uuid: str, old: str, name: str) -> None:
    """Those under way for it; and those that are done, by which whoever waited for one finds the account."""
    login = t.login.c
    its = or_(login.replaces == uuid, and_(login.account == old, login.state == "done"))
    for row in tx.execute(select(t.login).where(its)).mappings().all():
        used_up = row["taken"]
        if not used_up and not vault.proves(row["binding"], partial(of_login, row=row)):
            continue  # it was changed outside Keyfob, and is refused: a new MAC would make it look right
        tx.execute(update(t.login).where(login.id == row["id"]).values(account=name))
        if not used_up:
            bind(tx, vault.sealer, t.login, row["id"])


def _refusals(tx: Connection, old: str, name: str) -> None:
    """What the owner refused of it for good; what was refused under the new name when that was nobody's stays, too."""
    refusal = t.refusal.c
    kept = select(refusal.app, literal(name), refusal.at).where(refusal.account == old)
    tx.execute(upsert(t.refusal).from_select(["app", "account", "at"], kept).on_conflict_do_nothing())
    tx.execute(delete(t.refusal).where(refusal.account == old))
