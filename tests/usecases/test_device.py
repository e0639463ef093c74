"""A device login: polls by the clock, back-off, every way that it ends, and a restart in the middle."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import begin, device, login
from broker.usecases.newlogin import NewLogin
from tests.store import made
from tests.usecases.codes import INTERVAL, allow, cancel_in_flight, deny, ended, prompt, start, tick, told
from tests.usecases.house import Clock, House, opened


def test_the_account_is_there_once_the_person_allowed(tmp_path: Path) -> None:
    """No poll before the interval is over; then one an interval; the yes makes the account, and the polling ends."""

    async def story(house: House) -> None:
        begun = await start(house)
        assert prompt(begun).verification_uri == f"{house.practice.url}/device"
        assert begun.expires_at == house.clock() + 600
        assert await tick(house, INTERVAL - 0.1) == pytest.approx(0.1)
        assert house.asked("device_code") == 0
        assert await tick(house, 0.1) == INTERVAL
        assert await tick(house, INTERVAL - 1) == 1
        assert house.asked("device_code") == 1
        await allow(begun)
        assert await tick(house, 1) is None
        account = await house.account("me")
        assert (account.state.name, account.has_refresh_token) == ("active", True)
        assert account.identity is not None
        assert account.identity.label == "ada"
        assert await ended(house, begun) == ("done", "")
        assert [event.kind for event in await house.heard()] == ["provider-added", "login-started", "logged-in"]
        await tick(house, 60)
        assert house.asked("device_code") == 2

    told(tmp_path, story)


def test_an_id_token_is_not_promised_to_a_device(tmp_path: Path) -> None:
    """Where none comes, UserInfo tells who it is; one that comes and is not in order ends the login."""

    async def story(house: House) -> None:
        for fault, state, label in (("no_id_token", "done", "ada"), ("bad_signature", "failed", "")):
            house.practice.set_faults([f"device_code:{fault}"])
            begun = await start(house, fault)
            await allow(begun)
            await tick(house, INTERVAL)
            assert (await ended(house, begun))[0] == state
            account = await house.store.account(fault)
            assert (account.identity.label if account is not None and account.identity is not None else "") == label

    told(tmp_path, story)


def test_codes_are_sealed_and_gone_at_the_end(tmp_path: Path) -> None:
    """Neither the device code nor the user code stands readable in the database, and both go with the login."""

    async def story(house: House) -> None:
        begun = await start(house)
        waiting = await house.store.waiting_login(id=begun.id, now=house.clock())
        assert waiting is not None
        for code in (waiting.verifier.reveal(), prompt(begun).user_code):
            assert code.encode() not in made.stored_bytes(tmp_path)
        await login.cancel(house.ctx, begun.id)
        found = await house.store.login(begun.id)
        assert found is not None
        assert found.device is None
        assert made.behind(tmp_path, "SELECT count(*) FROM secret WHERE owner = ?", begun.id) == [(0,)]

    told(tmp_path, story)


def test_slow_down_counts_for_every_later_poll_and_after_a_restart(tmp_path: Path) -> None:
    """Five seconds more each time (RFC 8628 3.5), shown to people too, and still so when the daemon was restarted."""

    async def story() -> None:
        clock = Clock()
        async with AsyncExitStack() as stack:
            practice = stack.enter_context(
                practice_in_thread(PracticeSettings(faults=("device_code:error=slow_down*2",)), clock=clock)
            )
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                begun = await start(house)
                assert await tick(house, INTERVAL) == INTERVAL + 5
                assert await tick(house, INTERVAL + 5) == INTERVAL + 10
                assert await tick(house, INTERVAL + 10) == INTERVAL + 10
            clock.forward(1)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                assert await tick(house) == INTERVAL + 10
                found = await house.store.login(begun.id)
                assert found is not None
                assert prompt(found).interval == INTERVAL + 10

    asyncio.run(story())


def test_a_restart_in_the_middle(tmp_path: Path) -> None:
    """What the last daemon began, this one polls for: the person may allow it before, meanwhile or after."""

    async def story() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                begun = await start(house)
                await tick(house, INTERVAL)
            await allow(begun)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                # The last poll was a moment ago: as much as is known, the next may not come sooner.
                assert await tick(house) == INTERVAL
                await tick(house, INTERVAL)
                assert (await house.account("me")).state.name == "active"

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["status=503", "refuse", "drop", "html", "empty", "throttle=1"])
def test_trouble_makes_polls_rarer_and_ends_nothing(tmp_path: Path, fault: str) -> None:
    """Each poll without a proper answer doubles the wait up to a minute; a proper one brings the interval back."""

    async def story(house: House) -> None:
        begun = await start(house)
        waits = [await tick(house, INTERVAL)]
        for _ in range(5):
            waits.append(await tick(house, waits[-1] or 0))
        assert waits == [10, 20, 40, 60, 60, 60]
        house.practice.set_faults([])
        assert await tick(house, 60) == INTERVAL
        await allow(begun)
        await tick(house, INTERVAL)
        assert await ended(house, begun) == ("done", "")

    told(tmp_path, story, f"device_code:{fault}%100")


def test_a_throttle_is_waited_out(tmp_path: Path) -> None:
    """Retry-After is honoured where it is longer than the back-off."""

    async def story(house: House) -> None:
        await start(house)
        assert await tick(house, INTERVAL) == 90

    told(tmp_path, story, "device_code:throttle=90")


def test_the_persons_no(tmp_path: Path) -> None:
    """A refusal at the provider ends the login, and is told as what it is."""

    async def story(house: House) -> None:
        begun = await start(house)
        await deny(begun)
        assert await tick(house, INTERVAL) is None
        state, reason = await ended(house, begun)
        assert state == "failed"
        assert reason.endswith("says that access was refused there.")
        assert await house.store.accounts() == []

    told(tmp_path, story)


@pytest.mark.parametrize("by", ["the provider", "the clock"])
def test_nobody_entered_the_code(tmp_path: Path, by: str) -> None:
    """The code's end ends the login as expired, whoever notices first, and no poll comes afterwards."""

    async def story(house: House) -> None:
        begun = await start(house)
        if by == "the provider":
            house.practice.set_faults(["device_code:error=expired_token"])
            await tick(house, INTERVAL)
        else:
            await tick(house, 600)
            await login.expire(house.ctx)
        state, reason = await ended(house, begun)
        assert state == "expired"
        assert reason
        asked = house.asked("device_code")
        assert asked == (by == "the provider")
        assert await tick(house, 60) is None
        assert house.asked("device_code") == asked

    told(tmp_path, story)


