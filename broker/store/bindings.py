"""What authenticates plain columns: a MAC over those of a row on which a decision rests, kept in the row itself.

Used by the noun modules, ``rotation`` and ``findings``. Whoever can write the database file and has no key can change
any column, but not the MAC with it. A row whose MAC does not fit is not used, and nothing of it is deleted.

Inside are the columns that decide whom a secret belongs to, where it goes, what it may do and who may have it:

* of an account: its name (programs ask by it), provider, client, destination and renewal; where its API is, to which
  the proxy sends the token; the person, whom a new login has to be; what was asked for and the resource; and what the
  present token carries, bound to the generation under which that was sealed, because an app that was granted less is
  measured by it;
* of a client: all but its times, the provider above all: its secret would be sent to the one that it was moved to;
* of a login: whose account it becomes and which one it replaces, the client, where its code goes, what is asked for;
* of a provider: everything that says where it is.

Outside are columns that only delay, or are for display: times, because a clock that is set moves them while Keyfob is
locked too (the worst is a token that is handed out dead, or renewed early); the state, which is written while locked
too, and at worst has a refresh token sent too soon or too late, to where it always goes; the label of a person; which
browser opened a login. Those of a narrower token are bound already: its wish is part of what its secret is sealed with.
Outside, too, is what an open refresh had asked for. It is read only after a crash or a lock in the middle of one, and a
token that says what it carries is measured by that.

An old row of an account that is put back whole does fit. It names the person, the destination and the client of then,
and its secrets are deleted with every new token; so this can cost the login, as deleting the row would, and no more.
Grants are another matter: see ``register``.

Since schema 0008 every row is authenticated. What is older gets its MAC once, when the key is first at hand: see
:func:`bind_once` and ``Store``.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, Table, Update, bindparam, select, true, update

from broker.core.account import BY_REFRESH_TOKEN, Destination, Renewal
from broker.providers.model import ProviderConfig
from broker.store import tables as t
from broker.store.memory import Row
from broker.store.seal import Sealer

WHERE = ("issuer", "token_endpoint", "client_id")
RENEWAL = ("renewal", "renewal_subject", "renewal_audience")
PERSON = ("identity_issuer", "identity_subject")
CARRIED = ("access_generation", "token_type", "scope")
ACCOUNT = ("uuid", "name", "provider", "client", *WHERE, *RENEWAL, *PERSON, "asked_scope", "resource", *CARRIED)
CLIENT = (
    *("uuid", "provider", "auth_method", "origin", *WHERE),
    *("has_secret", "redirect_uris", "scope", "registration_uri"),
)
LOGIN = (
    *("id", "account", "replaces", "provider", "client", "flow", *WHERE),
    *("redirect_uri", "scope", "resource", "nonce"),
)


def of_account(sealer: Sealer, row: Row) -> bytes:
    """Authenticate an account's row."""
    if row["api_base"] is None:  # as it was before schema 0011
        return sealer.mac("account|v3", _written(row, ACCOUNT))
    return sealer.mac("account|v4", _written(row, (*ACCOUNT, "api_base")))


def of_client(sealer: Sealer, row: Row) -> bytes:
    """Authenticate a client's row."""
    return sealer.mac("client|v1", _written(row, CLIENT))


def of_login(sealer: Sealer, row: Row) -> bytes:
    """Authenticate a login's row."""
    return sealer.mac("login|v1", _written(row, LOGIN))


def of_provider(sealer: Sealer, row: Row) -> bytes:
    """Authenticate everything that decides where a provider's secrets go."""
    config = config_of(row)
    tables = json.dumps([plain(config.overrides), plain(config.discovered), config.private], sort_keys=True)
    return sealer.mac("provider|v1", config.name, config.preset, config.base_url, tables)


def config_of(row: Row) -> ProviderConfig:
    """Read a provider from its row."""
    return ProviderConfig(**{name: value for name, value in row.items() if name != "binding"})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a mapping that may be read-only, at every depth, into what JSON knows."""
    return {key: plain(value) if isinstance(value, Mapping) else value for key, value in values.items()}


# What JSON does not know was not written by Keyfob: its own text can only be one that does not fit.
_TEXT = json.JSONEncoder(default=repr)

MACS: dict[Table, Callable[[Sealer, Row], bytes]] = {
    t.account: of_account,
    t.client: of_client,
    t.provider: of_provider,
    t.login: of_login,
}


# What a row is called in a message.
CALLED: dict[Table, Callable[[Row], str]] = {
    t.account: lambda row: f"account '{row['name']}'",
    t.client: lambda row: f"client '{row['client_id']}'",
    t.login: lambda _: "a login",
    t.provider: lambda row: f"provider '{row['name']}'",
}
# The columns that this takes.
NAMED: dict[Table, tuple[str, ...]] = {
    t.account: ("name",),
    t.client: ("client_id",),
    t.login: (),
    t.provider: ("name",),
}


def bind(tx: Connection, sealer: Sealer, table: Table, key: str) -> Row:
    """Authenticate a row as this transaction has written it, and return it."""
    reading, writing = _row_of(table)
    row = tx.execute(reading, {"row": key}).mappings().one()
    binding = MACS[table](sealer, row)
    tx.execute(writing, {"row": key, "binding": binding})
    return {**row, "binding": binding}


@functools.cache
def _row_of(table: Table) -> tuple[Select[Any], Update]:
    """Build what reads a row and what changes it; both take its key as ``row``."""
    (primary,) = table.primary_key
    return select(table).where(primary == bindparam("row")), update(table).where(primary == bindparam("row"))


def bind_once(tx: Connection, sealer: Sealer, *, providers: bool) -> None:
    """Authenticate what is from before schema 0008, as it stands.

    Accounts had a MAC over client, destination and renewal then. Where that does not fit, the row stays as it is, and
    is refused as it was before.

    Args:
        tx: the transaction.
        sealer: the opened master key.
        providers: those too: the first schema did not authenticate them, every later one did.
    """
    for row in tx.execute(select(t.account)).mappings().all():
        if row["binding"] == of_account_before(sealer, row):
            bind(tx, sealer, t.account, row["uuid"])
    for table in (t.client, t.login, *([t.provider] if providers else [])):
        (primary,) = table.primary_key
        for key in tx.execute(select(primary).where(table.c.binding.is_(None), living(table))).scalars().all():
            bind(tx, sealer, table, key)


def living(table: Table) -> Any:  # noqa: ANN401 -- SQLAlchemy's conditions
    """Build the condition for rows that have a MAC: a login that was used up needs none any more."""
    return table.c.taken.is_(False) if table is t.login else true()


def of_account_before(sealer: Sealer, row: Row) -> bytes:
    """Authenticate an account's row as before schema 0008: the client, the destination and the renewal."""
    there = Destination(*(row[name] for name in WHERE))
    renewal = Renewal(*(row[name] for name in RENEWAL))
    parts = (row["uuid"], row["client"] or "", there.issuer, there.token_endpoint, there.client_id)
    if renewal == BY_REFRESH_TOKEN:  # as it was before schema 0004
        return sealer.mac("account|v1", *parts)
    return sealer.mac("account|v2", *parts, renewal.by, renewal.subject, renewal.audience)


def _written(row: Row, names: tuple[str, ...]) -> str:
    return _TEXT.encode([row[name] for name in names])
