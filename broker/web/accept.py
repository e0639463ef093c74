"""Whether a client would rather have the bare token than JSON (RFC 9110 12.5.1).

Called by ``api``. An answer that stands is found by the whole head of a request, ``Accept`` as it came included, so
this is asked once for each way to write it.
"""

import re

QVALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
# The media ranges that cover a type, the more specific one later: of those that are there it alone counts.
TEXT = ("*/*", "text/*", "text/plain")
JSON = ("*/*", "application/*", "application/json")


def prefers_text(accept: str) -> bool:
    """Tell whether an ``Accept`` header prefers plain text; JSON is for whoever likes both as well.

    Where the weights are the same, the one that is named more exactly is preferred. Parameters of a type say nothing
    that matters here, and a weight that is none is taken for the usual one.
    """
    accept = accept.lower()
    if "text/" not in accept:  # as of nearly everybody
        return False
    weights: dict[str, float] = {}
    for element in accept.split(","):
        kind, *parameters = (part.strip() for part in element.split(";"))
        weights[kind] = max(weights.get(kind, 0.0), _weight(parameters))
    text, json = _liking(weights, TEXT), _liking(weights, JSON)
    return text[0] > 0 and text > json


def _weight(parameters: list[str]) -> float:
    given = next((value for value in parameters if value.startswith("q=")), "")[2:]
    return float(given) if QVALUE.fullmatch(given) else 1.0


def _liking(weights: dict[str, float], ranges: tuple[str, ...]) -> tuple[float, int]:
    """Return how much a type is wanted, and how exactly it was named."""
    exactness = max((number for number, kind in enumerate(ranges) if kind in weights), default=-1)
    return (weights[ranges[exactness]], exactness) if exactness >= 0 else (0.0, exactness)
