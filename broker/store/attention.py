"""How much an account needs a person, as SQLite computes it from the account's own row: ``core.advice.rank`` in SQL.

Used by ``tables``, whose indexes these are, and by ``ranking`` and ``listing``, which ask in the words of the indexes:
so they read what needs a person and as much of the rest as is shown, and nothing else. Whoever changes what needs a
person changes the words with it, and needs a migration; a test holds both equal.
"""

# What only a person can mend, and what mends itself.
WAITING = ("needs-login", "misconfigured", "suspect")
MENDING = ("uncertain", "refreshing-failed")
# Accounts that are in no such state; of these the first page shows most, by name.
CALM = f"state NOT IN {(*WAITING, *MENDING)}"
# All others, and those that a person made by hand: few, where there are many accounts.
NOTABLE = "state <> 'active'"
# Accounts whose token has an end, and nothing can renew it.
ENDS = (
    "renewal = 'refresh_token' AND refresh_generation IS NULL"
    " AND access_generation IS NOT NULL AND expires_at IS NOT NULL"
)
