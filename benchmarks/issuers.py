"""Practice providers with many logins each, in a process of their own.

Started by ``refreshes.py``: ``python -m benchmarks.issuers ISSUERS LOGINS LIFETIME``. Says on one line of JSON where
they are and which refresh tokens they take. Runs until killed.
"""

import asyncio
import json
import sys

from broker.practice.grants import User
from broker.practice.server import PracticeServer
from broker.practice.settings import PUBLIC_CLIENT, PracticeSettings

USER, SCOPES = "ada", ("openid", "profile", "offline_access")


async def serve(issuers: int, logins: int, lifetime: float) -> None:
    """Start them all, and say so."""
    said = []
    for _ in range(issuers):
        server = PracticeServer(PracticeSettings(ttl=lifetime, user=USER, auto_approve=True))
        await server.start()
        book = server._practice.grants  # noqa: SLF001 -- a login by a browser would take many times as long
        made = (
            book.issue(book.open(PUBLIC_CLIENT, User(USER), SCOPES), with_refresh_token=True) for _ in range(logins)
        )
        tokens = [issued.refresh_token.reveal() for issued in made if issued.refresh_token is not None]
        said.append({"url": server.url, "refresh_tokens": tokens})
    print(json.dumps(said), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
