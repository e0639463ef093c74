"""What becomes of an error in words, whatever protocol they go out in.

Called by ``render``, ``asgi``, ``browser`` and ``emulate``.
"""

from broker.errors import KeyfobError

BROKEN = KeyfobError("This is a fault of Keyfob; its log says more.")


def printable(text: str) -> str:
    """Return words that repeat what was asked, and end in somebody's terminal or log."""
    return "".join(c if c.isprintable() else "?" for c in text)


def help_url(error: KeyfobError) -> str:
    """Return where a person can help in a browser; empty where nobody can."""
    return str(error.extra.get("login_url") or error.extra.get("approval_url") or "")


def next_step(error: KeyfobError) -> str:
    """Return all that helps in one line, for a program that shows its person nothing else."""
    url = help_url(error)
    if not url or url in f"{error.detail} {error.hint}":
        return error.hint
    return f"{error.hint} - or in a browser: {url}" if error.hint else f"In a browser: {url}"
