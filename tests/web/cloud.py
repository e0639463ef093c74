"""A daemon that programs ask as they ask their cloud: what the tests of Azure's and Google's endpoints share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.loopback import NO_TLS
from tests.web.facade import Facade
from tests.web.house import OPERATIONS, PATIENCE, as_described, resolved, running

FLAVOR = {"Metadata-Flavor": "Google"}
METADATA = {"Metadata": "true"}
AZURE = "/azure/token"
IMDS = "/imds/{capability}/metadata/identity/oauth2/token"
GOOGLE = "/google/{capability}"
ACCOUNT = GOOGLE + "/computeMetadata/v1/instance/service-accounts/{identity}/"
# Seconds that a token lives.
TTL = 3600


class Cloud(Facade):
    """A house with the account ``work``, and with ways to ask as the programs of a cloud do.

    Attributes:
        http: how they ask.
    """

    def __init__(self, http: httpx2.Client) -> None:
        super().__init__()
        self.http = http

    def capability(self, name: str, *grants: str | dict[str, Any], **more: Any) -> str:  # noqa: ANN401 -- of a new app
        """Make an app whose key stands in an address, and return the key."""
        return self.app(name, *grants, capability=True, **more)

    def get(self, route: str, status: int, headers: dict[str, str], **names: str) -> Any:  # noqa: ANN401 -- the answer
        """Ask at the app port, and hold the answer against the description; what is no name in the path is a query."""
        path = {name: names.pop(name) for name in ("capability", "identity") if name in names}
        target = self.house.app_url + route.format(**path)
        answer = self.http.get(target, headers=headers, params=names)
        assert answer.status_code == status, answer.text
        if route.startswith("/google/"):
            assert answer.headers["metadata-flavor"] == "Google"
        assert "retry-after" not in answer.headers  # at which Azure's libraries hang, whatever the status is
        return as_described("GET", route, resolved(OPERATIONS["GET", route]["responses"][str(status)]), answer)

    def azure(self, key: str, status: int = 200, **query: str) -> Any:  # noqa: ANN401 -- as above
        """Ask as a program in App Service does."""
        return self.get(AZURE, status, {"X-IDENTITY-HEADER": key}, **query)

    def imds(self, capability: str, status: int = 200, **query: str) -> Any:  # noqa: ANN401 -- as above
        """Ask as a program on a machine in Azure does."""
        return self.get(IMDS, status, METADATA, capability=capability, **query)

    def google(self, capability: str, what: str = "token", status: int = 200, **query: str) -> Any:  # noqa: ANN401 -- as above
        """Ask as a program on a machine in Google's cloud does."""
        names = {"identity": "default"} | query
        return self.get(ACCOUNT + what, status, FLAVOR, capability=capability, **names)


@contextlib.contextmanager
def cloud_at(home: Path) -> Iterator[Cloud]:
    """Run such a daemon, by a clock that is moved on."""
    settings = PracticeSettings(ttl=TTL, auto_approve=True)
    with httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as http:
        found = Cloud(http)
        with (
            practice_in_thread(settings, clock=found.clock) as found.practice,
            running(home, found.clock) as found.house,
        ):
            found.house.log_in("work", found.practice.url)
            yield found
