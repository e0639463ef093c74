"""Something asynchronous in a thread with a loop of its own, for who is not.

Used by ``practice`` and ``testing``.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future


@contextlib.contextmanager
def in_thread(
    name: str, start: Callable[[], Awaitable[object]], stop: Callable[[], Awaitable[object]], patience: float
) -> Iterator[None]:
    """Start something, and stop it when the block ends.

    Args:
        name: of the thread.
        start: what it begins with; what that raises is raised here.
        stop: what it ends with.
        patience: seconds for either.

    Raises:
        TimeoutError: it did not start, or did not stop, in time.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        try:
            await start()
        except BaseException as exc:  # noqa: BLE001 -- it is raised again in the thread that waits for it
            started.set_exception(exc)
            return
        enough = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), enough))
        await enough.wait()
        await stop()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name=name, daemon=True)
    thread.start()
    try:
        loop, enough = started.result(patience)
    except BaseException:
        thread.join(patience)
        raise
    try:
        yield
    finally:
        loop.call_soon_threadsafe(enough.set)
        thread.join(patience)
    if thread.is_alive():
        raise TimeoutError(f"{name} did not stop within {patience:g} s")
