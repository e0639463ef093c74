"""The authorization servers as the walks see them: where they listen, what they saw, who answers a token there.

Everything here looks from the server's own side, never through Keyfob.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

# Users beside those who have a name: enough that at every moment somebody's refresh is near.
PEOPLE = tuple(f"p{number}" for number in range(1, 9))
LIFETIME = 10  # AT_TTL of tests/servers/run


def fingerprint(token: str) -> str:
    """Return what stands for a refresh token in the servers' event logs."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Refresh:
    """One refresh request as the server saw it.

    Attributes:
        at: when the server had carried it out or refused it, epoch seconds.
        user: whose refresh token it was; empty where the server never issued it.
        spent: fingerprint of the refresh token that was sent.
        issued: fingerprint of the one that was given for it; empty where it was refused.
    """

    at: float
    user: str
    spent: str
    issued: str


@dataclass(frozen=True)
class Server:
    """One running server.

    Attributes:
        name: of its folder.
        base: its origin.
        state: its state directory, with ``events.jsonl``.
        issuer: its issuer identifier; empty where it has none.
        userinfo: URL that tells who a bearer is.
        identity: the field of that answer which names a person for ever.
        subjects: that field's value of each user.
        scope: what to ask for.
        lifetime: seconds that an access token lives.
        kills_old_access_token: a refresh makes the old access token invalid at once.
        live_refresh_tokens: how many refresh tokens of a user could still be spent, as its own storage tells.
        grace: seconds in which it answers a spent refresh token with the same new one again.
        alike_in_a_second: two tokens of the same person and second would be the same, so it answers HTTP 500.
        device_client: the client that may use the device flow.
        device_endpoint: where devices ask, where its metadata does not tell.
    """

    name: str
    base: str
    state: Path
    issuer: str
    userinfo: str
    identity: str
    subjects: dict[str, str]
    scope: tuple[str, ...]
    kills_old_access_token: bool
    live_refresh_tokens: Callable[[str], int]
    lifetime: int = LIFETIME
    grace: float = 0.0
    alike_in_a_second: bool = False
    device_client: str = "native"
    device_endpoint: str = ""

    def granted(self, grant_type: str, since: float = 0.0, user: str | None = None) -> int:
        """Return how many token requests of a kind, of one user or of all, the server has answered with a token."""
        return sum(
            event["event"] == "grant.success"
            and event["grant_type"] == grant_type
            and event["t"] >= since
            and (user is None or event["user"] == user)
            for event in self.events()
        )

    def refreshes(self, since: float = 0.0) -> list[Refresh]:
        """Return every refresh request that the server answered with a token or refused, oldest first."""
        owners: dict[str, str] = {}
        seen = []
        for event in self.events():
            owners |= {event["issued"]: event["user"]} if event.get("issued") else {}
            if event["event"] in ("grant.success", "grant.error") and event["grant_type"] == "refresh_token":
                spent = str(event.get("spent"))
                seen.append(Refresh(event["t"], owners.get(spent, ""), spent, event.get("issued") or ""))
        return [refresh for refresh in seen if refresh.at >= since]

    def takes_a_login(self, user: str) -> bool:
        """Return whether a login of that user now would get a token of its own."""
        if not self.alike_in_a_second:
            return True
        granted = [event["t"] for event in self.events() if event["event"] == "grant.success" and event["user"] == user]
        return not granted or int(now()) > int(granted[-1])

    @contextmanager
    def answers_held(self, seconds: float) -> Iterator[None]:
        """Let the answers of the token endpoint be on their way for so long; what they tell is carried out before."""
        knob = self.state / "hold"
        fresh = knob.with_suffix(".new")  # renamed, so that the server never reads half a number
        fresh.write_text(f"{seconds:g}")
        fresh.replace(knob)
        try:
            yield
        finally:
            knob.unlink()

    def metadata(self) -> dict[str, Any]:
        """Return its OpenID Connect metadata."""
        url = f"{self.issuer}/.well-known/openid-configuration"
        told: dict[str, Any] = httpx2.get(url, trust_env=False, timeout=20).raise_for_status().json()
        return told

    def events(self) -> list[dict[str, Any]]:
        """Return all that the server saw, oldest first."""
        log = self.state / "events.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def who(self, token: str) -> str | None:
        """Use a token at the server; return whose it is, or None where the server does not take it."""
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx2.get(self.userinfo, headers=headers, trust_env=False, timeout=20)
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            return None
        return str(answer.raise_for_status().json()[self.identity])


