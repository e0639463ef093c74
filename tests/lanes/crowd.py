"""Many requests for one token at the same moment, from one process.

Started by ``race`` as a process of its own.
"""

import threading
from typing import Any

from broker.client import Client, ClientError


def ask(socket: str, account: str, count: int, waiting: Any, answers: Any) -> None:  # noqa: ANN401 -- multiprocessing has no public types
    """Ask for the token with so many threads, a connection each: the body of a process."""

    def one() -> None:
        with waiting.get_lock():
            waiting.value += 1
        with Client(socket=socket) as client:
            try:
                answers.put(("token", client.token(account).access_token))
            except ClientError as exc:
                answers.put(("error", str(exc)))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
