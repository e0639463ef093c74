"""Between an account and its row: which columns hold what.

Used by ``accounts`` and ``refreshes``; nothing here asks the database.
"""

from dataclasses import fields
from typing import Any, get_args

from broker.core.account import Account, Destination, Identity, Renewal, State
from broker.core.token import Token
from broker.errors import StoreUnavailable
from broker.store import tables as t
from broker.store.memory import Row

# What each kind of secret is called in the table; the column says under which generation the one in force was sealed.
IN_FORCE = {
    "access_token": t.account.c.access_generation,
    "refresh_token": t.account.c.refresh_generation,
    "id_token": t.account.c.id_generation,
}
# Those of which there is one at a time.
HANDED_OUT = ("access_token", "id_token")
# The kind of an answer that was kept, and of which nothing is in force yet.
ANSWER = "answer"
# The times that tell how long something lives or lasts; they move when the clock is set.
DATED = (
    t.account.c.issued_at,
    t.account.c.expires_at,
    t.account.c.refresh_expires_at,
    t.account.c.last_refresh_at,
    t.account.c.state_since,
    t.account.c.forced_at,
    t.account.c.lost_at,
)
# The name of each state, as it is stored, and what it is.
STATES: dict[str, type[State]] = {kind.name: kind for kind in get_args(State)}
# What each of them is made of, and the columns that hold it.
_PARTS = {
    name: {
        field.name: {"since": "state_since", "reason": "state_reason"}.get(field.name, field.name)
        for field in fields(kind)
    }
    for name, kind in STATES.items()
}


def state_columns(state: State) -> dict[str, Any]:
    """Return the columns that hold ``state``."""
    # States that ask again by themselves say when; the columns of the others are at rest.
    return {
        "state": state.name,
        "state_since": state.since,
        "state_reason": state.reason,
        "attempts": getattr(state, "attempts", 0),
        "retry_at": getattr(state, "retry_at", 0.0),
        "throttled_until": getattr(state, "throttled_until", 0.0),
        "lost_at": getattr(state, "lost_at", 0.0),
    }


def identity_columns(identity: Identity | None) -> dict[str, Any]:
    """Return the columns that hold ``identity``."""
    return {
        "identity_issuer": identity.issuer if identity else None,
        "identity_subject": identity.subject if identity else None,
        "identity_label": identity.label if identity else None,
    }


def renewal_columns(renewal: Renewal) -> dict[str, Any]:
    """Return the columns that hold ``renewal``."""
    return {
        "renewal": renewal.by,
        "renewal_subject": renewal.subject,
        "renewal_audience": renewal.audience,
    }


def token_columns(token: Token) -> dict[str, Any]:
    """Return the columns that hold what is known about an access token."""
    return {
        "token_type": token.token_type,
        "scope": list(token.scope),
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }


def _state(row: Row) -> State:
    kind = STATES.get(row["state"])
    if kind is None:
        raise StoreUnavailable(
            f"The stored state of account '{row['name']}' is unknown.", "Put back a backup: keyfob restore FILE"
        )
    return kind(**{part: row[column] for part, column in _PARTS[kind.name].items()})


def account_of(row: Row, *, proven: bool | None) -> Account:
    """Read an account from its row; ``proven`` is as :class:`Account` has it."""
    known = row["identity_subject"] is not None
    held = row["access_generation"] is not None
    return Account(
        uuid=row["uuid"],
        name=row["name"],
        provider=row["provider"],
        destination=Destination(row["issuer"], row["token_endpoint"], row["client_id"]),
        version=row["version"],
        generation=row["generation"],
        identity=Identity(row["identity_issuer"], row["identity_subject"], row["identity_label"]) if known else None,
        asked_scope=tuple(row["asked_scope"]),
        resource=row["resource"],
        state=_state(row),
        token=Token(row["token_type"], tuple(row["scope"]), row["issued_at"], row["expires_at"]) if held else None,
        has_refresh_token=row["refresh_generation"] is not None,
        refresh_expires_at=row["refresh_expires_at"],
        created_at=row["created_at"],
        last_refresh_at=row["last_refresh_at"],
        last_used_at=row["last_used_at"],
        forced_at=row["forced_at"],
        id_token_generation=row["id_generation"],
        logged_in_at=row["logged_in_at"],
        token_generation=row["access_generation"],
        renewal=Renewal(row["renewal"], row["renewal_subject"], row["renewal_audience"]),
        api_base=row["api_base"] or "",
        proven=proven,
    )
