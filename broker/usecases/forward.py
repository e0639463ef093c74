"""A request through the proxy: account, policy with the grant's rules, token, API base, out; once more after a 401.

Called by ``web.proxy`` for both app doors. The token goes from here to ``oauth.upstream`` and never to the caller.
"""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from broker.core import below
from broker.core.account import Account, Misconfigured, NeedsLogin
from broker.core.approval import Asker
from broker.core.policy import Allowed, App, Ask, Caller, Denied, Narrow
from broker.core.rules import Passage
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError
from broker.oauth.http import NotSent
from broker.oauth.upstream import Answer, Headers, Sending
from broker.providers.urls import check_base
from broker.usecases import accounts, approvals, audit, ratelimits, stepup
from broker.usecases.context import Context
from broker.usecases.get_token import decide, get_token
from broker.usecases.outcomes import MustLogin, Outcome, Ready, Unavailable, refused
from broker.usecases.providers import find
from broker.usecases.stepup import TooLittle
from broker.usecases.streams import Stream

log = logging.getLogger(__name__)

REFUSED, TOO_MANY = 401, 429


class Body(Protocol):
    """The body of a request that is on its way."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Return it as it comes, once."""

    def again(self) -> AsyncIterator[bytes] | None:
        """Return it once more, where it came whole and was small enough to be kept."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a caller wants to be sent.

    Attributes:
        ask: the account, and what the rules look at.
        raw: the path below the API base as it came; ``ask.passage`` has it decoded and checked.
        query: as it came.
        headers: end-to-end ones only, and how long the body is.
        body: None where there is none.
        hold: for how many seconds it may wait for a rate limit to open.
    """

    ask: Ask
    raw: bytes = field(repr=False)
    query: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    body: Body | None
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request goes, and with which token.

    Attributes:
        account: whose token it is.
        base: the API base.
        private: special-purpose addresses are allowed there.
        token: the token.
    """

    account: Account
    base: SplitResult
    private: bool
    token: Secret


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An answer of the API, whose body is still to come; with the way that it went, and what was asked for there.

    It has to be closed.
    """

    way: Way
    target: bytes
    answer: Answer


async def forward(
    ctx: Context, caller: Caller, errand: Errand, asker: Callable[[], Asker], stream: Stream
) -> Forwarded | TooLittle | MustLogin | Denied | Unavailable:
    """Send a request to an account's API, and return its answer once the head of that is there.

    An API that refuses the token is believed once: the token is renewed, and a request that can be sent again is. One
    that wants more scope gets none by that: a person has to bring it.
    Where a rate limit is used up, nothing is sent before it opens.

    Args:
        ctx: the collaborators.
        caller: who asks.
        errand: what for.
        asker: tells where from, for the owner to see.
        stream: what it is under way as; learns the account before anything is sent, or waits to be.

    Raises:
        UnknownAccount, Locked, StoreUnavailable: as ``get_token``.
        Conflict: nobody knows where the account's API is.
        TooManyRequests: a rate limit is used up, for longer than the request may wait.
        NotSent, AnswerLost: the API was not reached, or gave no answer.
    """
    way = await _found(ctx, caller, errand.ask, asker)
    if not isinstance(way, Way):
        return way
    stream.account = way.account.uuid
    target = below.target(way.base, errand.raw, errand.query)
    body = errand.body.chunks() if errand.body is not None else None
    answer = await _sent(ctx, caller, way, errand, target, body)
    if answer.status != REFUSED or stepup.wanted(answer.status, answer.headers) is not None:
        return await _judged(ctx, caller, errand.ask, asker, Forwarded(way, target, answer))
    body = errand.body.again() if errand.body is not None else None
    try:
        renewed = await _renewed(ctx, caller, errand.ask, way)
    except BaseException:
        await answer.aclose()
        raise
    if isinstance(renewed, MustLogin):
        await answer.aclose()
        return renewed
    if renewed is None or (errand.body is not None and body is None):
        return Forwarded(way, target, answer)
    await answer.aclose()
    again = Forwarded(renewed, target, await _sent(ctx, caller, renewed, errand, target, body))
    return await _judged(ctx, caller, errand.ask, asker, again)


async def _judged(
    ctx: Context, caller: Caller, ask: Ask, asker: Callable[[], Asker], found: Forwarded
) -> Forwarded | TooLittle | Denied:
    """Return an answer, or what is told in its place where the API wants more scope.

    A program cannot do what the API's own refusal tells it to do: the login is not its own.
    """
    want = stepup.wanted(found.answer.status, found.answer.headers)
    if want is None:
        return found
    try:
        told = await stepup.refused(ctx, caller, ask, found.way.account, want, asker)
    except BaseException:
        await found.answer.aclose()
        raise
    if told is None:
        return found
    await found.answer.aclose()
    return told


