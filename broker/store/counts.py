"""What the head of the chain says of all counts that still grow: a sum, which one count changes at the cost of one.

Used by ``chain`` and ``tally``; checked by ``verify``. It is MSet-Add-Hash (Clarke, Devadas, van Dijk, Gassend and Suh,
"Incremental Multiset Hash Functions and Their Application to Memory Integrity Checking", ASIACRYPT 2003): each count
adds a number that only the key tells, modulo 2^256, and what is written of the sum is masked anew each time. So nobody
without the key can take a count out, put one in, or put an older one back so that the sum stays; nor does anybody learn
from older databases which counts would do.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Self

from broker.store.seal import Stamp

_NONCE, _SIZE = 16, 32
_MODULUS = 1 << 8 * _SIZE


class Sum:
    """The sum of some counts, each told by its id and its seal.

    Args:
        stamp: the key that seals the audit.
        value: the sum of those that are in it.
    """

    def __init__(self, stamp: Stamp, value: int = 0) -> None:
        self._stamp = stamp
        self._key = stamp.audit_mac("counts|v1")
        self._value = value

    @classmethod
    def of(cls, stamp: Stamp, counts: Iterable[tuple[int, bytes]]) -> Self:
        """Return the sum of these counts."""
        found = cls(stamp)
        found._value = sum(found._number(*count) for count in counts) % _MODULUS
        return found

    @classmethod
    def read(cls, stamp: Stamp, written: bytes) -> Self | None:
        """Return the sum that was written; None where that is a digest, as before schema 0014."""
        if len(written) != _NONCE + _SIZE:
            return None
        masked = int.from_bytes(written[_NONCE:])
        return cls(stamp, (masked - _mask(stamp, written[:_NONCE])) % _MODULUS)

    def add(self, row: int, seal: bytes) -> None:
        """Put a count in."""
        self._value = (self._value + self._number(row, seal)) % _MODULUS

    def take(self, row: int, seal: bytes) -> None:
        """Take a count out."""
        self._value = (self._value - self._number(row, seal)) % _MODULUS

    def written(self) -> bytes:
        """Return it as it is written down: another value each time."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + ((self._value + _mask(self._stamp, nonce)) % _MODULUS).to_bytes(_SIZE)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sum) and self._value == other._value

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _number(self, row: int, seal: bytes) -> int:
        told = row.to_bytes(8, signed=True) + seal
        return int.from_bytes(hashlib.blake2b(told, key=self._key, digest_size=_SIZE).digest())


def fits(stamp: Stamp, written: bytes, counts: Iterable[tuple[int, bytes]]) -> bool:
    """Whether these are the counts of which that was written."""
    known = Sum.read(stamp, written)
    if known is None:
        return hmac.compare_digest(_digest(counts), written)
    return known == Sum.of(stamp, counts)


def _digest(counts: Iterable[tuple[int, bytes]]) -> bytes:
    """Return what was written before schema 0014: whoever wanted to change it had to read all counts."""
    return hashlib.sha256(b"".join(row.to_bytes(8, signed=True) + seal for row, seal in sorted(counts))).digest()


def _mask(stamp: Stamp, nonce: bytes) -> int:
    return int.from_bytes(stamp.audit_mac("counts-mask|v1", nonce.hex()))
