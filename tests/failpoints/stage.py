"""The stage: a provider, a home in real files, and one daemon after the other in it, each ended by a failpoint.

Used by the tests beside it. All cases at one kind of provider share one home: the daemon that a case has started again
and looked at is the one that the next case lets die. Each case has an account of its own, which is gone afterwards.
"""

import contextlib
import multiprocessing
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from broker.client import ClientError
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import short_place, until
from tests.failpoints import life
from tests.failpoints.page import ROTATIONS, Disk
from tests.lanes.person import Site
from tests.lanes.stage import NEVER_SAID, SHIPPED, House

GRACE = 10.0
# For each of ``ROTATIONS``: how the provider is set, and what the preset says of it. [refresh] is its last section.
PROVIDERS: dict[str, tuple[PracticeSettings, str]] = dict(
    zip(
        ROTATIONS,
        (
            (PracticeSettings(rotation="keep", auto_approve=True), 'rotation = "never"\n'),
            (
                PracticeSettings(rotation="single-use", grace=GRACE, auto_approve=True),
                f'rotation = "always"\nreuse_grace_s = {GRACE:g}\n',
            ),
            (PracticeSettings(rotation="single-use", auto_approve=True), 'rotation = "always"\n'),
        ),
        strict=True,
    )
)
TTL = PracticeSettings().ttl
# Half of a token's life: it is good, not due, and a wish for more than is left of it (and less than the two thirds that
# a refresh can fill) is answered with a refresh.
HALF = TTL / 2
MORE = 0.65 * TTL
# What a daemon imports when it starts, beside what ``life`` does.
PRELOADED = ("apscheduler.executors.asyncio", "apscheduler.triggers.interval", "uvicorn.lifespan.off")
STORED = """
    SELECT access_generation, refresh_generation,
        refresh_intent.account IS NOT NULL,
        EXISTS (SELECT 1 FROM secret WHERE secret.owner = account.uuid AND secret.kind = 'answer')
    FROM account LEFT JOIN refresh_intent ON refresh_intent.account = account.uuid WHERE account.name = ?
"""


