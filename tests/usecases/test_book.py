"""Many programs at servers that count in different ways: nobody is refused, nobody starves, little is left unused."""

import asyncio
import heapq
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from broker.usecases.book import Heard, Line, Waiter, Whose

LIMIT, WINDOW = 20, 5.0
APPS, EACH = 8, 3
SECONDS, STEP = 90.0, 0.02
START = 1_800_000_000.3


@dataclass(slots=True)
class Server:
    """A server that limits, and how it counts and tells.

    Attributes:
        kind: ``pod`` for a window that slides and Funkwhale's headers, in whole seconds; ``fixed`` for windows that
            begin by the clock, with the reset as a time; ``rule`` for one that tells its rule and what is left of it.
        hits: when it took a request.
        refused: how many it refused.
    """

    kind: str
    hits: list[float] = field(default_factory=list)
    refused: int = 0

    def answer(self, now: float) -> tuple[int, dict[str, str]]:
        """Take a request or refuse it."""
        begin = now - WINDOW if self.kind != "fixed" else now // WINDOW * WINDOW
        self.hits = [hit for hit in self.hits if hit > begin]
        first, taken = not self.hits, len(self.hits) < LIMIT
        if taken:
            self.hits.append(now)
        self.refused += not taken
        return (200 if taken else 429), self._headers(now, first=first)

    def _headers(self, now: float, *, first: bool) -> dict[str, str]:
        left, second = LIMIT - len(self.hits), int(now)
        if self.kind == "fixed":
            told = {"limit": LIMIT, "remaining": left, "reset": int(now // WINDOW * WINDOW + WINDOW)}
            return {f"x-ratelimit-{name}": str(value) for name, value in told.items()}
        oldest, latest = (int(self.hits[index] + WINDOW) - second for index in (0, -1))
        if self.kind == "rule":
            return {"ratelimit": f'"p";r={left};t={oldest}', "ratelimit-policy": f'"p";q={LIMIT};w={WINDOW:g}'}
        told = {"limit": LIMIT, "remaining": LIMIT if first else left, "duration": int(WINDOW)}
        found = {f"x-ratelimit-{name}": str(value) for name, value in told.items()}
        return found if first else found | {"retry-after": str(oldest), "x-ratelimit-resetseconds": str(latest)}


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("kind", ["pod", "fixed", "rule"])
def test_nobody_is_refused_and_nobody_starves(kind: str, seed: int) -> None:
    """Eight apps that always want more, answers that overtake each other: most of the limit is used, by all alike."""

    async def story() -> tuple[Server, Counter[str]]:
        rng = random.Random(seed)  # noqa: S311 -- the same in every run
        server, line, got = Server(kind), Line(), Counter[str]()
        waiting: list[Waiter] = []
        coming: list[tuple[float, int, str, Waiter, float]] = []
        order, now = itertools.count(), START
        told: dict[int, tuple[int, dict[str, str]]] = {}

        def want(app: str) -> None:
            waiter = Waiter(Whose(app), "GET x", now + 1000, asyncio.get_running_loop().create_future())
            waiting.append(waiter)
            line.stand(waiter)

        # The first of all finds out that there is a limit; the others come after its answer.
        line.heard(Heard("app0", "GET x", *server.answer(now), now, now, now), ())
        for number in range(APPS * EACH):
            want(f"app{number % APPS}")
        while now < START + SECONDS:
            now += STEP
            line.let_go(now)
            for waiter in [waiter for waiter in waiting if waiter.turn.done()]:
                waiting.remove(waiter)
                heapq.heappush(coming, (now + rng.uniform(0.01, 0.1), next(order), "there", waiter, now))
            while coming and coming[0][0] <= now:
                at, number, where, waiter, sent_at = heapq.heappop(coming)
                if where == "there":
                    told[number] = server.answer(at)
                    heapq.heappush(coming, (at + rng.uniform(0.01, 0.2), number, "back", waiter, sent_at))
                    continue
                status, headers = told.pop(number)
                line.heard(Heard(waiter.whose.app, "GET x", status, headers, at, at, sent_at), waiter.turn.result())
                got[waiter.whose.app] += status == 200
                want(waiter.whose.app)
        return server, got

    server, got = asyncio.run(story())
    assert server.refused == 0
    assert max(got.values()) - min(got.values()) <= EACH
    assert got.total() > 0.7 * LIMIT * SECONDS / WINDOW
