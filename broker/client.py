"""The client of the daemon: what other programs import, with nothing but the standard library.

Called by ``cli``, ``integrations`` and foreign programs (``from broker.client import Client``). Errors::

    ClientError                   code, detail, hint, status, login_url, approval_url, retry_after, exit_code
    ├── LoginNeeded               a person has to log in again: see ``login_url``
    ├── NotAllowed                this caller may not have that, its key is not known, or the server did not prove
    │                             that it is the daemon (code ``server_not_proven``)
    ├── ProviderUnavailable       no valid token is left and the provider cannot be asked now: see ``retry_after``
    ├── DaemonNotRunning          nothing answers at the socket or the URL
    └── Locked                    the daemon cannot open its secrets
"""

from __future__ import annotations

import _thread
import os
import time

from broker.client_errors import (
    ClientError,
    DaemonNotRunning,
    Locked,
    LoginNeeded,
    NotAllowed,
    ProviderUnavailable,
    refusal,
    text,
)
from broker.client_places import bearer, default_socket, key_of, why
from broker.client_wire import Broken, Foreign, Peer, Reply, Stale, Wire, peer_of_url, quote

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self

__all__ = [
    "Client",
    "ClientError",
    "DaemonNotRunning",
    "Locked",
    "LoginNeeded",
    "NotAllowed",
    "ProviderUnavailable",
    "Reply",
    "Token",
    "default_socket",
    "quote",
]

# A token request may wait for one refresh: the daemon gives a provider 20 s, and a queue before it may take as long.
DEFAULT_TIMEOUT = 45.0
# May be sent again on a new connection when the kept one turns out to be closed (RFC 9110 9.2.2); a POST never is.
IDEMPOTENT = ("GET", "PUT", "DELETE")
# Media types.
JSON, PLAIN = "application/json", "text/plain"
# RFC 9110 15.5: from here on an answer is a refusal.
FIRST_ERROR_STATUS = 400
START_HINT = (
    "Start it: keyfob serve  (as a service: keyfob service install; one that is installed: "
    "systemctl --user start keyfob.socket)"
)
# An app door says these in problem documents only: without one, the answer is somebody else's.
ABSENT = (404, 405)


class Token:
    """An access token and what is known about it.

    Attributes:
        access_token: the bearer token itself; ``repr`` does not show it.
        token_type: ``Bearer``.
        expires_at: RFC 3339 in UTC, or None where the provider gave no lifetime.
        expires_in: whole seconds that remained when it was handed out, or None.
        scope: the granted scopes, separated by spaces.
        account: the account's name.
        resource: the resource that it is for (RFC 8707), or None.
        audience: the name of whom it is for (RFC 8693 2.1), or None.
    """

    __slots__ = ("access_token", "account", "audience", "expires_at", "expires_in", "resource", "scope", "token_type")

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.access_token = bearer(answer.get("access_token"), "access token", "bad_answer")
        self.token_type = str(answer.get("token_type") or "Bearer")
        self.expires_at = text(answer.get("expires_at"))
        expires_in = answer.get("expires_in")
        self.expires_in = expires_in if isinstance(expires_in, int) else None
        self.scope = str(answer.get("scope") or "")
        self.account = str(answer.get("account") or "")
        self.resource = text(answer.get("resource"))
        self.audience = text(answer.get("audience"))

    def __repr__(self) -> str:
        return f"Token(account={self.account!r}, access_token=‹secret›, expires_at={self.expires_at!r})"


