"""Paths below an API base: what of a request's path is sent on, what never is, and how an address comes back.

Called by ``usecases.forward`` and ``web.proxy``. Servers and parsers disagree on what a path means; what two of them
could read in two ways does not pass (RFC 3986 6.2.2).
"""

import re
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urljoin, urlsplit

# As often as somebody along the way may decode what was encoded.
_LAYERS = 3
_VISIBLE = re.compile(rb"[\x21-\x7e]*")
_HALF_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class Unfit(ValueError):
    """A path, or a redirection, that is not sent on; the text says why, and repeats nothing of it."""


def decoded(raw: bytes) -> str:
    """Return a path below the base as the API will read it, with a slash at its beginning.

    Args:
        raw: as it came, without the slash that parts it from the base.

    Raises:
        Unfit: it can be read in more than one way, or leaves the base.
    """
    if not _VISIBLE.fullmatch(raw):
        raise Unfit("the path holds control characters, spaces or characters beyond ASCII")
    if b"#" in raw or b"?" in raw:
        raise Unfit("the path holds a fragment")
    if _HALF_ESCAPE.search(raw):
        raise Unfit("the path holds a % that begins no escape")
    if raw.startswith(b"/"):
        raise Unfit("the path begins with two slashes")
    for segment in raw.split(b"/"):
        _check_segment(segment)
    try:
        return "/" + unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as exc:
        raise Unfit("the path holds what is not UTF-8") from exc


def _check_segment(segment: bytes) -> None:
    """Look at a segment as it is, and as it would be for somebody who decodes it once more than he should."""
    for _ in range(_LAYERS + 1):
        if b"\\" in segment or b"/" in segment:
            raise Unfit("the path holds an encoded slash or a backslash")
        if _CONTROLS.search(segment):
            raise Unfit("the path holds an encoded control character")
        # Some servers cut a segment's parameters off before they look what it is.
        if segment.partition(b";")[0] in (b".", b".."):
            raise Unfit("the path goes up and down")
        before, segment = segment, unquote_to_bytes(segment)
        if segment == before:
            return
    raise Unfit("the path is encoded too often")


def check_query(raw: bytes) -> None:
    """Refuse a query that would not arrive as it is.

    Raises:
        Unfit: it holds more than visible ASCII, or a fragment.
    """
    if not _VISIBLE.fullmatch(raw) or b"#" in raw:
        raise Unfit("the query holds control characters, spaces, a fragment or characters beyond ASCII")


def target(base: SplitResult, raw: bytes, query: bytes) -> bytes:
    """Return what is asked for at the API: the base, and below it the path that :func:`decoded` has let pass."""
    path = base.path.encode("ascii")
    path = path.rstrip(b"/") + b"/" + raw if raw else path or b"/"
    return path + b"?" + query if query else path


def redirected(location: str, base: SplitResult, asked: bytes, here: str) -> str:
    """Return where a redirection leads, for a caller who stands before the proxy.

    Args:
        location: the header's value.
        base: the API base.
        asked: the target that was asked for there.
        here: the path under which the proxy serves the base, without a final slash.

    Returns:
        A path of the proxy's where it stays below the base; else the whole address, to which the caller goes by itself,
        without the token.

    Raises:
        Unfit: callers could read it as one of this place's own addresses.
    """
    origin = f"{base.scheme}://{base.netloc}"
    try:
        whole = urljoin(origin + asked.decode("ascii"), location)
        parts = urlsplit(whole)
    except ValueError as exc:
        raise Unfit("the redirection leads to no address") from exc
    # Browsers read a backslash as a slash, and an address of HTTP's without a host as one of where they are.
    if "\\" in parts.netloc + parts.path or (parts.scheme in ("http", "https") and not parts.netloc):
        raise Unfit("the redirection leads to no address")
    inside = base.path.rstrip("/")
    if (parts.scheme, parts.netloc) != (base.scheme, base.netloc):
        return whole
    if parts.path != inside and not parts.path.startswith(inside + "/"):
        return whole
    # The caller would go up from here, and not from there.
    if {".", ".."} & set(unquote(parts.path).split("/")):
        return whole
    return parts._replace(scheme="", netloc="", path=here + parts.path[len(inside) :]).geturl()
