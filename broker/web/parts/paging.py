"""A long list, as a page of it: searched by words, and cut into pieces that a person can read.

Used by ``overview`` and ``apps``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# So many on a page: more than anybody reads, and still drawn in milliseconds.
PER_PAGE: Final = 50
# With so many there is a field to search in.
SEARCHED_FROM: Final = 8
MOST_PAGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Sheet(Generic[T]):
    """One page of a list.

    Attributes:
        lines: what stands on it.
        page: which one, from 1.
        pages: how many there are; at least 1.
        total: how many lines there are without a search.
        query: what was searched.
    """

    lines: tuple[T, ...]
    page: int
    pages: int
    total: int
    query: str

    @property
    def searchable(self) -> bool:
        """Whether there is so much that one searches."""
        return self.total >= SEARCHED_FROM or bool(self.query)


def cut(entries: Sequence[T], page: int, total: int, query: str) -> Sheet[T]:
    """Return a page of what was found; the last one where there are not so many."""
    page, pages = placed(page, len(entries))
    return Sheet(tuple(entries[(page - 1) * PER_PAGE : page * PER_PAGE]), page, pages, total, query)


def placed(page: int, found: int) -> tuple[int, int]:
    """Return which page of what was found that is, the last one where there are not so many, and how many there are."""
    pages = max(1, -(-found // PER_PAGE))
    return min(page, pages), pages


def across(counts: Mapping[int, int], page: int) -> dict[int, slice]:
    """Return what stands on a page of several lists, one after the other: which list -> what of it.

    Args:
        counts: which list, in their order -> how long it is.
        page: which page, from 1.
    """
    begin, found = (page - 1) * PER_PAGE, dict[int, slice]()
    for which, count in counts.items():
        first, last = max(begin, 0), min(begin + PER_PAGE, count)
        if first < last:
            found[which] = slice(first, last)
        begin -= count
    return found


def fits(wanted: str, texts: Iterable[str]) -> bool:
    """Whether each word that is wanted stands in some text, in capital letters or small ones."""
    known = [text.casefold() for text in texts]
    return all(any(word in text for text in known) for word in wanted.casefold().split())
