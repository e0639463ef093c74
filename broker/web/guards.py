"""The guards of the doors: pure ASGI, asked before any route. Whatever they refuse has touched nothing.

Put before each door's routes by ``asgi`` and ``browser``.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker import challenge
from broker.core.policy import App, Caller, Owner, Stranger
from broker.errors import InvalidRequest, KeyfobError, Locked, NotGranted, TooManyRequests, Unauthorized
from broker.providers.urls import is_loopback
from broker.usecases import apps, audit
from broker.usecases.context import Context
from broker.web import callers, render

log = logging.getLogger("broker.access")

Problem = Callable[[KeyfobError], Response]

# What only browsers send. No program that asks for a token has a reason to. Not Sec-Fetch-Mode, which Node's own fetch
# always sends: a browser never sends it without the other two.
BROWSER_HEADERS = (b"origin", b"referer", b"cookie", b"sec-fetch-site", b"sec-fetch-dest")
# What every browser sends with a request of a page's script.
PAGE_HEADERS = (b"origin", b"sec-fetch-site", b"sec-fetch-dest")
PROXY = "/proxy/"
MOST_QUERY = 16 * 1024
# What a page's script may do beside reading.
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def headers_of(scope: Scope) -> dict[bytes, list[bytes]]:
    """Return the request's headers by name, duplicates kept."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, []).append(value)
    return found


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Logs each answer with the route's template: no query, no header and no value of a path is ever logged.

    One that is given again has a line at ``debug`` only: programs ask before each use of a token, and the audit counts.

    Args:
        app: what comes behind.
        door: what the door is called.
        ready: returns an answer that is given again, as it goes over the connection; None where nothing is.
    """

    app: ASGIApp
    door: str
    ready: Callable[[Scope], bytes | None] = lambda _: None

    def again(self, scope: Scope) -> bytes | None:
        """Return an answer that is ready and needs no line in the log; None where there is none."""
        return None if log.isEnabledFor(logging.DEBUG) else self.ready(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and log."""
        if not log.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        status = 0
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            state = scope.get("state", {})
            log.log(
                logging.DEBUG if "again" in state else logging.INFO,
                "%s %s %s %d %.1f ms %s",
                self.door,
                scope["method"],
                state.get("route", "-"),
                status,
                (time.perf_counter() - began) * 1000,
                getattr(state.get("caller"), "name", "-"),
            )


@dataclass(frozen=True, slots=True)
class AppGuard:
    """Guards an app door: one right Host, no browser, and a caller with a name.

    Args:
        app: what comes behind.
        ctx: the collaborators.
        hosts: the exact Host values that are right, or None on the Unix socket.
        open_paths: paths that need no caller.
        stranger_paths: paths at which a key that no app has is enough.
        dialect_of: how an error is written at a path where another protocol is spoken, None at every other. There
            whoever comes proves who that is in a way of the protocol's own, to the handler.
    """

    app: ASGIApp
    ctx: Context
    hosts: frozenset[str] | None
    open_paths: frozenset[str]
    stranger_paths: frozenset[str] = frozenset()
    dialect_of: Callable[[str], Problem | None] = lambda _: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass, or answer with a problem."""
        if scope["type"] != "http":
            return
        try:
            self._check_shape(scope)
            if scope["path"] not in self.open_paths:
                caller = scope["state"]["caller"] = await self._caller(scope)
                if isinstance(caller, App):
                    callers.check_rate(self.ctx, caller)
        except KeyfobError as exc:
            if isinstance(exc, Unauthorized | NotGranted):
                audit.unauthorized(self.ctx, callers.door_of(scope), exc.detail)
            await (self.dialect_of(scope["path"]) or render.problem)(exc)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_shape(self, scope: Scope) -> None:
        headers = headers_of(scope)
        check_one_host(headers)
        host = headers[b"host"][0].decode("latin-1").lower()
        if self.hosts is not None:
            if host not in self.hosts:
                raise InvalidRequest(f"This door is not called '{host[:100]}'.", f"Use {min(self.hosts)}.")
        elif not _is_local_name(host):
            raise InvalidRequest("This Host is not right for a local socket.", "Use http://localhost/...")
        # The proxy is asked by libraries that were written for the API itself. It passes none of these on.
        for name in PAGE_HEADERS if scope["path"].startswith(PROXY) else BROWSER_HEADERS:
            if name in headers:
                raise NotGranted("Web pages have no business at this door.", f"Leave the header '{name.decode()}' out.")
        if len(scope["query_string"]) > MOST_QUERY:
            raise InvalidRequest("The query is too long.")
        check_path(scope)

    async def _caller(self, scope: Scope) -> Caller | Stranger | None:
        headers = headers_of(scope)
        given = headers.get(b"authorization", [])
        peer = scope["state"].get("peer")
        if self.hosts is None and (peer is None or peer[1] != os.getuid()):
            # Fail closed: a peer that the kernel cannot name is nobody (CVE-2021-3560).
            raise Unauthorized("Only the user whose daemon this is may use this socket.")
        if self.dialect_of(scope["path"]) is not None:
            return None  # nobody, as long as the handler has not found out
        if not given:
            if self.hosts is None:
                return Owner(pid=peer[0])
            raise Unauthorized(
                "This port wants an app key.",
                "Send 'Authorization: Bearer kf_...'; get one: keyfob pair, or keyfob app add NAME --account A",
            )
        scheme, _, key = given[0].decode("latin-1").partition(" ")
        if len(given) != 1 or scheme.lower() != "bearer":
            raise Unauthorized("The Authorization header is not 'Bearer kf_...'.")
        key = key.strip()
        if scope["path"] not in self.stranger_paths or not apps.NEW_KEY.fullmatch(key):
            return await callers.app_of(self.ctx, scope, key)
        app = await apps.identify(self.ctx, key)
        if app is not None:
            return app
        if scope["method"] == "POST" and (wait := callers.count_wrong_key(self.ctx, scope)):
            raise TooManyRequests("Too many new keys came.", "Ask again then, with the same key.", retry_after=wait)
        return Stranger(challenge.hash_key(key))


def check_one_host(headers: Mapping[bytes, list[bytes]]) -> None:
    """Refuse what parsers disagree on: no Host, several, or a length said twice.

    Raises:
        InvalidRequest: with what is wrong.
    """
    if len(headers.get(b"host", [])) != 1:
        raise InvalidRequest("Exactly one Host header is needed.")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise InvalidRequest("Content-Length and Transfer-Encoding together are refused.")


def check_path(scope: Scope) -> None:
    """Refuse an encoded slash: routes are found after decoding, so that a name with one would be another path.

    Raises:
        InvalidRequest: there is one.
    """
    if b"%2f" in scope["raw_path"].lower():
        by_number = "The proxy sends none on: take the number, where the API has one for that name."
        hint = by_number if scope["path"].startswith(PROXY) else "No name of anything holds a slash."
        raise InvalidRequest("The path holds an encoded slash.", hint)


def _is_local_name(host: str) -> bool:
    """Whether a Host can only mean this machine: one label, or a loopback literal. A rebound name has a dot."""
    name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
    return name in ("127.0.0.1", "[::1]", "keyfob.sock") or (bool(name) and name.replace("-", "").isalnum())


def is_own_door(scope: Scope, url: str) -> bool:
    """Whether a caller who goes to an address may come to the door again at which it is: with its key, or as the owner.

    Args:
        scope: of its request.
        url: a whole address.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    try:
        port = parts.port
    except ValueError:
        return True
    if "%" in host or not host.isascii():
        return True  # browsers make another name of it
    if scope["state"].get("peer") is not None:
        return _is_local_name(f"[{host}]" if ":" in host else host)  # by the socket, whatever the port
    with contextlib.suppress(OSError):
        host = socket.inet_ntoa(socket.inet_aton(host))  # 127.1 and the like, which clients write out
    mine = headers_of(scope)[b"host"][0].decode("latin-1").rpartition(":")[2]
    return str(port) == mine and is_loopback(host)


