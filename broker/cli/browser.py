"""Handing one address to the person's browser, and nothing but an address.

Called by ``login``. What is opened may come from a provider's metadata: it is parsed, must be http or https, is put
together anew and becomes one argument of one program, without a shell (CVE-2025-6514).
"""

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit


def web_address(text: str) -> str | None:
    """Return ``text`` as a web address that is safe to hand on, or None where it is none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or port == 0:
        return None
    # Printable ASCII without blanks, quotes and brackets is all that a URL may hold (RFC 3986 2).
    if not all("!" <= character <= "~" and character not in "\"'<>\\^`{|}" for character in text):
        return None
    return urlunsplit(parts)


def opener(environ: Mapping[str, str]) -> list[str] | None:
    """Return the words that open an address, ``%s`` where it goes in or after the last; None where there is no browser.

    ``BROWSER`` comes first: commands separated by ``:``, each with or without ``%s``.
    """
    for command in filter(None, environ.get("BROWSER", "").split(os.pathsep)):
        try:
            words = shlex.split(command)
        except ValueError:  # an unclosed quote: not a command
            continue
        if words and shutil.which(words[0]):
            return words
    if sys.platform == "darwin":
        return ["open"]
    # Without a display xdg-open would start a text browser on this very terminal.
    if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"):
        return next(([name] for name in ("xdg-open", "wslview") if shutil.which(name)), None)
    return ["wslview"] if shutil.which("wslview") else None


def open_in_browser(address: str, environ: Mapping[str, str]) -> bool:
    """Open an address and do not wait for the browser; False where there is none, or the address is no web address."""
    url, words = web_address(address), opener(environ)
    if url is None or words is None:
        return False
    argv = [word.replace("%s", url) for word in words] if any("%s" in word for word in words) else [*words, url]
    try:
        browser = subprocess.Popen(  # noqa: S603 -- one argument, checked above
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C here does not close the browser
        )
    except OSError:
        return False  # the caller shows the address instead
    threading.Thread(target=browser.wait, daemon=True).start()  # leaves no zombie while the login waits
    return True
