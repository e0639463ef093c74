"""The API's description: that it names what is served, and that whatever is served is what it says."""

import copy
import functools
import re
import secrets
from collections.abc import Iterator
from typing import Any

import httpx2
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from broker import errors
from broker.practice.server import PracticeServer
from broker.web.asgi import APP_ROUTES
from tests.web.house import OPERATIONS, REPOSITORY, SPEC, STREAM, House, resolved, running, validator

SECURITY = {"anyone": [], "stranger": [{"appKey": []}], "app": [{"appKey": []}, {}], "owner": [{}]}
# Each example costs a few requests of a millisecond; all of them together stay within some seconds.
EXAMPLES = 20
# It would try every key source, and put a key into the keyring of whoever runs the tests; it has a test of its own.
KEYS = ("POST", "/v1/key/rotate")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
AnyCase = schemathesis.Case[Any]


# --- the document -----------------------------------------------------------------------------------------------------


def test_document_and_route_table_name_the_same_routes() -> None:
    """What is served is described, and what is described is served, to the same callers."""
    described = {(method, path, operation["x-keyfob-who"]) for (method, path), operation in OPERATIONS.items()}

    assert described == {(method, path, who) for method, path, _, who in APP_ROUTES}


def test_document_is_openapi() -> None:
    """The document follows the OpenAPI specification, and every schema in it JSON Schema."""
    schemathesis.openapi.from_dict(copy.deepcopy(SPEC)).validate()

    for name in SPEC["components"]["schemas"]:
        validator({"$ref": f"#/components/schemas/{name}"})


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operation_says_what_it_must(method: str, path: str) -> None:
    """Every operation says what it means, who may call it, and what guards and database can answer."""
    operation = OPERATIONS[method, path]
    who = operation["x-keyfob-who"]

    assert operation["summary"]
    assert operation["description"]
    assert operation["security"] == SECURITY[who]
    assert {"400", "403"} | (set() if who == "anyone" else {"401", "423", "429", "503"}) <= set(operation["responses"])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_examples_fit_their_schemas(method: str, path: str) -> None:
    """Whoever copies an example sends, or expects, what is valid."""
    operation = OPERATIONS[method, path]
    bodies = [operation["requestBody"]] if "requestBody" in operation else []

    for part in bodies + [resolved(answer) for answer in operation["responses"].values()]:
        for media in part.get("content", {}).values():
            given = [media["example"]] if "example" in media else []
            for example in given + [named["value"] for named in media.get("examples", {}).values()]:
                validator(media["schema"]).validate(example)


def test_prose_and_document_know_the_same_errors() -> None:
    """Every code that a program can meet stands in the document, and in the prose with its status."""
    known = {error.code: error.status for error in _all_errors(errors.KeyfobError)}
    for code in ("daemon_not_running", "cannot_start"):  # these are the command line's own
        del known[code]
    prose = (REPOSITORY / "docs/http-api.md").read_text(encoding="utf-8")

    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", prose, re.MULTILINE))

    assert set(SPEC["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(known)
    assert {code: int(status) for code, status in rows.items()} == known


def test_prose_names_routes_that_exist() -> None:
    """Whoever copies a line of the prose asks for something that there is."""
    prose = (REPOSITORY / "docs/http-api.md").read_text(encoding="utf-8")
    known = [re.compile(re.sub(r"{\w+}", "[^/]+", path)) for _, path, _, _ in APP_ROUTES]

    named = set(re.findall(r"http://(?:localhost|127\.0\.0\.1:8401)(/[^\s'?]*)", prose))

    assert len(named) > 15
    assert [path for path in sorted(named) if not any(route.fullmatch(path) for route in known)] == []


def _all_errors(kind: type[errors.KeyfobError]) -> list[type[errors.KeyfobError]]:
    return [kind, *(below for sub in kind.__subclasses__() for below in _all_errors(sub))]


# --- anything ---------------------------------------------------------------------------------------------------------


class Furnished:
    """A house in which the things are that requests may name, however often they are taken away."""

    def __init__(self, house: House, practice: PracticeServer) -> None:
        self.house = house
        self.practice = practice
        self.app = house.app("")
        self.stranger = house.app(f"kf_{secrets.token_urlsafe(32)}")

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
        token = ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})["access_token"]
        login = ask("POST", "/v1/logins", 201, json={"account": "work", "flow": "paste"})
        url = self.practice.url
        issuers = [url, "https://unreachable.example", "http://127.0.0.1:1"]
        return {
            "account": ["work"],
            "app": ["job"],
            "provider": [login["provider"], "practice", *issuers],
            "id": [login["id"]],
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
        }


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, practice: PracticeServer) -> Iterator[Furnished]:
    """Run a daemon in which there is something to ask for."""
    with running(tmp_path_factory.mktemp("furnished")) as house:
        found = Furnished(house, practice)
        with found.app.http, found.stranger.http:
            yield found


@functools.cache
def _schema() -> Any:  # noqa: ANN401 -- schemathesis' own
    config = SchemathesisConfig(seed=1)
    # That a provider cannot be asked is an answer, and described; only a fault of our own is none.
    config.projects.default.checks.not_a_server_error.expected_statuses = ["2xx", "3xx", "4xx", "503"]
    return schemathesis.openapi.from_dict(copy.deepcopy(SPEC), config=config)


def _modes() -> Iterator[tuple[str, str, GenerationMode]]:
    for (method, path), operation in OPERATIONS.items():
        if (method, path) not in (STREAM, KEYS):
            yield method, path, GenerationMode.POSITIVE
            # Where nothing can be said, nothing wrong can be said.
            if "{" in path or "parameters" in operation or "requestBody" in operation:
                yield method, path, GenerationMode.NEGATIVE


@pytest.mark.parametrize(("method", "path", "mode"), list(_modes()))
def test_whatever_comes_is_answered_as_described(
    furnished: Furnished, method: str, path: str, mode: GenerationMode
) -> None:
    """No request, sound or not, of the owner or of an app, gets an answer that the document does not describe."""
    names = furnished.names()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=_schema()[path][method].as_strategy(generation_mode=mode), data=st.data())
    def try_it(case: AnyCase, data: st.DataObject) -> None:
        nonlocal names
        for place in (case.path_parameters, case.query, case.body):
            if isinstance(place, dict):
                for name in sorted(place.keys() & names.keys()):
                    if name == "wait" or data.draw(st.integers(0, 3)):
                        # A slash would make it another path.
                        fit = [text for text in names[name] if place is not case.path_parameters or "/" not in text]
                        place[name] = data.draw(st.sampled_from(fit))
        door = furnished.app if data.draw(st.integers(0, 4)) == 0 else furnished.house.owner
        if path == "/v1/pairing" and data.draw(st.integers(0, 3)):
            door = furnished.stranger

        answer = _sent(case, door.http)

        case.validate_response(answer, checks=CHECKS)
        if method != "GET" and answer.is_success:  # it may have taken something away
            names = furnished.names()

    try_it()


def _sent(case: AnyCase, http: httpx2.Client) -> httpx2.Response:
    """Send a case as schemathesis would, but through any door."""
    ready = requests.Request(**case.as_transport_kwargs(base_url=str(http.base_url))).prepare()
    assert ready.method and ready.url  # noqa: PT018 -- for the type checker
    assert ready.body is None or isinstance(ready.body, str | bytes)
    # Who asks is the door's part: what is made up for a key here is no key.
    headers = {name: str(value) for name, value in ready.headers.items() if name.lower() != "authorization"}
    return http.request(ready.method, ready.url, headers=headers, content=ready.body)
