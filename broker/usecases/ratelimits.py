"""Rate limits: a request waits for its turn, its answer goes into the book, and whoever may can look at that.

Called by ``forward`` around each request of the proxy, and by the web API. What Keyfob itself asks (tokens,
registrations, revocations) goes through ``oauth.http``, which asks the same book before and tells it after.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from broker.core.account import Account
from broker.core.policy import App, AppGrant, Caller
from broker.core.timing import LONGEST_SLEEP
from broker.core.window import FIRST_PATIENCE, SOON, Window
from broker.errors import KeyfobError, NotGranted, ProviderUnavailable, TooManyRequests
from broker.providers.model import Provider
from broker.usecases import accounts, providers
from broker.usecases.book import Closing, Heard, Line, Waiter, Whose, route
from broker.usecases.context import Context

# No request is held for longer, whatever its header says: few clients wait as long for a head.
MOST_HOLD = 300.0
# How the names of headers begin that say something about limits.
_SPEAK = (b"x-ratelimit-", b"x-rate-limit-", b"ratelimit", b"retry-after", b"date")
# Where Keyfob itself asks, by what for; the API is what programs ask.
OWN = ("token", "refresh", "revocation", "registration", "device_authorization", "pushed_authorization")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit stands.

    Attributes:
        scope: the server's name for it, or ``default``.
        use: ``api`` where programs ask, else what Keyfob itself asks for there.
        limit: how many requests in a window; None where that is not known.
        remaining: how many of them are left.
        window: seconds of a window.
        reset_at: when all of them are free again, epoch seconds.
        retry_after: seconds until one may go; 0 where one may now.
        waiting: how many requests are being held.
        told_at: when the last answer came that told of it, epoch seconds.
    """

    scope: str
    use: str
    limit: int | None
    remaining: int | None
    window: float | None
    reset_at: float | None
    retry_after: float
    waiting: int
    told_at: float | None


class Turn:
    """A request that may go. It has to be ended: :meth:`answered`, :meth:`lost` or :meth:`unsent`; the first counts."""

    def __init__(self, ctx: Context, line: Line, waiter: Waiter, windows: tuple[Window, ...]) -> None:
        self._ctx = ctx
        self._line = line
        self._waiter = waiter
        self._windows = windows
        self._sent_at = ctx.steady()
        self._ended = False

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of its answer is there; headers by lower-case name, several of one name joined with commas."""
        if self._end():
            whose, kind = self._waiter.whose.app, self._waiter.route
            heard = _heard(self._ctx, whose, kind, status, headers, self._sent_at)
            self._line.heard(heard, self._windows)
            look(self._ctx, self._line)

    def shut_for(self) -> float:
        """Return the seconds for which no such request may go, as far as is known now."""
        now = self._ctx.steady()
        return max((window.shut_for(now) for window in self._line.under(self._waiter.route)), default=0.0)

    def lost(self) -> None:
        """It was sent, and no answer came."""
        if self._end():
            for window in self._windows:
                window.lost(self._waiter.whose.app, self._ctx.steady())
            look(self._ctx, self._line)

    def unsent(self) -> None:
        """Surely nothing of it was sent."""
        if self._end():
            for window in self._windows:
                window.give_back(self._waiter.whose.app)
            look(self._ctx, self._line)

    def _end(self) -> bool:
        ended, self._ended = self._ended, True
        return not ended


async def turn(ctx: Context, account: Account, caller: Caller, *, method: str, path: str, hold: float = 0.0) -> Turn:
    """Wait until a request may go: at once where something is left, else for ``hold`` seconds at the most.

    Apps that wait go in turns, and the requests of one app in the order of their coming. Where a limit has just opened,
    also a request that nobody wants held stays for the moment in which the first answer tells how many may go.

    Raises:
        TooManyRequests: nothing is left, and it is not to be held for so long.
        ProviderUnavailable: the daemon stops.
    """
    book, now = ctx.rates, ctx.steady()
    line = book.of_account(account.uuid)
    whose = Whose(caller.name, _share(caller, account))
    waiter = Waiter(whose, route(method, path), now + min(hold, MOST_HOLD), asyncio.get_running_loop().create_future())
    if book.closing:
        raise _stopping()
    if line.wait(waiter, now) > 0 and not line.has_place(whose.app):
        raise TooManyRequests(
            f"So many requests wait at account '{account.name}' that there is no place for one more of '{whose.app}'.",
            "Send fewer at a time, or try again later.",
            retry_after=SOON,
        )
    if any(window.is_trying(now) for window in line.under(waiter.route)):
        waiter.until = max(waiter.until, now + FIRST_PATIENCE)
    line.stand(waiter)
    look(ctx, line)
    try:
        windows = await waiter.turn
    except TimeoutError:
        raise _too_many(ctx, account, line, waiter) from None
    except Closing:
        raise _stopping() from None
    except asyncio.CancelledError:
        if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            Turn(ctx, line, waiter, waiter.turn.result()).unsent()  # its turn came together with the cancellation
        line.leave(waiter)
        look(ctx, line)
        raise
    return Turn(ctx, line, waiter, windows)


def said(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return what an answer's headers say about limits, by lower-case name, several of one name joined with commas."""
    found: dict[str, str] = {}
    for raw, value in headers:
        name = raw.lower()
        if name.startswith(_SPEAK):
            key, text = name.decode("latin-1"), value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def look(ctx: Context, line: Line) -> None:
    """Let go who may, and look again when the next one may."""
    now = ctx.steady()
    line.let_go(now)
    if line.timer is not None:
        line.timer.cancel()
    wait = line.next_look(now)
    # Timers stand still while the machine sleeps, and the clock may be set: so look now and then.
    line.timer = None
    if wait is not None:
        delay = min(max(wait, 0.0), LONGEST_SLEEP)
        line.timer = asyncio.get_running_loop().call_later(delay, look, ctx, line)


