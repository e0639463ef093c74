"""The tables, as SQLAlchemy Core sees them; the migrations in ``migrations/`` make them.

Used by every module of the store. Times are epoch seconds; secrets stand in ``secret`` only, sealed.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Computed,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    and_,
    text,
)

from broker.store import attention, timetable

# The newest migration. Compared with the database's own at every start, so that Alembic is imported only when there is
# something to do; a test holds it equal to the newest file.
REVISION = "0015"

metadata = MetaData()

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1: there is one
    Column("instance_id", String, nullable=False),
    Column("key_id", String, nullable=False),  # a fingerprint: tells a wrong key from a damaged record
    Column("master_generation", Integer, nullable=False),
    Column("master", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("sequence", Integer, nullable=False, server_default="0"),  # how often a refresh token was sent or replaced
    Column("line", String),  # what the fence beside the database calls it; none before it has one: see fence.py
    Column("kdf", JSON),  # how the key is made of a passphrase: see passphrase.py; none where it comes from elsewhere
    Column("unlock_failures", Integer, nullable=False, server_default="0"),  # wrong passphrases in a row
    Column("unlock_failed_at", Float, nullable=False, server_default="0"),
)

pulse = Table(
    "pulse",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("at", Float, nullable=False),
)

data_key = Table(
    "data_key",
    metadata,
    Column("owner", String, primary_key=True),  # uuid of an account or a client, or id of a login
    Column("generation", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)

secret = Table(
    "secret",
    metadata,
    Column("uuid", String, primary_key=True),
    Column("owner", String, ForeignKey("data_key.owner", ondelete="CASCADE"), nullable=False),
    Column("kind", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("owner", "kind", "generation"),
)

provider = Table(
    "provider",
    metadata,
    Column("name", String, primary_key=True),
    Column("preset", String, nullable=False),
    Column("base_url", String, nullable=False),
    Column("overrides", JSON, nullable=False),
    Column("discovered", JSON, nullable=False),
    Column("private", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("binding", LargeBinary),  # authenticates where it is: see bindings.py
    Column("discovered_at", Float, nullable=False, server_default="0"),
)

client = Table(
    "client",
    metadata,
    Column("uuid", String, primary_key=True),
    Column("provider", String, ForeignKey("provider.name", ondelete="CASCADE"), nullable=False),
    Column("client_id", String, nullable=False),
    Column("auth_method", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("token_endpoint", String, nullable=False),
    Column("has_secret", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("redirect_uris", JSON),  # what was registered; none where nobody knows
    Column("scope", JSON),
    Column("secret_expires_at", Float),  # by the provider's clock
    Column("registration_uri", String),  # where its registration is managed; the token for that is sealed
    Column("binding", LargeBinary),  # authenticates all but its times: see bindings.py
    UniqueConstraint("provider", "client_id"),
)

account = Table(
    "account",
    metadata,
    Column("uuid", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("provider", String, ForeignKey("provider.name"), nullable=False),
    Column("client", String, ForeignKey("client.uuid")),  # none for a pasted token
    Column("issuer", String, nullable=False),
    Column("token_endpoint", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("binding", LargeBinary, nullable=False),  # authenticates what decides about its secrets: see bindings.py
    Column("version", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("access_generation", Integer),  # under which generation each secret in force was sealed
    Column("refresh_generation", Integer),
    Column("id_generation", Integer),
    Column("identity_issuer", String),
    Column("identity_subject", String),
    Column("identity_label", String),
    Column("asked_scope", JSON, nullable=False),
    Column("resource", String),
    Column("state", String, nullable=False),
    Column("state_since", Float, nullable=False),
    Column("state_reason", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retry_at", Float, nullable=False),
    Column("throttled_until", Float, nullable=False),
    Column("lost_at", Float, nullable=False),
    Column("token_type", String),
    Column("scope", JSON, nullable=False),
    Column("issued_at", Float),
    Column("expires_at", Float),
    Column("refresh_expires_at", Float),
    Column("created_at", Float, nullable=False),
    Column("logged_in_at", Float),  # none: before schema 0002 nobody wrote it down
    Column("last_refresh_at", Float),
    Column("last_used_at", Float),
    Column("forced_at", Float),
    Column("renewal", String, nullable=False, server_default="refresh_token"),
    Column("renewal_subject", String, nullable=False, server_default=""),
    Column("renewal_audience", String, nullable=False, server_default=""),
    Column("api_base", String),  # set by a person; none where the preset or the resource tells
    # When Keyfob asks by itself, as far as the row tells: see timetable.py.
    Column("due_at", Float, Computed(timetable.DUE, persisted=False)),
    Column("due_late_at", Float, Computed(timetable.DUE_LATE, persisted=False)),
    Index("account_due", "provider", "due_at"),
    Index("account_due_late", "provider", "due_late_at"),
    Index("account_idle", "provider", "last_refresh_at", sqlite_where=text(timetable.IDLES)),
    # Whose login it is; and which accounts are derived from one.
    Index("account_person", "identity_subject", "provider"),
    Index("account_parent", "renewal_subject", "state", sqlite_where=text(timetable.DERIVED)),
    # How much they need a person: see attention.py.
    Index("account_notable", "state", "name", sqlite_where=text(attention.NOTABLE)),
    Index("account_calm", "name", "state", sqlite_where=text(attention.CALM)),
    Index("account_ends", "expires_at", sqlite_where=text(attention.ENDS)),
)

refresh_intent = Table(
    "refresh_intent",
    metadata,
    Column("account", String, ForeignKey("account.uuid", ondelete="CASCADE"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("wish", JSON),  # scope and resource of a narrower token; none for the account's own
)

# Tokens that carry less than the account's, or are for another resource; each is sealed in ``secret``.
derived_token = Table(
    "derived_token",
    metadata,
    Column("slot", String, primary_key=True),  # account and wish
    Column("account", String, ForeignKey("account.uuid", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),  # under which it was sealed
    Column("token_type", String, nullable=False),
    Column("scope", JSON, nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("expires_at", Float),
    Index("derived_token_account", "account"),
)

login = Table(
    "login",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("replaces", String),
    Column("provider", String, ForeignKey("provider.name", ondelete="CASCADE"), nullable=False),
    Column("client", String, ForeignKey("client.uuid", ondelete="CASCADE")),
    Column("flow", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("token_endpoint", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("redirect_uri", String, nullable=False),
    Column("scope", JSON, nullable=False),
    Column("resource", String),
    Column("nonce", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("state_hash", LargeBinary, unique=True),  # SHA-256 of the OAuth state; gone once it has been used
    Column("browser_hash", LargeBinary),  # SHA-256 of the cookie of the browser that owns the login
    Column("taken", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("binding", LargeBinary),  # authenticates whose login it is and where it goes: see bindings.py
)

app = Table(
    "app",
    metadata,
    Column("name", String, primary_key=True),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float),
    Column("expires_at", Float),
    Column("epoch", Integer),  # of the register when it was last changed: see register.py
    Column("listed", JSON),  # uuid of an account -> digest of what was granted of it
    Column("seal", LargeBinary),  # authenticates all of it but the times of its making and its use
)

app_grant = Table(
    "app_grant",
    metadata,
    Column("app", String, ForeignKey("app.name", ondelete="CASCADE"), primary_key=True),
    Column("account", String, ForeignKey("account.uuid", ondelete="CASCADE"), primary_key=True),
    Column("scope", JSON, nullable=False),
    Column("resource", String),
    Column("mode", String, nullable=False),
    Column("expires_at", Float),
    Column("rules", JSON),  # which requests it may send through the proxy; none for all
    Column("token_file", String),
    Column("rate_share", Integer),  # percent of a rate limit; none for all
)

# By the account's name, as it was asked for: there may be no such account yet.
refusal = Table(
    "refusal",
    metadata,
    Column("app", String, ForeignKey("app.name", ondelete="CASCADE"), primary_key=True),
    Column("account", String, primary_key=True),
    Column("at", Float, nullable=False),
)

# Which apps there are, in which state: see register.py.
app_register = Table(
    "app_register",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("epoch", Integer, nullable=False),
    Column("apps", JSON, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

# No foreign keys: the record outlives what it is about.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("action", String, nullable=False),
    Column("account_uuid", String),
    Column("account", String),
    Column("app", String),
    Column("detail", String, nullable=False),
    Column("generation", Integer),
    Column("first", Float),
    Column("count", Integer),
    Column("link", Integer),  # its number in the chain; none of a count that still grows, and without a seal
    Column("hash", LargeBinary),  # its seal: see chain.py; none where there was no key, or no chain yet
    Column("late", Boolean, nullable=False, server_default="0"),  # written without a key, and sealed later
    Index("audit_at", "at"),
    Index("audit_account", "account_uuid"),
    # Not of those that have none: SQLite would look among these for what the index of them finds.
    Index("audit_link", "link", unique=True, sqlite_where=text("link IS NOT NULL")),
    sqlite_autoincrement=True,  # ids grow for ever, so equal times keep their order
)
# Counts that still grow, and what has no seal.
Index("audit_unlinked", audit.c.account_uuid, audit.c.app, sqlite_where=audit.c.link.is_(None))
# Counts that still grow, in their order.
Index("audit_growing", audit.c.id, sqlite_where=and_(audit.c.link.is_(None), audit.c.hash.is_not(None)))

# The keys that sealed the audit before a rotation of the master key: see chain.py.
audit_key = Table(
    "audit_key",
    metadata,
    Column("until", Integer, primary_key=True),  # the number of the last entry that it sealed
    Column("wrapped", LargeBinary, nullable=False),  # under the present master key
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("first", Integer, nullable=False),
    Column("before", LargeBinary, nullable=False),
    Column("last", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("old", Integer, nullable=False),
    Column("counts", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
