"""An account whose API a test runs, and a program that may use it through the proxy only.

Used by the tests of the proxy.
"""

import contextlib
from collections.abc import Iterator

import httpx2

from tests.web.api import Api, an_api
from tests.web.house import House


class Proxied:
    """An account of a house, the API that its token is for, and a program.

    Attributes:
        house: the daemon.
        account: the account.
        api: its API, whose base is ``/v1``.
        app: the program, at the app port.
    """

    def __init__(self, house: House, account: str, api: Api, app: httpx2.Client) -> None:
        self.house = house
        self.account = account
        self.api = api
        self.app = app

    @property
    def token(self) -> str:
        """The account's token, which the API has to get and nobody else."""
        where = {"account": self.account}
        token: str = self.house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path=where)["access_token"]
        return token

    def allow(self, *rules: str) -> None:
        """Let the program send what fits these rules, or everything."""
        where = {"app": f"{self.account}-app", "account": self.account}
        grant = {"mode": "proxy", "rules": list(rules)}
        self.house.owner.ask("PUT", "/v1/apps/{app}/grants/{account}", 200, path=where, json=grant)


@contextlib.contextmanager
def proxied(house: House, account: str, provider: str) -> Iterator[Proxied]:
    """Log in, and run an API for that account as long as the block lasts."""
    house.log_in(account, provider)
    grant = {"account": account, "mode": "proxy"}
    key = house.owner.ask("POST", "/v1/apps", 201, json={"name": f"{account}-app", "grants": [grant]})["key"]
    with an_api() as api, house.app(key).http as app:
        base = f"http://{api.host}/v1"
        house.owner.ask("PATCH", "/v1/accounts/{account}", 200, path={"account": account}, json={"api_base": base})
        yield Proxied(house, account, api, app)


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, str]:
    """Return a problem document, which has to say that."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found: dict[str, str] = answer.json()
    assert (answer.status_code, found["code"]) == (status, code), found
    return found
