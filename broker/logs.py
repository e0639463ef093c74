"""How log lines look.

Set up once by ``daemon``. Lines go to standard error; under systemd the journal adds the time.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

# These say more than they may: SQL parameters, whole URLs. Not even debug makes them talk.
QUIET = ("sqlalchemy", "alembic", "httpx2", "httpcore2", "apscheduler", "uvicorn", "asyncio", "tzlocal")


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)  # ASCII: what moves a cursor or reverses text stays escaped


class TextLines(logging.Formatter):
    """One line for a person; control characters of foreign text are shown, not obeyed.

    Only a traceback has lines of its own: a message that could begin one could pass for ours.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the standard library's name
        """Return the line without a traceback."""
        record.message = _shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 -- as the standard library has it
        """Return the traceback."""
        return _shown(super().formatException(ei), keep="\n")


def _shown(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text  # nearly every line
    return "".join(c if c in keep or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def set_up(level: str, form: str) -> None:
    """Send our log lines to standard error.

    Args:
        level: debug, info, warning or error.
        form: text or json.
    """
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonLines())
    elif os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(TextLines("%(levelname)s %(name)s: %(message)s"))
    else:
        handler.setFormatter(TextLines("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
