"""The page of what happened: the audit, newest first, searched and narrowed; and the check that nobody changed it.

Put behind the browser door by ``browser``. ``deeds`` has the words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.core.policy import Owner
from broker.errors import InvalidRequest
from broker.store.verify import Break, Verdict
from broker.usecases import audit
from broker.usecases.context import Context
from broker.web import pages, render, text
from broker.web.body import LATEST, Fields, Query
from broker.web.guards import check_unlocked
from broker.web.parts import deeds, paging
from broker.web.parts.deeds import KINDS, Told


@dataclass(frozen=True, slots=True)
class ActivityPart:
    """A page of the record.

    Attributes:
        lines: the entries of this page, newest first.
        filters: what was asked for: ``q``, ``account``, ``app``, ``kind``; what is left out, all.
        page: which page, from 1.
        more: whether there are older ones.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/activity.html.j2"
    kinds: ClassVar[Mapping[str, str]] = KINDS
    owner: ClassVar[str] = Owner.name
    lines: tuple[Told, ...]
    filters: Mapping[str, str]
    page: int
    more: bool
    status: int = 200

    def at(self, page: int) -> str:
        """Return where another page of the same is."""
        return f"/ui/activity?{urlencode({**self.filters, 'page': page})}"


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/activity``."""
    query = Query(request, "q", "account", "app", "kind", "page")
    found = {name: (query.text(name) or "").strip() for name in ("q", "account", "app", "kind")}
    filters, page = {name: value for name, value in found.items() if value}, query.count("page", 1, paging.MOST_PAGES)
    kind = filters.get("kind")
    if kind is not None and kind not in KINDS:
        raise InvalidRequest(f"There is no kind '{kind[:50]}'.", f"Use one of {', '.join(KINDS)}.")
    await audit.write_handouts(ctx)  # they are there for whoever looks now
    entries = await ctx.store.audit(
        account=filters.get("account"),
        app=filters.get("app"),
        actions=deeds.of_kind(kind) if kind else (),
        words=filters.get("q", "").split(),
        limit=paging.PER_PAGE + 1,
        skip=(page - 1) * paging.PER_PAGE,
    )
    shown = tuple(deeds.told(entry) for entry in entries[: paging.PER_PAGE])
    return pages.render(ActivityPart(shown, filters, page, len(entries) > paging.PER_PAGE))


async def check(request: Request, ctx: Context) -> Response:
    """``POST /ui/v1/audit/check``: whether the record is as it was written, in words."""
    (await Fields.read(request)).end()
    check_unlocked(ctx)
    verdict = await ctx.store.verify_audit()
    return render.answer({"intact": verdict.broken is None, "said": said(verdict)})


def said(verdict: Verdict) -> str:
    """Return what became of a check, in words."""
    if verdict.broken is not None:
        return f"This record is not as it was written. {verdict.broken.detail}{_standing(verdict.broken)}"
    parts = [f"Nothing was changed: {_entries(verdict.checked)} of this record fit."]
    if verdict.begins_at is not None:
        since = text.utc(verdict.begins_at)
        parts.append(f"The oldest is entry {verdict.first} of {since}, the newest is entry {verdict.last}.")
    if verdict.old:
        parts.append(f"Older than the chain of seals, so that nothing can be said of them: {verdict.old}.")
    if verdict.late or verdict.unsealed:
        while_locked = verdict.late + verdict.unsealed
        parts.append(f"Written while Keyfob was locked, so that they are sure only from then on: {while_locked}.")
    return " ".join(parts)


def _entries(count: int) -> str:
    return "the one entry" if count == 1 else f"all {count} entries"


def _standing(broken: Break) -> str:
    """Say what stands at the place that does not fit. It may be anything."""
    if not broken.action:
        return ""
    when = [text.utc(broken.at)] if broken.at is not None and 0 <= broken.at < LATEST else []
    whose = [f"{what} {name}" for what, name in (("account", broken.account), ("app", broken.app)) if name]
    return " What stands there now: " + text.clean(", ".join([*when, broken.action, *whose])) + "."
