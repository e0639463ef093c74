"""Who is signed in at the web page: a secret in one browser tab, never a cookie.

Cookies of 127.0.0.1 reach every port of it, whoever listens there (RFC 6265 8.5). So the page is opened with a one-time
secret in the fragment of its address, which no server and no referrer ever sees (RFC 3986 3.5); the page trades it for
another, keeps that for itself, and sends it with each request as a bearer token. In memory only.
"""

import hashlib
import secrets

from broker.core.secret import Secret
from broker.errors import Unauthorized

# From `keyfob ui` to the page that opens: a slow browser at its first start of the day.
TICKET_LIFE = 60.0
# A working day without a look at the page.
IDLE = 8 * 3600.0
# Nobody needs more tabs; the one that was used longest ago is signed out.
MOST_SESSIONS = 16
MOST_TICKETS = 16


class Sessions:
    """Tickets and sessions, by the hash of their secret. All moments are steady seconds."""

    def __init__(self) -> None:
        self._tickets: dict[bytes, float] = {}
        self._entries: dict[str, tuple[Secret, float]] = {}
        # When each was last used.
        self._sessions: dict[bytes, float] = {}

    def ticket(self, now: float) -> Secret:
        """Make a secret that signs one tab in, once and soon."""
        self._tickets = {held: ends for held, ends in self._tickets.items() if ends > now}
        while len(self._tickets) >= MOST_TICKETS:
            del self._tickets[min(self._tickets, key=self._tickets.__getitem__)]
        secret = Secret(secrets.token_urlsafe(32))
        self._tickets[_hash(secret)] = now + TICKET_LIFE
        return secret

    def entry(self, ticket: Secret, now: float) -> str:
        """Return a name for a ticket, which may stand in a command line: it helps only a browser of the owner's."""
        self._entries = {name: (held, ends) for name, (held, ends) in self._entries.items() if ends > now}
        name = secrets.token_urlsafe(16)
        self._entries[name] = (ticket, now + TICKET_LIFE)
        return name

    def enter(self, name: str, now: float) -> Secret:
        """Return the ticket of that name, once. Who asks has to be known to be the owner.

        Raises:
            Unauthorized: it was taken, is too old, or none.
        """
        ticket, ends = self._entries.pop(name, (None, 0.0))
        if ticket is None or ends <= now:
            raise _used_up()
        return ticket

    def sign_in(self, ticket: Secret, now: float) -> Secret:
        """Trade a ticket for a session.

        Raises:
            Unauthorized: it is used up, too old, or none.
        """
        ends = self._tickets.pop(_hash(ticket), None)
        if ends is None or ends <= now:
            raise _used_up()
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=self._sessions.__getitem__)]
        secret = Secret(secrets.token_urlsafe(32))
        self._sessions[_hash(secret)] = now
        return secret

    def check(self, session: Secret, now: float) -> None:
        """Take a session for good and note its use.

        Raises:
            Unauthorized: it has ended, or is none.
        """
        held = _hash(session)
        used_at = self._sessions.pop(held, None)
        if used_at is None or now - used_at > IDLE:
            raise not_signed_in()
        self._sessions[held] = now

    def lasts(self, session: Secret, now: float) -> bool:
        """Whether a session is still one; that is no use of it."""
        used_at = self._sessions.get(_hash(session))
        return used_at is not None and now - used_at <= IDLE

    def sign_out(self, session: Secret) -> None:
        """End a session; no error where there is none."""
        self._sessions.pop(_hash(session), None)


def not_signed_in() -> Unauthorized:
    """Return what is told to whoever shows no session that is one."""
    return Unauthorized("This page is not signed in.", "Sign in from a terminal: keyfob ui")


def _used_up() -> Unauthorized:
    return Unauthorized("This address signed somebody in already, or is too old.", "Open another: keyfob ui")


def _hash(secret: Secret) -> bytes:
    # What is looked up is the hash of what came: how long that takes tells nothing about the secret.
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).digest()
