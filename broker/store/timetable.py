"""When an account is due, as SQLite computes it from the account's own row: the schedule of ``core.timing`` in SQL.

Used by ``tables``, whose columns these are, with an index on each, so that ``due`` can ask for what is due and reads
nothing else. Whoever changes a number of the schedule changes the columns with it, and needs a migration; a test holds
both equal. What SQLite cannot know of an account (its provider's quota and idle days) stands in ``due``.
"""

from broker.core import timing

_LIFE = "(expires_at - issued_at)"
_DIGITS = " + ".join(
    f"(instr('{timing.HEX}', substr(uuid, {at}, 1)) - 1) * {weight}" for at, weight in ((1, 256), (2, 16), (3, 1))
)
_SHARE = f"(({_DIGITS} + generation * {timing.SHARE_STEP}) % {timing.SHARES} / {timing.SHARES}.0)"
_JITTER = f"{_SHARE} * min({timing.JITTER_MOST!r}, {_LIFE} * {timing.JITTER_PART!r})"
_USUAL = f"max({timing.LEAST_MARGIN!r}, {_LIFE} * {timing.MARGIN_PART!r})"
# A refresh token that has an end, and lives for long enough, is used at two thirds of its life.
_LASTS = "(refresh_expires_at - last_refresh_at)"
_KEPT_ALIVE = (
    f"CASE WHEN renewal = 'refresh_token' AND {_LASTS} >= {timing.KEEP_ALIVE_LEAST!r}"
    f" THEN refresh_expires_at - {_LASTS} * {timing.SHORT_PART!r} END"
)
# When the token is over that the account still has.
_OVER = "CASE WHEN access_generation IS NULL THEN 0.0 ELSE coalesce(expires_at, 0.0) END"


def _due(margin: str) -> str:
    token = (
        f"max(expires_at - min({margin}, {_LIFE} * {timing.SHORT_PART!r}) - {_JITTER}, issued_at + {timing.SOONEST!r})"
    )
    return (
        "CASE WHEN renewal = 'refresh_token' AND refresh_generation IS NULL THEN NULL"
        " WHEN state = 'active' AND access_generation IS NULL THEN state_since"
        f" WHEN state = 'active' THEN min(coalesce({token}, 9e999), coalesce({_KEPT_ALIVE}, 9e999))"
        " WHEN state = 'refreshing-failed' THEN max(retry_at, throttled_until)"
        " WHEN state = 'uncertain' THEN"
        f" max(retry_at, {_OVER})"
        f" WHEN state = 'misconfigured' THEN max(retry_at, CASE WHEN lost_at > 0.0 THEN {_OVER} ELSE 0.0 END)"
        " END"
    )


# As providers are by default, and as those are where a refresh kills the old access token. Infinite: nobody knows.
DUE = _due(_USUAL)
DUE_LATE = _due(repr(timing.LATE_MARGIN))
# Accounts that a refresh token keeps alive, of which a provider may forget those that are idle.
IDLES = "state = 'active' AND renewal = 'refresh_token' AND refresh_generation IS NOT NULL"
# Accounts whose tokens are those of another one, exchanged.
DERIVED = "renewal = 'token_exchange'"
