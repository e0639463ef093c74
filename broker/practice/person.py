"""The person who logs in at a practice provider that asks nothing (``auto_approve``).

Called by ``keyfob demo``, ``broker.testing`` and the benchmarks.
"""

from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener


def visit(url: str, timeout: float) -> None:
    """Open a page as a browser does: from redirect to redirect, with cookies.

    Args:
        url: where a login starts.
        timeout: seconds for each step.
    """
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
    try:
        browser.open(url, timeout=timeout).close()
    except HTTPError as exc:  # whether the login succeeded is asked elsewhere
        exc.close()
