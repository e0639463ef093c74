"""What becomes of a file: text in, text out; nothing is written here.

Called by ``cli.setup`` through the plans of the modules beside it. Text is None where there is no file. Each kind gives
back, with ``take``, what was there before its own ``put``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.client import ClientError

# Stands in the words of a command for the copy that it works on.
COPY = "\0copy"
# These commands rewrite one small file; whatever takes longer waits for something that will not come.
PATIENCE = 60.0
# Bytes that are no UTF-8 go through unchanged.
ENCODING, ERRORS = "utf-8", "surrogateescape"


class Change(Protocol):
    """One file that becomes another.

    Attributes:
        path: of the file.
        secret: its content is not to be shown.
    """

    @property
    def path(self) -> str:
        """See above."""

    @property
    def secret(self) -> bool:
        """See above."""

    def put(self, text: str | None) -> str:
        """Return the file as it is to be."""

    def take(self, text: str | None) -> str | None:
        """Return the file without what is Keyfob's in it."""

    def shown(self) -> str:
        """Return what is Keyfob's in it, for people to write by hand."""


@dataclass(frozen=True)
class Own:
    """A file that Keyfob alone writes."""

    path: str
    text: str
    secret: bool = False

    def put(self, text: str | None) -> str:
        """Return the file with it."""
        del text
        return self.text

    def take(self, text: str | None) -> str | None:
        """Return that there is no file."""
        del text
        return None

    def shown(self) -> str:
        """Return it as text."""
        return self.text


@dataclass(frozen=True)
class Block:
    """Some lines between two marks, in a file whose comments begin with ``#``.

    Attributes:
        title: ``TOOL ACCOUNT``, in the marks.
        lines: the text between them; it ends with a line end.
        first: it stands before everything else, because what comes later refers to it.
    """

    path: str
    title: str
    lines: str
    secret: bool = False
    first: bool = False

    def put(self, text: str | None) -> str:
        """Return the file with it."""
        found = self._find(text)
        if found is not None and text is not None:
            return f"{text[: found[0]]}{self.shown()}{text[found[1] :]}"
        # One line end is always added, so that exactly one is taken away again.
        if not text:
            return self.shown()
        return f"{self.shown()}\n{text}" if self.first else f"{text}\n{self.shown()}"

    def take(self, text: str | None) -> str | None:
        """Return the file without it."""
        found = self._find(text)
        if found is None or text is None:
            return text
        before, after = text[: found[0]], text[found[1] :]
        if self.first and not before:
            return after.removeprefix("\n")
        if before.endswith("\n\n") or not after:
            before = before.removesuffix("\n")
        return before + after

    def shown(self) -> str:
        """Return it as text."""
        return f"# keyfob setup {self.title}: begin\n{self.lines}# keyfob setup {self.title}: end\n"

    def _find(self, text: str | None) -> tuple[int, int] | None:
        """Return where the block begins and ends.

        Raises:
            ClientError: one of the marks is gone, or is there twice.
        """
        marks = rf"^# keyfob setup {re.escape(self.title)}: %s[ \t]*\r?(?:\n|\Z)"
        begins, ends = ([*re.finditer(marks % mark, text or "", re.MULTILINE)] for mark in ("begin", "end"))
        if not begins and not ends:
            return None
        if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
            detail = f"The marks '# keyfob setup {self.title}: begin' and 'end' in {self.path} are no longer a pair."
            raise ClientError(detail, "Mend that by hand; nothing was changed.", code="marks_damaged")
        return begins[0].start(), ends[0].end()


@dataclass(frozen=True)
class Through:
    """An entry that the other program writes and removes itself, on a copy of its file.

    Attributes:
        program: its name.
        entry: a pattern of the line that the file holds as long as the entry is there, and no longer.
        puts: the words that write it; the first that this version of the program takes are used.
        takes: the words that remove it.
        fragment: the entry as text.
        empty: a pattern of what the program leaves of it where it removes it, or empty.
        sealed: what the file holds if the program has encrypted it; then nothing in it can be shown or recognised.
    """

    path: str
    program: str
    entry: str
    puts: tuple[tuple[str, ...], ...]
    takes: tuple[str, ...]
    fragment: str
    secret: bool = False
    empty: str = ""
    sealed: str = ""

    def put(self, text: str | None) -> str:
        """Return the file with it."""
        if text is not None and self._is_in(text) and not lines(self.fragment) - lines(text):
            return text  # some programs would only write it in another order
        return self._run(self.puts, text)

    def take(self, text: str | None) -> str | None:
        """Return the file without it."""
        if text is None or not self._is_in(text):
            return text
        taken = self._run((self.takes,), text)
        return re.sub(self.empty, "", taken, flags=re.MULTILINE) if self.empty else taken

    def shown(self) -> str:
        """Return it as text."""
        return self.fragment

    def _is_in(self, text: str) -> bool:
        return bool(re.search(self.entry, text, re.MULTILINE))

    def _run(self, ways: tuple[tuple[str, ...], ...], text: str | None) -> str:
        """Return the copy after the first command that is taken.

        Raises:
            ClientError: the program is not here, or it takes none of them; or the file is encrypted.
        """
        if text and self.sealed and self.sealed in text:
            raise ClientError(f"{self.path} is encrypted.", f"Add it with {self.program} itself, as --print tells it.")
        found = shutil.which(self.program)
        if found is None:
            detail = f"There is no {self.program} here, which writes its own configuration."
            raise ClientError(detail, "Install it, or write by hand what --print tells.", code="no_program")
        with tempfile.TemporaryDirectory() as place:  # nobody else may look into it: it is made with mode 0700
            copy = Path(place, "config")
            if text is not None:
                copy.write_bytes(text.encode(ENCODING, ERRORS))
            said = ""
            for words in ways:
                try:
                    done = subprocess.run(  # noqa: S603 -- the program's own words, no shell
                        [found, *(word.replace(COPY, str(copy)) for word in words)],
                        stdin=subprocess.DEVNULL,
                        capture_output=True,
                        text=True,
                        errors="replace",
                        timeout=PATIENCE,
                        check=False,
                    )
                except subprocess.TimeoutExpired as exc:
                    detail = f"{self.program} did not answer within {PATIENCE:.0f} s."
                    raise ClientError(detail, "Nothing was changed.", code="program_failed") from exc
                if done.returncode == 0:
                    return copy.read_bytes().decode(ENCODING, ERRORS)
                said = (done.stderr.strip() or done.stdout.strip()).replace(str(copy), self.path)
        told = said.splitlines() or ["it does not say why"]
        # Some print how they are used beside, or where they broke.
        why = (
            next((line for line in told if re.search("error|fatal", line, re.IGNORECASE)), told[-1]).strip().rstrip(".")
        )
        hint = "Nothing was changed. See what belongs into that file: --print"
        raise ClientError(f"{self.program} refuses: {why}.", hint, code="program_failed")


def lines(text: str | None) -> Counter[str]:
    """Return how often each line is there, wherever it stands, and whatever stands beside it."""
    # How an empty list, or the end of a member, is written changes with its neighbours.
    bare = (
        line.strip().removesuffix(",").removesuffix(" null").removesuffix(" []") for line in (text or "").split("\n")
    )
    return Counter(line for line in bare if line)
