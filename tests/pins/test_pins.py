"""Whether a look at the pinned packages fails, passes, or says that nobody looked."""

import json
from typing import Any

import pytest

from tests.pins.__main__ import PINS, Verdict, judge, read

SOUND = {"name": "starlette", "version": "1.0", "vulns": []}
ADVISORY = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}
BROKEN = {"name": "jinja2", "version": "2.10", "vulns": [ADVISORY]}
CONTROL = {"name": "django", "version": "2.2", "vulns": [ADVISORY]}
SILENT = {**CONTROL, "vulns": []}
UNKNOWN = {"name": "anyio", "skip_reason": "Dependency not found on PyPI and could not be audited: anyio (9)"}


def said(*listed: dict[str, Any]) -> Verdict | None:
    """Return what is read of a report on these packages, and on the control, unless that is among them."""
    listed = listed if SILENT in listed else (*listed, CONTROL)
    return read(json.dumps({"dependencies": listed, "fixes": []}))


@pytest.mark.parametrize("first", [None, said(UNKNOWN, SILENT)])
def test_a_finding_fails(first: Verdict | None) -> None:
    """A package with an advisory fails, with its name and what mends it, whoever else does not answer."""
    code, line = judge([first, said(SOUND, BROKEN)])

    assert code == 1
    assert "jinja2 2.10: PYSEC-2026-1, mended in 1.1" in line


@pytest.mark.parametrize(
    "nobody", [[None, None], [said(UNKNOWN, SILENT), None], [said(SOUND, SILENT)], [read("<html>")]]
)
def test_nobody_is_not_taken_for_a_good_word(nobody: list[Verdict | None]) -> None:
    """Where no service answers, or one that knows of no vulnerability at all, it is said that nobody looked."""
    code, line = judge(nobody)

    assert code == 0
    assert line.startswith("NOT AUDITED: ")
    assert "\n" not in line


def test_a_pin_that_nobody_knows_fails() -> None:
    """A service that knows the others does not know this one: it was withdrawn, or never there."""
    code, line = judge([said(SOUND, UNKNOWN)])

    assert code == 1
    assert "anyio (9)" in line


def test_a_good_word_names_how_many() -> None:
    """All are known and none has an advisory."""
    assert judge([said(SOUND, SOUND)]) == (0, "2 pinned packages, none known to be vulnerable.")


def test_everything_is_pinned_to_one_version() -> None:
    """What is not pinned is not audited."""
    lines = PINS.read_text(encoding="utf-8").splitlines()

    assert len(lines) > 50
    assert [line for line in lines if line.partition(";")[0].count("==") != 1] == []
