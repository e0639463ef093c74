"""A daemon whose apps ask for tokens as OAuth clients do: what the tests of ``/oauth/token`` share."""

import time
from typing import Any

from broker.practice.server import PracticeServer
from tests.web.house import Door, House

ROUTE = "/oauth/token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


class Facade:
    """A house with a clock that its tests move.

    Attributes:
        now: what the daemon and the provider take for the time, epoch seconds.
    """

    def __init__(self) -> None:
        self.now = time.time()
        self.practice: PracticeServer
        self.house: House

    def clock(self) -> float:
        """Tell the time."""
        return self.now

    def app(self, name: str, *grants: str | dict[str, Any], **more: Any) -> str:  # noqa: ANN401 -- of a new app
        """Make an app with grants of these accounts, and return its key."""
        given = [{"account": one} if isinstance(one, str) else one for one in grants]
        made = self.house.owner.ask("POST", "/v1/apps", 201, json={"name": name, "grants": given, **more})
        key: str = made["key"]
        return key

    def log_in_program(self, account: str, **more: Any) -> None:  # noqa: ANN401 -- of a login
        """Log in as a program."""
        secret = self.practice.client_secret.reveal()
        provider = {"provider": "practice", "base_url": self.practice.url}
        client = {"client_id": "keyfob-machine", "client_secret": secret, "scope": ["read", "write"]}
        self.house.owner.ask("POST", "/v1/logins", 201, json={"account": account, **provider, **client, **more})

    def ask(self, key: str, status: int, *, name: str = "job", where: str = "", **form: str) -> Any:  # noqa: ANN401 -- the answer
        """Ask at the app port for a token with name and key in HTTP Basic, and expect a status."""
        with (door := self.house.app("")).http:
            given = {"grant_type": "client_credentials"} | form
            return _kept(door, status, where=where, data=given, auth=(name, key))

    def post(self, status: int, **form: str) -> Any:  # noqa: ANN401 -- as above
        """Ask at the app port with all that proves who asks in the form."""
        with (door := self.house.app("")).http:
            return _kept(door, status, data=form)

    def stored(self, account: str = "work") -> Any:  # noqa: ANN401 -- as above
        """Return the account's token as its owner gets it."""
        return self.house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": account})


def _kept(door: Door, status: int, *, where: str = "", **request: Any) -> Any:  # noqa: ANN401 -- httpx2's own arguments
    if where:
        request["params"] = {"account": where}
    return door.ask("POST", ROUTE, status, **request)
