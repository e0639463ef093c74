"""Draws the recordings of ``record.py`` as one animated SVG: what the terminals showed, when they showed it.

Run by a person: ``python docs/images/draw.py``; a test checks that the picture is what the recordings make.
"""
# ruff: noqa: INP001 -- a script, not a package

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
CASTS = ("demo.cast", "token.cast")
# Metrics of a monospaced font of 13 px; textLength makes every font keep to them.
ADVANCE, LINE, BASE = 7.8, 18, 13
BAR, PAD, GAP = 26, 12, 14
# The last picture stays for so many seconds before the film begins again.
HOLD = 4.0
INK, PAPER, FRAME, BOLD, CURSOR = "#d7e0dc", "#14211d", "#22332d", "#ffffff", "#7fb8a4"
# What a screen's text may be cut into: control sequences (ECMA-48 5.4), and single characters.
PIECE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(.)", re.DOTALL)

Cell = tuple[str, bool]


@dataclass(slots=True)
class Screen:
    """As much of a terminal as the recordings need: text, bold, a cursor."""

    width: int
    height: int
    row: int = 0
    column: int = 0
    bold: bool = False
    rows: list[list[Cell]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = [[] for _ in range(self.height)]

    def show(self, text: str) -> None:
        """Show what a program wrote.

        Raises:
            ValueError: the recording holds something that this screen cannot show.
        """
        for parameters, command, character in PIECE.findall(text):
            if command == "m":
                self.bold = parameters == "1"
            elif command == "K":
                del self.rows[self.row][self.column :]
            elif command or (not character.isprintable() and character not in "\r\n\b"):
                raise ValueError(f"{parameters}{command or character!r}")
            elif character == "\n":
                self._feed()
            elif character in "\r\b":
                self.column = 0 if character == "\r" else self.column - 1
            else:
                self._put(character)

    def lines(self) -> list[tuple[Cell, ...]]:
        """Return the rows as they are now, the cursor among them."""
        now = [list(row) for row in self.rows]
        line = now[self.row]
        line += [(" ", False)] * (self.column + 1 - len(line))
        line[self.column] = ("█", False)
        return [tuple(row) for row in now]

    def _put(self, character: str) -> None:
        if self.column >= self.width:
            self.column = 0
            self._feed()
        row = self.rows[self.row]
        row += [(" ", False)] * (self.column + 1 - len(row))
        row[self.column] = (character, self.bold)
        self.column += 1

    def _feed(self) -> None:
        self.row += 1
        if self.row == self.height:
            self.rows = [*self.rows[1:], []]
            self.row -= 1


@dataclass(slots=True)
class Film:
    """The style rules so far: one for each stretch of time that something is seen."""

    length: float
    stretches: dict[tuple[float, float], str] = field(default_factory=dict)

    def during(self, begin: float, end: float) -> str:
        """Return the classes of what is seen from ``begin`` to ``end``, in seconds."""
        name = self.stretches.setdefault((begin, end), f"t{len(self.stretches)}")
        return name if end < self.length else f"{name} end"

    def rules(self) -> Iterator[str]:
        """Yield the keyframes."""
        for (begin, end), name in self.stretches.items():
            until = f"{100 * end / self.length:.2f}%{{opacity:0}}" if end < self.length else ""
            start = f"0%{{opacity:0}}{100 * begin / self.length:.2f}%" if begin else "0%"
            yield f"@keyframes {name}{{{start}{{opacity:1}}{until}}}.{name}{{animation-name:{name}}}"


def draw(casts: list[str]) -> str:
    """Return the SVG of some recordings, one window below the other."""
    recordings = [[json.loads(line) for line in cast.splitlines()] for cast in casts]
    film = Film(round(max(lines[-1][0] for lines in recordings) + HOLD, 1))
    width = max(lines[0]["width"] for lines in recordings) * ADVANCE + 2 * PAD
    windows, top = [], 0.0
    for lines in recordings:
        header, events = lines[0], lines[1:]
        height = BAR + header["height"] * LINE + PAD
        windows.append(_window(film, header, events, width, top, height))
        top += height + GAP
    style = (
        "text{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre}"
        f".f{{fill:{INK};opacity:0;animation:{film.length}s step-end infinite}}.end{{opacity:1}}"
        f".b{{fill:{BOLD};font-weight:bold}}.c{{fill:{CURSOR}}}"
        # Who wants no motion sees how it ended.
        "@media(prefers-reduced-motion:reduce){.f{animation:none!important}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top - GAP:g}" role="img">'
        "<title>keyfob demo in one terminal, keyfob token in another</title>\n"
        f"<style>{style}\n{chr(10).join(film.rules())}</style>\n" + "\n".join(windows) + "\n</svg>\n"
    )


def _window(
    film: Film, header: dict[str, int], events: list[tuple[float, str, str]], width: float, top: float, height: float
) -> str:
    """Return one terminal: its frame, and every line with the time that it is seen."""
    parts = [
        f'<rect y="{top:g}" width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}"/>',
        f'<path d="M0 {top + BAR:g}v-{BAR - 8}a8 8 0 0 1 8-8h{width - 16:g}a8 8 0 0 1 8 8v{BAR - 8}z" fill="{FRAME}"/>',
        *(f'<circle cx="{18 + 18 * n}" cy="{top + BAR / 2:g}" r="5" fill="{CURSOR}" opacity=".5"/>' for n in range(3)),
    ]
    for row, cells, begin, end in _history(header, events, film.length):
        y = top + BAR + 8 + row * LINE + BASE - 4
        parts.append(_line(cells, y, film.during(begin, end)))
    return "\n".join(parts)


def _history(
    header: dict[str, int], events: list[tuple[float, str, str]], length: float
) -> Iterator[tuple[int, tuple[Cell, ...], float, float]]:
    """Yield each row of the screen with what stood there from when to when."""
    screen = Screen(header["width"], header["height"])
    seen: list[tuple[tuple[Cell, ...], float]] = [((), 0.0)] * header["height"]
    for at, _, text in events:
        now = round(at, 2)
        screen.show(text)
        for row, cells in enumerate(screen.lines()):
            before, since = seen[row]
            if cells != before:
                if before and since < now:
                    yield row, before, since, now
                seen[row] = (cells, now)
    for row, (cells, since) in enumerate(seen):
        if cells:
            yield row, cells, since, length


def _line(cells: tuple[Cell, ...], y: float, classes: str) -> str:
    spans, rest = [], list(cells)
    while rest:
        style = _style(rest[0])
        count = next((n for n, cell in enumerate(rest) if _style(cell) != style), len(rest))
        text = escape("".join(character for character, _ in rest[:count]), quote=False)
        spans.append(f'<tspan class="{style}">{text}</tspan>' if style else text)
        del rest[:count]
    size = f'textLength="{len(cells) * ADVANCE:g}"'
    return f'<text class="f {classes}" x="{PAD}" y="{y:g}" {size}>{"".join(spans)}</text>'


def _style(cell: Cell) -> str:
    return "c" if cell[0] == "█" else "b" if cell[1] else ""


if __name__ == "__main__":
    found = [(HERE / name).read_text(encoding="utf-8") for name in CASTS]
    (HERE / "demo.svg").write_text(draw(found), encoding="utf-8")