def test_any_other_refusal_ends_it_in_the_providers_words(tmp_path: Path) -> None:
    """What is no word of RFC 8628 3.5 will not change by asking again."""

    async def story(house: House) -> None:
        begun = await start(house)
        assert await tick(house, INTERVAL) is None
        state, reason = await ended(house, begun)
        assert (state, "invalid_client: practice fault" in reason) == ("failed", True)

    told(tmp_path, story, "device_code:invalid_client")


def test_a_lost_answer_is_not_called_a_refusal_alone(tmp_path: Path) -> None:
    """Where the answer with the token was lost, the code is spent: the reason says what may have happened."""

    async def story(house: House) -> None:
        begun = await start(house)
        await allow(begun)
        house.practice.set_faults(["device_code:drop*1"])
        wait = await tick(house, INTERVAL)
        assert await tick(house, wait or 0) is None
        state, reason = await ended(house, begun)
        assert state == "failed"
        assert "invalid_grant" in reason
        assert "was lost" in reason

    told(tmp_path, story)


def test_cancelled_while_waiting(tmp_path: Path) -> None:
    """A login that was given up is polled no more, whatever the person does then."""

    async def story(house: House) -> None:
        begun = await start(house)
        await login.cancel(house.ctx, begun.id)
        await allow(begun)
        assert await tick(house, INTERVAL) is None
        assert house.asked("device_code") == 0
        assert await ended(house, begun) == ("failed", "The login was cancelled.")

    told(tmp_path, story)


def test_cancelled_while_the_answer_is_on_its_way(tmp_path: Path) -> None:
    """The token that still comes is given back to the provider: nobody is left logged in without knowing."""

    async def story(house: House) -> None:
        begun = await start(house)
        await allow(begun)
        await cancel_in_flight(house, begun)
        assert await ended(house, begun) == ("failed", "The login was cancelled.")
        assert (await house.store.accounts(), house.asked("revoke")) == ([], 2)  # refresh token and access token

    told(tmp_path, story)


