"""A person is told when an account waits for one: once, and with the facts."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker import notify
from broker.core.account import Misconfigured, NeedsLogin, State, Suspect, Uncertain
from broker.core.secret import Secret
from broker.core.token import Token
from broker.usecases import accounts, given, rename
from broker.usecases.newlogin import NewLogin
from tests.notify.hooks import DAY, MINUTE, SCRIPT, Hook, announcer, into, program, running
from tests.store import made
from tests.usecases.house import Clock, opened
from tests.usecases.kin import begin, derived_from

# Writes down what it was told, and ends when it may.
SLOW = """{script}
while [ ! -e '{place}/go' ]; do sleep 0.01; done
"""
PROVIDERS_WORDS = "gone\n\x1b[2J\x00 \u202eevil"


def test_a_dead_login_is_told_as_it_dies(tmp_path: Path, hook: Hook) -> None:
    """The provider ends the login: at the next refresh the command runs, with the account, why, and the way out."""

    async def live() -> None:
        async with opened(tmp_path) as house, running(house, hook.command):
            await house.log_in()
            house.practice.revoke_grants()
            house.clock.forward(DAY)
            await house.tick()

            await house.until(lambda: told(1))

            account = await house.account()
            assert hook.lines == [
                {
                    "event": "needs-login",
                    "account": "me",
                    "provider": account.provider,
                    "reason": account.state.reason,
                    "since": "2027-01-16T08:00:00.000Z",
                    "next_step": "Log in again: keyfob login me",
                    "login_command": "keyfob login me",
                }
            ]
            assert {f"KEYFOB_{name.upper()}": value for name, value in hook.lines[0].items()}.items() <= (
                hook.environ.items()
            )
            assert "invalid_grant" in account.state.reason

    async def told(count: int) -> bool:
        return len(hook.environ) > 0 and len(hook.lines) == count

    asyncio.run(live())


def test_what_is_derived_from_a_dead_login_is_not_told_beside_it(tmp_path: Path, hook: Hook) -> None:
    """One login is one matter for a person; only what is derived from an account that is gone is told of itself."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            house.practice.revoke_grants()
            house.clock.forward(DAY)
            await house.tick()
            crier = announcer(house, hook.command)
            await crier.look()
            assert [line["account"] for line in hook.lines] == ["me"]
            await accounts.log_out(house.ctx, "me", local_only=True)
            await crier.look()
            assert [line["account"] for line in hook.lines] == ["me", "bill"]
            assert "keyfob login bill --flow token-exchange" in hook.lines[1]["next_step"]

    asyncio.run(live())


def test_told_once(tmp_path: Path, hook: Hook) -> None:
    """Neither later looks nor a restart tell the same again; after a day it is said once more, and so on."""

    async def first(clock: Clock) -> None:
        async with opened(tmp_path, clock=clock) as house:
            await into(house, NeedsLogin(clock(), "ended"))
            crier = announcer(house, hook.command)
            await crier.look()
            clock.forward(DAY - 1)
            await crier.look()
            assert hook.runs == 1

    async def second(clock: Clock) -> None:
        async with opened(tmp_path, clock=clock) as house:
            crier = announcer(house, hook.command)
            await crier.look()
            assert hook.runs == 1
            clock.forward(1)
            await crier.look()
            await crier.look()
            assert hook.runs == 2
            assert [entry.action for entry in await house.store.audit(account="me")].count("notified") == 2

    clock = Clock()
    asyncio.run(first(clock))
    asyncio.run(second(clock))


def test_a_new_name_while_it_is_told(tmp_path: Path, hook: Hook) -> None:
    """The account got another name while the command ran: that it was told is remembered of it, past a restart."""

    async def first(clock: Clock) -> None:
        async with opened(tmp_path, clock=clock) as house:
            await into(house, NeedsLogin(clock(), "ended"))
            program(hook.place / "hook", SLOW.format(script=SCRIPT.format(place=f"'{hook.place}'"), place=hook.place))
            looking = asyncio.create_task(announcer(house, hook.command).look())
            await house.until(lambda: asyncio.to_thread((hook.place / "runs").exists))
            await rename.rename(house.ctx, "me", "mail")
            (hook.place / "go").touch()
            await looking

    async def second(clock: Clock) -> None:
        async with opened(tmp_path, clock=clock) as house:
            await announcer(house, hook.command).look()
            assert [line["account"] for line in hook.lines] == ["me"]

    clock = Clock()
    asyncio.run(first(clock))
    asyncio.run(second(clock))