class Stage:
    """One kind of provider, and the home.

    Args:
        rotation: one of ``ROTATIONS``.
        practice: the provider.
        home: where the daemon lives; only its places are used.
        board: for the time, and for what the daemon shall do.
    """

    def __init__(self, rotation: str, practice: PracticeServer, home: House, board: life.Board) -> None:
        self.rotation = rotation
        self.practice = practice
        self.board = board
        self.site = Site(practice.url)
        self._home = home
        self._said = home.place / "said"
        self._daemon: ForkServerProcess | None = None
        self._cases = 0

    # --- the daemon

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([life.__name__, *PRELOADED])
        environ = {**self._home.environ, "KEYFOB_NOTIFY_DESKTOP": "off"}
        daemon = context.Process(
            target=life.live, args=(environ, self._home.place / "board", self._said), name="keyfob serve", daemon=True
        )
        daemon.start()
        self._daemon = daemon

        def answers() -> bool:
            assert daemon.is_alive(), f"the daemon ended with {daemon.exitcode}: {self._said.read_text()}"
            with contextlib.suppress(ClientError), self._home.client() as client:
                return client.send("GET", "/healthz").status == 200
            return False

        until("the daemon answers", answers)

    def died(self) -> bool:
        """Tell whether the failpoint has ended the daemon; one that answers has passed it."""
        with contextlib.suppress(ClientError), self._home.client() as client:
            client.send("GET", "/healthz")
            return False
        self.join(life.ABORTED)
        return True

    def join(self, code: int) -> None:
        """Wait for the daemon's end, and expect a certain one."""
        assert self._daemon is not None
        self._daemon.join(10.0)
        assert self._daemon.exitcode == code, self._said.read_text()

    def kill(self) -> None:
        """End the daemon at once."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.join()

    def said_nothing_wrong(self) -> None:
        """Expect no traceback in all that the daemons have said."""
        said = self._said.read_text()
        for words in NEVER_SAID:
            assert words not in said

    # --- what is done from outside

    @contextlib.contextmanager
    def account(self) -> Iterator["Login"]:
        """Make an account whose token is half over; afterwards it is gone from here."""
        self._cases += 1
        name = f"account-{self._cases}"
        with self._home.client() as client:
            self._home.bring(client, name, self.site.log_in(name).refresh_token, self.practice.url)
        login = Login(self, name)
        self.board.sleep(HALF)
        try:
            yield login
        finally:
            self.board.disarm()
            if self._daemon is None or not self._daemon.is_alive():
                self.start()  # a case that failed has left none
            with self._home.client() as client:
                client.request("DELETE", f"/v1/accounts/{name}?local_only=true")

    def ask(self, name: str, min_ttl: float | None = None) -> str:
        """Return a token.

        Raises:
            ClientError: there is none, or no answer.
        """
        with self._home.client() as client:
            return client.token(name, min_ttl=min_ttl).access_token

    def shown(self, name: str) -> dict[str, Any]:
        """Return an account as the API shows it."""
        with self._home.client() as client:
            shown: dict[str, Any] = client.request("GET", f"/v1/accounts/{name}")
            return shown

    def quiet(self) -> None:
        """Wait until the provider has seen to the end whatever the dead daemon has sent."""
        for _ in range(2):  # it takes up what lies there in the order in which it came
            self.site.accepts("nobody's token")

    def now(self) -> float:
        """What time it is for everybody on this stage."""
        return time.time() + self.board.slept

    def stored(self, name: str) -> tuple[int, int, bool, bool]:
        """Return what a dead daemon has left of an account: two generations, an open intent, a kept answer.

        It is a copy that is opened: the next daemon shall find the write-ahead log as the death left it.
        """
        with tempfile.TemporaryDirectory(prefix="kf-") as place:
            copy = Path(place) / "copy.db"
            for suffix in ("", "-wal"):
                original = Path(f"{self._home.database}{suffix}")
                if original.exists():
                    shutil.copyfile(original, f"{copy}{suffix}")
            with contextlib.closing(sqlite3.connect(copy)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                ((access, refresh, intent, answer),) = connection.execute(STORED, (name,)).fetchall()
        return access, refresh, bool(intent), bool(answer)


class Login:
    """One account of a stage, just made: what is done to it, and what becomes of it.

    Args:
        stage: where.
        name: the account.
    """

    def __init__(self, stage: Stage, name: str) -> None:
        self.name = name
        self._stage = stage
        self._grant = stage.practice.log.all("refresh", "ok")[-1].grant  # of the refresh token that was brought

    def ask(self, min_ttl: float | None = None) -> str:
        """Ask for the token; see ``Stage.ask``."""
        return self._stage.ask(self.name, min_ttl)

    def results(self) -> list[str]:
        """Return what the provider made of each request for this login, but the first, which brought it here."""
        return [event.result for event in self._stage.practice.log.all("refresh") if event.grant == self._grant][1:]

    def shown(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return self._stage.shown(self.name)

    def works(self, token: str) -> bool:
        """Tell whether the provider accepts an access token."""
        return self._stage.site.accepts(token)

    def disk(self) -> Disk:
        """Return what a dead daemon has left of it; a new account's generations are 1."""
        access, refresh, intent, answer = self._stage.stored(self.name)
        return Disk(intent, answer, (refresh - 1, access - 1))


@contextlib.contextmanager
def stage(rotation: str) -> Iterator[Stage]:
    """Set a stage with a daemon that runs; at the end nothing of it does."""
    settings, policy = PROVIDERS[rotation]
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(short_place())
        board = life.Board(place / "board")
        stack.callback(board.close)
        practice = stack.enter_context(practice_in_thread(settings, clock=lambda: time.time() + board.slept))
        home = House(place, 0.0)
        preset = SHIPPED.read_text().partition('rotation = "always"')[0] + policy
        (place / ".config/keyfob/presets/practice.toml").write_text(preset)
        made = Stage(rotation, practice, home, board)
        stack.callback(made.kill)
        made.start()
        yield made
