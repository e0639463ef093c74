"""What a person sees of a device login: the code, where to type it, and a QR code of that address.

Called by ``login``. On a terminal the code stands in a frame; elsewhere there are plain lines. Nothing is opened here:
the person has to go there and type.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from itertools import zip_longest
from typing import Any

from broker.cli import terminal

# Whoever is talked into typing a code lets the one who talked in (RFC 8628 5.4).
WARNING = (
    "Only type a code that you asked for yourself, here. Whoever gets you to type theirs is let in to your account."
)
SCAN, OPEN = "Scan this, or open on any device:", "On any device, open:"
# Modules of white around a QR code: the standard wants four, cameras are content with two, terminals are small.
QUIET = 2
# A pair of modules, one above the other, as one character, where True is dark.
PAIRS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
# Black on white whatever the terminal's own colours are: that is what cameras expect.
BLACK_ON_WHITE, AS_BEFORE = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Lines for the warning and the waiting below: nothing may push the code off the screen.
BELOW = 6


def show(login: dict[str, Any]) -> None:
    """Tell the person where to go and what to type there."""
    code, where = terminal.clean(login["user_code"]), terminal.clean(login["verification_uri"])
    if not terminal.is_terminal(sys.stderr):
        terminal.say(f"On any device, open {where} and type the code {code}")
        terminal.say(WARNING)
        return
    columns, lines = terminal.size()
    drawn = qr(str(login.get("verification_uri_complete") or login["verification_uri"]))
    frame = framed(code, columns, unicode=_unicode())
    scan, plain = ([first, f"  {where}", "and type this code there:", "", *frame] for first in (SCAN, OPEN))
    for line in beside(drawn, scan, columns, lines) or stacked(drawn, scan, columns, lines) or ["", *plain]:
        terminal.say(line)
    terminal.say()
    for line in textwrap.wrap(WARNING, min(columns, 100) - 1):
        terminal.say(line)
    terminal.say()


def beside(drawn: list[str], words: list[str], columns: int, lines: int) -> list[str]:
    """Return a QR code with words to its right; nothing where there is no room for that."""
    width = _width(drawn) + 2
    if not drawn or width + max(map(_columns, words)) > columns or max(len(drawn), len(words)) + BELOW > lines:
        return []
    # In the middle of the height, as far as it goes.
    above = max(0, (len(drawn) - len(words)) // 2)
    both = zip_longest(drawn, [*[""] * above, *words], fillvalue="")
    return ["", *(f"{left or ' ' * (width - 2)}  {right}".rstrip() for left, right in both)]


def stacked(drawn: list[str], words: list[str], columns: int, lines: int) -> list[str]:
    """Return a QR code with words below it; nothing where there is no room for that."""
    if not drawn or _width(drawn) > columns or len(drawn) + len(words) + BELOW > lines:
        return []
    return ["", *drawn, "", *words]


def framed(code: str, width: int, *, unicode: bool) -> list[str]:
    """Return the code in a frame, its characters spaced out where there is room for that.

    Args:
        code: the user code, cleaned.
        width: columns of the terminal.
        unicode: the terminal can draw lines.
    """
    spaced = " ".join(code)
    shown = spaced if len(spaced) + 8 <= width else code
    if len(shown) + 8 > width:
        return [f"  {terminal.paint(code)}"]
    corners, across, down = ("╭╮╰╯", "─", "│") if unicode else ("++++", "-", "|")
    inner = len(shown) + 4
    blank = f" {down}{' ' * inner}{down}"
    lines = [
        f" {corners[0]}{across * inner}{corners[1]}",
        blank,
        f" {down}  {terminal.paint(shown)}  {down}",
        blank,
        f" {corners[2]}{across * inner}{corners[3]}",
    ]
    # What is spaced out cannot be copied.
    return [*lines, f" To copy: {code}"] if shown != code else lines


def qr(address: str) -> list[str]:
    """Return an address as a QR code in half blocks; nothing where the terminal or the code cannot do that."""
    if not _unicode():
        return []
    import segno

    try:
        code = segno.make_qr(address, error="l")
    except segno.DataOverflowError:
        return []
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=QUIET)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    # Without colours the ink is the terminal's own, and most terminals write light on dark.
    dark = not os.environ.get("NO_COLOR")
    drawn = [
        "".join(PAIRS[upper is dark, lower is dark] for upper, lower in zip(first, second, strict=True))
        for first, second in zip(rows[::2], rows[1::2], strict=True)
    ]
    return [f"{BLACK_ON_WHITE}{line}{AS_BEFORE}" for line in drawn] if dark else drawn


def _width(drawn: list[str]) -> int:
    return _columns(drawn[0]) if drawn else 0


def _columns(text: str) -> int:
    return len(_COLOUR.sub("", text))


def _unicode() -> bool:
    return (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
