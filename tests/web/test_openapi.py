"""The API's description: that it names what is served, follows its specification, and agrees with itself and the prose.

That whatever is served is what it says, ``tests/fuzz`` tries.
"""

import copy
import re

import pytest
import schemathesis

from broker import errors
from broker.web.asgi import APP_ROUTES
from tests.web.house import OPERATIONS, REPOSITORY, SPEC, resolved, validator

SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "anyone": [],
    "stranger": [{"appKey": []}],
    "app": [{"appKey": []}, {}],
    "client": [{"oauthClient": []}, {"appKey": []}, {}],
    "owner": [{}],
}
# Where a cloud's way of asking is spoken: a header of its own, or a secret in the path, of which OpenAPI knows none.
CLOUDS: dict[str, list[dict[str, list[str]]]] = {"/azure/": [{"identityHeader": []}], "/imds/": [], "/google/": []}


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
    cloud = next((below for below in CLOUDS if path.startswith(below)), "")
    answered = set() if who == "anyone" or cloud else {"401", "423", "429", "503"}

    assert operation["summary"]
    assert operation["description"]
    assert operation["security"] == (CLOUDS[cloud] if cloud else SECURITY[who])
    assert {"400", "403"} | answered <= set(operation["responses"])


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
