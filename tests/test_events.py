"""The bus: everybody who listens hears everything, and nobody is waited for."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from broker.events import BACKLOG, COUNTED, Event, Events, Subscription

PATIENCE = 10.0


def event(number: int) -> Event:
    """Make an event that can be told from others."""
    return Event("refreshed", float(number), generation=number)


async def heard(subscription: Subscription) -> list[int]:
    """Return what a listener has not read yet."""
    found = []
    while (news := await subscription.next(timeout=0)) is not None:
        found.append(news.generation)
    return found


def test_everybody_hears_everything_in_order() -> None:
    """Each listener gets every event from when it began to listen, in the order in which they were published."""

    async def walk() -> None:
        events = Events()
        with events.listen() as early:
            events.publish(event(1))
            with events.listen() as late:
                events.publish(event(2))
                events.publish(event(3))

                assert await heard(early) == [1, 2, 3]
                assert await heard(late) == [2, 3]

    asyncio.run(walk())


def test_published_is_counted_whether_anybody_listens_or_not() -> None:
    """Each kind has its number since the start; what comes by the thousand is counted by who makes it."""
    events = Events()
    assert events.counts["refreshed"] == 0
    for number in range(3):
        events.publish(event(number))
    events.publish(replace(event(3), kind="logged-in"))
    events.publish(replace(event(4), kind=COUNTED[0]))

    assert events.counts == {"refreshed": 3, "logged-in": 1}


def test_a_waiting_listener_is_woken() -> None:
    """Who waits gets the next event as soon as it is published."""

    async def walk() -> None:
        events = Events()
        with events.listen() as listener:
            waiting = asyncio.create_task(listener.next(PATIENCE))
            await asyncio.sleep(0)
            assert not waiting.done()

            events.publish(event(1))

            assert await waiting == event(1)

    asyncio.run(walk())


def test_nobody_waits_for_a_slow_listener() -> None:
    """A listener that reads nothing keeps the newest, is told how many it missed, and costs the others nothing."""

    async def walk() -> None:
        events = Events()
        with events.listen() as slow, events.listen() as quick:
            read = []
            for number in range(BACKLOG + 5):
                events.publish(event(number))
                read += await heard(quick)

            assert slow.missed == 5
            assert await heard(slow) == list(range(5, BACKLOG + 5))
            assert (quick.missed, len(read)) == (0, BACKLOG + 5)

    asyncio.run(walk())


def test_a_wait_that_is_given_up_loses_nothing() -> None:
    """A timeout or a cancelled wait leaves the next event to the next wait."""

    async def walk() -> None:
        events = Events()
        with events.listen() as listener:
            assert await listener.next(timeout=0.001) is None
            waiting = asyncio.create_task(listener.next())
            await asyncio.sleep(0)
            events.publish(event(1))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

            assert await heard(listener) == [1]

    asyncio.run(walk())


def test_the_end_of_the_bus() -> None:
    """At the end a listener reads what is there and then ends; who comes later ends at once."""

    async def walk() -> None:
        events = Events()
        with events.listen() as listener, events.listen() as idle:
            waiting = asyncio.create_task(idle.next())
            await asyncio.sleep(0)
            events.publish(event(1))
            events.publish(event(2))
            assert await waiting == event(1)

            events.close()

            before = listener.closed
            assert [news.generation async for news in listener] == [1, 2]
            assert (before, listener.closed) == (False, True)
            assert [news.generation async for news in idle] == [2]
        with events.listen() as late:
            assert await asyncio.wait_for(late.next(), PATIENCE) is None

    asyncio.run(walk())


@pytest.mark.parametrize("turns", range(4))
def test_who_is_cancelled_ends_though_news_comes_in_the_same_moment(turns: int) -> None:
    """A listener that a stop cancels is cancelled, whatever was published just before."""

    async def walk() -> None:
        events = Events()
        with events.listen() as listener:
            waiting = asyncio.create_task(listener.next(PATIENCE))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            events.publish(event(1))
            for _ in range(turns):
                await asyncio.sleep(0)
            meant = waiting.cancel()
            await asyncio.wait([waiting])

            assert waiting.cancelled() == meant

    asyncio.run(walk())


def test_who_leaves_hears_no_more() -> None:
    """After its block a listener is forgotten, also when the block ended in an error."""

    async def walk() -> None:
        events = Events()
        kept = []
        with contextlib.suppress(ZeroDivisionError), events.listen() as listener:
            kept.append(listener)
            _ = 1 // len(kept[1:])
        events.publish(event(1))

        assert await heard(kept[0]) == []

    asyncio.run(walk())


def test_an_event_is_published_without_anybody() -> None:
    """Nobody has to listen."""
    Events().publish(event(1))


def test_who_listens_for_some_kinds_is_not_woken_by_others() -> None:
    """What a listener does without, or did not name, never reaches it; and whether anybody hears of a kind is known."""

    async def walk() -> None:
        events = Events()
        with events.listen(only=("locked", "unlocked")) as few, events.listen(without=COUNTED) as most:
            assert [events.wants(kind) for kind in ("handed-out", "locked", "renamed")] == [False, True, True]
            waiting = asyncio.create_task(few.next())
            events.publish(replace(event(0), kind="handed-out"))
            events.publish(replace(event(1), kind="renamed"))
            await asyncio.sleep(0)
            assert not waiting.done()
            events.publish(replace(event(2), kind="locked"))
            assert await waiting == replace(event(2), kind="locked")
            assert await heard(most) == [1, 2]

    asyncio.run(walk())
