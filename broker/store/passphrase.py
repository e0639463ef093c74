"""A key that is made of a passphrase: Argon2id (RFC 9106), with what it needs beside the passphrase in the database.

Used by ``locking`` and ``rotation``. The passphrase itself is kept nowhere, so every
start waits for a person.
"""

import os
import unicodedata
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from broker.core.secret import Secret
from broker.errors import InvalidRequest, Locked
from broker.store.seal import KEY_BYTES

SALT_BYTES = 16
# RFC 9106 4, the second recommended option: 64 MiB, three passes, four lanes. A sixth of a second on a laptop.
MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
# A database that asks for more than this was tampered with: it shall not take the machine's memory or its day.
MOST_MEMORY_KIB, MOST_PASSES, MOST_LANES = 1024 * 1024, 32, 64
# NIST SP 800-63B-4 3.1.1.2 wants 15 where nothing else protects, and 8 beside something else: here that is the file.
LEAST = 12
# Longer than any sentence; a larger one is the wrong file.
MOST = 1024
# Seconds to wait after the first wrong passphrase, doubled by each further one, and the most that it comes to.
FIRST_DELAY, LONGEST_DELAY = 1.0, 900.0
WAITS = "Keyfob waits for its passphrase."
UNSET = "No passphrase has been set yet."
UNLOCK = "Unlock it: keyfob unlock"
SET = "Set one: keyfob unlock"


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a key is made of a passphrase (RFC 9106 3.1).

    Attributes:
        salt: by chance, of this database.
        memory: KiB.
        passes: over the memory.
        lanes: that work side by side.
    """

    salt: bytes
    memory: int = MEMORY_KIB
    passes: int = PASSES
    lanes: int = LANES

    @classmethod
    def fresh(cls) -> Self:
        """Return the present parameters with a new salt."""
        return cls(os.urandom(SALT_BYTES))

    @classmethod
    def read(cls, written: dict[str, Any]) -> Self:
        """Read what :meth:`written` wrote.

        Raises:
            Locked: it was changed outside Keyfob.
        """
        try:
            found = cls(bytes.fromhex(written["salt"]), written["memory"], written["passes"], written["lanes"])
            numbers = (found.memory, found.passes, found.lanes)
            sane = all(type(number) is int and number > 0 for number in numbers) and (
                found.memory <= MOST_MEMORY_KIB and found.passes <= MOST_PASSES and found.lanes <= MOST_LANES
            )
        except (KeyError, TypeError, ValueError):
            sane = False
        if not sane:
            raise Locked(
                "How the key is made of the passphrase was changed outside Keyfob.",
                "Put back a backup: keyfob restore FILE (what is there now is kept aside).",
            )
        return found

    def written(self) -> dict[str, Any]:
        """Return it as the database keeps it."""
        return {"salt": self.salt.hex(), "memory": self.memory, "passes": self.passes, "lanes": self.lanes}

    def key(self, passphrase: Secret) -> bytes:
        """Make the 32 bytes of the key; takes a noticeable time, so it is called in a thread.

        Raises:
            Locked: this OpenSSL has no Argon2id, or the parameters are none.
        """
        try:
            made = Argon2id(
                salt=self.salt, length=KEY_BYTES, iterations=self.passes, lanes=self.lanes, memory_cost=self.memory
            )
            return made.derive(_normal(passphrase).encode("utf-8", "surrogatepass"))
        except UnsupportedAlgorithm as exc:
            raise Locked(
                "The installed OpenSSL has no Argon2id.", "Use OpenSSL 3.2 or later, or cryptography's own wheel."
            ) from exc
        except ValueError as exc:
            raise Locked("How the key is made of the passphrase was changed outside Keyfob.", UNLOCK) from exc


def check_new(passphrase: Secret) -> None:
    """Refuse a passphrase that nobody should choose.

    Raises:
        InvalidRequest: it is too short, or cannot be one.
    """
    length = len(_normal(passphrase))
    if length < LEAST:
        raise InvalidRequest(
            f"A passphrase has {LEAST} characters at least.", "Take several words that do not belong together."
        )
    if length > MOST:
        raise InvalidRequest(f"A passphrase has {MOST} characters at the most.", "Choose a shorter one.")


def delay(failures: int, failed_at: float, now: float) -> float:
    """Return how many seconds are left before the next try, after so many wrong ones in a row.

    Args:
        failures: how many.
        failed_at: when the last one was, epoch seconds; one in the future counts as now.
        now: epoch seconds.
    """
    if not failures:
        return 0.0
    # An exponent that keeps growing would overflow one day.
    whole = min(FIRST_DELAY * 2.0 ** min(failures - 1, 20), LONGEST_DELAY)
    return max(0.0, whole - max(0.0, now - failed_at))


def _normal(passphrase: Secret) -> str:
    """Return the text as it counts: keyboards and files differ in how they write an umlaut, and in what is around."""
    return unicodedata.normalize("NFC", passphrase.reveal()).strip()
