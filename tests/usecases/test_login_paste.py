"""A login that is finished by pasting, and what a wrong paste may not break."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from broker.core.login import LOGIN_LIFETIME, Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, UnknownLogin
from broker.practice.clients import OUT_OF_BAND
from broker.usecases import login, paste
from tests.loopback import NO_TLS
from tests.usecases.codes import INTERVAL, allow, ended, prompt, start, tick
from tests.usecases.house import BROWSER_URL, PATIENCE, House, opened


async def address(house: House, begun: Login) -> str:
    """Say yes at the provider; return the address that the browser of another machine then shows."""
    path, params = await house.consent(begun)
    return f"{BROWSER_URL}{path}?{urlencode(params)}"


async def code_page(begun: Login) -> str:
    """Say yes at a provider that shows the code to the person; return it."""
    async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as browser:
        page = await browser.get(begun.authorization_url)
    shown = re.search(r'<code class="code">([\w-]+)</code>', page.text)
    assert shown is not None, page.text
    return shown[1]


async def out_of_band(house: House) -> Login:
    """Begin a paste login at a provider that shows codes."""
    await house.add_provider(redirect={"out_of_band": OUT_OF_BAND})
    return await house.begin("me", flow="paste")


@pytest.mark.parametrize("around", ["{}", "  {}\n", "{}#"], ids=["bare", "with white space", "with an empty fragment"])
def test_the_whole_address_finishes_a_login(tmp_path: Path, around: str) -> None:
    """The redirect URL from another machine's address bar makes the account, without any cookie."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin("me", flow="paste")
            url = await address(house, begun)
            finished = await paste.finish(house.ctx, begun.id, url=around.format(url))
            assert finished.account is not None
            assert finished.account.name == "me"
            with pytest.raises(Conflict, match="done"):
                await paste.finish(house.ctx, begun.id, url=url)
            assert house.asked("code") == 1

    asyncio.run(story())


@pytest.mark.parametrize("pasted_as", ["url", "code"])
def test_an_out_of_band_address_finishes_a_login(tmp_path: Path, pasted_as: str) -> None:
    """Some servers send the browser to it; it cannot open that, shows it, and whoever copies it knows no kinds."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await out_of_band(house)
            (state,) = parse_qs(urlsplit(begun.authorization_url).query)["state"]
            answer = {"code": await code_page(begun), "state": state, "iss": house.practice.url}
            pasted = f"{OUT_OF_BAND}?{urlencode(answer)}"
            by = {"url": pasted} if pasted_as == "url" else {}
            finished = await paste.finish(house.ctx, begun.id, code=None if by else Secret(f"{pasted}\n"), **by)
            assert finished.account is not None, finished.reason

    asyncio.run(story())


@pytest.mark.parametrize("around", ["{}", " {}\n"], ids=["bare", "with white space"])
def test_a_shown_code_finishes_a_login(tmp_path: Path, around: str) -> None:
    """Where the provider shows the code to the person, the code alone is enough, and counts once."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await out_of_band(house)
            assert begun.redirect_uri == OUT_OF_BAND
            code = Secret(around.format(await code_page(begun)))
            finished = await paste.finish(house.ctx, begun.id, code=code)
            assert finished.account is not None
            with pytest.raises(Conflict):
                await paste.finish(house.ctx, begun.id, code=code)
            assert house.asked("code") == 1

    asyncio.run(story())


def test_the_address_of_another_login_burns_neither(tmp_path: Path) -> None:
    """Pasted into the wrong window, an address is refused; both logins can still be finished."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            one, two = await house.begin("one", flow="paste"), await house.begin("two")
            urls = [await address(house, begun) for begun in (one, two)]
            with pytest.raises(InvalidRequest, match="another login"):
                await paste.finish(house.ctx, one.id, url=urls[1])
            with pytest.raises(InvalidRequest, match="another login"):
                await paste.finish(house.ctx, two.id, url=urls[0])
            assert house.asked("code") == 0
            for begun, url in zip((one, two), urls, strict=True):
                assert (await paste.finish(house.ctx, begun.id, url=url)).account is not None

    asyncio.run(story())


GARBAGE: dict[str, Callable[[str], str]] = {
    "no URL": lambda _: "hello",
    "no address at all": lambda _: "http://[::1",
    "a strange port": lambda url: url.replace(":8400", ":port"),
    "another host": lambda url: url.replace("127.0.0.1", "127.0.0.1.example.com"),
    "another port": lambda url: url.replace(":8400", ":8401"),
    "https": lambda url: url.replace("http://", "https://"),
    "another provider's path": lambda url: url.replace("/callback/", "/callback/x"),
    "a user name": lambda url: url.replace("http://", "http://me@"),
    "cut before the question mark": lambda url: url.partition("?")[0],
    "cut before the state": lambda url: url.partition("&state")[0],
    "cut within the state": lambda url: url.partition("&iss")[0][:-4],
    "a foreign state": lambda url: re.sub(r"state=[\w-]+", "state=" + "x" * 43, url),
    "bytes that are no text": lambda url: re.sub(r"state=[\w-]+", "state=%FF%FE%ED%A0%80", url),
}


def test_garbage_leaves_a_login_pending(tmp_path: Path) -> None:
    """An address that cannot be this login's is refused with the next step; the right one still works after it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin("me", flow="paste")
            url = await address(house, begun)
            assert urlsplit(url).query.find("code=") < urlsplit(url).query.find("state=") < url.find("iss=")
            for what, spoil in GARBAGE.items():
                with pytest.raises(InvalidRequest) as refused:
                    await paste.finish(house.ctx, begun.id, url=spoil(url))
                assert refused.value.hint, what
            assert house.asked("code") == 0
            assert (await paste.finish(house.ctx, begun.id, url=url)).account is not None

    asyncio.run(story())