@dataclass(frozen=True, slots=True)
class BrowserGuard:
    """Guards the browser door: one right Host; navigations, and of requests only those of our own pages.

    Args:
        app: what comes behind.
        hosts: the exact Host values that are right.
        written: how the paths begin at which a page's script may do more than read.
    """

    app: ASGIApp
    hosts: frozenset[str]
    written: tuple[str, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass, or answer in a few words."""
        if scope["type"] != "http":
            return
        refusal = self._refuse(scope)
        await (refusal or self.app)(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = headers_of(scope)
        try:
            check_one_host(headers)
            check_path(scope)
        except InvalidRequest as exc:
            return _plain(exc.detail, 400)
        if headers[b"host"][0].decode("latin-1").lower() not in self.hosts:
            return _plain("This address is not Keyfob's.", 400)
        if scope["method"] in WRITES and scope["path"].startswith(self.written):
            if not _is_own_script(headers):
                return _plain("Only Keyfob's own pages may do that.", 403)
        elif scope["method"] != "GET":
            return _plain("Only GET is answered here.", 405, allow="GET")
        if len(scope["query_string"]) > MOST_QUERY:
            return _plain("The address is too long.", 414)
        if b"prefetch" in b"".join(headers.get(b"sec-purpose", []) + headers.get(b"purpose", [])):
            # A preview must not become the browser that owns a login.
            return _plain("Not ahead of time.", 403)
        site = headers.get(b"sec-fetch-site", [b"none"])[0]
        mode = headers.get(b"sec-fetch-mode", [b"navigate"])[0]
        dest = headers.get(b"sec-fetch-dest", [b"document"])[0]
        own = site in (b"same-origin", b"none")
        if not own and not (mode == b"navigate" and dest == b"document"):
            # An image, a frame or a script of another page: not even the start page may be opened by one.
            return _plain("Other pages may only link here.", 403)
        return None


def _is_own_script(headers: Mapping[bytes, list[bytes]]) -> bool:
    """Whether a request that changes something comes from a script of this very origin, port included.

    A form of another page can send no JSON and no such Origin (Fetch 3.2). What it may do is asked after that: this is
    no sign-in.
    """
    host, kind = headers[b"host"][0], headers.get(b"content-type", [b"application/json"])
    return (
        headers.get(b"origin") == [b"http://" + host]
        and headers.get(b"sec-fetch-site", [b"same-origin"]) == [b"same-origin"]
        and kind[0].split(b";")[0].strip().lower() == b"application/json"
    )


def _plain(text: str, status: int, **more: str) -> Response:
    return PlainTextResponse(text + "\n", status, render.ANSWER_HEADERS | more)


def check_unlocked(ctx: Context) -> None:
    """Refuse while the key is not at hand.

    Raises:
        Locked: with the reason.
    """
    if ctx.store.locked:
        raise Locked(ctx.store.locked, ctx.store.locked_hint)