async def _found(
    ctx: Context, caller: Caller, ask: Ask, asker: Callable[[], Asker]
) -> Way | MustLogin | Denied | Unavailable:
    """Return where a request goes; while nothing has changed, where the one before went, if this one may pass as well.

    The hand-out is counted each time, and the rules are asked.
    """
    name = caller.key_hash if isinstance(caller, App) else b"", ask.account
    kept: tuple[tuple[Way, Allowed | Narrow | Denied], float] | None = ctx.recall(ctx.ways, name)
    if kept is not None:
        (way, decision), now = kept
        if decide(caller, ask, way.account, now) == decision:
            audit.handed_out(ctx, caller, way.account, now)
            return way
    since = ctx.since()
    outcome = await approvals.ask_token(ctx, caller, ask, asker)
    found, until = await _way(ctx, outcome), outcome.until if isinstance(outcome, Ready) else 0.0
    judged, account = None, ""
    if isinstance(found, Way) and since is not None and until:
        judged, account = (found, decide(caller, ask, found.account, since.at)), found.account.uuid
    ctx.keep(ctx.ways, name, judged, since, until, account)
    return found


async def _sent(
    ctx: Context, caller: Caller, way: Way, errand: Errand, target: bytes, body: AsyncIterator[bytes] | None
) -> Answer:
    """Send it when its turn comes; once more where the API said "too fast" all the same and it may wait longer."""
    passage, until = errand.ask.passage or Passage("", ""), ctx.steady() + errand.hold
    while True:
        left = until - ctx.steady()
        turn = await ratelimits.turn(ctx, way.account, caller, method=passage.method, path=passage.path, hold=left)
        try:
            answer = await _send(ctx, way, passage.method, errand, target, body)
        except NotSent:
            turn.unsent()
            raise
        except BaseException:
            turn.lost()
            raise
        turn.answered(answer.status, ratelimits.said(answer.headers))
        if answer.status != TOO_MANY or not errand.hold or turn.shut_for() > until - ctx.steady():
            return answer
        body = errand.body.again() if errand.body is not None else None
        if errand.body is not None and body is None:
            return answer
        await answer.aclose()


async def _send(
    ctx: Context, way: Way, method: str, errand: Errand, target: bytes, body: AsyncIterator[bytes] | None
) -> Answer:
    """Send it once."""
    sending = Sending(
        method=method,
        base=way.base,
        target=target,
        private=way.private,
        headers=errand.headers,
        token=way.token,
        body=body,
        wait=ctx.streams.wait,
        idle=ctx.streams.idle or None,
    )
    return await ctx.upstream.send(ctx.http, sending)


async def _renewed(ctx: Context, caller: Caller, ask: Ask, way: Way) -> Way | MustLogin | None:
    """Report that the API refused the token; return the way with another one, or None where there is none to be had.

    Where only a person can bring another, that is the answer, although the refused one has not ended by the clock.
    """
    again: Way | MustLogin | Denied | Unavailable | None = None
    try:
        if await accounts.rejected(ctx, caller, ask.account, way.token, ask.passage) is not None:
            return None
        again = await _way(ctx, await get_token(ctx, caller, ask))
    except KeyfobError as exc:
        log.info("'%s': its API refused the token, and there is no other now: %s", ask.account, exc)
    if isinstance(again, Way) and again.token != way.token:
        return replace(way, token=again.token)
    if not isinstance(again, MustLogin):
        account = await ctx.store.account_by_uuid(way.account.uuid)
        if account is None or not isinstance(account.state, NeedsLogin | Misconfigured):
            return None
        helps = await refused(ctx, account, caller)
        return helps if isinstance(helps, MustLogin) else None
    return again


async def _way(ctx: Context, outcome: Outcome) -> Way | MustLogin | Denied | Unavailable:
    if not isinstance(outcome, Ready):
        return outcome
    provider = await find(ctx, outcome.account.provider)
    # A token for another resource than the account's own goes to that one, and to no other place.
    other = outcome.resource if outcome.resource != outcome.account.resource else None
    base = other or base_of(outcome.account, provider.api_base)
    try:
        return Way(outcome.account, _split(base, private=provider.private), provider.private, outcome.access_token)
    except InvalidRequest as exc:
        raise nowhere(outcome.account.name, f"Its address cannot be used: {exc.detail}") from exc


async def set_base(ctx: Context, name: str, url: str) -> Account:
    """Write down where the API of an account is; empty for where its login or its provider's preset says.

    Raises:
        UnknownAccount: none has that name.
        InvalidRequest: no API can be there.
        Locked, SecretChanged: as ``Store.set_api_base``.
    """
    account = await ctx.store.account(name)
    if account is None:
        raise accounts.unknown(name)
    provider = await find(ctx, account.provider)
    base = check_base(url, what="API base", private=provider.private) if url else ""
    changed = await ctx.store.set_api_base(account, base)
    ctx.publish("api-base-set", name, detail=base or "where its login or its provider says")
    return changed


def base_of(account: Account, usual: str) -> str:
    """Return where the API of an account is: what a person said, else the resource of its login, else the preset's.

    Args:
        account: the account.
        usual: what its provider says.

    Raises:
        Conflict: nobody knows.
    """
    found = account.api_base or account.resource or usual
    if not found:
        raise nowhere(account.name, "Neither its provider's preset nor its login says so.")
    return found


def nowhere(account: str, why: str) -> Conflict:
    """Return the error for an account whose API nobody can find."""
    hint = f"Say where it is: keyfob proxy-url {account} --api-base https://api.example.org/v1"
    return Conflict(f"Nobody knows where the API of account '{account}' is. {why}", hint, account=account)


@lru_cache(maxsize=256)
def _split(base: str, *, private: bool) -> SplitResult:
    # A resource may have a query (RFC 8707 2); requests have one of their own.
    return urlsplit(check_base(base.partition("?")[0], what="API base", private=private))