def test_what_is_no_code_leaves_a_login_pending(tmp_path: Path) -> None:
    """A slip of the clipboard is refused before it costs the login; the right code still works after it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await out_of_band(house)
            code = await code_page(begun)
            for pasted in ("", " ", "two words", "cödé", "a\tb", "x" * 5000):
                with pytest.raises(InvalidRequest):
                    await paste.finish(house.ctx, begun.id, code=Secret(pasted))
                stored = await house.store.login(begun.id)
                assert stored is not None
                assert stored.state == "pending", pasted[:20]
            assert (await paste.finish(house.ctx, begun.id, code=Secret(code))).account is not None

    asyncio.run(story())


def test_a_code_is_not_taken_where_an_address_is_due(tmp_path: Path) -> None:
    """A bare code proves no state, so it is good only where the provider has nowhere to send it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin("me", flow="paste")
            _, params = await house.consent(begun)
            with pytest.raises(InvalidRequest, match="whole address"):
                await paste.finish(house.ctx, begun.id, code=Secret(dict(params)["code"]))
            assert house.asked("code") == 0
            stored = await house.store.login(begun.id)
            assert stored is not None
            assert stored.state == "pending"

    asyncio.run(story())


def test_a_wrong_code_ends_the_login(tmp_path: Path) -> None:
    """A code that the provider does not know was a guess with this login's verifier: there is no second one."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await out_of_band(house)
            right = Secret(await code_page(begun))
            finished = await paste.finish(house.ctx, begun.id, code=Secret("invented"))
            assert finished.account is None
            assert "invalid_grant" in finished.reason
            with pytest.raises(Conflict, match="failed"):
                await paste.finish(house.ctx, begun.id, code=right)

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["authorize:wrong_iss", "no_iss", "deny"])
def test_a_pasted_address_is_judged_like_a_callback(tmp_path: Path, fault: str) -> None:
    """Issuer and errors of a pasted answer count as they would in the browser."""

    async def story() -> None:
        async with opened(tmp_path, fault) as house:
            begun = await house.begin("me", flow="paste")
            finished = await paste.finish(house.ctx, begun.id, url=await address(house, begun))
            assert finished.account is None
            assert finished.reason
            assert house.asked("code") == 0

    asyncio.run(story())


def test_what_is_over_or_unknown_cannot_be_finished(tmp_path: Path) -> None:
    """An unknown, cancelled or expired login is refused, and the provider is not asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pytest.raises(UnknownLogin):
                await paste.finish(house.ctx, "no such login", url="http://127.0.0.1:8400/")
            for end, says in ((login.cancel, "failed"), (None, "expired")):
                begun = await house.begin("me", flow="paste")
                url = await address(house, begun)
                if end is not None:
                    await end(house.ctx, begun.id)
                else:
                    house.clock.forward(LOGIN_LIFETIME)
                with pytest.raises(Conflict, match=says):
                    await paste.finish(house.ctx, begun.id, url=url)
            assert house.asked("code") == 0

    asyncio.run(story())


def test_a_device_login_is_not_finished_by_pasting(tmp_path: Path) -> None:
    """Nothing that is pasted reaches the provider or ends the login: the yes of the person there still does."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await start(house)
            where = f"Open {house.practice.url}/device and type the code there."
            for url, code in (("", Secret("x")), ("", Secret(prompt(begun).user_code)), (f"{BROWSER_URL}/", None)):
                with pytest.raises(InvalidRequest, match="finished at the provider") as refused:
                    await paste.finish(house.ctx, begun.id, url=url, code=code)
                assert refused.value.hint == where
            assert await ended(house, begun) == ("pending", "")
            assert house.asked("code") == house.asked("device_code") == 0
            await allow(begun)
            await tick(house, INTERVAL)
            assert await ended(house, begun) == ("done", "")

    asyncio.run(story())
