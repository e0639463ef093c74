"""Which addresses may be talked to: what a URL may look like, and what a special-purpose address is.

Called by ``catalog`` and ``discovery`` when something is configured, and by ``oauth.http`` before every request.
"""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from broker.core import below
from broker.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Longer than any endpoint, shorter than what browsers and servers cut.
URL_CAP = 2048
# Visible ASCII without the backslash, which browsers read as a slash and parsers do not.
_TEXT = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
# Schemes that carry content and name nothing that could be asked.
_NO_RESOURCE = frozenset({"javascript", "data", "file", "about", "blob"})
# The only part of the IPv6 space that is given out for global unicast (RFC 4291 2.4, IANA registry).
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# RFC 9637: documentation. Older Pythons do not know it yet.
_DOCUMENTATION_V6 = ipaddress.IPv6Network("3fff::/20")
# RFC 6052: an IPv4 address behind a translator stands in the last four bytes.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def split(url: str, *, what: str) -> SplitResult:
    """Take a URL apart that may be asked: https, or http to a loopback literal or ``localhost``.

    Args:
        url: the URL.
        what: what it is for people, such as ``token endpoint``.

    Raises:
        InvalidRequest: user information, a fragment, spaces, control or non-ASCII characters, a bad host or port, or
            a scheme that is not allowed there.
    """
    if len(url) > URL_CAP or not _TEXT.fullmatch(url):
        raise InvalidRequest(
            f"The {what} is not a URL: it is too long, or holds spaces or characters beyond ASCII.",
            _in_ascii(url) or "Write it as the address bar shows it, a foreign host in its xn-- form.",
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise InvalidRequest(f"The {what} '{url}' is not a URL.", "Write it as https://host/path.") from exc
    if parts.scheme not in ("http", "https"):
        raise InvalidRequest(f"The {what} '{url}' does not begin with https://.", "Write it as https://host/path.")
    if "@" in parts.netloc or "#" in url:
        raise InvalidRequest(f"The {what} must hold no user name, password or #fragment.", "Leave that part out.")
    if not (_HOST.fullmatch(host) or (":" in host and "%" not in host and _literal(host))) or port == 0:
        raise InvalidRequest(f"The {what} '{url}' names no host.", "Write it as https://host/path.")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidRequest(
            f"The {what} '{url}' is not encrypted, so tokens would be open to everybody on the way.",
            "Use https://; plain http:// is for addresses of this machine only (127.0.0.1, ::1, localhost).",
        )
    return parts


def _in_ascii(url: str) -> str:
    """Return how to write an address whose host is not ASCII; empty where that is not what is wrong with it."""
    try:
        host = urlsplit(url).hostname or ""
        written = url.replace(host, host.encode("idna").decode("ascii"), 1)
    except (ValueError, UnicodeError):
        return ""
    return f"Write it as {written}" if written != url and len(url) <= URL_CAP and _TEXT.fullmatch(written) else ""


def check_endpoint(url: str, *, what: str, private: bool) -> str:
    """Return ``url`` as it is where it may serve as an endpoint.

    Args:
        url: the URL.
        what: what it is for people.
        private: special-purpose addresses are allowed.

    Raises:
        InvalidRequest: see ``split``; or it is a special-purpose address without ``private``.
    """
    _check_address(split(url, what=what).hostname or "", what, private=private)
    return url


def check_resource(uri: str) -> str:
    """Return an RFC 8707 resource as it is: an absolute URI without a fragment (section 2).

    Raises:
        InvalidRequest: it is none.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    if not (_TEXT.fullmatch(uri) and len(uri) <= URL_CAP and parts.scheme and (parts.netloc or parts.path)):
        raise InvalidRequest("The resource is not an absolute URI.", "Write it as https://host/path.")
    if "#" in uri or parts.scheme in _NO_RESOURCE:
        raise InvalidRequest(
            "The resource cannot name one (RFC 8707 2).", "Write it as https://host/path, without a #."
        )
    return uri


def check_issuer(url: str) -> str:
    """Return an issuer identifier as it is: issuers are compared byte by byte, a final slash included (RFC 8414 2).

    Raises:
        InvalidRequest: see ``split``; or it has a query.
    """
    if "?" in url:
        raise InvalidRequest("An issuer has no query.", "Leave out the ? and what follows.")
    split(url, what="issuer")
    return url


def check_url(url: str, *, what: str, private: bool) -> str:
    """Return a base URL in one form: scheme and host in lower case, no default port, no final slash.

    Args:
        url: what a person wrote.
        what: what it is for people.
        private: special-purpose addresses are allowed.

    Raises:
        InvalidRequest: see ``split``; or it has a query, or is a special-purpose address without ``private``.
    """
    parts = split(url.strip(" "), what=what)
    if "?" in url:
        raise InvalidRequest(f"The {what} has no query.", "Leave out the ? and what follows.")
    if {".", ".."} & set(parts.path.split("/")):
        raise InvalidRequest(f"The {what} '{url}' goes up and down in its path.", "Write it without /./ and /../")
    host = parts.hostname or ""
    _check_address(host, what, private=private)
    netloc = f"[{host}]" if ":" in host else host
    if parts.port not in (None, 443 if parts.scheme == "https" else 80):
        netloc += f":{parts.port}"
    return f"{parts.scheme}://{netloc}{parts.path}".rstrip("/")


def check_base(url: str, *, what: str, private: bool) -> str:
    """Return the base of an API in one form, as :func:`check_url` does; a final slash is kept: to APIs it can matter.

    Args:
        url: what a person wrote, or what a login named as its resource.
        what: what it is for people.
        private: special-purpose addresses are allowed.

    Raises:
        InvalidRequest: see ``check_url``; or its path could be read in more than one way.
    """
    base = check_url(url, what=what, private=True)
    path = urlsplit(base).path
    # Nobody says it with the base: it is said of the provider.
    hint = "If you trust that network, use a provider that was added with --private: keyfob provider add --help"
    _check_address(urlsplit(base).hostname or "", what, private=private, hint=hint)
    try:
        below.decoded(path[1:].encode("ascii"))
    except below.Unfit as exc:
        raise InvalidRequest(f"The {what} '{url}' cannot be a base: {exc}.", "Write it plainly.") from exc
    return f"{base}/" if path and url.rstrip(" ").endswith("/") else base


def _check_address(
    host: str,
    what: str,
    *,
    private: bool,
    hint: str = "Add --private if you trust that network (on the page: tick 'private network').",
) -> None:
    literal = _literal(host)
    if literal is not None and is_special(literal) and not is_loopback(host) and not private:
        raise InvalidRequest(f"The {what} is at the special-purpose address {literal}.", hint)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name: a loopback literal, or ``localhost`` (RFC 8252 7.3)."""
    literal = _literal(host)
    return host == "localhost" if literal is None else is_own(literal)


def is_own(address: Address) -> bool:
    """Whether an address leads back to this machine: 127.0.0.0/8 or ::1, and not by way of another form of writing.

    From Python 3.13 on the standard library counts ::ffff:127.0.0.1 too; a guard must not depend on that.
    """
    return address.is_loopback and not (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped)


def is_special(address: Address) -> bool:
    """Whether an address is not for the public Internet (RFC 6890), also where it hides inside another one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not address.is_global or address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_special(inner)
    return address not in _GLOBAL_V6 or address in _DOCUMENTATION_V6 or not address.is_global


def host_of(url: str) -> str:
    """Return host, and port where it is not the default, for people; empty where ``url`` has none."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or ''}{port}"


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