def test_a_yes_in_the_last_second_counts(tmp_path: Path) -> None:
    """An answer that was asked for in time makes the account although the code's time is over when it comes."""

    async def story(house: House) -> None:
        begun = await start(house)
        await allow(begun)
        house.practice.set_faults(["device_code:hold"])
        house.clock.forward(599)
        await device.poll_due(house.ctx)
        await house.until_asked("device_code")
        house.clock.forward(2)
        await login.expire(house.ctx)
        assert (await ended(house, begun))[0] == "expired"
        house.practice.set_faults([])
        await tick(house)
        assert await ended(house, begun) == ("done", "")
        assert (await house.account("me")).state.name == "active"

    told(tmp_path, story)


def test_a_poll_that_dawdles_is_not_doubled(tmp_path: Path) -> None:
    """While one poll is under way no other is sent, however late it is, and other logins go on."""

    async def story(house: House) -> None:
        slow = await start(house, "slow")
        house.practice.set_faults(["device_code:hold*1"])
        house.clock.forward(INTERVAL)
        await device.poll_due(house.ctx)
        await house.until_asked("device_code")
        quick = await start(house, "quick")
        await allow(quick)
        house.clock.forward(INTERVAL)
        await device.poll_due(house.ctx)

        async def done() -> bool:
            return (await ended(house, quick))[0] == "done"

        await house.until(done)
        assert house.asked("device_code") == 2
        assert (await ended(house, slow))[0] == "pending"

    told(tmp_path, story)


def test_the_clock_is_set_meanwhile(tmp_path: Path) -> None:
    """A clock that is set back by an hour does not make the polls wait for an hour."""

    async def story(house: House) -> None:
        await start(house)
        house.clock.forward(-3600)
        house.ctx.schedule.moved -= 3600  # as ``steps`` notes it, and moves the login's own times
        due = await device.poll_due(house.ctx)
        assert due == house.clock() + INTERVAL

    told(tmp_path, story)


def test_a_client_that_comes_with_the_login(tmp_path: Path) -> None:
    """It authenticates at both endpoints with its secret, and is kept once the login has succeeded."""

    async def story(house: House) -> None:
        begun = await start(house, client_id="keyfob-machine", client_secret=Secret("practice-secret"))
        assert await house.store.clients("practice-127-0-0-1") == []
        await allow(begun)
        await tick(house, INTERVAL)
        account = await house.account("me")
        assert account.destination.client_id == "keyfob-machine"
        assert [client.client_id for client in await house.store.clients(account.provider)] == ["keyfob-machine"]

    told(tmp_path, story, client_secret=Secret("practice-secret"))


@pytest.mark.parametrize(
    ("fault", "error", "told_so"),
    [
        ("error=unauthorized_client", LoginFailed, "unauthorized_client"),
        ("status=503", ProviderUnavailable, "HTTP 503"),
        ("throttle=7", ProviderUnavailable, "throttling"),
        ("refuse", ProviderUnavailable, "no code"),
        ('json={"verification_uri": "http://evil.example/"}', ProviderUnavailable, "verification_uri"),
    ],
)
def test_no_codes_no_login(tmp_path: Path, fault: str, error: type[Exception], told_so: str) -> None:
    """A provider that gives no usable codes is told as such, and nothing is kept."""

    async def story(house: House) -> None:
        with pytest.raises(error, match=told_so):
            await start(house)
        assert await house.store.logins_pending() == []

    told(tmp_path, story, f"device_authorization:{fault}%100")


def test_the_flow_is_chosen_by_what_the_provider_offers(tmp_path: Path) -> None:
    """The first of the wanted flows that is there; where none is, those that are there are named."""

    async def story(house: House) -> None:
        by = NewLogin("practice", base_url=house.practice.url)
        assert (await begin.begin(house.ctx, by, ("device", "paste"))).flow == "device"
        await house.add_provider(name="pages", endpoints={"device_authorization": ""})
        assert (await begin.begin(house.ctx, NewLogin("pages"), ("device", "paste"))).flow == "paste"
        with pytest.raises(InvalidRequest) as refused:
            await begin.begin(house.ctx, NewLogin("pages"), ("device",))
        assert "--flow browser, --flow paste" in refused.value.hint
        await house.add_provider(name="codes", endpoints={"authorization": ""})
        assert (await begin.begin(house.ctx, NewLogin("codes"), ("browser", "device"))).flow == "device"

    told(tmp_path, story)
