"""Which headers pass the proxy, and which end at it.

Called by ``proxy`` only. RFC 9110 7.6.1 names those of one connection; the others are credentials and claims of the
caller's, which an API must not take for the owner's.
"""

from collections.abc import Iterable

from starlette.types import Scope

from broker.oauth.upstream import Headers

# Of one connection, whether Connection names them or not. Trailers are not passed on, nor waiting for a 100.
_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
) | frozenset((b"http2-settings", b"expect"))
# Who asks, and by which way: the API is told of the account and nothing else.
_CALLERS = frozenset(
    (b"host", b"authorization", b"proxy-authorization", b"cookie", b"cookie2", b"forwarded", b"via", b"x-real-ip")
) | frozenset((b"origin", b"referer", b"client-ip", b"true-client-ip"))
# Some servers take these for the path that is meant: rules would be read for another one.
_OTHER_PATH = frozenset((b"x-original-url", b"x-rewrite-url", b"x-original-uri"))
# And these for the method.
_OTHER_METHOD = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))
_PREFIXES = (b"x-forwarded-", b"sec-fetch-", b"x-keyfob-", b"keyfob-")
# Cookies are a session that nobody here keeps; what names another place for the same API is not for this one.
_ANSWERED = frozenset((b"set-cookie", b"set-cookie2", b"alt-svc", b"proxy-authenticate", b"proxy-authentication-info"))
# What is told about a body that an answer of this status does not have.
_NO_BODY = (204, 304)
ALLOW = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


def sent_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return what the API gets of a request's headers, with how long the body is."""
    listed = list(headers)
    ended = _HOP | _CALLERS | _OTHER_PATH | _named(listed)
    kept = [
        (name, value)
        for name, value in listed
        if (known := _known_as(name)) not in ended and known != b"content-length" and not known.startswith(_PREFIXES)
    ]
    length = next((value for name, value in listed if name == b"content-length"), None)
    if length is not None:
        kept.append((b"content-length", length))
    elif any(name == b"transfer-encoding" for name, _ in listed):
        kept.append((b"transfer-encoding", b"chunked"))
    return kept


def sent_back(status: int, headers: Headers) -> Headers:
    """Return what the caller gets of an answer's headers. Its length is told where the API tells it."""
    ended = _HOP | _ANSWERED | _named(headers)
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    if chunked or status in _NO_BODY:
        ended |= {b"content-length"}
    return [(name, value) for name, value in headers if name.lower() not in ended]


def has_body(scope: Scope) -> bool:
    """Whether a request has a body (RFC 9112 6)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in scope["headers"]
    )


def is_oddly_framed(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body comes in another coding than chunked (RFC 9112 6.1): nobody else may read it in another way."""
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    return codings not in ([], [b"chunked"])


def names_other_method(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a header names a method that some servers would take in the place of the request's own."""
    return any(_known_as(name) in _OTHER_METHOD for name, _ in headers)


def wants_upgrade(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request asks for another protocol on this connection (RFC 9110 7.8)."""
    listed = list(headers)
    return any(name == b"upgrade" for name, _ in listed) and b"upgrade" in _named(listed)


def _known_as(name: bytes) -> bytes:
    """Return a header's name as servers know it that make no difference between - and _ (RFC 3875 4.1.18)."""
    return name.lower().replace(b"_", b"-")


def _named(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the headers that Connection names, in small letters."""
    return frozenset(
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    )
