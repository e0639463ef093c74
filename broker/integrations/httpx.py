"""Keyfob for httpx: ``httpx.Client(auth=KeyfobAuth("work"))``, and the same for ``AsyncClient``.

Imported by programs that use httpx. Its own twin is ``httpx2`` beside it.
"""

from __future__ import annotations

import httpx

from broker.integrations.auth_flow import AuthFlow

__all__ = ["KeyfobAuth", "TokenUnavailable"]


class TokenUnavailable(httpx.RequestError):
    """Keyfob has no token now. The text says the next step; ``__cause__`` is the error of ``broker.client``."""


class KeyfobAuth(AuthFlow[httpx.Request, httpx.Response], httpx.Auth):
    """Every request carries a token of one account that is valid now; for the arguments see ``Bearer``.

    Requests raise :class:`TokenUnavailable` where there is none.
    """

    def _unavailable(self, said: str, request: httpx.Request) -> TokenUnavailable:
        return TokenUnavailable(said, request=request)

    def _replayable(self, request: httpx.Request) -> bool:
        try:
            request.content  # noqa: B018 -- the property tells, by raising
        except httpx.RequestNotRead:
            return False
        return True
