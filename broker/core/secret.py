"""A value that cannot be printed, logged or pickled by accident.

Used for every token, key, password, code and verifier, in every room.
"""

import hmac
from typing import NoReturn


class Secret:
    """Text that only :meth:`reveal` gives back.

    ``str``, ``repr``, ``format`` and f-strings show ``‹secret›``; pickling and copying into JSON fail. Comparison
    takes the same time wherever the values differ. There is no ``len``: a length tells the kind of a token.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself. Every use of this is a place to look at in a review."""
        return self._value

    def tail(self, count: int = 4) -> str:
        """Return ``…`` and the last ``count`` characters, or only ``…`` where that would be a large part of it."""
        return "…" + (self._value[-count:] if len(self._value) >= 8 * count else "")

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "‹secret›"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "‹secret›"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not leave the process")
