"""Keyfob for google-auth: credentials that every client library of that provider takes.

Imported by programs that use google-auth.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime

from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from broker.client import Client, ClientError, ProviderUnavailable, Token
from broker.integrations.bearer import Bearer, sentence

__all__ = ["KeyfobCredentials"]


class KeyfobCredentials(Credentials):
    """The credentials of one account: asked for before each request, renewed by Keyfob and never here.

    ``refresh`` reports a token that should be valid: it is called when an API refused it. Where there is no token it
    raises ``RefreshError`` with the next step; its ``__cause__`` is the error of ``broker.client``.

    Args:
        account: the account's name.
        client: the client to ask through, which stays open; by default one of its own, as the environment says.
        min_ttl: seconds that a token must still live; the daemon's default fits an ordinary request.
        scope: scopes that it must carry.
    """

    def __init__(
        self,
        account: str,
        client: Client | None = None,
        *,
        min_ttl: float | None = None,
        scope: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self._bearer = Bearer(account, client, min_ttl=min_ttl, scope=scope)

    def __repr__(self) -> str:
        return f"KeyfobCredentials({self._bearer.account!r})"

    def refresh(self, request: object) -> None:
        """Take the token that Keyfob has now; where the one before should be valid, report it first.

        Args:
            request: how google-auth would ask a server itself; not used.

        Raises:
            RefreshError: Keyfob has no token now.
        """
        del request
        before = self.token if self.valid else None
        try:
            token = None if before is None else self._bearer.another(before)
            self._take(token or self._bearer.token())
        except ClientError as exc:
            raise _refused(exc) from exc

    def before_request(self, request: object, method: str, url: str, headers: MutableMapping[str, str]) -> None:
        """Put a token into the headers of a request that is about to be sent.

        Args:
            request: how google-auth would ask a server itself; not used.
            method: not used.
            url: not used.
            headers: of the request.

        Raises:
            RefreshError: Keyfob has no token now.
        """
        del request, method, url
        try:
            self._take(self._bearer.token())
        except ClientError as exc:
            raise _refused(exc) from exc
        self.apply(headers)

    def _take(self, token: Token) -> None:
        self.token = token.access_token
        # google-auth compares with times without a zone, which it means in UTC.
        at = None if token.expires_at is None else datetime.fromisoformat(token.expires_at)
        self.expiry = None if at is None else at.astimezone(UTC).replace(tzinfo=None)


def _refused(exc: ClientError) -> RefreshError:
    return RefreshError(sentence(exc), retryable=isinstance(exc, ProviderUnavailable))
