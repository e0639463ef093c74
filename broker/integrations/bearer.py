"""Where the integrations have their tokens from: ask before each request, report what was refused, say what is wrong.

Called by every module of this room. The standard library and the client only.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from broker.client import Client, ClientError, Token

# An API that does not know the token, or does not any more (RFC 9110 15.5.2).
REFUSED = 401
AUTHORIZATION = "Authorization"


class Bearer:
    """The tokens of one account. Threads may share it.

    Args:
        account: the account's name.
        client: the client to ask through, which stays open; by default one of its own, as the environment says.
        min_ttl: seconds that a token must still live; the daemon's default fits an ordinary request.
        scope: scopes that it must carry.
        resource: the resource that it must be for (RFC 8707).
        audience: the name of whom it must be for (RFC 8693 2.1).

    Raises:
        ClientError: ``invalid_request`` where the environment names a URL or a key that cannot be used.
    """

    def __init__(
        self,
        account: str,
        client: Client | None = None,
        *,
        min_ttl: float | None = None,
        scope: str | Iterable[str] | None = None,
        resource: str | None = None,
        audience: str | None = None,
    ) -> None:
        self.account, self._min_ttl, self._resource, self._audience = account, min_ttl, resource, audience
        self._scope = scope if scope is None or isinstance(scope, str) else " ".join(scope)
        self._client, self._own = Client() if client is None else client, client is None
        if client is None:
            # Nobody closes an auth object, so its connection goes with it. Not at exit: a thread may be asking then.
            weakref.finalize(self, self._client.close).atexit = False

    def token(self, scope: str | None = None) -> Token:
        """Return a token that is valid now.

        Args:
            scope: instead of the scopes given at the start.

        Raises:
            ClientError: there is none; see the tree in ``broker.client``.
        """
        wanted = self._scope if scope is None else scope
        return self._client.token(self.account, self._min_ttl, wanted, self._resource, audience=self._audience)

    def another(self, refused: str, scope: str | None = None) -> Token | None:
        """Report a token that an API refused; return another one, or None where none is to be had now.

        Args:
            refused: the access token.
            scope: what it was asked for with, as in :meth:`token`.

        Raises:
            ClientError: as :meth:`token`.
        """
        wanted = self._scope if scope is None else scope
        try:
            token = self._client.rejected(self.account, refused, wanted, self._resource, audience=self._audience)
        except ClientError as exc:
            if exc.code == "too_many_requests":
                return None  # It was new, so another is refused as well: what the API answered says more.
            raise
        if token.access_token == refused:
            # It is served as long as it could live. What lives longer, or why there is none, is asked for.
            least = max((token.expires_in or 0) + 1, self._min_ttl or 0)
            token = self._client.token(self.account, least, wanted, self._resource, audience=self._audience)
        return None if token.access_token == refused else token

    def close(self) -> None:
        """Close the connection, unless the client was brought; the next question opens another."""
        if self._own:
            self._client.close()


class BearerAuth:
    """What the auth classes of httpx, httpx2 and requests are made with: the arguments of :class:`Bearer`."""

    def __init__(
        self,
        account: str,
        client: Client | None = None,
        *,
        min_ttl: float | None = None,
        scope: str | Iterable[str] | None = None,
        resource: str | None = None,
        audience: str | None = None,
    ) -> None:
        self._bearer = Bearer(account, client, min_ttl=min_ttl, scope=scope, resource=resource, audience=audience)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._bearer.account!r})"


def header(token: Token) -> str:
    """Return the value of the Authorization header (RFC 6750 2.1)."""
    return f"Bearer {token.access_token}"


def sentence(exc: ClientError) -> str:
    """Return what went wrong and the next step, in words for the person in front of the program."""
    said = str(exc)
    url = exc.login_url or exc.approval_url
    return said if url is None or url in said else f"{said} (in the browser: {url})"