class Client:
    """One keep-alive connection to the daemon. Threads may share it, a fork does no harm, and it caches nothing.

    To a URL the key is sent only once the server has proved on the same connection that it knows it. A socket that
    another user serves is sent nothing.

    Args:
        socket: path of the app socket. Default: ``KEYFOB_SOCKET``; else, unless ``KEYFOB_URL`` is set,
            :func:`default_socket`.
        url: base URL of the app port, instead of the socket. Default: ``KEYFOB_URL``.
        key: app key, or an empty text to ask without one, as the owner. Default: ``KEYFOB_APP_KEY``, else the content
            of the file ``KEYFOB_APP_KEY_FILE``.
        new_key: the caller made the key, and it is no app's yet (``keyfob pair``): nothing can be proved by it, and
            nothing is lost by sending it.

    Attributes:
        address: with ``new_key``: host and port in numbers that the newest connection leads to; None on the socket.

    Raises:
        ClientError: ``invalid_request`` for a URL, a key or a key file that cannot be used.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        url: str | None = None,
        key: str | None = None,
        *,
        new_key: bool = False,
    ) -> None:
        if socket is not None and url is not None:
            raise ClientError("Give the client a socket or a URL, not both.", code="invalid_request")
        if socket is None and url is None:
            socket = os.environ.get("KEYFOB_SOCKET") or None
            url = None if socket else os.environ.get("KEYFOB_URL") or None
        try:
            self._peer = peer_of_url(url) if url else Peer(os.fspath(socket or default_socket(os.environ)))
        except ValueError as exc:
            hint = "It looks like http://127.0.0.1:8401; KEYFOB_URL or the argument `url` names it."
            raise ClientError(f"{url!r} is not the URL of an app port.", hint, code="invalid_request") from exc
        key = key_of(os.environ) if key is None else key
        self._key = bearer(key, "app key", "invalid_request", "Look at KEYFOB_APP_KEY.") if key else ""
        self._headers = f"Host: {self._peer.host}\r\nUser-Agent: keyfob-client\r\n"
        self._wire: Wire | None = None
        self._lock, self._pid = _thread.allocate_lock(), os.getpid()
        self._new_key = new_key
        self.address: tuple[str, int] | None = None

    def token(
        self,
        account: str,
        min_ttl: float | None = None,
        scope: str | Iterable[str] | None = None,
        resource: str | None = None,
        *,
        audience: str | None = None,
        id_token: bool = False,
    ) -> Token:
        """Return a token that is valid now.

        Args:
            account: the account's name.
            min_ttl: seconds that it must still live; the daemon's default fits an ordinary request.
            scope: scopes that it must carry.
            resource: the resource that it must be for (RFC 8707).
            audience: the name of whom it must be for (RFC 8693 2.1).
            id_token: bring the OpenID Connect ID token in its place, as ``access_token``.

        Raises:
            LoginNeeded: nobody but a person can help; ``login_url`` is where.
            ClientError: everything else, see the tree above.
        """
        path = _token_path(account, min_ttl, scope, resource, audience, id_token=id_token)
        answer = self.request("GET", path)
        return Token(answer if isinstance(answer, dict) else {})

    def bare_token(
        self,
        account: str,
        min_ttl: float | None = None,
        scope: str | Iterable[str] | None = None,
        resource: str | None = None,
        *,
        audience: str | None = None,
        id_token: bool = False,
    ) -> str:
        """Return what :meth:`token` has as ``access_token``, alone: a program that ends at once need read no JSON."""
        path = _token_path(account, min_ttl, scope, resource, audience, id_token=id_token)
        reply = self.send("GET", path, accept=PLAIN)
        if reply.status >= FIRST_ERROR_STATUS:
            raise self._elsewhere(reply) or refusal(reply)
        if not reply.headers.get("content-type", "").startswith(PLAIN):
            raise self._foreign()
        return bearer(reply.body.decode("latin-1"), "access token", "bad_answer")

    def rejected(
        self,
        account: str,
        access_token: str,
        scope: str | Iterable[str] | None = None,
        resource: str | None = None,
        *,
        audience: str | None = None,
    ) -> Token:
        """Report a token that an API answered 401 to, and return the one to try once more.

        It can be the same again, where no other was to be had: compare. The rest is as in :meth:`token`.

        Raises:
            ProviderUnavailable: with code ``too_many_requests``: the refused token is less than 30 s old, so its age
                is not the reason.
            ClientError: everything else, see the tree above.
        """
        told = {"access_token": access_token, "scope": _words(scope), "resource": resource, "audience": audience}
        body = {name: value for name, value in told.items() if value is not None}
        answer = self.request("POST", f"/v1/accounts/{quote(account)}/token/rejected", body)
        return Token(answer if isinstance(answer, dict) else {})

    def request(self, method: str, path: str, body: object = None, timeout: float = DEFAULT_TIMEOUT) -> Any:  # noqa: ANN401 -- JSON
        """Send one request and return the decoded JSON of the answer, None where it has no body.

        Args:
            method: in capitals.
            path: path and query, percent-encoded (see :func:`quote`).
            body: JSON to send, or None for none.
            timeout: seconds for everything, connecting included.

        Raises:
            ClientError: the daemon refused (problem document), or no sound answer came.
        """
        import json  # noqa: PLC0415 -- what a program that only wants the bare token need not pay

        reply = self.send(method, path, body, timeout)
        if reply.status >= FIRST_ERROR_STATUS:
            raise self._elsewhere(reply) or refusal(reply)
        try:
            return json.loads(reply.body) if reply.body else None
        except (ValueError, RecursionError) as exc:
            raise self._foreign() from exc

    def send(
        self, method: str, path: str, body: object = None, timeout: float = DEFAULT_TIMEOUT, *, accept: str = JSON
    ) -> Reply:
        """Send one request and return the answer whatever its status is, as ``accept``; else see :meth:`request`."""
        if (
            self._pid != os.getpid()
        ):  # a fork: the connection is the parent's, and perhaps one of its threads has the lock
            self._lock, self._pid = _thread.allocate_lock(), os.getpid()
            self._drop()
        content, headers = b"", f"{self._headers}Accept: {accept}\r\n"
        if self._key:
            headers += f"Authorization: Bearer {self._key}\r\n"
        if body is not None:
            import json  # noqa: PLC0415 -- as in request

            content = json.dumps(body).encode()
            headers += f"Content-Type: {JSON}\r\n"
        if method not in ("GET", "DELETE") or content:
            headers += f"Content-Length: {len(content)}\r\n"
        message = f"{method} {self._peer.base}{path} HTTP/1.1\r\n{headers}\r\n".encode() + content
        deadline = time.monotonic() + timeout
        try:
            with self._lock:
                return self._exchange(method, message, deadline)
        except TimeoutError as exc:
            raise ClientError(f"The daemon did not answer within {timeout:g} s.", code="timeout") from exc
        except Stale as exc:
            detail = "The daemon closed the connection without an answer."
            raise ClientError(detail, "Look at its log.", code="connection_lost") from exc
        except Broken as exc:
            raise self._foreign() from exc
        except OSError as exc:
            raise ClientError(f"The connection to the daemon broke: {why(exc)}.", code="connection_lost") from exc

    def close(self) -> None:
        """Close the kept connection; the next request opens another."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({str(self._peer)!r})"

    def _exchange(self, method: str, message: bytes, deadline: float) -> Reply:
        if method not in IDEMPOTENT:
            self._drop()  # what may not be sent twice never goes to a connection that may be closed already
        if self._wire is not None:
            try:
                return self._once(self._wire, message, deadline)
            except Stale:
                pass  # the daemon let the idle connection go: the request was not answered, so it is asked again
        wire = self._connect(deadline)
        if self._key and not self._peer.path:
            if self._new_key:
                self.address = wire.address()
            else:
                self._prove(wire, deadline)
        return self._once(wire, message, deadline)

    def _once(self, wire: Wire, message: bytes, deadline: float) -> Reply:
        """Send on this connection and keep it; after any mishap, Ctrl-C included, it is never used again."""
        self._wire, keep = None, False
        try:
            reply, keep = wire.exchange(message, deadline)
            return reply
        finally:
            if keep:
                self._wire = wire
            else:
                wire.close()

    def _connect(self, deadline: float) -> Wire:
        where = self._peer.path
        try:
            return self._peer.connect(deadline)
        except Foreign as exc:
            detail = f"What listens at {where} is a program of user {exc.uid}; nothing was sent."
            hint = "Ask as the user whose daemon it is, or come in through the app port, with an app key."
            raise NotAllowed(detail, hint, code="server_not_proven") from exc
        except PermissionError as exc:
            hint = "Programs of other users come in through the app port, with an app key."
            raise NotAllowed(f"This user may not open the socket {where}.", hint, code="unauthorized") from exc
        except OSError as exc:
            if where and not isinstance(exc, (FileNotFoundError, ConnectionRefusedError, TimeoutError)):
                detail = f"The socket {where} cannot be used: {why(exc)}."
                raise ClientError(detail, "Name another with KEYFOB_SOCKET.", code="invalid_request") from exc
            detail = f"No daemon answers at {self._peer} ({why(exc)})."
            raise DaemonNotRunning(detail, START_HINT, code="daemon_not_running") from exc

    def _prove(self, wire: Wire, deadline: float) -> None:
        """Have the server prove that it knows the key, on the connection that is to carry it; else close that."""
        from broker.client_proof import Question  # noqa: PLC0415 -- what the socket, guarded by the kernel, need not pay

        proven = False
        try:
            question = Question(self._key, wire.address())
            message = f"GET {self._peer.base}{question.path} HTTP/1.1\r\n{self._headers}Accept: {JSON}\r\n\r\n"
            reply, keep = wire.exchange(message.encode(), deadline)
            error = self._elsewhere(reply) or question.judge(reply, str(self._peer))
            if error is not None:
                raise error
            if not keep:
                raise Stale  # what was proved holds for this connection only
            proven = True
        finally:
            if not proven:
                wire.close()

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _elsewhere(self, reply: Reply) -> ClientError | None:
        """Return the error for an answer of the browser port or of a stranger, None for one of the app port."""
        if self._peer.path or reply.status not in ABSENT or reply.body.startswith(b"{"):
            return None
        detail = f"What answers at {self._peer} is not Keyfob's app port."
        hint = "It is usually http://127.0.0.1:8401; without KEYFOB_URL, keyfob status tells it."
        return ClientError(detail, hint, code="bad_answer", status=reply.status)

    def _foreign(self) -> ClientError:
        hint = "Look at KEYFOB_SOCKET and KEYFOB_URL."
        return ClientError(f"What answers at {self._peer} is not a Keyfob daemon.", hint, code="bad_answer")


def _token_path(
    account: str,
    min_ttl: float | None,
    scope: str | Iterable[str] | None,
    resource: str | None,
    audience: str | None,
    *,
    id_token: bool,
) -> str:
    asked = {
        "min_ttl": None if min_ttl is None else f"{min_ttl:.15g}",
        "scope": _words(scope),
        "resource": resource,
        "audience": audience,
        "id_token": "true" if id_token else None,
    }
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items() if value is not None)
    return f"/v1/accounts/{quote(account)}/token{'?' if query else ''}{query}"


def _words(scope: str | Iterable[str] | None) -> str | None:
    return scope if scope is None or isinstance(scope, str) else " ".join(scope)
