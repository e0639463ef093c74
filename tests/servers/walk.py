"""Walk one real authorization server with the real ``keyfob``: ``python -m tests.servers.walk SERVER``.

Called by ``with.sh`` for ``run``, which sets $BASE (the server's origin) and $STATE (its state directory).
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

from . import servers
from .journey import Journey
from .keyfob import Keyfob
from .steps import Steps, Stopped, say
from .walk_funkwhale import FunkwhaleWalk
from .walk_openid import OpenIDWalk

# Name at Keyfob of each server's provider; run registers http://127.0.0.1/callback/NAME at the server.
PROVIDERS = {"oidc_provider": "op", "django_oauth_toolkit": "dot"}


def main(name: str) -> int:
    """Walk one server; return 0 if every step passed."""
    known = {"oidc_provider": servers.oidc_provider, "django_oauth_toolkit": servers.django_oauth_toolkit}
    server = {**known, "funkwhale": servers.funkwhale}[name](os.environ["BASE"], Path(os.environ["STATE"]))
    artifacts = Path(os.environ.get("ARTIFACTS", "artifacts/servers")).absolute() / name
    artifacts.mkdir(parents=True, exist_ok=True)
    log = artifacts / "daemon.log"
    log.unlink(missing_ok=True)
    # Whoever ends this walk (a time limit, Ctrl-C in run) must not leave a daemon behind.
    signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(1))
    steps = Steps(name)
    # A short path: a Unix socket's may have 107 bytes at the most.
    with tempfile.TemporaryDirectory(prefix="kf-", ignore_cleanup_errors=True) as home:
        keyfob = Keyfob(Path(home), log)
        journey = Journey(keyfob, server)
        try:
            if name in PROVIDERS:
                OpenIDWalk(journey, PROVIDERS[name], artifacts).walk(steps)
            else:
                FunkwhaleWalk(journey).walk(steps)
        except Stopped:
            say(f"INFO {name}: without that step no later one can pass; the daemon's log is {log}")
        finally:
            keyfob.stop()
    return steps.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
