"""Walk one real authorization server with the real ``keyfob``: ``python -m tests.servers.walk SERVER [PART]``.

Called by ``with.sh`` for ``run``, which sets $BASE (the server's origin) and $STATE (its state directory), once for
each part of a server's walk: they know nothing of each other. Without a part, one after the other.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import servers
from .journey import Journey
from .keyfob import Keyfob
from .steps import Steps, Stopped, say
from .walk_canaille import CanailleWalk
from .walk_funkwhale import FunkwhaleWalk
from .walk_narrower import PRESET, NarrowerWalk
from .walk_openid import OpenIDWalk
from .walk_paste import PRESETS, PasteWalk
from .walk_programs import ProgramsWalk
from .walk_race import RaceWalk
from .walk_restart import RestartWalk

# A spent refresh token ends the login there, and that can be seen to be lost; Canaille ends nothing.
JOURNEY, RACE, RESTARTS = "journey", "race", "restarts"
PARTS = {
    "oidc_provider": (JOURNEY, RACE, RESTARTS),
    "django_oauth_toolkit": (JOURNEY, RACE, RESTARTS),
    "canaille": (JOURNEY,),
    "funkwhale": (JOURNEY,),
}
# Name at Keyfob of each server's provider; run registers http://127.0.0.1/callback/NAME at the server.
PROVIDERS = {"oidc_provider": "op", "django_oauth_toolkit": "dot", "canaille": "house"}
# What a person writes down who knows how the server treats a spent refresh token.
GRACE_PRESET = """\
title = "{server.name}"
issuer = "{server.issuer}"
discovery = true

[refresh]
rotation = "always"
reuse_grace_s = {server.grace:g}
kills_old_access_token = true
"""


@contextmanager
def _journey(server: servers.Server, log: Path) -> Iterator[Journey]:
    """Make a home for a daemon; at the end there is neither a daemon nor a home."""
    log.unlink(missing_ok=True)
    # A short path: a Unix socket's may have 107 bytes at the most.
    with tempfile.TemporaryDirectory(prefix="kf-", ignore_cleanup_errors=True) as home:
        keyfob = Keyfob(Path(home), log)
        try:
            yield Journey(keyfob, server)
        finally:
            keyfob.stop()


def main(name: str, part: str = "") -> int:
    """Walk one server, or a part of its walk; return 0 if every step passed."""
    known = {
        "oidc_provider": servers.oidc_provider,
        "django_oauth_toolkit": servers.django_oauth_toolkit,
        "canaille": servers.canaille,
        "funkwhale": servers.funkwhale,
    }
    server = known[name](os.environ["BASE"], Path(os.environ["STATE"]))
    artifacts = Path(os.environ.get("ARTIFACTS", "artifacts/servers")).absolute() / name / part
    artifacts.mkdir(parents=True, exist_ok=True)
    # Whoever ends this walk (a time limit, Ctrl-C in run) must not leave a daemon behind.
    signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(1))
    steps = Steps(name)
    try:
        for each in (part,) if part else PARTS[name]:
            if each == RACE:
                _without_loss(RaceWalk, server, artifacts / "daemon-race.log", steps)
            elif each == RESTARTS:
                _without_loss(RestartWalk, server, artifacts / "daemon-restarts.log", steps)
            else:
                _journeys(server, artifacts, steps)
    except Stopped:
        say(f"INFO {name}: without that step no later one can pass; the logs of daemons are in {artifacts}/")
    return steps.close()


def _journeys(server: servers.Server, artifacts: Path, steps: Steps) -> None:
    """Walk as people and programs do."""
    name = server.name
    with _journey(server, artifacts / "daemon.log") as journey:
        if name == "funkwhale":
            FunkwhaleWalk(journey).walk(steps)
            return
        provider = PROVIDERS[name]
        (CanailleWalk if name == "canaille" else OpenIDWalk)(journey, provider, artifacts).walk(steps)
    with _journey(server, artifacts / "daemon-programs.log") as journey:
        ProgramsWalk(journey, provider).walk(steps)
    if name == "django_oauth_toolkit":
        with _journey(server, artifacts / "daemon-paste.log") as journey:
            for preset, content in PRESETS.items():
                journey.keyfob.preset(preset, content.format(server=server))
            PasteWalk(journey).walk(steps)
    if name == "oidc_provider":
        with _journey(server, artifacts / "daemon-narrower.log") as journey:
            journey.keyfob.preset(provider, PRESET.format(server=server))
            NarrowerWalk(journey, provider).walk(steps)


def _without_loss(walk: type[RaceWalk | RestartWalk], server: servers.Server, log: Path, steps: Steps) -> None:
    """Try the promise."""
    provider = PROVIDERS[server.name]
    with _journey(server, log) as journey:
        if server.grace:
            journey.keyfob.preset(provider, GRACE_PRESET.format(server=server))
        walk(journey, provider).walk(steps)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
