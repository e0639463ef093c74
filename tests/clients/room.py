"""A home with the real ``keyfob`` in it, a practice provider, and foreign programs that are run there."""

import subprocess
from pathlib import Path

from broker.practice.server import PracticeServer
from tests.e2e.home import KEYFOB, PATIENCE, START_URL, Done, Home, browser, until

# Seconds that a token lives: a walk lives through an end of one, and a client has time to use it.
TTL = 6.0
PRESET = """
title = "Forge"
needs_base_url = true
issuer = "{base_url}"
scopes = ["openid", "profile", "offline_access"]
auth_methods = ["none"]
client_id = "keyfob"
id_token_algs = ["ES256"]
api_base = "%s"
git_username = "forge-token"

[endpoints]
authorization = "{base_url}/authorize"
token = "{base_url}/token"
userinfo = "{base_url}/userinfo"
jwks = "{base_url}/jwks"

[refresh]
rotation = "always"
"""


class Room:
    """Where a client is walked.

    Attributes:
        home: the person's home, with the command line in it.
        practice: the provider; ``practice.worth(token)`` says whether a token is good now.
        keyfob: the command, to be written into another program's configuration.
    """

    def __init__(self, home: Home, practice: PracticeServer) -> None:
        self.home, self.practice = home, practice
        self.keyfob = KEYFOB
        self._provider = "practice"

    def serve(self, api: str = "") -> None:
        """Start the daemon and log in as ``me``; with ``api`` at a provider whose tokens are for that address."""
        if api:
            presets = self.home.place / ".config/keyfob/presets"
            presets.mkdir(parents=True)
            (presets / "forge.toml").write_text(PRESET % api)
            self._provider = "forge"
        self.home.serve()
        self.log_in("me")

    def log_in(self, account: str) -> None:
        """Log in at the provider, with a browser."""
        words = ("--provider", self._provider, "--base-url", self.practice.url, "--no-browser")
        waiting = self.home.begin("login", account, *words)
        with browser() as person:
            assert person.get(waiting.says(START_URL)).status_code == 200
        done = waiting.end()
        assert done.code == 0, done

    def run(self, *command: str | Path, stdin: str = "", **environ: str) -> Done:
        """Run a foreign program to its end, as this home's person."""
        done = subprocess.run(
            command,
            env=self.home.environ | environ,
            cwd=self.home.place,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def outlive(self, token: str) -> None:
        """Wait until a token has ended."""
        until("the token ends", lambda: self.practice.worth(token) is None)

    def end_login(self) -> None:
        """Have the provider end the login, and wait until Keyfob knows that and has no token left."""
        token = self.home.token()
        self.practice.revoke_grants()
        self.home.run("refresh", "me")
        with self.home.door() as door:
            until("no token is left", lambda: door.get("/v1/accounts/me/token").status_code == 409)
        assert self.practice.worth(token) is None
