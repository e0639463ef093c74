"""Addresses of logins that nobody has begun: made from a key that is never written down, and remembered when opened.

Kept by ``context``; made and opened by ``promise``.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from broker.core.login import LOGIN_LIFETIME

# An address is the same for half of the time that it may be good for, so that who asks every second gets one.
SLOT = LOGIN_LIFETIME / 2
# Between the parts of an address; in none that a login has which is begun.
BETWEEN = "."
_MAC_DIGITS = 48
_PARTS = 4
# Of an account, within one slot: who opens more of its addresses than that is not a person any more.
MOST_OPENED = 50


@dataclass(slots=True)
class Links:
    """The addresses of one run of the daemon.

    Attributes:
        opened: address -> when it is forgotten, and where it led the browser that opened it first.
    """

    opened: dict[str, tuple[float, str]] = field(default_factory=dict)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def make(self, uuid: str, now: float) -> str:
        """Return an address for an account that nobody has opened yet; empty where too many were."""
        slot = int(now // SLOT)
        made = (self._signed(uuid, slot, count) for count in range(MOST_OPENED))
        return next((link for link in made if link not in self.opened), "")

    def read(self, link: str, now: float) -> str:
        """Return the uuid of the account that an address is for; empty where it is none of ours, or too old."""
        parts = link.split(BETWEEN)
        if len(parts) != _PARTS or not (parts[1].isdecimal() and parts[2].isdecimal() and link.isascii()):
            return ""
        uuid, slot, count = parts[0], int(parts[1][:20]), int(parts[2][:20])
        ours = hmac.compare_digest(link, self._signed(uuid, slot, count))
        return uuid if ours and slot in (int(now // SLOT), int(now // SLOT) - 1) else ""

    def note(self, link: str, led_to: str, now: float) -> None:
        """Remember where an address led, for as long as it is good."""
        self.opened = {known: entry for known, entry in self.opened.items() if entry[0] > now}
        self.opened[link] = (now + LOGIN_LIFETIME, led_to)

    def _signed(self, uuid: str, slot: int, count: int) -> str:
        said = f"{uuid}{BETWEEN}{slot}{BETWEEN}{count}"
        mac = hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()[:_MAC_DIGITS]
        return f"{said}{BETWEEN}{mac}"
