"""Pushed authorization requests: when they are made, what the browser carries, and that there is no way back."""

import asyncio
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.practice.settings import CONFIDENTIAL_CLIENT
from broker.usecases import begin, login, paste
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import House, opened

REQUIRED: dict[str, Any] = {"require_par": True}


async def with_par(house: House, **more: Any) -> None:  # noqa: ANN401 -- a preset file's values
    """Configure the provider as one that takes pushed requests."""
    await house.add_provider(endpoints={"pushed_authorization": f"{house.practice.url}/par"}, **more)


def carried(url: str) -> dict[str, str]:
    """Return what stands in a URL's query."""
    return dict(parse_qsl(urlsplit(url).query))


@pytest.mark.parametrize(("data", "settings"), [({}, {}), (REQUIRED, REQUIRED)], ids=["advertised", "required"])
def test_the_browser_carries_a_reference_and_nothing_else(
    tmp_path: Path, data: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Wherever the provider takes pushed requests, what is asked goes there by the back door (RFC 9126 4)."""

    async def live() -> None:
        async with opened(tmp_path, settings=settings) as house:
            await with_par(house, **data)
            begun = await house.begin()
            assert house.asked("par") == 0  # nobody has opened it yet
            sent_to = await login.opened(house.ctx, begun.id, Secret("b"))
            assert set(carried(sent_to.authorization_url)) == {"client_id", "request_uri"}
            finished = await house.walk(await house.begin())
            assert finished.account is not None
            assert [event.result for event in house.practice.log.all("par")] == ["ok", "ok"]

    asyncio.run(live())


def test_each_opening_pushes_anew(tmp_path: Path) -> None:
    """A reference is good once and for a minute: a person who comes back after an hour of tea gets another."""

    async def live() -> None:
        async with opened(tmp_path, settings=REQUIRED) as house:
            await with_par(house, **REQUIRED)
            begun, browser = await house.begin(), Secret(secrets.token_urlsafe(16))
            first = await login.opened(house.ctx, begun.id, browser)
            house.clock.forward(300)
            second = await login.opened(house.ctx, begun.id, browser)
            assert carried(first.authorization_url) != carried(second.authorization_url)
            path, params = await house.consent(second)
            finished = await login.finish(house.ctx, path.rpartition("/")[2], params, lambda _: browser)
            assert finished.account is not None, finished.reason

    asyncio.run(live())


def test_a_device_login_has_nothing_to_push(tmp_path: Path) -> None:
    """Its request is made at once and without a browser; its page is opened at such a provider as at others."""

    async def live() -> None:
        async with opened(tmp_path, settings=REQUIRED) as house:
            await with_par(house, **REQUIRED)
            new = NewLogin("practice", account="me", base_url=house.practice.url)
            begun = await begin.begin(house.ctx, new, ["device"])
            assert await login.opened(house.ctx, begun.id, Secret("b")) == begun
            assert house.asked("par") == 0

    asyncio.run(live())


def test_the_client_proves_itself_as_at_the_token_endpoint(tmp_path: Path) -> None:
    """A confidential client that came with the login is used before it is kept (RFC 9126 2.1)."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await with_par(house, auth_methods=["client_secret_basic"])
            secret = house.practice.client_secret
            account = await house.log_in(client_id=CONFIDENTIAL_CLIENT, client_secret=secret)
            assert account.destination.client_id == CONFIDENTIAL_CLIENT
            (pushed,) = house.practice.log.all("par")
            assert (pushed.client, pushed.result) == (CONFIDENTIAL_CLIENT, "ok")
            begun = await house.begin("other", client_id=CONFIDENTIAL_CLIENT, client_secret=Secret("a-wrong-secret"))
            with pytest.raises(LoginFailed, match="invalid_client"):
                await login.opened(house.ctx, begun.id, Secret("b"))

    asyncio.run(live())


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("error=invalid_request", "refused the login: invalid_request"),
        ("status=500", "HTTP 500"),
        ("html", "request with no JSON"),
        ("empty", "request with no JSON"),
        ("throttle=30", "throttling"),
        ("refuse", "did not take the pushed request"),
        ("redirect=http://127.0.0.1:1/", "a redirect"),
        ("without=request_uri", "without a request_uri"),
        ('json={"request_uri": 7}', "without a request_uri"),
        ('json={"request_uri": ""}', "without a request_uri"),
        ('json={"request_uri": "two\\nlines"}', "without a request_uri"),
        ("without=expires_in", "for how long"),
        ('json={"expires_in": 0}', "for how long"),
        ('json={"expires_in": "60"}', "for how long"),
        ('json={"expires_in": true}', "for how long"),
    ],
)
@pytest.mark.parametrize("data", [{}, REQUIRED], ids=["advertised", "required"])
def test_there_is_no_way_back_to_a_request_in_the_browser(
    tmp_path: Path, data: dict[str, Any], fault: str, why: str
) -> None:
    """Whatever answers in the place of a reference, the login ends and says why; it is never sent the open way."""

    async def live() -> None:
        async with opened(tmp_path, f"par:{fault}") as house:
            await with_par(house, **data)
            begun = await house.begin()
            with pytest.raises(LoginFailed, match=why):
                await login.opened(house.ctx, begun.id, Secret("b"))
            ended = await house.store.login(begun.id)
            assert ended is not None
            assert ended.state == "failed"
            assert why in ended.reason
            assert house.asked("authorize") == 0
            with pytest.raises((LoginFailed, ProviderUnavailable), match=why):
                await house.begin(flow="paste")

    asyncio.run(live())


def test_a_paste_login_is_over_when_its_reference_is(tmp_path: Path) -> None:
    """It has no start page, so it is pushed when it begins, and lives no longer than the provider holds it."""

    async def live() -> None:
        async with opened(tmp_path, settings={"par_ttl": 90}) as house:
            await with_par(house, redirect={"out_of_band": ""})
            begun = await house.begin(flow="paste")
            assert begun.expires_at == house.clock() + 90
            assert set(carried(begun.authorization_url)) == {"client_id", "request_uri"}
            _, params = await house.consent(begun)
            url = f"{begun.redirect_uri}?" + "&".join(f"{name}={value}" for name, value in params)
            finished = await paste.finish(house.ctx, begun.id, url=url, code=None)
            assert finished.account is not None, finished.reason

    asyncio.run(live())


def test_a_provider_that_takes_no_others_has_to_say_where(tmp_path: Path) -> None:
    """A login that could only be refused is not begun."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(**REQUIRED)
            with pytest.raises(InvalidRequest, match="pushed authorization requests only"):
                await house.begin()

    asyncio.run(live())
