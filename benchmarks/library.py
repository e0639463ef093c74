"""A program that asks for the same token over and over with a library, and prints what each time took, as JSON.

Started by ``peers.py`` as a script, with the interpreter that has the library: ``library.py LIBRARY ACCOUNT TIMES``.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable


def asking(library: str, account: str) -> Callable[[], str]:
    """Return what asks, in the way that the library's own documentation shows."""
    if library == "broker.client":
        client = importlib.import_module(library).Client()
        return lambda: str(client.token(account).access_token)
    agent = importlib.import_module(library)
    return lambda: str(agent.get_access_token(account))


def main() -> None:
    """Ask and print."""
    ask, size = asking(sys.argv[1], sys.argv[2]), 0
    taken: list[float] = []
    for _ in range(int(sys.argv[3])):
        began = time.perf_counter()
        size = len(ask())
        taken.append(time.perf_counter() - began)
    print(json.dumps({"size": size, "seconds": taken}))


if __name__ == "__main__":
    main()
