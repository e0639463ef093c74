"""A real daemon in a thread, and its doors: every answer that comes through one is held against the API's description.

Used by the tests of this room that talk to the API.
"""

import contextlib
import copy
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import yaml

from broker import settings
from broker.daemon import Daemon
from broker.practice.settings import PUBLIC_CLIENT
from broker.testing import daemon_in_thread
from tests.loopback import NO_TLS, held_port

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "broker/web/openapi.yaml").read_text(encoding="utf-8")
SPEC: dict[str, Any] = yaml.safe_load(TEXT)
# It never ends by itself; its lines have a test of their own.
STREAM = ("GET", "/v1/events")
OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    (method.upper(), path): operation
    for path, item in SPEC["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
# A start takes a quarter of a second; this is a machine in trouble.
PATIENCE = 20.0


def resolved(node: Any) -> Any:  # noqa: ANN401 -- any part of the document
    """Return a part of the document, or what it refers to."""
    while "$ref" in node:
        node = functools.reduce(lambda at, step: at[step], node["$ref"].removeprefix("#/").split("/"), SPEC)
    return node


def _strict_components() -> dict[str, Any]:
    """Return the schemas with every answer closed: a member that the document does not name is an error here.

    An object that is put together from parts is closed as a whole, and a part by what it is a part of.
    """
    components: dict[str, Any] = copy.deepcopy(SPEC["components"])
    objects = {name: schema for name, schema in components["schemas"].items() if schema.get("type") == "object"}
    parts = {part.get("$ref", "").rpartition("/")[2] for schema in objects.values() for part in schema.get("allOf", ())}
    for name, schema in objects.items():
        if name not in parts:
            schema.setdefault("unevaluatedProperties" if "allOf" in schema else "additionalProperties", False)
    return components


STRICT = _strict_components()


def validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Return what holds a JSON value against a schema of the document."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": STRICT}, validate_formats=True)


@functools.cache
def _validator_of(method: str, route: str, status: str, kind: str) -> jsonschema_rs.Draft202012Validator:
    return validator(resolved(OPERATIONS[method, route]["responses"][status])["content"][kind]["schema"])


class Door:
    """One app door; every answer that comes through is held against the document."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        self.seen: set[tuple[str, str, int]] = set()

    def ask(
        self,
        method: str,
        route: str,
        status: int,
        *,
        path: dict[str, str] | None = None,
        **request: Any,  # noqa: ANN401 -- httpx2's own arguments
    ) -> Any:  # noqa: ANN401 -- whatever the answer holds
        """Send a request to a route, expect a status, and return the answer's JSON, or its text."""
        answer = self.http.request(method, route.format(**(path or {})), **request)
        self.seen.add((method, route, answer.status_code))
        documented = OPERATIONS[method, route]["responses"]
        assert str(answer.status_code) in documented, f"{method} {route}: {answer.status_code} {answer.text}"
        found = as_described(method, route, resolved(documented[str(answer.status_code)]), answer)
        assert answer.status_code == status, answer.text
        return found


def as_described(method: str, route: str, documented: dict[str, Any], answer: httpx2.Response) -> Any:  # noqa: ANN401 -- as above
    """Hold an answer against its part of the document, and return its JSON, or its text."""
    assert answer.headers["cache-control"] == "no-store"
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if "content" not in documented:
        assert (kind, answer.content) == ("", b"")
        return None
    assert kind in documented["content"], f"{method} {route}: {kind}"
    if not kind.endswith("json"):
        return answer.text
    found = answer.json()
    _validator_of(method, route, str(answer.status_code), kind).validate(found)
    if "problem" in kind:
        assert found["status"] == answer.status_code
        assert found["type"] == f"urn:keyfob:problem:{found['code']}"
    return found


class House:
    """A daemon in a thread, with its doors."""

    def __init__(self, daemon: Daemon) -> None:
        self.ctx = daemon.ctx
        doors = self.ctx.doors
        self.socket = doors["socket"]
        self.app_url = doors["app"]
        self.browser_url = doors["browser"]
        self._http = httpx2.HTTPTransport(uds=self.socket, verify=NO_TLS)
        self.owner = Door(httpx2.Client(transport=self._http, base_url="http://localhost", timeout=PATIENCE))

    def app(self, key: str) -> Door:
        """Return the app port as an app with this key sees it."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return Door(
            httpx2.Client(base_url=self.app_url, headers=headers, trust_env=False, verify=NO_TLS, timeout=PATIENCE)
        )

    def log_in(self, account: str, provider: str) -> None:
        """Log in as a browser would: from redirect to redirect, with a cookie."""
        login = {"account": account, "provider": "practice", "base_url": provider, "client_id": PUBLIC_CLIENT}
        begun = self.owner.ask("POST", "/v1/logins", 201, json=login)
        with httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS, timeout=PATIENCE) as browser:
            browser.get(begun["start_url"])
        ended = self.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": begun["id"]}, params={"wait": 10})
        assert ended["state"] == "done", ended["reason"]


@contextlib.contextmanager
def running(
    home: Path, clock: Callable[[], float] = time.time, *, browser_port: int = 0, **more: str
) -> Iterator[House]:
    """Run a daemon in a thread, by the wall clock or by one that the test moves; ``more`` are settings.

    It cannot get at the Internet: all but loopback goes to a proxy that is not there, and looking up names is its part.
    """
    with held_port() as nobody:
        flags: dict[str, str | None] = {
            "runtime_dir": str(home / "run"),
            "browser_port": str(browser_port),
            "app_port": "0",
            **more,
            "http_proxy": f"http://127.0.0.1:{nobody}",
        }
        daemon = Daemon(settings.read({"HOME": str(home)}, flags), {}, clock, clock)
        with daemon_in_thread(daemon):
            house = House(daemon)
            with house.owner.http:
                yield house
