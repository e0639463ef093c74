"""Files of other programs, as ``keyfob setup`` reads, compares and writes them.

Called by ``setup``. A file is written whole or not at all, keeps its mode, and is written where a link leads to. A copy
of what was there is kept only where something of it would be lost.
"""

import difflib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.cli import terminal
from broker.cli.files import PRIVATE, read, remove, replace, unwritable
from broker.cli.setup_record import Record, Trace, digest
from broker.errors import Conflict
from broker.integrations.setup.changes import ENCODING, ERRORS, Change, lines


@dataclass(frozen=True)
class Step:
    """One file, as it is and as it is to be; None where there is none.

    Attributes:
        before: the digest of what it was before Keyfob's part was in it.
        keep: something that is not Keyfob's would be lost.
        spare: a copy that is no longer needed afterwards, or None.
        ours: Keyfob's part is in it afterwards.
    """

    path: str
    now: str | None
    then: str | None
    before: str | None = None
    secret: bool = False
    keep: bool = False
    spare: str | None = None
    ours: bool = False

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.now != self.then


def steps(changes: Sequence[Change], planned: Sequence[Change], record: Record) -> list[Step]:
    """Return what has to be done, so that the files are as planned.

    Args:
        changes: the plan.
        planned: the last one, of which nothing is left that is not in this one.
        record: what was done then.

    Raises:
        ClientError: a file cannot be understood, or its program refuses.
        KeyfobError: a file cannot be read.
    """
    last = {change.path: change for change in planned if change.path in record.files}
    found = []
    for change in changes:
        now, trace, old = read(change.path), record.files.get(change.path), last.pop(change.path, change)
        then = change.put(now if old == change else old.take(now))
        if trace is not None and trace.after == digest(now):
            before, keep = trace.before, False
        else:
            before = digest(now if trace is None else old.take(now))
            keep = _loses(now, then, old.shown() + change.shown())
        found.append(Step(change.path, now, then, before, change.secret, keep, ours=True))
    return found + steps_back(tuple(last.values()), record)


def steps_back(changes: Sequence[Change], record: Record) -> list[Step]:
    """Return what has to be done, so that nothing of a plan is left; the last comes first.

    Raises:
        ClientError: a file cannot be understood, or its program refuses.
        KeyfobError: a file cannot be read.
    """
    found = []
    for change in reversed(changes):
        now, trace = read(change.path), record.files.get(change.path)
        if trace is not None and trace.after == digest(now):
            then, spare = _former(change, now, trace)
            found.append(Step(change.path, now, then, secret=change.secret, spare=spare))
        elif now is not None:
            then = change.take(now)
            keep = _loses(now, then, change.shown())
            found.append(Step(change.path, now, then, secret=change.secret, keep=keep))
    return found


def difference(step: Step) -> Iterator[str]:
    """Yield the lines of a unified difference, without those around it: there may be a password in them."""
    if not step.changes:
        return
    if step.secret:
        yield f"{'---' if step.then is None else '+++'} {step.path} (holds a secret; not shown)"
        return
    old, new = (text.splitlines() if text else [] for text in (step.now, step.then))
    old_name, new_name = ("/dev/null" if text is None else step.path for text in (step.now, step.then))
    yield from difflib.unified_diff(old, new, old_name, new_name, lineterm="", n=0)


def write(todo: Iterable[Step], record: Record) -> None:
    """Do the steps, and note what became of each file.

    Raises:
        Conflict: a file has changed since the person saw the difference.
        KeyfobError: one cannot be written.
    """
    for step in todo:
        if not step.changes:
            continue
        if read(step.path) != step.now:
            raise Conflict(f"{step.path} has changed meanwhile.", "Run the command again.")
        kept = _keep(step) if step.keep else None
        if step.then is None:
            remove(Path(step.path))
            terminal.say(f"Removed {step.path}")
        else:
            replace(Path(step.path), step.then)
            terminal.say(f"Wrote {step.path}")
        if step.spare is not None:
            remove(Path(step.spare))
        old = record.files.pop(step.path, None)
        if not step.ours:
            continue
        former = old.kept if old is not None and old.before == step.before else None
        record.files[step.path] = Trace(step.before, digest(step.then), kept or former)


def _former(change: Change, now: str | None, trace: Trace) -> tuple[str | None, str | None]:
    """Return what a file was, which nobody has changed since, and the copy of it, if that is where it comes from."""
    if trace.before is None:
        return None, None
    if trace.kept is not None and digest(read(trace.kept)) == trace.before:
        return read(trace.kept), trace.kept
    text = change.take(now) or ""
    # Some programs leave an empty line behind: the digest tells what was there.
    ways = (text, text.rstrip("\n") + "\n", text.rstrip("\n"))
    return next((way for way in ways if digest(way) == trace.before), text), None


def _loses(now: str | None, then: str | None, ours: str) -> bool:
    """Whether a line of a file would be gone that is not Keyfob's; only where it stands, or how, is no loss."""
    return bool(lines(now) - lines(then) - lines(ours))


def _keep(step: Step) -> str:
    """Keep a copy of a file beside it, and return its path."""
    path = f"{step.path}.keyfob-backup-{time.strftime('%Y%m%dT%H%M%S')}"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            file.write((step.now or "").encode(ENCODING, ERRORS))
    except OSError as exc:
        raise unwritable(Path(path), exc) from exc
    terminal.say(f"Kept what was there: {path}")
    return path
