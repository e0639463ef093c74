"""A tool without Keyfob: logs a person in, keeps the tokens itself, refreshes them itself.

Used by ``walk_race`` as the control: what the server does to a refresh token that is spent twice.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from .browser import Browser
from .servers import Server
from .steps import expect

REDIRECT_URI = "http://127.0.0.1/callback"  # nobody listens there: the code is read off the redirect


@dataclass(frozen=True)
class Tokens:
    """A tool's whole login."""

    access_token: str
    refresh_token: str


class Tool:
    """One tool at one server, as its public client.

    Args:
        server: the authorization server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        metadata = server.metadata()
        self._authorize, self.token_endpoint = metadata["authorization_endpoint"], metadata["token_endpoint"]

    def log_in(self, user: str) -> Tokens:
        """Log somebody in through the authorization-code flow with PKCE."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": "native",
            "redirect_uri": REDIRECT_URI,
            "scope": " ".join(self._server.scope),
            "prompt": "consent",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        browser = Browser(self._server.base, user)
        end = browser.open(
            f"{self._authorize}?{urlencode(asked)}", stop_before=lambda url: url.startswith(REDIRECT_URI)
        )
        codes = parse_qs(urlsplit(end.url).query).get("code")
        expect(codes, f"no code came back: {end}")
        code = {"code": codes[0] if codes else "", "redirect_uri": REDIRECT_URI, "code_verifier": verifier}
        tokens = self._ask({"grant_type": "authorization_code", **code})
        expect(tokens, "the code was refused")
        return tokens or Tokens("", "")

    def refresh(self, refresh_token: str) -> Tokens | None:
        """Spend a refresh token; return None where the server answers ``invalid_grant``."""
        return self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def _ask(self, form: dict[str, str]) -> Tokens | None:
        answer = httpx2.post(self.token_endpoint, data={**form, "client_id": "native"}, trust_env=False, timeout=20)
        said = answer.json()
        if said.get("error") == "invalid_grant":
            return None
        answer.raise_for_status()
        return Tokens(said["access_token"], said["refresh_token"])
