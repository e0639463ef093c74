"""What is under way through the proxy: how much of it there may be, how long each may be silent, and how it is ended.

Held by ``Context``; ``web.proxy`` enters each request here. ``daemon`` ends all, ``apps`` and ``accounts`` their own.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from broker.errors import ProviderUnavailable

# As the settings have them where nobody sets any.
MOST, IDLE, WAIT = 100, 600.0, 120.0
# Whoever comes while all places are taken may try again after so many seconds.
AGAIN = 2.0


@dataclass(eq=False, slots=True)
class Stream:
    """One request under way.

    Attributes:
        app: whose it is.
        cut: ends it at once, for the caller visibly.
        account: the account's uuid; empty until ``forward`` has found the account.
    """

    app: str
    cut: Callable[[], None]
    account: str = ""


@dataclass(slots=True)
class Streams:
    """The requests under way through the proxy.

    Attributes:
        most: how many there may be.
        body_limit: how many bytes the body of a request may have; 0: no limit.
        idle: seconds without a byte, either way, after which one is ended; 0: no limit.
        wait: seconds until the head of an answer has to be there.
        running: those that there are.
        closing: the daemon stops; no other one begins.
    """

    most: int = MOST
    body_limit: int = 0
    idle: float = IDLE
    wait: float = WAIT
    running: set[Stream] = field(default_factory=set)
    closing: bool = False
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def entered(self, stream: Stream) -> Iterator[None]:
        """Count a request for the length of the block.

        Raises:
            ProviderUnavailable: there is no place for it.
        """
        if self.closing:
            raise ProviderUnavailable("Keyfob is stopping.", "Ask again when it runs.", retry_after=AGAIN)
        if len(self.running) >= self.most:
            raise ProviderUnavailable(
                f"{self.most} requests are under way through the proxy: there is no place for another.",
                "Try again later; the owner allows more with the setting proxy_streams.",
                retry_after=AGAIN,
            )
        self.running.add(stream)
        try:
            yield
        finally:
            self.running.discard(stream)
            self._ended.set()

    def cut(self, app: str | None = None, account: str | None = None) -> None:
        """End those of an app, of an account, or of both; of everybody where neither is named."""
        for stream in tuple(self.running):
            if app in (None, stream.app) and account in (None, stream.account):
                stream.cut()

    async def close(self, patience: float) -> None:
        """Let none begin, let those that are under way end, and end those that do not.

        Args:
            patience: for how many seconds they may go on.
        """
        self.closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.running:
                    self._ended.clear()
                    await self._ended.wait()
        self.cut()
