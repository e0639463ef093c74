"""Python libraries as they are, at a running daemon: an expiry in the middle, a 401, a redirect, what goes wrong."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import google.auth.transport.urllib3
import httpx
import pytest
import urllib3
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.policies import AsyncRedirectPolicy, RedirectPolicy, SensitiveHeaderCleanupPolicy
from azure.core.pipeline.transport import AsyncioRequestsTransport, RequestsTransport
from azure.core.rest import HttpRequest

from broker.client import LoginNeeded
from broker.integrations import httpx as of_httpx
from broker.integrations.azure import AsyncKeyfobCredential, KeyfobCredential
from broker.integrations.azure_policy import AsyncKeyfobPolicy, KeyfobPolicy
from broker.integrations.google import KeyfobCredentials
from broker.testing import VARIABLES, PracticeBroker
from tests.cli.scripted_daemon import scripted_daemon
from tests.integrations.callers import CALLERS, Caller, httpx_callers

HOUR = 3600.0
SCOPE = "https://api.example/.default"


@dataclass(frozen=True)
class Library:
    """One library and its kind of error.

    Attributes:
        name: for people.
        error: what programs that use the library catch.
        opened: makes what a program keeps; it takes a URL and returns the status of the answer to a GET.
    """

    name: str
    error: type[Exception]
    opened: Callable[[ExitStack], Callable[[str], int]]


def of_caller(caller: Caller) -> Library:
    """Return httpx or requests, with an auth object that a program keeps."""

    def opened(_: ExitStack) -> Callable[[str], int]:
        auth = caller.auth("work")
        return lambda url: caller.send("GET", url, None, auth).status

    return Library(caller.name, caller.known_as, opened)


def google_requests(stack: ExitStack) -> Callable[[str], int]:
    """Open the session that most client libraries of that provider use."""
    session = stack.enter_context(google.auth.transport.requests.AuthorizedSession(KeyfobCredentials("work")))
    session.trust_env = False
    return lambda url: int(session.get(url).status_code)


def google_urllib3(stack: ExitStack) -> Callable[[str], int]:
    """Open the other one."""
    pool = stack.enter_context(urllib3.PoolManager())
    http = google.auth.transport.urllib3.AuthorizedHttp(KeyfobCredentials("work"), pool)
    return lambda url: int(http.urlopen("GET", url).status)


def azure(stack: ExitStack) -> Callable[[str], int]:
    """Open a pipeline like those of the SDK's clients."""
    policies = [RedirectPolicy(), KeyfobPolicy(KeyfobCredential("work"), SCOPE), SensitiveHeaderCleanupPolicy()]
    client: PipelineClient[Any, Any] = PipelineClient("", transport=RequestsTransport(), policies=policies)
    stack.enter_context(client)

    def get(url: str) -> int:
        return int(client.send_request(HttpRequest("GET", url), enforce_https=False).status_code)

    return get


def azure_async(_: ExitStack) -> Callable[[str], int]:
    """Open an asynchronous one."""
    credential = AsyncKeyfobCredential("work")

    async def get(url: str) -> int:
        client: AsyncPipelineClient[Any, Any] = AsyncPipelineClient(
            "",
            transport=AsyncioRequestsTransport(),
            policies=[AsyncRedirectPolicy(), AsyncKeyfobPolicy(credential, SCOPE), SensitiveHeaderCleanupPolicy()],
        )
        async with client:
            answer = await client.send_request(HttpRequest("GET", url), enforce_https=False)
        return int(answer.status_code)

    return lambda url: asyncio.run(get(url))


LIBRARIES = [
    *map(of_caller, [*httpx_callers(httpx, of_httpx), *CALLERS]),
    Library("google-auth-requests", google.auth.exceptions.RefreshError, google_requests),
    Library("google-auth-urllib3", google.auth.exceptions.RefreshError, google_urllib3),
    Library("azure", ClientAuthenticationError, azure),
    Library("azure-async", ClientAuthenticationError, azure_async),
]


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Library:
    """Return each."""
    found: Library = request.param
    return found


@pytest.fixture
def get(library: Library, keyfob: PracticeBroker) -> Iterator[Callable[[str], int]]:
    """Open what a program keeps, as the app whose key is in the environment."""
    del keyfob
    with ExitStack() as stack:
        yield library.opened(stack)


