"""What a log line looks like, and what it never does."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from broker import logs
from broker.core.secret import Secret

log = logging.getLogger("broker.testing")


class Written:
    """What has been written to standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._read = ""

    def getvalue(self) -> str:
        """Return all of it."""
        self._read += self._capsys.readouterr().err
        return self._read


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Catch standard error, and put logging back as it was: ``set_up`` is for a process of its own."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in logs.QUIET}
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # pytest's own would be closed by set_up
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    yield Written(capsys)
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def broken() -> None:
    """Break."""
    raise ValueError("inner")


def test_a_line_for_people(stderr: Written) -> None:
    """One line: when, how grave, who, what."""
    logs.set_up("info", "text")

    log.warning("the answer for '%s' could not be written yet", "me")

    line = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING broker\.testing: the answer for 'me' could not be written yet\n"
    )
    assert re.fullmatch(line, stderr.getvalue())


def test_a_line_for_the_journal(stderr: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal knows the time itself."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up("info", "text")

    log.info("stopping")

    assert stderr.getvalue() == "INFO broker.testing: stopping\n"


def test_a_line_for_programs(stderr: Written) -> None:
    """One JSON object a line, whatever the text holds; a traceback is a member of it."""
    logs.set_up("debug", "json")

    log.debug('first\nsecond "%s"', "quoted")
    try:
        broken()
    except ValueError:
        log.exception("a look broke")

    plain, traced = (json.loads(line) for line in stderr.getvalue().splitlines())
    assert plain.pop("at").endswith("+00:00")
    assert plain == {"level": "debug", "logger": "broker.testing", "message": 'first\nsecond "quoted"'}
    assert (traced["level"], traced["message"]) == ("error", "a look broke")
    assert traced["exception"].endswith("ValueError: inner")


@pytest.mark.parametrize("mark", ["\x1b[2J", "\x07", "\r", "\x9b31m", "\u202e", "\u2028", "\udc80"])
def test_foreign_text_does_not_paint(stderr: Written, mark: str) -> None:
    """What moves a cursor, hides or reverses text is shown as what it is."""
    logs.set_up("info", "text")

    log.info("said: %s!", mark)

    written = stderr.getvalue()
    assert written.removesuffix("\n").isprintable()
    assert written.endswith(f"said: {mark.encode('unicode_escape').decode()}!\n")


def test_foreign_text_makes_no_line_of_its_own(stderr: Written) -> None:
    """Nobody can write a line that looks like one of ours."""
    logs.set_up("info", "text")

    log.info("unknown account %s", "x\n2030-01-01 00:00:00,000 INFO    broker.daemon: all is well")

    assert len(stderr.getvalue().splitlines()) == 1


@pytest.mark.parametrize("mark", ["\x9b31m", "\u202e", "\udc80"])
def test_json_lines_do_not_paint_either(stderr: Written, mark: str) -> None:
    """A person who reads the JSON on a terminal is not painted at."""
    logs.set_up("info", "json")

    log.info("said: %s!", mark)

    assert stderr.getvalue().removesuffix("\n").isascii()
    assert json.loads(stderr.getvalue())["message"] == f"said: {mark}!"


def test_a_traceback_keeps_its_lines(stderr: Written) -> None:
    """What is for whoever mends Keyfob can be read."""
    logs.set_up("info", "text")

    try:
        broken()
    except ValueError:
        log.exception("a look broke")

    lines = stderr.getvalue().splitlines()
    assert lines[0].endswith("a look broke")
    assert (lines[1], lines[-1]) == ("Traceback (most recent call last):", "ValueError: inner")


def test_the_level_decides(stderr: Written) -> None:
    """What is below the level is not written, in either direction."""
    logs.set_up("warning", "text")
    log.info("hidden")
    log.warning("shown")
    logs.set_up("debug", "text")
    log.debug("shown as well")

    assert [line.partition(": ")[2] for line in stderr.getvalue().splitlines()] == ["shown", "shown as well"]


@pytest.mark.parametrize(
    "name", ["sqlalchemy.engine", "httpx2", "httpcore2.connection", "uvicorn.error", "alembic.runtime"]
)
def test_libraries_never_talk(stderr: Written, name: str) -> None:
    """Libraries log parameters and whole URLs: not even debug lets them, but their warnings are heard."""
    logs.set_up("debug", "text")

    logging.getLogger(name).info("SELECT 'a secret'")
    logging.getLogger(name).warning("a warning")

    assert [line.partition(": ")[2] for line in stderr.getvalue().splitlines()] == ["a warning"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_in_a_message(stderr: Written, form: str) -> None:
    """Whoever logs a secret by mistake logs nothing of it."""
    logs.set_up("debug", form)

    log.warning("got %s %r %s", Secret("marker"), Secret("marker"), [Secret("marker")])

    assert "marker" not in stderr.getvalue()
    assert stderr.getvalue().count("secret") >= 3
