"""Keeps a living token in a file for each grant that says so, for programs that can only read one.

Started and stopped by ``daemon``; a subscriber of ``events``. An event only says when to look: what lies where is
compared with what is granted, at the start too, so nothing is forgotten by a restart or by an event that was missed.

A file is a hand-out like any other: the same policy decides, and it is counted, once for each token. What renews an
account's own token is the schedule; what else lies in a file (a narrower token, an ID token) is asked for anew here, in
time. While nothing new can be had the file stays as long as its token lives, and then it goes: a program that finds no
file says so, and one that finds a dead token may be locked out for showing it again and again.
"""

import asyncio
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from broker.core import timing
from broker.core.account import Account, Misconfigured, NeedsLogin, Suspect
from broker.core.policy import App, AppGrant, Ask, Denied, Narrow
from broker.core.secret import Secret
from broker.errors import KeyfobError
from broker.events import COUNTED, Subscription
from broker.store.tokenfiles import Key, TokenFiles
from broker.usecases import audit, get_token
from broker.usecases.context import Context
from broker.usecases.outcomes import Ready, Unavailable

log = logging.getLogger(__name__)

# What was asked for in vain is not asked for again within a second, nor later than the schedule looks again.
LEAST_PAUSE = 1.0
# ... and so many times before the token in the file ends.
TRIES = 4

# What names the token that belongs into a file: under another name it is another token.
Name = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that there should be.

    Attributes:
        app: whose.
        grant: what it may have.
        name: of the token that belongs there.
        ends: when the grant or the app's key ends, epoch seconds.
        account: as it is now.
    """

    app: App
    grant: AppGrant
    name: Name
    ends: float
    account: Account

    @property
    def about(self) -> Name:
        """What another try depends on."""
        return (*self.name, self.account.state.name)

    @property
    def needs_person(self) -> bool:
        """Whether only a person can bring another token; asking would begin a login that nobody sees."""
        return isinstance(self.account.state, NeedsLogin | Misconfigured | Suspect)

    def waits(self, now: float) -> bool:
        """Whether nothing is left of the account's own token besides, so that there is nothing to ask for."""
        token = self.account.token
        over = token is None or timing.is_expired(token, now)
        return over and (self.needs_person or not self.account.renewable)


@dataclass(frozen=True, slots=True)
class _Filed:
    """What lies in a file. Times are steady seconds: a clock that is set does not move them.

    Attributes:
        secret: it.
        name: its name.
        due: from when on another one is asked for.
        until: when it ends.
        rest: before that no other one is asked for, though it has ended: it had hardly a life.
    """

    secret: Secret
    name: Name
    due: float
    until: float
    rest: float


