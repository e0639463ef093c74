"""``keyfob demo``: a daemon, a practice provider, a first login and live events, all in a temporary place.

Called by ``cli.main``; what ``make run`` starts.
"""

import argparse
import asyncio
import shlex
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from broker import daemon as daemons
from broker import logs, settings
from broker.cli.service import own_program
from broker.cli.terminal import paint, say
from broker.client import Client
from broker.errors import CannotStart, KeyfobError, LoginFailed
from broker.events import Event
from broker.practice.person import visit
from broker.practice.server import PracticeServer
from broker.practice.settings import PracticeSettings

ACCOUNT = "demo"
# Long enough to paste a command, short enough to see a refresh soon: renewed every 20 seconds.
TTL = 30
# Every step of the first login is a request to this machine.
STEP = 10.0

WORDS = {
    "login-started": "login begun",
    "logged-in": "logged in",
    "login-failed": "login failed",
    "refreshed": "refreshed",
    "refresh-failed": "refresh failed",
    "needs-login": "needs a login",
    "handed-out": "handed out",
    "rejected": "reported as rejected",
    "logged-out": "logged out",
    "renamed": "has this name now",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--ttl", type=int, default=TTL, metavar="S", help=f"lifetime of a token in seconds ({TTL})")


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C or until the terminal is closed, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="keyfob-demo-") as place:
        asyncio.run(_demo(Path(place), args.ttl))
    say("Everything of the demo is gone again.")
    return 0


async def _demo(place: Path, ttl: int) -> None:
    logs.set_up("warning", "text")
    stopping = asyncio.Event()
    daemons.on_stop(stopping.set)
    practice = PracticeServer(PracticeSettings(ttl=ttl, auto_approve=True))
    await practice.start()
    daemon = await _start(place)
    try:
        await asyncio.to_thread(_first_login, daemon.ctx.doors["socket"], practice.url)
        await _show(daemon, practice.url)
        await _watch(daemon, stopping)
    finally:
        await daemon.stop()
        await practice.stop()


async def _start(place: Path) -> daemons.Daemon:
    """Start the daemon in a temporary place; the usual ports where they are free, others where not."""
    environ = {"HOME": str(place)}
    try:
        return await _started(place, environ, {})
    except KeyfobError:
        return await _started(place, environ, {"browser_port": "0", "app_port": "0"})


async def _started(place: Path, environ: dict[str, str], ports: dict[str, str]) -> daemons.Daemon:
    flags: dict[str, str | None] = {"runtime_dir": str(place / "run"), **ports}
    daemon = daemons.Daemon(settings.read(environ, flags), environ)
    await daemon.start()
    return daemon


def _first_login(socket: str, provider: str) -> None:
    """Log in as a browser would, over real HTTP."""
    client = Client(socket=socket, key="")  # the owner, whatever key this terminal has
    started = client.request("POST", "/v1/logins", {"account": ACCOUNT, "provider": "practice", "base_url": provider})
    visit(started["start_url"], STEP)
    ended = client.request("GET", f"/v1/logins/{started['id']}?wait={STEP:.0f}")
    if ended["state"] != "done":
        raise LoginFailed(
            f"The first login did not succeed: {ended['reason'].rstrip('.')}.", "This is a fault of Keyfob."
        )


async def _show(daemon: daemons.Daemon, provider: str) -> None:
    socket = daemon.ctx.doors["socket"]
    token = await asyncio.to_thread(Client(socket=socket, key="").token, ACCOUNT)
    tail = token.access_token[-4:]
    url = f"http://localhost/v1/accounts/{ACCOUNT}/token"
    say(f"{paint('Logged in once', bold=True)} at the practice provider {provider}.")
    say(f"The account '{ACCOUNT}' has a token that ends in …{tail}. It is renewed before it expires, again and again.")
    say("")
    say("Paste one of these into another terminal:")
    say(f"  curl --unix-socket {shlex.quote(socket)} {url}")
    say(f"  KEYFOB_SOCKET={shlex.quote(socket)} {own_command(sys.argv[0])} token {ACCOUNT}")
    say(f"  KEYFOB_SOCKET={shlex.quote(socket)} {own_command(sys.argv[0])} ui")
    say("")
    say("The last one opens the web page, which shows and steers all of this.")
    say("What happens now (Ctrl-C ends the demo and removes everything):")


def own_command(argv0: str) -> str:
    """Return the keyfob command as it can be pasted anywhere: another terminal is elsewhere and has another PATH."""
    try:
        return shlex.quote(str(own_program(argv0)))
    except CannotStart:  # run from its source
        return f"{shlex.quote(sys.executable)} -m broker.cli"


async def _watch(daemon: daemons.Daemon, stopping: asyncio.Event) -> None:
    """Print events until the person has seen enough."""
    stop = asyncio.create_task(stopping.wait())
    with daemon.ctx.events.listen() as events:
        while not stop.done():
            upcoming = asyncio.create_task(events.next())
            await asyncio.wait((stop, upcoming), return_when=asyncio.FIRST_COMPLETED)
            if upcoming.done() and (event := upcoming.result()) is not None:
                _print(event)
            upcoming.cancel()
    say("")


def _print(event: Event) -> None:
    at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S")
    what = WORDS.get(event.kind, event.kind)
    by = f" to {event.app}" if event.app else ""
    detail = f" ({event.detail})" if event.detail else ""
    generation = f", token {event.generation}" if event.generation else ""
    say(f"  {at}  {event.account or '-'}: {what}{by}{generation}{detail}")
