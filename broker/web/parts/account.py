"""One account: how it is, what it may, what happened to it, who uses it, and what can be done with it. Never a token.

Put behind the browser door by ``browser``.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.core import timing
from broker.core.account import Account, Misconfigured, NeedsLogin, RefreshingFailed, Static, Suspect, Uncertain
from broker.core.policy import AppGrant
from broker.errors import InvalidRequest, KeyfobError
from broker.providers.model import Provider
from broker.usecases import accounts, derived, providers, stepup
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts import history, lines
from broker.web.parts.history import SPANS, History, Span
from broker.web.parts.lines import Line
from broker.web.parts.locked import Lock

# How an account gets its next token, in words.
RENEWALS: Final = {
    "refresh_token": "with its refresh token",
    "client_credentials": "with the client’s own credentials",
    "jwt_bearer": "with a signed assertion",
    "token_exchange": "by exchanging another account’s token",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """What keeps Keyfob from asking the provider.

    Attributes:
        text: in words.
        until: until when, epoch seconds, or None.
    """

    text: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class AccountPart:
    """One account.

    Attributes:
        line: as it stands on the first page.
        account: all that is remembered of it, without secrets.
        provider: where it is, or None where nothing more is known of that.
        renews: how it gets its next token; empty where nothing can.
        dies_at: when its refresh token dies if it is not used, or for good; None where nobody knows.
        needed: what its API has refused a request for; None where it has refused none, empty where it named none.
        limits: what keeps Keyfob from asking the provider now, and the provider's own rules.
        history: what happened.
        grants: app -> what it may have of it.
        parent: the account that it is derived from, or empty.
        children: the accounts that are derived from it.
        lock: whether Keyfob is locked.
        now: when this was drawn, epoch seconds.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/account.html.j2"
    line: Line
    account: Account
    provider: Provider | None
    renews: str
    dies_at: float | None
    needed: tuple[str, ...] | None
    limits: tuple[Limit, ...]
    history: History
    grants: tuple[tuple[str, AppGrant], ...]
    parent: str
    children: tuple[str, ...]
    lock: Lock
    now: float
    status: int = 200

    @property
    def refreshable(self) -> bool:
        """Whether a person can have it renewed now, without a word about what that may cost."""
        state = self.account.state
        return self.account.renewable and not isinstance(
            state, NeedsLogin | Misconfigured | Static | Suspect | Uncertain
        )

    @property
    def logs_in(self) -> bool:
        """Whether a login is what it comes from."""
        return not (self.account.by_hand or self.account.is_derived)


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/accounts/{account}``."""
    span = Query(request, "span").text("span") or "day"
    if span not in SPANS:
        raise InvalidRequest(f"There is no span '{span[:20]}'.", f"Use one of: {', '.join(SPANS)}.")
    account = await ctx.store.account(request.path_params["account"])
    if account is None:
        raise accounts.unknown(request.path_params["account"])
    provider = await _provider(ctx, account)
    parent = await derived.parent_of(ctx, account)
    policy = None if provider is None else providers.timing_policy(provider)
    lacking = stepup.noted(ctx, account)
    part = AccountPart(
        line=(await lines.drawn(ctx, [account]))[0],
        account=account,
        provider=provider,
        renews=RENEWALS[account.renewal.by] if account.renewable else "",
        dies_at=None if policy is None or not account.renewable else timing.dies_at(account, policy),
        needed=lacking.scopes if lacking is not None else None,
        limits=tuple(_limits(ctx, account, provider, policy)),
        history=await _history(ctx, account, span),
        grants=tuple(await ctx.store.grants_of(account.uuid)),
        parent=parent.name if parent is not None else "",
        children=tuple(child.name for child in await derived.children_of(ctx, account)),
        lock=Lock.of(ctx),
        now=ctx.clock(),
    )
    return pages.render(part)


async def _provider(ctx: Context, account: Account) -> Provider | None:
    try:
        return await providers.find(ctx, account.provider)
    except KeyfobError:  # its preset was taken away, or its row changed: the account is shown all the same
        return None


async def _history(ctx: Context, account: Account, span: Span) -> History:
    now = ctx.clock()
    entries = await ctx.store.audit(
        account_uuid=account.uuid,
        actions=history.SHOWN,
        since=now - SPANS[span],
        limit=history.MOST_ENTRIES,
    )
    return history.drawn(entries, span, now)


def _limits(ctx: Context, account: Account, provider: Provider | None, policy: timing.Policy | None) -> list[Limit]:
    found, now = [], ctx.clock()
    state = account.state
    if isinstance(state, RefreshingFailed) and state.throttled_until > now:
        found.append(Limit("The provider wants no request before", state.throttled_until))
    elif account.quiet_until > now:
        found.append(Limit("After what went wrong, Keyfob asks again", account.quiet_until))
    if provider is None or policy is None:
        return found
    if many := provider.refresh.refreshes_per_10_min:
        free = max(now, timing.allowed_at(account, policy))
        found.append(Limit(f"The provider allows {many} refreshes in 10 minutes; another one is allowed", free))
    if account.forced_at is not None and (left := account.forced_at + timing.LEAST_BETWEEN_REFRESHES - now) > 0:
        found.append(Limit("A program reported the token as refused; it is renewed for that again", now + left))
    return found