class Keeper:
    """Keeps the files while the daemon runs. When it stops they stay: no restart takes a program's token away.

    Args:
        ctx: the collaborators.
        directory: where the files lie.
    """

    def __init__(self, ctx: Context, directory: Path) -> None:
        self._ctx = ctx
        self._files = TokenFiles(directory)
        self._apps: set[str] = set()
        # The accounts that a file is granted for; None while that cannot be told.
        self._accounts: set[str] | None = None
        self._wanted: dict[Key, _Wanted] = {}
        self._filed: dict[Key, _Filed] = {}
        # What was asked for in vain, and until when it is not asked for again, in steady seconds.
        self._pauses: dict[Key, tuple[Name, float]] = {}
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._told: dict[tuple[str, ...], str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._task = asyncio.create_task(self._run(), name="token files")

    async def stop(self) -> None:
        """End at once; a refresh that is under way goes on."""
        tasks = {task for task in (self._task, *self._asking.values()) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self) -> None:
        with self._ctx.events.listen(without=COUNTED) as news:
            hearing = asyncio.create_task(self._hear(news))
            try:
                while not news.closed:
                    seconds = await self._look_again()
                    signs = {hearing, *self._asking.values()}
                    await asyncio.wait(signs, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                    if hearing.done():
                        while news.ready() is not None:
                            pass  # one look is enough for all of them
                        hearing = asyncio.create_task(self._hear(news))
            finally:
                hearing.cancel()

    async def _hear(self, news: Subscription) -> None:
        """Wait for what may change what is to lie here: most of what is refreshed is in no file."""
        while (event := await news.next()) is not None:
            if event.kind != "refreshed" or self._accounts is None or event.account in self._accounts:
                return

    async def _look_again(self) -> float:
        try:
            return await self.look()
        except (KeyfobError, OSError) as exc:
            log.warning("the token files could not be looked after: %s", exc)
        except Exception:
            log.exception("a look at the token files broke; the next one comes")
        return max(self._seconds(), LEAST_PAUSE)

    async def look(self) -> float:
        """Remove what must not be there, begin to get what is missing or due; return when to look again, in seconds.

        Raises:
            KeyfobError: what is granted cannot be told now. What has ended was removed all the same.
            OSError: what is there cannot be seen.
        """
        there, now = self._files.there(), self._ctx.steady()
        self._filed = {key: filed for key, filed in self._filed.items() if key in there}
        for key, filed in [(key, filed) for key, filed in self._filed.items() if filed.until <= now]:
            self._remove(key)
            if key in self._wanted:
                self._pauses[key] = self._wanted[key].about, filed.rest
        self._accounts = None
        granted = {} if self._ctx.store.locked else await self._granted()
        if self._ctx.store.locked:  # then nothing is wanted, nor is what is under way
            granted = {}
            self._pauses.clear()
        self._wanted = granted
        for key in self._files.there():
            if key not in self._wanted or (key not in self._filed and self._is_hopeless(key)):
                self._remove(key)
        if not self._ctx.store.locked:
            self._files.keep_places(self._apps)
        for key, wanted in self._wanted.items():
            if key not in self._asking and self._next(key, wanted) <= self._ctx.steady():
                task = asyncio.create_task(self._bring(key, wanted), name=f"token file of {key[0]}")
                self._asking[key] = task
        return self._seconds()

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._asking:
            await asyncio.wait(self._asking.values())

    async def _granted(self) -> dict[Key, _Wanted]:
        """Return what is to be kept, as things are now."""
        found, now = {}, self._ctx.clock()
        apps = await self._ctx.unchanged("apps with token files", self._ctx.store.apps_with_token_files)
        self._apps = {app.name for app in apps}
        self._accounts = {grant.account for app in apps for grant in app.grants if grant.token_file is not None}
        for app in apps:
            for grant in app.grants:
                ends = min(end for end in (app.expires_at, grant.expires_at, math.inf) if end is not None)
                if grant.token_file is None or ends <= now:
                    continue
                key = app.name, grant.account
                account = await self._ctx.store.account_by_uuid(grant.uuid)
                name = "there is no such account any more" if account is None else _name(app, grant, account, now)
                if account is None or isinstance(name, str):
                    self._tell(key, str(name))
                else:
                    found[key] = _Wanted(app, grant, name, ends, account)
        return found

    def _is_hopeless(self, key: Key) -> bool:
        """Whether a file of an earlier life, of which nobody knows how long it is good, gets no new content soon."""
        wanted = self._wanted[key]
        return wanted.waits(self._ctx.clock()) or self._pauses.get(key, ((), 0.0))[0] == wanted.about

    def _next(self, key: Key, wanted: _Wanted) -> float:
        """Return from when on another token is to be asked for, in steady seconds."""
        if wanted.waits(self._ctx.clock()):
            return math.inf
        filed, due = self._filed.get(key), -math.inf
        if filed is not None and filed.name == wanted.name:
            due = math.inf if wanted.needs_person else filed.due
        about, until = self._pauses.get(key, ((), -math.inf))
        return max(due, until) if about == wanted.about else due

    def _seconds(self) -> float:
        """Return when there will be something to do."""
        now = self._ctx.steady()
        moments = [now + timing.LONGEST_SLEEP, *(filed.until for filed in self._filed.values())]
        for key, wanted in self._wanted.items():
            moments.append(wanted.ends - self._ctx.schedule.moved)
            if key not in self._asking:
                moments.append(self._next(key, wanted))
        return max(0.0, min(moments) - now)

    async def _bring(self, key: Key, wanted: _Wanted) -> None:
        """Get a token for a file, and put it there."""
        problem, retry = "", 0.0
        try:
            problem, retry = await self._fetch(key, wanted)
        except (KeyfobError, OSError) as exc:
            problem = str(exc)
        except Exception:
            log.exception("the token file of app '%s' for account '%s' broke", *key)
            problem, retry = "it could not be written", timing.LONGEST_SLEEP
        finally:
            del self._asking[key]
        self._tell(key, problem)
        filed, now = self._filed.get(key), self._ctx.steady()
        if not problem and filed is not None and filed.name == wanted.name:
            return
        left = 0.0 if filed is None else min(filed.until - now, timing.LONGEST_SLEEP) / TRIES
        pause = min(max(retry, left, LEAST_PAUSE), timing.LONGEST_SLEEP)
        self._pauses[key] = wanted.about, now + pause

    async def _fetch(self, key: Key, wanted: _Wanted) -> tuple[str, float]:
        """Get it; return what is in the way, or empty text, and after how many seconds another try may help."""
        filed, now = self._filed.get(key), self._ctx.steady()
        # More than what is left of the one that is due. One that another program has had renewed meanwhile will do.
        more = filed.until - now + LEAST_PAUSE if filed is not None and filed.due <= now else None
        ask, id_token = Ask(wanted.grant.account), wanted.grant.files_id_token
        outcome = await get_token.obtain(self._ctx, wanted.app, ask, min_ttl=more, id_token=id_token)
        if isinstance(outcome, Unavailable):
            return outcome.reason, outcome.retry_after
        if not isinstance(outcome, Ready):
            return outcome.reason, timing.LONGEST_SLEEP
        self._take(key, wanted, outcome)
        filed = self._filed.get(key)
        return ("no newer token can be had yet" if filed is not None and filed.due <= self._ctx.steady() else ""), 0.0

    def _take(self, key: Key, wanted: _Wanted, ready: Ready) -> None:
        """Write what came, and count it as handed out; unless it is not wanted any more, or is there already.

        Nothing else happens meanwhile: what the next look finds revoked or locked, it removes.
        """
        ctx, current, filed = self._ctx, self._wanted.get(key), self._filed.get(key)
        if current is None or (current.grant, current.grant.uuid) != (wanted.grant, wanted.grant.uuid):
            return
        name = _name(current.app, current.grant, ready.account, ready.now)
        if ctx.store.locked or isinstance(name, str):
            return
        if filed is None or filed.secret != ready.access_token:
            self._files.write(key, ready.access_token)
            audit.goes_out(ctx, current.app, ready.account, ready.now)
        facts, moved = ready.facts, ctx.schedule.moved
        due = timing.due_at(facts, timing.Policy(), crc32("/".join(key).encode()) / 2**32)
        due = math.inf if due is None else due - moved
        until = math.inf if facts.expires_at is None else facts.expires_at - moved
        # When the account's own token is due, the schedule knows.
        mine = math.inf if name[0] == "own" else due
        self._filed[key] = _Filed(ready.access_token, name, due=mine, until=until, rest=due)

    def _remove(self, key: Key) -> None:
        self._filed.pop(key, None)
        try:
            self._files.remove(key)
        except OSError as exc:
            self._tell(key, f"it cannot be removed: {exc.strerror}", "remove")

    def _tell(self, key: Key, problem: str, deed: str = "keep") -> None:
        """Log what is in the way, once as long as it is the same."""
        if problem and self._told.get((*key, deed)) != problem:
            log.warning("the token file of app '%s' for account '%s': %s", *key, problem)
        self._told[*key, deed] = problem


def _name(app: App, grant: AppGrant, account: Account, now: float) -> Name | str:
    """Name the token that belongs into a file; or return why the app may have none."""
    decision = get_token.decide(app, Ask(grant.account), account, now)
    if isinstance(decision, Denied):
        return decision.reason
    if grant.files_id_token:
        if account.id_token_generation is None:
            return "this login has no ID token: it did not ask for the scope 'openid'"
        return decision.reason if isinstance(decision, Narrow) else ("id", account.uuid, account.id_token_generation)
    if isinstance(decision, Narrow):
        return "narrower", account.uuid, decision.wish, account.logged_in_at
    return "own", account.uuid, account.token_generation
