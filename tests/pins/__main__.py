"""Are the pinned packages known to be vulnerable? ``python -m tests.pins``, called by ``make lint``.

``pip-audit`` asks a service on the Internet, PyPI's own or OSV's. A machine may reach a mirror of the package index and
neither of them; then pip-audit finds that nobody knows the packages, or that a mirror tells of no vulnerabilities, and
ends well. So it is asked about one package more, which is known to be vulnerable: whoever has nothing to say about that
one does not count. A finding fails; so does a pin that such a service does not know, because it was withdrawn, or never
existed. Where nothing answers, that is said, and nothing else is held up by it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lanes.stage import say

PINS = Path(__file__).parents[2] / "constraints.txt"
SERVICES = ("pypi", "osv")
# Not used here, and dozens of advisories are about it.
CONTROL = ("django", "2.2")
# Seconds for one answer, and for all: it runs beside the tests, and must not outlast them.
PATIENCE, LIMIT = "5", 90.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a service said.

    Attributes:
        answered: it knows what everybody knows: that the control is vulnerable.
        asked: how many packages it was asked about.
        unknown: for each that it does not know, what pip-audit says about that.
        vulnerable: the others with a finding, each with the advisories.
    """

    answered: bool
    asked: int
    unknown: tuple[str, ...]
    vulnerable: tuple[str, ...]


def read(report: str) -> Verdict | None:
    """Read a report of pip-audit in JSON; None where it is none, because no service answered."""
    try:
        listed = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    answered = any(each["name"] == CONTROL[0] and each.get("vulns") for each in listed)
    listed = [each for each in listed if each["name"] != CONTROL[0]]
    unknown = [each["skip_reason"] for each in listed if "skip_reason" in each]
    vulnerable = [
        f"{each['name']} {each['version']}: "
        + "; ".join(
            f"{it['id']}, mended in {', '.join(it['fix_versions']) or 'no version yet'}" for it in each["vulns"]
        )
        for each in listed
        if each.get("vulns")
    ]
    return Verdict(answered, len(listed), tuple(unknown), tuple(vulnerable))


def judge(verdicts: Sequence[Verdict | None]) -> tuple[int, str]:
    """Return the exit code for what the services said, and the line to print."""
    told = [verdict for verdict in verdicts if verdict is not None and verdict.answered]
    found = sorted({line for verdict in told for line in verdict.vulnerable})
    if found:
        return 1, "\n".join(("Pinned packages are known to be vulnerable:", *(f"  {line}" for line in found)))
    if not told:
        return 0, (
            "NOT AUDITED: no vulnerability service answers from here (pypi.org, api.osv.dev), so nobody has looked "
            "whether the pinned packages are known to be vulnerable."
        )
    missing = min((verdict.unknown for verdict in told), key=len)
    if missing:
        return 1, "\n".join(("Pinned packages are not known to the service:", *(f"  {line}" for line in missing)))
    return 0, f"{told[0].asked} pinned packages, none known to be vulnerable."


def _ask(service: str, pins: Path) -> Verdict | None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as control:
        control.write("==".join(CONTROL))
        control.flush()
        what = ["--requirement", str(pins), "--requirement", control.name, "--no-deps", "--disable-pip"]
        how = [
            "--vulnerability-service",
            service,
            "--format",
            "json",
            "--timeout",
            PATIENCE,
            "--progress-spinner",
            "off",
        ]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip_audit", *what, *how],
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
    return read(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask one service after the other until one answers."""
    parser = argparse.ArgumentParser(prog="python -m tests.pins", description=__doc__)
    parser.add_argument("--pins", type=Path, default=PINS, help="another file than constraints.txt")
    pins = parser.parse_args(arguments).pins
    verdicts: list[Verdict | None] = []
    for service in SERVICES:
        verdicts.append(_ask(service, pins))
        if (last := verdicts[-1]) is not None and last.answered:
            break
    code, line = judge(verdicts)
    say(line)
    return code


if __name__ == "__main__":
    sys.exit(main())
