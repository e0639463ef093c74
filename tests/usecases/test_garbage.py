"""Garbage where a token was due: the login survives every reply, and so does the token that still lives."""

import asyncio
import json
from pathlib import Path

import pytest

from broker.practice.grants import fingerprint
from broker.usecases.outcomes import Ready
from tests.usecases.house import DUE, TTL, House, opened


def field(name: str, value: object) -> str:
    """Return the fault that puts a value into a token reply."""
    return "json=" + json.dumps({name: value})


async def stored_refresh_token(house: House) -> str:
    """Return the refresh token in force."""
    _, refresh_token = await house.secrets_of(await house.account())
    assert refresh_token is not None
    return refresh_token


async def check_reason(house: House, *tokens: str | None) -> None:
    """Check that what people read names the provider and the trouble, on one line, and never a token."""
    reason = (await house.account()).state.reason
    assert "Practice server" in reason
    assert reason.isprintable()
    assert 20 < len(reason) < 300
    told = " ".join([reason, *(event.detail for event in await house.heard())])
    for token in (*tokens, "practice_at_", "practice_rt_"):
        assert (token or "?") not in told


# Replies that hold a new refresh token, plain to see, beside something that no token can be used with.
SPOILED = [
    field("expires_in", "abc"),
    field("expires_in", float("nan")),
    field("expires_in", float("inf")),
    field("expires_in", 1e308),
    field("expires_in", bool(1)),
    field("expires_in", "\N{FULLWIDTH DIGIT THREE}\N{FULLWIDTH DIGIT SIX}"),
    field("expires_in", [600]),
    field("expires_in", 0),
    field("expires_in", -1),
    field("access_token", 12345),
    field("access_token", "two\r\nlines"),
    field("access_token", ""),
    field("access_token", None),
    field("access_token", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
    "without=access_token",
    field("token_type", "DPoP"),
    field("token_type", ["Bearer"]),
    field("scope", 7),
    field("id_token", 5),
    field("id_token", "not.a.jwt"),
    field("more", "\ud800"),
    field("more", int("9" * 100)),
    "wrong_iss",
    "wrong_aud",
    "alg_none",
    "bad_signature",
]


@pytest.mark.parametrize("fault", SPOILED)
def test_a_new_refresh_token_is_kept_although_the_rest_is_useless(tmp_path: Path, fault: str) -> None:
    """At a provider whose tokens can be spent once, one good field in a bad reply is what the login hangs on."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            token, spent = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            house.practice.set_faults([f"refresh:{fault}*1"])
            await house.tick()
            kept = await stored_refresh_token(house)
            assert kept != spent
            assert fingerprint(kept) == house.practice.log.all("refresh")[-1].issued_refresh_token
            # The token from before is still what callers get, and the account says that something is wrong.
            account = await house.account()
            assert account.state.name == "refreshing-failed"
            assert "not usable" in account.state.reason
            await check_reason(house, token, spent, kept)
            outcome = await house.token()
            assert isinstance(outcome, Ready)
            assert outcome.access_token.reveal() == token
            assert await house.store.open_intents() == []
            # The next try spends the new one, and all is well again.
            house.clock.forward(16)
            await house.tick()
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok", "ok"]
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


@pytest.mark.parametrize(
    "fault",
    [
        "no_refresh_token",
        "empty_refresh_token",
        "null_refresh_token",
        field("refresh_token", 5),
        field("refresh_token", "two words"),
        field("refresh_token", ["x"]),
    ],
)
def test_no_plain_new_refresh_token_never_overwrites_the_old_one(tmp_path: Path, fault: str) -> None:
    """Null, empty and nonsense count as left out: then the old one stays (RFC 6749 6)."""

    async def live() -> None:
        # A grace without end makes the old refresh token good, as at a provider that leaves the field out on purpose.
        async with opened(tmp_path, settings={"grace": 1e6}) as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            house.practice.set_faults([f"refresh:{fault}*1"])
            await house.tick()
            account = await house.account()
            assert account.state.name == "active"
            access_token, kept = await house.secrets_of(account)
            assert access_token != token
            assert kept == refresh_token
            house.clock.forward(TTL)
            await house.tick()
            assert (await house.account()).state.name == "active"
            assert house.practice.log.all("refresh")[-1].result == "grace"

    asyncio.run(live())


@pytest.mark.parametrize(
    "fault",
    [
        field("expires_in", "3599"),
        field("expires_in", "3599.9"),
        field("expires_in", 3599.5),
        field("expires_at", 12),
        field("token_type", "bearer"),
        "without=token_type",
        "without=scope",
        field("scope", ["openid", "profile"]),
        field("more", {"deeply": {"nested": [1, 2, 3]}}),
        "no_id_token",
    ],
)
def test_what_careless_providers_send_is_understood(tmp_path: Path, fault: str) -> None:
    """Seconds as text, a type in lower case, left-out fields and unknown ones are no reason to refuse a token."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.clock.forward(DUE)
            house.practice.set_faults([f"refresh:{fault}*1"])
            await house.tick()
            account = await house.account()
            assert account.state.name == "active", account.state.reason
            assert account.generation == 2
            assert account.token is not None
            assert account.token.lifetime in (TTL, 3599.0)
            assert "openid" in account.scope

    asyncio.run(live())


def test_a_missing_lifetime_is_unknown_and_not_endless_refreshing(tmp_path: Path) -> None:
    """Without ``expires_in`` the token is used until an app reports a rejection; nobody refreshes on suspicion."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:without=expires_in") as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account()).state.name == "active"
            house.clock.forward(30 * 86400)
            assert await house.tick() is None
            assert isinstance(await house.token(min_ttl=3600), Ready)
            assert house.asked() == 1

    asyncio.run(live())


# Replies out of which nothing can be taken. Whether they were carried out cannot be told.
UNREADABLE = [
    "garbage",
    "form",
    "cut",
    "gzip",
    "big=300",
    "html",
    "html=500",
    "empty",
    "body=",
    "body=OK",
    "answer={}",
    "answer=[]",
    "answer=null",
    'answer={"access_token":"a","access_token":"b"}',
    'answer={"access_token":"a","more":' + "[" * 60 + "]" * 60 + "}",
    'answer={"access_token":"a"',
    'answer={"error":"invalid_grant"',
    'answer={"error":{"code":"invalid_grant"}}',
    "redirect=http://127.0.0.1:9/token",
]


@pytest.mark.parametrize("fault", UNREADABLE)
def test_an_unreadable_reply_neither_loses_the_refresh_token_nor_logs_out(tmp_path: Path, fault: str) -> None:
    """Nonsense says nothing about the login: the old refresh token stays, the living token is served, work goes on."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "keep"}) as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            house.practice.set_faults([f"refresh:{fault}*1"])
            await house.tick()
            account = await house.account()
            assert account.state.name in ("refreshing-failed", "uncertain")
            assert await house.secrets_of(account) == (token, refresh_token)
            await check_reason(house, token, refresh_token)
            outcome = await house.token()
            assert isinstance(outcome, Ready)
            assert outcome.access_token.reveal() == token
            assert await house.store.open_intents() == []
            house.clock.forward(TTL)
            assert isinstance(await house.token(), Ready)
            assert (await house.account()).state.name == "active"

    asyncio.run(live())