def test_another_death_is_told_again(tmp_path: Path, hook: Hook) -> None:
    """A login that was mended and ended anew within the day is told of at once."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            crier = announcer(house, hook.command)
            await crier.look()
            house.clock.forward(MINUTE)
            await into(house, NeedsLogin(house.clock(), "ended anew"))
            await crier.look()
            assert [line["reason"] for line in hook.lines] == ["ended", "ended anew"]

    asyncio.run(live())


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (Misconfigured(1.0, "refused", 901.0), "Mend the client"),
        (Suspect(1.0, "a copy"), "keyfob refresh me --confirm"),
        (Uncertain(1.0, "lost", 2.0), None),
    ],
)
def test_what_needs_a_person(tmp_path: Path, hook: Hook, state: State, step: str | None) -> None:
    """A refused client and a doubtful database wait for a person; a lost answer does not: Keyfob finds out itself."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, state)
            await announcer(house, hook.command).look()
            assert [line["event"] for line in hook.lines] == ([state.name] if step else [])
            assert step is None or step in hook.lines[0]["next_step"]

    asyncio.run(live())


def test_a_token_that_nothing_can_renew(tmp_path: Path, hook: Hook) -> None:
    """A token without a refresh token needs a person once it has run out, and not before."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "none"}) as house:
            account = await house.log_in()
            alone = replace(account, has_refresh_token=False)
            ends = house.clock() + MINUTE
            crier = announcer(house, hook.command)
            await house.store.swap(replace(alone, token=Token("Bearer", (), house.clock(), ends)))
            made.behind(tmp_path, f"UPDATE account SET refresh_generation = NULL, expires_at = {ends}")  # noqa: S608 -- a number
            await crier.look()
            assert hook.lines == []
            house.clock.forward(MINUTE)
            await crier.look()
            assert [line["event"] for line in hook.lines] == ["expired"]

    asyncio.run(live())


def test_the_command_gets_no_secret_and_no_tricks(tmp_path: Path, hook: Hook) -> None:
    """The daemon's own variables stay with the daemon, and a provider's words come as one line of plain text."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), PROVIDERS_WORDS + "x" * 9999))
            own = {
                "KEYFOB_KEY_COMMAND": "pass",
                "CREDENTIALS_DIRECTORY": "/run/c",
                "LISTEN_FDS": "3",
                "SHELL_LIKE": "1",
            }
            await announcer(house, hook.command, own).look()
            assert set(hook.environ) & set(own) == {"SHELL_LIKE"}
            assert hook.environ["KEYFOB_REASON"].startswith("gone  [2J   evil")
            assert len(hook.environ["KEYFOB_REASON"]) == notify.MOST_REASON
            assert hook.lines[0]["reason"] == hook.environ["KEYFOB_REASON"]
            told = json.dumps(hook.lines) + json.dumps(hook.environ)
            for secret in await house.secrets_of(await house.account()):
                assert secret
                assert secret not in told

    asyncio.run(live())


def test_an_audit_that_cannot_be_written(tmp_path: Path, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    """A person is told all the same, and by this process once only."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await into(house, NeedsLogin(house.clock(), "ended"))
            made.behind(
                tmp_path,
                "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'database is full'); END",
            )
            crier = announcer(house, hook.command)
            await crier.look()
            await crier.look()
            assert hook.runs == 1
            assert "not in the audit" in caplog.text

    asyncio.run(live())


def test_a_token_that_will_end_is_told_once_a_week_and_once_a_day_before(tmp_path: Path, hook: Hook) -> None:
    """Whatever looks and restarts there are in between: seven days before its end, one day before, and at its end."""

    async def day(clock: Clock, *, bring: bool = False) -> None:
        async with opened(tmp_path, clock=clock, settings={"ttl": 400 * DAY}) as house:
            if bring:
                access_token, _ = await house.secrets_of(await house.log_in("elsewhere"))
                new = NewLogin(provider="practice", account="me", base_url=house.practice.url)
                await given.bring_token(house.ctx, new, Secret(access_token or ""), clock() + 90 * DAY)
                await accounts.log_out(house.ctx, "elsewhere", local_only=True)
            crier = announcer(house, hook.command)
            await crier.look()
            await crier.look()

    clock = Clock()
    told: list[tuple[int, str]] = []
    for number in range(92):
        asyncio.run(day(clock, bring=number == 0))
        if len(hook.lines) > len(told):
            told.append((number, hook.lines[-1]["event"]))
        clock.forward(DAY)

    assert told[:3] == [(83, "ends-in-a-week"), (89, "ends-in-a-day"), (90, "expired")]
    assert (
        hook.lines[0]["next_step"]
        == "Before it ends, bring a new token: keyfob login me --flow token --token-file FILE"
    )
    assert hook.lines[0]["reason"].startswith("The token ends at 2027-04-15 08:00 UTC")
