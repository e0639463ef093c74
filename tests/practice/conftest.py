"""A plain, honest OAuth client over HTTP, and a clock that moves when told: what every test of this room uses."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from broker.practice.grants import s256
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.loopback import NO_TLS

CALLBACK = "http://127.0.0.1:8400/callback/practice"


class Clock:
    """Epoch seconds that stand still."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return what time it is."""
        return self.now


class Walk:
    """One client, one browser and one provider."""

    def __init__(self, server: PracticeServer, http: httpx2.Client, clock: Clock) -> None:
        self.server = server
        self.http = http
        self.clock = clock
        self.verifier = secrets.token_urlsafe(48)

    def authorize(self, **changes: str | None) -> httpx2.Response:
        """Send an authorization request; ``None`` leaves a parameter out."""
        query = {
            "response_type": "code",
            "client_id": "keyfob",
            "redirect_uri": CALLBACK,
            "scope": "openid profile offline_access",
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": s256(self.verifier),
            "code_challenge_method": "S256",
        } | changes
        return self.http.get("/authorize", params={name: value for name, value in query.items() if value is not None})

    def come_back(self, **changes: str | None) -> dict[str, str]:
        """Send an authorization request and return what the browser brings to the callback."""
        return arrived(self.authorize(**changes))

    def come_back_to(self, uri: str, **changes: str | None) -> dict[str, str]:
        """Do as ``come_back``, at another callback."""
        return arrived(self.authorize(**changes | {"redirect_uri": uri}), uri)

    def exchange(self, code: str, **changes: str | None) -> httpx2.Response:
        """Exchange a code."""
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "client_id": "keyfob",
            "code_verifier": self.verifier,
        }
        return self.token(**form | changes)

    def login(self, **changes: str | None) -> dict[str, Any]:
        """Walk a whole login and return the token answer."""
        answer = self.exchange(self.come_back(**changes)["code"])
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refresh(self, refresh_token: str, **changes: str | None) -> httpx2.Response:
        """Spend a refresh token."""
        form: dict[str, str | None] = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": "keyfob",
        }
        return self.token(**form | changes)

    def token(self, **form: str | None) -> httpx2.Response:
        """Ask the token endpoint; ``None`` leaves a field out."""
        return self.http.post("/token", data={name: value for name, value in form.items() if value is not None})

    def machine(self) -> dict[str, str]:
        """Return the confidential client's credentials as form fields."""
        return {"client_id": "keyfob-machine", "client_secret": self.server.client_secret.reveal()}

    def userinfo(self, access_token: str) -> httpx2.Response:
        """Ask who it is."""
        return self.http.get("/userinfo", headers={"Authorization": f"Bearer {access_token}"})

    def id_token(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Verify the signature of an answer's ID token and return its claims."""
        keys = KeySet.import_key_set(self.http.get("/jwks").json())
        return jwt.decode(answer["id_token"], keys, algorithms=["ES256"]).claims


def arrived(answer: httpx2.Response, uri: str = CALLBACK) -> dict[str, str]:
    """Return the parameters with which a redirect leads to the callback."""
    assert answer.status_code == 303, answer.text
    location = urlsplit(answer.headers["location"])
    assert location.path == urlsplit(uri).path
    return {name: values[0] for name, values in parse_qs(location.query).items()}


@pytest.fixture
def start() -> Iterator[Callable[..., Walk]]:
    """Start providers with the settings given; approving at once unless told otherwise."""
    with contextlib.ExitStack() as stack:

        def begin(*faults: str, chance: float = 0.0, auto_approve: bool = True, **settings: Any) -> Walk:  # noqa: ANN401 -- the settings' own types
            clock = Clock()
            wanted = PracticeSettings(faults=faults, auto_approve=auto_approve, **settings)
            server = stack.enter_context(practice_in_thread(wanted, clock=clock, chance=lambda: chance))
            http = stack.enter_context(httpx2.Client(base_url=server.url, trust_env=False, verify=NO_TLS, timeout=5))
            return Walk(server, http, clock)

        yield begin
