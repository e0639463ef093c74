"""A target: one parser that meets foreign bytes, what it may say to them, and what to begin with.

Used by the modules with the targets, by hypothesis (``test_targets``) and by atheris (``guided``).
"""

import asyncio
import atexit
import functools
import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

# Stands in the seeds where a secret would: no refusal may hold it, whatever became of the rest.
CANARY = "c4nary.s3cret-0123456789"
# What parsers trip over, whatever they parse; each target has words of its own beside these.
NASTY = (
    b"",
    b"\0",
    b"\r\n",
    b'"',
    b"\\",
    b"[",
    b"{",
    b"}",
    b"%",
    b"%00",
    b"=",
    b"&",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"9" * 50,
    b"\xff",
    b"\xc3\xa9",
    b"\xb2",
    b"\xed\xa0\x80",
    b"\\ud800",
)
# Real seconds that nothing here may take: a parser that waits is a finding.
PATIENCE = 10.0

Kinds = tuple[type[Exception], ...]
Make = Callable[[int], bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        name: how it is chosen on the command line.
        meets: whose bytes it meets.
        meet: shows it some, and asserts what has to hold of what it makes of them.
        refuses: the documented errors; any other is a finding.
        seeds: sound input, and input that was once a finding.
        grows: inputs of any size, for which the time must grow no faster than the size.
        words: that mean something to it.
        examples: how many hypothesis tries in ``make test``; fewer where each costs a database.
    """

    name: str
    meets: str
    meet: Callable[[bytes], None]
    refuses: Kinds
    seeds: tuple[bytes, ...]
    grows: tuple[Make, ...] = ()
    words: tuple[bytes, ...] = ()
    examples: int = 80

    def try_it(self, data: bytes) -> None:
        """Show the parser some bytes; every exception that leaves this is a finding."""
        try:
            self.meet(data)
        except self.refuses as exc:
            # As a log would show it, with all that led to it.
            said = "".join(traceback.format_exception(exc))
            assert CANARY not in said, "a refusal holds a secret"


@functools.cache
def _loop() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the one loop of this process: what waits for it may live as long as that."""

    async def in_time() -> T:
        async with asyncio.timeout(PATIENCE):
            return await work

    return _loop().run(in_time())


def repeated(before: bytes, piece: bytes, after: bytes = b"") -> Make:
    """Return what makes an input of about any size out of a piece."""
    return lambda size: before + piece * max(1, size // len(piece)) + after


def around(before: bytes, makes: Iterable[Make], after: bytes = b"") -> tuple[Make, ...]:
    """Return what makes the same inputs with something before and after them."""

    def make_one(make: Make) -> Make:
        return lambda size: before + make(size) + after

    return tuple(make_one(make) for make in makes)


def text_of(data: bytes) -> str:
    """Return bytes as text; what is not UTF-8 becomes a mark, because a sound parser has refused it before."""
    return data.decode("utf-8", "replace")


def picked(data: bytes, choices: tuple[T, ...]) -> tuple[T, bytes]:
    """Let the first byte choose, and return the choice and the rest."""
    return choices[data[0] % len(choices)] if data else choices[0], data[1:]