def oidc_provider(base: str, state: Path) -> Server:
    """Return npm oidc-provider as start.sh runs it."""

    def live_refresh_tokens(user: str) -> int:
        rows = [row for key, row in json.loads((state / "store.json").read_text()) if key.startswith("RefreshToken:")]
        return sum(row["payload"]["accountId"] == user and "consumed" not in row["payload"] for row in rows)

    return Server(
        name="oidc_provider",
        base=base,
        state=state,
        issuer=base,
        userinfo=f"{base}/me",
        identity="sub",
        subjects={user: user for user in ("alice", "bob", "carol", *PEOPLE)},
        scope=("openid", "offline_access", "email", "api:read"),
        kills_old_access_token=False,
        live_refresh_tokens=live_refresh_tokens,
    )


def django_oauth_toolkit(base: str, state: Path) -> Server:
    """Return PyPI django-oauth-toolkit as start.sh runs it."""
    return Server(
        name="django_oauth_toolkit",
        base=base,
        state=state,
        issuer=f"{base}/o",
        userinfo=f"{base}/o/userinfo/",
        identity="sub",
        subjects={user: str(number) for number, user in enumerate(("alice", "bob", *PEOPLE), 1)},
        scope=("openid", "api:read"),
        kills_old_access_token=True,
        live_refresh_tokens=lambda user: _django_refresh_tokens(state, user),
        grace=float(os.environ.get("GRACE", "0")),
        device_client="device",
        device_endpoint=f"{base}/o/device-authorization/",
    )


def canaille(base: str, state: Path) -> Server:
    """Return PyPI canaille as start.sh runs it."""
    query = """SELECT count(*) FROM token JOIN user ON token.subject_id = user.id
               WHERE user.user_name = ? AND refresh_token IS NOT NULL AND revokation_date IS NULL
               AND julianday(issue_date) + lifetime / 86400.0 > julianday('now')"""

    return Server(
        name="canaille",
        base=base,
        state=state,
        issuer=base,
        userinfo=f"{base}/oauth/userinfo",
        identity="sub",
        subjects={user: user for user in ("alice", "bob", "carol", *PEOPLE)},
        scope=("openid", "profile"),
        lifetime=LIFETIME * 3 // 2,
        kills_old_access_token=True,
        alike_in_a_second=True,
        live_refresh_tokens=lambda user: _counted(state, query, user),
    )


def funkwhale(base: str, state: Path) -> Server:
    """Return the Funkwhale stand-in."""
    return Server(
        name="funkwhale",
        base=base,
        state=state,
        issuer="",
        userinfo=f"{base}/api/v1/users/me/",
        identity="username",
        subjects={"alice": "alice", "bob": "bob"},
        scope=(),
        kills_old_access_token=True,
        live_refresh_tokens=lambda user: _django_refresh_tokens(state, user),
    )


def _django_refresh_tokens(state: Path, user: str) -> int:
    query = """SELECT count(*) FROM oauth2_provider_refreshtoken AS t JOIN auth_user AS u ON t.user_id = u.id
               WHERE u.username = ? AND t.revoked IS NULL"""
    return _counted(state, query, user)


def _counted(state: Path, query: str, user: str) -> int:
    with closing(sqlite3.connect(f"file:{state / 'db.sqlite3'}?mode=ro", uri=True, timeout=20)) as database:
        return int(database.execute(query, (user,)).fetchone()[0])


@dataclass
class Polled:
    """What came of using an account's token again and again.

    Attributes:
        uses: how often the token was asked for and used.
        healed: tokens that a refresh killed on their way to the server, replaced by a reported rejection.
        failures: what went wrong otherwise.
        tokens: every token that was handed out.
    """

    uses: int
    healed: int
    failures: list[str]
    tokens: set[str]


def now() -> float:
    """Return the time on the clock that the servers' event logs use."""
    return time.time()
