"""``GET /metrics``: how Keyfob is, in numbers, in Prometheus' text exposition format 0.0.4.

Put behind the app doors by ``asgi``. All names begin with ``keyfob_``, also where others have one that everybody uses:
the text mostly goes through node_exporter, which refuses a file with a name that it has itself
(``process_start_time_seconds``). No label says which account, app, provider or person: numbers are kept for years.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from starlette.requests import Request
from starlette.responses import Response

from broker import __version__
from broker.core.account import State
from broker.events import Kind
from broker.store.tally import HANDOUT
from broker.usecases import health
from broker.usecases.context import Context
from broker.usecases.health import Report
from broker.web import render
from broker.web.body import Query

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Which events are how a refresh, and how a login, ended.
REFRESHES: Final[tuple[Kind, ...]] = ("refreshed", "refresh-failed", "uncertain", "needs-login", "misconfigured")
LOGINS: Final[tuple[Kind, ...]] = ("logged-in", "login-failed")
# As the audit's entries are called.
REFUSALS: Final = ("refused", "unauthorized")
STATES: Final = tuple(kind.name for kind in get_args(State))

Value = int | float


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics of one name.

    Attributes:
        name: in base units; that of a counter ends with ``_total``.
        type: what Prometheus may do with it.
        help: what is counted, for people; one line.
        label: what tells its metrics from each other; empty where there is one only.
        values: the label's value -> how much. None of them: that is not known now, and left out.
    """

    name: str
    type: Literal["counter", "gauge"]
    help: str
    label: str
    values: Mapping[str, Value]


async def show(request: Request, ctx: Context) -> Response:
    """``GET /metrics``."""
    Query(request)
    return Response(text_of(families(ctx, await health.report(ctx))), 200, render.ANSWER_HEADERS, CONTENT_TYPE)


def families(ctx: Context, report: Report) -> list[Family]:
    """Return what there is to tell. Nothing of it costs more with more accounts than the report does."""
    schedule, events, written = ctx.schedule, ctx.events.counts, ctx.handouts.written
    states = {state: report.accounts.get(state, 0) for state in STATES} if report.counted else {}
    return [
        Family("keyfob_build_info", "gauge", "Which Keyfob this is.", "version", {__version__: 1}),
        _one(
            "keyfob_start_time_seconds",
            "When this Keyfob started, in seconds since the epoch; all counters began with 0 then.",
            _moment(schedule.started_at + schedule.moved if schedule.started_at else 0.0),
        ),
        _one("keyfob_locked", "Whether Keyfob is locked.", int(report.state == "locked")),
        _one("keyfob_ready", "Whether all is well, as GET /readyz tells.", int(report.state == "ok")),
        Family("keyfob_accounts", "gauge", "Accounts by state.", "state", states),
        _one("keyfob_refreshes_due", "Accounts that wait for a refresh now.", report.due if report.counted else None),
        _one("keyfob_refreshes_in_flight", "Refreshes that were sent and not answered yet.", len(ctx.flights.flying)),
        _one(
            "keyfob_unwritten_answers",
            "Answers of providers that the database has not taken yet.",
            ctx.store.unwritten,
        ),
        _one(
            "keyfob_last_look_timestamp_seconds",
            "When the scheduler last looked for due refreshes, in seconds since the epoch.",
            _moment(schedule.last_tick_at),
        ),
        _one(
            "keyfob_next_look_timestamp_seconds",
            "When the scheduler looks again at the latest, in seconds since the epoch.",
            _moment(schedule.next_tick_at),
        ),
        _some("keyfob_refreshes_total", "How refreshes ended.", "outcome", REFRESHES, events),
        _some("keyfob_logins_total", "How logins ended.", "outcome", LOGINS, events),
        _counter("keyfob_rejections_total", "Tokens that an API refused, as programs reported.", events["rejected"]),
        _counter("keyfob_handouts_total", "Tokens handed out, 5 s late at the most.", written[HANDOUT]),
        _some("keyfob_refusals_total", "Requests turned away, 5 s late at the most.", "reason", REFUSALS, written),
    ]


def text_of(found: Iterable[Family]) -> str:
    """Return metrics as Prometheus reads them. A family without any is left out whole."""
    lines: list[str] = []
    for family in found:
        if family.values:
            lines.append(f"# HELP {family.name} {_escaped(family.help)}")
            lines.append(f"# TYPE {family.name} {family.type}")
            lines += [f"{family.name}{_label(family.label, which)} {much}" for which, much in family.values.items()]
    return "".join(f"{line}\n" for line in lines)


def _label(name: str, value: str) -> str:
    quoted = _escaped(value).replace('"', '\\"')
    return f'{{{name}="{quoted}"}}' if name else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _one(name: str, about: str, value: Value | None) -> Family:
    return Family(name, "gauge", about, "", {} if value is None else {"": value})


def _counter(name: str, about: str, value: int) -> Family:
    return Family(name, "counter", about, "", {"": value})


def _some(name: str, about: str, label: str, which: Iterable[str], counts: Mapping[str, int]) -> Family:
    return Family(name, "counter", about, label, {one: counts.get(one, 0) for one in which})


def _moment(at: float) -> float | None:
    # Before the first time: an alert on the age of 1970 would be a false one.
    return round(at, 3) if at > 0 else None