async def report(
    ctx: Context, caller: Caller, name: str, *, status: int, headers: Mapping[str, str], method: str, path: str
) -> list[Standing]:
    """Take in an answer that a program got with the token in its own hands, and return how the limits stand.

    Raises:
        UnknownAccount: none has that name.
        NotGranted: the app was not granted the account, or only through the proxy, which sees the answers itself.
    """
    account, grant = await _granted(ctx, caller, name)
    if grant is not None and grant.mode != "token":
        raise NotGranted(
            f"App '{caller.name}' uses account '{name}' through the proxy, which sees the limits itself.",
            "Leave these reports out.",
        )
    line = ctx.rates.of_account(account.uuid)
    kind = route(method, path) if method and path else ""
    line.heard(_heard(ctx, caller.name, kind, status, headers, ctx.steady()), ())
    look(ctx, line)
    return await standing(ctx, caller, name)


async def standing(ctx: Context, caller: Caller, name: str) -> list[Standing]:
    """Return how an account's limits stand, as far as any answer has told; the owner sees Keyfob's own as well.

    Raises:
        UnknownAccount: none has that name.
        NotGranted: the app was not granted the account.
    """
    account, grant = await _granted(ctx, caller, name)
    line = ctx.rates.accounts.get(account.uuid) or Line()
    found = _standings(ctx, line, "api")
    if grant is None:
        for use, url in _own(account, await providers.find(ctx, account.provider)).items():
            own = ctx.rates.endpoints.get(url) or Line()
            found += _standings(ctx, own, use)
    return sorted(found, key=lambda one: (one.use != "api", one.use, one.scope))


def _standings(ctx: Context, line: Line, use: str) -> list[Standing]:
    now = ctx.steady()
    return [_standing(ctx, line, window, use, now) for window in line.windows.values() if window.is_known(now)]


def _standing(ctx: Context, line: Line, window: Window, use: str, now: float) -> Standing:
    moved = ctx.schedule.moved
    remaining, waiting = window.remaining(now), chain.from_iterable(line.waiting.values())
    return Standing(
        window.scope,
        use,
        window.limit,
        remaining,
        window.length,
        None if window.reset_at is None else window.reset_at + moved,
        window.wait(now),
        sum(window in line.under(waiter.route) for waiter in waiting),
        window.told_at + moved if window.told_at > 0 else None,
    )


def _own(account: Account, provider: Provider) -> dict[str, str]:
    """Return the addresses that Keyfob itself asks for an account, by what for."""
    found = {use: getattr(provider.endpoints, use) for use in OWN}
    return {use: url for use, url in {**found, "token": account.destination.token_endpoint}.items() if url}


async def _granted(ctx: Context, caller: Caller, name: str) -> tuple[Account, AppGrant | None]:
    """Return the account, and what of it an app was granted; None for the owner."""
    account = await ctx.store.account(name)
    if isinstance(caller, App):
        grant = _grant(caller, account) if account is not None else None
        if grant is None or (grant.expires_at is not None and grant.expires_at <= ctx.clock()):
            raise NotGranted(f"App '{caller.name}' was not granted account '{name}'.", "Ask the owner for it.")
    else:
        grant = None
    if account is None:
        raise accounts.unknown(name)
    return account, grant


def _grant(app: App, account: Account) -> AppGrant | None:
    return next((grant for grant in app.grants if grant.uuid == account.uuid), None)


def _share(caller: Caller, account: Account) -> int | None:
    grant = _grant(caller, account) if isinstance(caller, App) else None
    return None if grant is None else grant.rate_share


def _heard(ctx: Context, app: str, kind: str, status: int, headers: Mapping[str, str], sent_at: float) -> Heard:
    return Heard(app, kind, status, headers, ctx.clock(), ctx.steady(), sent_at)


def _too_many(ctx: Context, account: Account, line: Line, waiter: Waiter) -> KeyfobError:
    now = ctx.steady()
    wait = max(line.wait(waiter, now), SOON)
    shut = max(line.under(waiter.route), key=lambda window: window.wait(now, waiter.whose.app, waiter.whose.share))
    until = time.strftime("%H:%M:%S UTC", time.gmtime(ctx.clock() + wait))
    mine = waiter.whose.share is not None and shut.wait(now) <= 0
    what = f"the {waiter.whose.share} % that app '{waiter.whose.app}' may use of it" if mine else "it"
    return TooManyRequests(
        f"The rate limit '{shut.scope}' of account '{account.name}' is used up: nothing is left of {what} now.",
        f"Try again after {until}, or let the proxy hold the request for so long: X-Keyfob-Wait: SECONDS.",
        retry_after=wait,
    )


def _stopping() -> ProviderUnavailable:
    return ProviderUnavailable("Keyfob is stopping, and holds no request any longer.", "Try again when it runs.")
