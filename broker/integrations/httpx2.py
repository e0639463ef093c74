"""Keyfob for httpx2: ``httpx2.Client(auth=KeyfobAuth("work"))``, and the same for ``AsyncClient``.

Imported by programs that use httpx2. Its own twin is ``httpx`` beside it.
"""

from __future__ import annotations

import httpx2

from broker.integrations.auth_flow import AuthFlow

__all__ = ["KeyfobAuth", "TokenUnavailable"]


class TokenUnavailable(httpx2.RequestError):
    """Keyfob has no token now. The text says the next step; ``__cause__`` is the error of ``broker.client``."""


class KeyfobAuth(AuthFlow[httpx2.Request, httpx2.Response], httpx2.Auth):
    """Every request carries a token of one account that is valid now; for the arguments see ``Bearer``.

    Requests raise :class:`TokenUnavailable` where there is none.
    """

    def _unavailable(self, said: str, request: httpx2.Request) -> TokenUnavailable:
        return TokenUnavailable(said, request=request)

    def _replayable(self, request: httpx2.Request) -> bool:
        try:
            request.content  # noqa: B018 -- the property tells, by raising
        except httpx2.RequestNotRead:
            return False
        return True
