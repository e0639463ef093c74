"""``keyfob ui``: open the web page, signed in.

Called by ``main``. What is put into the browser's command line holds no secret: every user can read that.
"""

import argparse
import os

from broker.cli import terminal
from broker.cli.browser import open_in_browser
from broker.cli.connect import connect


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--no-browser", action="store_true", help="print the address, which signs one browser in")


def run(args: argparse.Namespace) -> int:
    """Open it, or print the address where there is no browser to open."""
    with connect() as client:
        page = client.request("POST", "/v1/session", {})
    if not args.no_browser and open_in_browser(page["open_url"], os.environ):
        terminal.say("Keyfob opens in your browser. If it does not: keyfob ui --no-browser")
        return 0
    terminal.result(page["url"])
    terminal.say("This address signs in the browser that opens it first, within a minute. It is for you alone.")
    return 0
