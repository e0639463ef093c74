"""Requests that the API's description allows, and requests that it does not, at both app doors of a running daemon.

Used by ``test_api``, and for longer by ``__main__``. The daemon has accounts, logins, apps and a practice provider, so
that names mean something; it cannot get at the Internet.
"""

import contextlib
import copy
import functools
import random
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.web.house import OPERATIONS, SPEC, STREAM, House, as_described, resolved, running

# It would try every key source, and put a key into the keyring of whoever runs the tests; it has a test of its own.
KEYS = ("POST", "/v1/key/rotate")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What every answer has, beside what depends on it, and nothing else: a header tells strangers who answers.
HEADERS = {"cache-control", "x-content-type-options"}
MAY_HAVE = {
    "content-length",
    "content-type",
    "retry-after",
    "www-authenticate",
    "allow",
    "connection",
    "metadata-flavor",
}
# How many requests of a kind are tried in a row when there is time.
ROUND = 50
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
AnyCase = schemathesis.Case[Any]
Kind = tuple[str, str, GenerationMode]


class Furnished:
    """A house in which the things are that requests may name, however often they are taken away."""

    def __init__(self, house: House, practice: PracticeServer) -> None:
        self.house = house
        self.practice = practice
        self.app = house.app("")
        self.stranger = house.app("")
        self.capability = ""
        self.newcomer = house.app(f"kf_{secrets.token_urlsafe(32)}")

    def close(self) -> None:
        """Let the connections go."""
        for door in (self.app, self.stranger, self.newcomer):
            door.http.close()

    def names(self) -> dict[str, list[str]]:
        """Bring back what is missing, and return what a parameter or member may be set to, to mean something."""
        ask = self.house.owner.ask
        ask("POST", "/v1/unlock", 200, json={})
        listed = ask("GET", "/v1/accounts", 200)["accounts"]
        work = next((account for account in listed if account["account"] == "work"), None)
        if work is not None and work["state"] != "active":
            ask("DELETE", "/v1/accounts/{account}", 204, path={"account": "work"}, params={"local_only": "true"})
            work = None
        if work is None:
            self.house.log_in("work", self.practice.url)
        if not self.app.http.get("/v1/apps/job").is_success:  # it, its key or its grant is gone
            if any(app["name"] == "job" for app in ask("GET", "/v1/apps", 200)["apps"]):
                ask("DELETE", "/v1/apps/{app}", 204, path={"app": "job"})
            key = ask("POST", "/v1/apps", 201, json={"name": "job", "grants": [{"account": "work"}]})["key"]
            self.app.http.headers["authorization"] = f"Bearer {key}"
            self.app.http.headers["x-identity-header"] = key
        if not self.capability or all(app["name"] != "machine" for app in ask("GET", "/v1/apps", 200)["apps"]):
            made = {"name": "machine", "grants": [{"account": "work"}], "capability": True}
            self.capability = ask("POST", "/v1/apps", 201, json=made)["key"]
        token = ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"]
        self.app.http.get("/v1/accounts/other/token")  # which the owner is asked about
        asked = [one["id"] for one in ask("GET", "/v1/approvals", 200)["approvals"]]
        login = ask("POST", "/v1/logins", 201, json={"account": "work", "flow": "paste"})
        url = self.practice.url
        issuers = [url, "https://unreachable.example", "http://127.0.0.1:1"]
        return {
            "account": ["work"],
            "app": ["job"],
            "provider": [login["provider"], "practice", *issuers],
            "id": [login["id"], *asked],
            "preset": ["practice", "generic", "funkwhale"],
            "issuer": issuers,
            "base_url": issuers,
            "authorization_endpoint": [f"{url}/authorize"],
            "token_endpoint": [f"{url}/token"],
            "revocation_endpoint": [f"{url}/revoke"],
            "userinfo_endpoint": [f"{url}/userinfo"],
            "jwks_uri": [f"{url}/jwks"],
            "access_token": [token],
            "url": [f"{login['redirect_uri']}?code=wrong&state=wrong", login["authorization_url"]],
            "wait": ["0.01"],
            "capability": [self.capability],
            "identity": ["default", "work"],
            "subject_token": [self.app.http.headers["authorization"].removeprefix("Bearer ")],
            "subject_token_type": [f"{TOKEN_TYPE}access_token", f"{TOKEN_TYPE}jwt"],
            "requested_token_type": [f"{TOKEN_TYPE}access_token", f"{TOKEN_TYPE}id_token"],
        }


def kinds() -> Iterator[Kind]:
    """Yield every operation, with requests that are described and with requests that are not."""
    for (method, path), operation in OPERATIONS.items():
        if (method, path) not in (STREAM, KEYS):
            yield method, path, GenerationMode.POSITIVE
            # Where nothing can be said, nothing wrong can be said.
            if "{" in path or "parameters" in operation or "requestBody" in operation:
                yield method, path, GenerationMode.NEGATIVE