def test_expiry_in_the_middle(keyfob: PracticeBroker, get: Callable[[str], int]) -> None:
    """A program that runs for hours notices nothing of tokens that end: no answer is a 401."""
    answers = [get(keyfob.api_url)]
    for _ in range(3):
        keyfob.pass_time(HOUR)
        answers.append(get(keyfob.api_url))

    assert answers == [200, 200, 200, 200]
    assert (keyfob.events("refresh"), keyfob.events("userinfo")) == (3, 4)


def test_token_that_died_early(keyfob: PracticeBroker, get: Callable[[str], int]) -> None:
    """A token that the API does not accept any more is reported and replaced within the program's one request."""
    assert get(keyfob.api_url) == 200
    keyfob.end_token()

    assert get(keyfob.api_url) == 200
    assert (keyfob.events("refresh"), keyfob.events("userinfo")) == (1, 3)


def test_api_that_refuses_everything(keyfob: PracticeBroker, get: Callable[[str], int]) -> None:
    """Where the API refuses every token, its 401 is the answer, and one renewal is all that comes of it."""
    with scripted_daemon(None) as api:
        api.answers("GET /me", {}, status=401, WWW_Authenticate="Bearer")

        assert get(f"{api.where}/me") == 401
        assert 2 <= len(api.requests) <= 3  # google-auth has a second try of its own
    assert keyfob.events("refresh") == 1


def test_redirect_to_another_host(keyfob: PracticeBroker, get: Callable[[str], int], library: Library) -> None:
    """A redirect to another host takes no token along; its 401 is not believed where the library says whose it is."""
    with scripted_daemon(None) as here, scripted_daemon(None) as there:
        there.answers("GET /", {}, status=401, WWW_Authenticate="Bearer")
        here.answers_raw(
            "GET /", f"HTTP/1.1 302 Found\r\nLocation: {there.where}/\r\nContent-Length: 0\r\n\r\n".encode()
        )

        assert get(f"{here.where}/") == 401

        assert all(request.headers["authorization"].startswith("Bearer ") for request in here.requests)
        assert {request.headers.get("authorization") for request in there.requests} == {None}
    assert keyfob.events("refresh") == (1 if library.name.startswith("google-auth") else 0)


def test_login_needed(keyfob: PracticeBroker, get: Callable[[str], int], library: Library) -> None:
    """A login that ended is the library's own error, with the command and the address that help; then all is well."""
    assert get(keyfob.api_url) == 200
    keyfob.end_logins()

    with pytest.raises(library.error, match=r"Log in: keyfob login work \(in the browser: http://127") as caught:
        get(keyfob.api_url)

    assert isinstance(caught.value.__cause__, LoginNeeded) or library.name.startswith("azure")
    keyfob.log_in("work")
    assert get(keyfob.api_url) == 200


def test_not_granted(keyfob: PracticeBroker, get: Callable[[str], int], library: Library) -> None:
    """A grant that was taken away is the library's own error, and says what the owner can do."""
    assert get(keyfob.api_url) == 200
    with keyfob.owner() as owner:
        owner.request("DELETE", "/v1/apps/tests/grants/work")

    with pytest.raises(library.error, match="keyfob approve"):
        get(keyfob.api_url)


def test_locked(keyfob: PracticeBroker, get: Callable[[str], int], library: Library) -> None:
    """A locked Keyfob is the library's own error, and says how to see why."""
    assert get(keyfob.api_url) == 200
    keyfob.lock()

    with pytest.raises(library.error, match=r"Keyfob is locked.*keyfob status"):
        get(keyfob.api_url)


def test_no_daemon(library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no daemon runs, the library's own error says how to start it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEYFOB_SOCKET", str(tmp_path / "nobody.sock"))

    with ExitStack() as stack, pytest.raises(library.error, match=r"No daemon answers at .*Start it: keyfob serve"):
        library.opened(stack)("http://127.0.0.1:9/")


def test_provider_is_away(keyfob: PracticeBroker, get: Callable[[str], int], library: Library) -> None:
    """A provider that cannot be asked while no token is left is the library's own error; it ends by itself."""
    assert get(keyfob.api_url) == 200
    keyfob.fail("refresh:status=503")
    keyfob.pass_time(HOUR)
    with pytest.raises(library.error, match="503"):
        get(keyfob.api_url)

    keyfob.fail()
    keyfob.pass_time(HOUR)
    assert get(keyfob.api_url) == 200
