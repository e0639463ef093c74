"""The grammar of faults, and which fault is due at which request.

Read by ``wire`` and ``sabotage``; ``keyfob practice --help`` prints ``help_text``. A spec is::

    [ENDPOINT:]KIND[=VALUE][*COUNT | %PERCENT]

    status=503*2            the next two token requests are answered by 503
    refresh:drop%10         one refresh in ten is carried out, and its answer is lost
    code:wrong_nonce        every ID token at login carries a foreign nonce
    token:json={"expires_in":"3599.9"}*1

Without ENDPOINT it is ``token``, or the one endpoint where the kind makes sense. Without COUNT or PERCENT it happens
every time; a text that itself ends in ``*2`` or ``%5`` is followed by ``%100``. In list order, the first due fault
that takes the answer's place wins, and the others of that sort wait for the next request: ``status=503*2``,
``html*1`` is two 503 and then a page.
"""

import re
import textwrap
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from broker.errors import InvalidRequest
from broker.practice.kinds import ENDPOINTS, GROUPS, KINDS, Kind

_SHAPE = re.compile(
    r"(?:(?P<endpoint>[^:=*%]*):)?(?P<kind>[^:=*%]*)(?:=(?P<value>.*?))?(?:\*(?P<count>\d+)|%(?P<percent>[\d.]+))?",
    re.DOTALL,
)


STAGES = ("instead", "answer", "content")


@dataclass(frozen=True, slots=True)
class Fault:
    """One parsed spec.

    Attributes:
        spec: the text it came from.
        endpoint: a name of ``ENDPOINTS`` or ``GROUPS``.
        kind: what happens.
        value: the kind's parsed value, or None.
        count: how often it happens; None: without end.
        chance: the probability of each time, 0 to 1.
    """

    spec: str
    endpoint: str
    kind: Kind
    value: Any = None
    count: int | None = None
    chance: float = 1.0

    def covers(self, endpoint: str) -> bool:
        """Tell whether a request at this endpoint is meant."""
        return endpoint == self.endpoint or endpoint in GROUPS.get(self.endpoint, ())


def parse_fault(spec: str) -> Fault:
    """Read one spec.

    Raises:
        InvalidRequest: names the part that cannot be read, and lists what could stand there.
    """
    shape = _SHAPE.fullmatch(spec)
    if shape is None:
        raise InvalidRequest(f'The fault "{spec}" has no readable shape.', _ADVICE)
    kind = KINDS.get(shape["kind"])
    if kind is None:
        raise InvalidRequest(f'The fault "{spec}" names no known kind: "{shape["kind"]}".', _ADVICE)
    endpoint = shape["endpoint"] if shape["endpoint"] is not None else kind.endpoints[0]
    if endpoint not in ENDPOINTS and endpoint not in GROUPS:
        names = ", ".join((*GROUPS, *ENDPOINTS))
        raise InvalidRequest(f'The fault "{spec}" names no known endpoint: "{endpoint}".', f"Endpoints: {names}.")
    if not kind.fits(endpoint):
        places = ", ".join(kind.endpoints)
        raise InvalidRequest(f'The fault "{spec}" cannot happen at "{endpoint}".', f"{kind.name} happens at: {places}.")
    count = int(shape["count"]) if shape["count"] else None
    if count == 0:
        raise InvalidRequest(f'The fault "{spec}" would never happen: "*0".', "Give a count of 1 or more.")
    return Fault(spec, endpoint, kind, _value(spec, kind, shape["value"]), count, _chance(spec, shape["percent"]))


def parse_faults(specs: Iterable[str]) -> tuple[Fault, ...]:
    """Read specs in order; raises as ``parse_fault`` does."""
    return tuple(parse_fault(spec) for spec in specs)