def explore(furnished: Furnished, kind: Kind, examples: int, seed: int | None = None) -> int:
    """Send so many requests of a kind, and return how many were answered as described.

    They come from the owner at the socket, and at the port from an app, from somebody without a key, and from
    a program that made itself a key.

    Args:
        furnished: the daemon.
        kind: the operation, and whether its requests are sound.
        examples: how many.
        seed: for other requests than last time; None for always the same.
    """
    method, path, mode = kind
    names, count = furnished.names(), 0

    @hypothesis.settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=_schema()[path][method].as_strategy(generation_mode=mode), data=st.data())
    def try_it(case: AnyCase, data: st.DataObject) -> None:
        nonlocal names, count
        for place in (case.path_parameters, case.query, case.body):
            if isinstance(place, dict):
                for name in sorted(place.keys() & names.keys()):
                    if name == "wait" or data.draw(st.integers(0, 3)):
                        # A slash would make it another path.
                        fit = [text for text in names[name] if place is not case.path_parameters or "/" not in text]
                        place[name] = data.draw(st.sampled_from(fit))
        owner = furnished.house.owner
        # The first is what hypothesis likes best; an app is refused most of it, and who has no key nearly all.
        door = data.draw(st.sampled_from((owner, owner, owner, furnished.app, furnished.app, furnished.stranger)))
        if path == "/v1/pairing" and data.draw(st.integers(0, 3)):
            door = furnished.newcomer

        answer = _sent(case, door.http)

        case.validate_response(answer, checks=CHECKS)
        _check(method, path, answer)
        count += 1
        if method != "GET" and answer.is_success:  # it may have taken something away
            names = furnished.names()

    (try_it if seed is None else hypothesis.seed(seed)(try_it))()
    return count


def for_seconds(seconds: int) -> tuple[int, str]:
    """Explore all operations, in turn and again, until the time is over; return the count, and what was found."""
    count, ends, rng = 0, time.monotonic() + seconds, random.SystemRandom()
    with (
        tempfile.TemporaryDirectory(prefix="kf-fuzz-") as place,
        practice_in_thread(PracticeSettings(ttl=600, auto_approve=True)) as practice,
        running(Path(place)) as house,
    ):
        furnished = Furnished(house, practice)
        with contextlib.closing(furnished):
            everything = list(kinds())
            while time.monotonic() < ends:
                kind, seed = everything[rng.randrange(len(everything))], rng.randrange(2**32)
                try:
                    count += explore(furnished, kind, ROUND, seed)
                except BaseExceptionGroup as exc:  # schemathesis' own failures come in groups
                    return count, f"{kind}, seed {seed}: " + "\n".join(map(str, exc.exceptions))
                except Exception as exc:  # noqa: BLE001 -- whatever it is, it is what was looked for
                    return count, f"{kind}, seed {seed}: {exc!r}"
    return count, ""


def _check(method: str, path: str, answer: httpx2.Response) -> None:
    """See that an answer has no member that the document does not name, and the headers that it should have."""
    as_described(method, path, resolved(OPERATIONS[method, path]["responses"][str(answer.status_code)]), answer)
    names = [name.lower() for name, _ in answer.headers.raw]
    assert len(names) == len(set(names)), "a header comes twice"
    found = {name.decode() for name in names}
    assert found >= HEADERS, found
    assert found <= HEADERS | MAY_HAVE, found
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("retry-after" in found) == (answer.status_code in (429, 503) and "retry_after" in answer.text), found
    assert ("www-authenticate" in found) == (answer.status_code == 401), found
    if "content-length" in found:
        assert int(answer.headers["content-length"]) == len(answer.content)


def _sent(case: AnyCase, http: httpx2.Client) -> httpx2.Response:
    """Send a case as schemathesis would, but through any door."""
    ready = requests.Request(**case.as_transport_kwargs(base_url=str(http.base_url))).prepare()
    assert ready.method and ready.url  # noqa: PT018 -- for the type checker
    assert ready.body is None or isinstance(ready.body, str | bytes)
    # Who asks is the door's part: what is made up for a key here is no key.
    headers = {name: str(value) for name, value in ready.headers.items() if name.lower() != "authorization"}
    return http.request(ready.method, ready.url, headers=headers, content=ready.body)


@functools.cache
def _schema() -> Any:  # noqa: ANN401 -- schemathesis' own
    config = SchemathesisConfig(seed=1)
    # That a provider cannot be asked is an answer, and described; only a fault of our own is none.
    config.projects.default.checks.not_a_server_error.expected_statuses = ["2xx", "3xx", "4xx", "503"]
    return schemathesis.openapi.from_dict(copy.deepcopy(SPEC), config=config)
