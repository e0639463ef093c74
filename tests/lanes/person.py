"""What a person and a tool without Keyfob say to a provider: log in, refresh, call an API with a token.

Used by both lanes and by their twenty programs; the standard library only, because those programs start by the dozen.
"""

import base64
import hashlib
import http.client
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT_ID = "keyfob"  # the practice provider's public client
SCOPE = "openid profile offline_access"
REDIRECT_URI = "http://127.0.0.1/callback/practice"  # nobody listens there: the code is read off the redirect
PATIENCE = 30.0


class LoggedOut(Exception):
    """The provider does not accept the refresh token any more: a person has to log in again."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint answered; a tool's whole login.

    Attributes:
        access_token: for requests.
        refresh_token: for the next one.
        lifetime: seconds.
    """

    access_token: str
    refresh_token: str
    lifetime: float


class Site:
    """A provider, as those who have no Keyfob talk to it: a connection for each request, so none goes stale."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc

    def log_in(self, user: str) -> Tokens:
        """Log in as somebody, through the authorization-code flow with PKCE; the provider says yes at once."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": user,
        }
        _, location, _ = self._exchange("GET", f"/authorize?{urlencode(asked)}")
        (code,) = parse_qs(urlsplit(location).query)["code"]
        form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT_URI, "code_verifier": verifier}
        return self._token(form | {"code": code})

    def refresh(self, refresh_token: str) -> Tokens:
        """Spend a refresh token.

        Raises:
            LoggedOut: the provider answers ``invalid_grant``.
        """
        return self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def accepts(self, access_token: str) -> bool:
        """Call the provider's API with a token; return whether it was good."""
        status, _, _ = self._exchange("GET", "/userinfo", headers={"Authorization": f"Bearer {access_token}"})
        return status == http.client.OK

    def _token(self, form: dict[str, str]) -> Tokens:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        _, _, body = self._exchange("POST", "/token", urlencode(form | {"client_id": CLIENT_ID}), headers)
        said: Any = json.loads(body)
        if said.get("error") == "invalid_grant":
            raise LoggedOut(said.get("error_description", ""))
        return Tokens(said["access_token"], said["refresh_token"], float(said["expires_in"]))

    def _exchange(
        self, method: str, target: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """Return status, ``Location`` and body of the answer."""
        connection = http.client.HTTPConnection(self._netloc, timeout=PATIENCE)
        try:
            connection.request(method, target, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Location", ""), answer.read()
        finally:
            connection.close()