def _value(spec: str, kind: Kind, text: str | None) -> Any:  # noqa: ANN401 -- each kind has its own type of value
    if not kind.value:
        if text is not None:
            raise InvalidRequest(f'The fault "{spec}" has a value, "{text}", but {kind.name} takes none.', _ADVICE)
        return None
    if text is None:
        if kind.default is None:
            raise InvalidRequest(f'The fault "{spec}" needs a value.', f"Write {kind.name}={kind.value}.")
        return kind.default
    try:
        return kind.parse(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(
            f'The fault "{spec}" has a value that {kind.name} cannot use: "{text}".',
            f"{kind.name}={kind.value}: {kind.about}.",
        ) from exc


def _chance(spec: str, percent: str | None) -> float:
    if percent is None:
        return 1.0
    try:
        chance = float(percent) / 100
    except ValueError:
        chance = 0.0
    if not 0 < chance <= 1:
        raise InvalidRequest(f'The fault "{spec}" has no readable probability: "%{percent}".', "Give %1 to %100.")
    return chance


class FaultPlan:
    """The faults in force, and how often each may still happen.

    Args:
        specs: as on the command line; raises as ``parse_fault`` does.
        chance: draws a number from 0 to below 1, for ``%PERCENT``.
    """

    def __init__(self, specs: Iterable[str], chance: Callable[[], float]) -> None:
        self._chance = chance
        self._lock = threading.Lock()  # tests replace the plan from their own thread
        self.generation = 0
        self._faults = parse_faults(specs)
        self._left = [fault.count for fault in self._faults]

    @property
    def specs(self) -> list[str]:
        """The specs in force, spent ones too."""
        return [fault.spec for fault in self._faults]

    def replace(self, specs: Iterable[str]) -> None:
        """Put other faults in force, with fresh counts; raises as ``parse_fault`` does and then changes nothing."""
        faults = parse_faults(specs)
        with self._lock:
            self._faults = faults
            self._left = [fault.count for fault in faults]
            self.generation += 1

    def take(self, endpoint: str, stages: Collection[str] = STAGES) -> tuple[Fault, ...]:
        """Return the faults that happen to this request, and count them as happened.

        Args:
            endpoint: a name of ``ENDPOINTS``.
            stages: only these kinds; where one takes the answer's place, there is no content to spoil.
        """
        taken: list[Fault] = []
        with self._lock:
            self._collect(taken, endpoint, lambda kind: not taken and kind.stage == "instead" and "instead" in stages)
            later = {"answer"} if taken else {"answer", "content"}
            self._collect(taken, endpoint, lambda kind: kind.stage in later and kind.stage in stages)
        return tuple(taken)

    def _collect(self, taken: list[Fault], endpoint: str, wanted: Callable[[Kind], bool]) -> None:
        for index, fault in enumerate(self._faults):
            left = self._left[index]
            if left == 0 or not fault.covers(endpoint) or not wanted(fault.kind):
                continue
            if fault.chance < 1 and self._chance() >= fault.chance:
                continue
            if left is not None:
                self._left[index] = left - 1
            taken.append(fault)


def help_text() -> str:
    """Return the grammar and every kind, for ``keyfob practice --help``."""
    titles = {
        "instead": "In the answer's place (the request is not carried out, nothing is spent):",
        "answer": "To the answer (the request WAS carried out, a refresh token may be spent):",
        "content": "In the content (carried out as well):",
    }
    lines = ["faults: [ENDPOINT:]KIND[=VALUE][*COUNT | %PERCENT]", ""]
    for stage, title in titles.items():
        lines.append(f"  {title}")
        lines.extend(f"    {kind.usage:<22}{kind.about}" for kind in KINDS.values() if kind.stage == stage)
        lines.append("")
    lines.append("  ENDPOINT is one of")
    lines.extend(f"    {names}" for names in textwrap.wrap(", ".join(ENDPOINTS), 90))
    lines.extend(f"  {group} stands for {', '.join(members)}." for group, members in GROUPS.items())
    lines.append("  Without ENDPOINT: token, or the only one where the kind makes sense.")
    lines.append('  Examples: status=503*2   refresh:drop%10   code:wrong_nonce   token:json={"expires_in":0}*1')
    return "\n".join(lines)


_ADVICE = f"Kinds: {', '.join(kind.usage for kind in KINDS.values())}."
