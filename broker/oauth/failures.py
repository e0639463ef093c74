"""How a connection, or what is spoken on it, breaks down, and how that is said.

Called by ``http``, ``upstream`` and ``addresses``.
"""

import ssl

import httpcore2

FAILURES = (
    TimeoutError,
    OSError,
    UnicodeError,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
)


class Unfit(httpcore2.ProtocolError):
    """An answer that is not taken in, whatever it says."""


class ProxyFailed(httpcore2.ProxyError):
    """No connection to the proxy came about; the text is ours, and safe to show."""


def why(exc: BaseException, host: str, deadline: float) -> str:
    """Say in a few words what happened, without anything of request or answer."""
    chain = _chain(exc)
    for cause in chain:
        if isinstance(cause, ProxyFailed):
            return str(cause)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = cause.verify_message.rstrip(".")
            return f"the certificate of {host} is not valid: {what} (KEYFOB_CA_FILE names an authority of your own)"
    for cause in chain:
        if isinstance(cause, Unfit):
            return str(cause)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            plain = ": it speaks plain http there" if getattr(cause, "reason", "") == "WRONG_VERSION_NUMBER" else ""
            return f"no encrypted connection to {host} came about{plain}"
        if isinstance(cause, ConnectionRefusedError):
            return f"{host} refuses the connection"
        if isinstance(cause, httpcore2.ProxyError):
            return "the proxy does not let the request through"
    if isinstance(exc, TimeoutError | httpcore2.TimeoutException):
        return f"{host} did not answer within {deadline:g} s"
    if isinstance(exc, httpcore2.ProtocolError):
        return f"{host} did not answer in HTTP, or not to the end"
    return f"the connection to {host} failed"


def _chain(exc: BaseException) -> list[BaseException]:
    """Return an exception and all that led to it; groups are opened."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [exc]
    while waiting:
        current = waiting.pop(0)
        if current is None or current in found:
            continue
        found.append(current)
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
    return found
