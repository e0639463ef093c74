"""``keyfob practice``: a provider to practise with, in the foreground.

Called by the command line's dispatcher.
"""

import argparse
import asyncio
import signal
from datetime import UTC, datetime

from broker.cli.terminal import clean, flush, result, say
from broker.practice.events import Event
from broker.practice.faults import help_text
from broker.practice.settings import CONFIDENTIAL_CLIENT, ROTATIONS, PracticeSettings

PORT = 8402  # beside the daemon's 8400 and 8401, and the same after a restart: a configured base URL stays true


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags and the grammar of faults."""
    preset = PracticeSettings()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Run a small real OAuth provider on this computer, to try Keyfob and to rehearse faults."
    parser.epilog = help_text()
    add = parser.add_argument
    add("--port", type=int, default=PORT, metavar="N", help="port on 127.0.0.1; 0: any free one (default: %(default)s)")
    add("--ttl", type=float, default=preset.ttl, metavar="S", help="lifetime of access tokens (default: %(default)g)")
    add("--rotation", choices=ROTATIONS, default=preset.rotation, help="of refresh tokens (default: %(default)s)")
    add("--grace", type=float, default=0.0, metavar="S", help="seconds in which a spent refresh token still answers")
    add("--kills-old-access-token", action="store_true", help="a refresh ends the earlier access tokens at once")
    text = "what goes wrong, see below; several, and repeatable"
    add("--fault", nargs="+", action="extend", default=[], metavar="SPEC", help=text)
    add("--user", default=preset.user, metavar="NAME", help="the user name that is proposed (default: %(default)s)")
    add("--auto-approve", action="store_true", help="log in at once, without asking")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, one line per event.

    Raises:
        InvalidRequest: a setting or a fault makes no sense.
        CannotStart: the port is taken.
    """
    settings = PracticeSettings(
        ttl=args.ttl,
        rotation=args.rotation,
        grace=args.grace,
        kills_old_access_token=args.kills_old_access_token,
        faults=tuple(args.fault),
        user=args.user,
        auto_approve=args.auto_approve,
    )
    asyncio.run(_serve(settings, args.port))
    return 0


async def _serve(settings: PracticeSettings, port: int) -> None:
    from broker.practice.server import PracticeServer

    server = PracticeServer(settings)
    server.log.subscribe(lambda event: say(clean(line(event))))
    enough, loop = asyncio.Event(), asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, enough.set)
    await server.start(port)
    result(server.url)
    flush()  # a program that waits for the URL must not wait for a full buffer
    say(f"A practice provider listens there: rotation {settings.rotation}, tokens live {settings.ttl:g} s.")
    say(f"Log in to it:         keyfob login practice --provider practice --base-url {server.url}")
    say(f"Confidential client:  {CONFIDENTIAL_CLIENT}, secret {server.client_secret.reveal()} (for this run only)")
    say(f"Other faults:         curl -d '[\"status=503*2\"]' {server.url}/practice/faults")
    say("What happens now (Ctrl-C ends it):")
    await enough.wait()
    await server.stop()


def line(event: Event) -> str:
    """Return one event as a line for people."""
    parts = [datetime.fromtimestamp(event.at, UTC).astimezone().strftime("%H:%M:%S"), event.kind, event.result]
    parts += [f"client={event.client}"] if event.client else []
    parts += [f"grant={event.grant}"] if event.grant else []
    if event.refresh_token or event.issued_refresh_token:
        parts.append(f"refresh-token={event.refresh_token or 'none'}->{event.issued_refresh_token or 'none'}")
    parts += [f"faults={' '.join(event.faults)}"] if event.faults else []
    return "  ".join(parts)
