"""Who may have which token."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.policy import Allowed, App, AppGrant, Ask, Caller, Denied, Narrow, Owner, decide
from broker.core.token import Wish

NOW = 1_800_000_000.0
API = "https://api.example.org"
OTHER = "https://other.example.org"
READ = AppGrant("me")

scopes = st.lists(st.sampled_from(["read", "write", "admin"]), max_size=3).map(tuple)


def app(*grants: AppGrant) -> App:
    """Make an app with these grants."""
    return App("backup", grants)


@pytest.mark.parametrize(
    ("caller", "ask", "granted", "resource"),
    [
        (Owner(), Ask("me"), (), None),
        (Owner(), Ask("me"), ("read",), API),
        (Owner(), Ask("me", ("write", "read")), ("read", "write"), None),
        (Owner(), Ask("me", ("anything",)), (), None),
        (Owner(), Ask("me", resource=API), ("read",), API),
        (app(READ), Ask("me"), ("read", "write"), None),
        (app(AppGrant("other"), READ), Ask("me"), ("read",), None),
        (app(READ), Ask("me", ("write", "read")), ("read", "write"), None),
        (app(replace(READ, scope=("read", "write"))), Ask("me", ("read", "write")), ("read", "write"), None),
        (app(replace(READ, scope=("read", "write"))), Ask("me"), ("read",), None),
        (app(replace(READ, resource=API)), Ask("me"), ("read",), API),
        (app(replace(READ, resource=API)), Ask("me", resource=API), ("read",), API),
        (app(replace(READ, expires_at=NOW + 1)), Ask("me"), ("read",), None),
    ],
)
def test_what_was_granted_is_allowed(caller: Caller, ask: Ask, granted: tuple[str, ...], resource: str | None) -> None:
    """The owner gets what the account has; an app what it was granted of it."""
    assert decide(caller, ask, granted, resource, NOW) == Allowed()


def test_a_grant_is_of_an_account_and_not_of_a_name() -> None:
    """Where both are known by uuid the name decides nothing: after a rename it may be another account's."""
    granted = app(AppGrant("me", uuid="1"))

    assert decide(granted, Ask("me"), ("read",), None, NOW, uuid="1") == Allowed()
    assert decide(granted, Ask("renamed"), ("read",), None, NOW, uuid="1") == Allowed()
    assert isinstance(decide(granted, Ask("me"), ("read",), None, NOW, uuid="2"), Denied)


@pytest.mark.parametrize(
    ("caller", "ask", "granted", "resource", "why"),
    [
        (Owner(), Ask("me", ("admin",)), ("read",), None, "'me' was not granted the scope 'admin' at login"),
        (app(), Ask("me"), ("read",), None, "app 'backup' was not granted account 'me'"),
        (app(AppGrant("other")), Ask("me"), ("read",), None, "was not granted account 'me'"),
        (app(AppGrant("ME")), Ask("me"), ("read",), None, "was not granted account 'me'"),
        (app(replace(READ, expires_at=NOW)), Ask("me"), ("read",), None, "has expired"),
        (app(replace(READ, expires_at=NOW - 1)), Ask("me"), ("read",), None, "has expired"),
        (app(replace(READ, mode="proxy")), Ask("me"), ("read",), None, "through the proxy only"),
        (app(replace(READ, mode="new-mode")), Ask("me"), ("read",), None, "through the proxy only"),
        (app(READ), Ask("me", resource=OTHER), ("read",), API, "was granted no resource but the account's own"),
        (app(READ), Ask("me", resource=OTHER), ("read",), None, "was granted no resource but the account's own"),
        (app(replace(READ, resource=OTHER)), Ask("me", resource=API), ("read",), API, f"resource '{OTHER}' only"),
        (
            app(replace(READ, scope=("read",))),
            Ask("me", ("write",)),
            ("read", "write"),
            None,
            "app 'backup' was not granted the scope 'write'",
        ),
        # It may have nothing of what the token carries.
        (app(replace(READ, scope=("admin",))), Ask("me"), ("read", "write"), None, "carries more than app"),
    ],
)
def test_what_was_not_granted_is_denied_with_the_reason(
    caller: Caller, ask: Ask, granted: tuple[str, ...], resource: str | None, why: str
) -> None:
    """A refusal names what is missing, so that the owner knows which grant to give."""
    decision = decide(caller, ask, granted, resource, NOW)
    assert isinstance(decision, Denied)
    assert why in decision.reason


@pytest.mark.parametrize(
    ("caller", "ask", "granted", "resource", "wish"),
    [
        (Owner(), Ask("me", ("read",)), ("read", "write"), None, Wish(("read",), None)),
        (Owner(), Ask("me", ("write", "read")), ("admin", "read", "write"), API, Wish(("read", "write"), API)),
        (app(READ), Ask("me", ("write",)), ("read", "write"), None, Wish(("write",), None)),
        (
            app(replace(READ, scope=("read", "write"))),
            Ask("me", ("read",)),
            ("read", "write"),
            None,
            Wish(("read",), None),
        ),
    ],
)
def test_whoever_asks_for_less_gets_less_where_it_can_be_had(
    caller: Caller, ask: Ask, granted: tuple[str, ...], resource: str | None, wish: Wish
) -> None:
    """A request for less than the caller may have is one for a narrower token, and the whole one will do."""
    assert decide(caller, ask, granted, resource, NOW) == Narrow(wish, own_will_do=True)


@pytest.mark.parametrize(
    ("caller", "ask", "own", "wish"),
    [
        (Owner(), Ask("me", audience="bill"), (None, None), Wish((), None, "bill")),
        # What the account's own is for would make the token good for both.
        (Owner(), Ask("me", ("read",), audience="bill"), (API, "own"), Wish(("read",), None, "bill")),
        (Owner(), Ask("me", resource=API, audience="bill"), (API, None), Wish((), API, "bill")),
        (Owner(), Ask("me", resource=OTHER), (None, "own"), Wish((), OTHER)),
        (Owner(), Ask("me", resource=OTHER, audience="own"), (None, "own"), Wish((), OTHER, "own")),
        # An app gets no more than the account has, whatever the provider gives for another audience.
        (app(READ), Ask("me", audience="bill"), (None, None), Wish(("read", "write"), None, "bill")),
        (app(replace(READ, scope=("read",))), Ask("me", audience="bill"), (None, None), Wish(("read",), None, "bill")),
        (app(READ), Ask("me", ("write",), audience="bill"), (None, None), Wish(("write",), None, "bill")),
    ],
)
def test_another_audience_is_a_token_of_its_own(
    caller: Caller, ask: Ask, own: tuple[str | None, str | None], wish: Wish
) -> None:
    """The account's own token never serves for it, and an app's scope stays limited."""
    decision = decide(caller, ask, ("read", "write"), own[0], NOW, own[1])
    assert isinstance(decision, Narrow)
    assert (decision.wish, decision.own_will_do) == (wish, False)
    assert "is not for" in decision.reason


def test_the_accounts_own_audience() -> None:
    """Asked for by name it is the account's own token; what carries less of it is for nobody else."""
    assert decide(Owner(), Ask("me", audience="own"), ("read",), None, NOW, "own") == Allowed()
    assert decide(app(READ), Ask("me", audience="own"), ("read",), API, NOW, "own") == Allowed()
    less = decide(app(replace(READ, scope=("read",))), Ask("me"), ("read", "write"), API, NOW, "own")
    assert isinstance(less, Narrow)
    assert less.wish == Wish(("read",), API, "own")


@pytest.mark.parametrize(
    ("grant", "own", "why"),
    [
        (replace(READ, resource=API), (None, None), f"was granted resource '{API}' only, and no audience"),
        (replace(READ, resource=API), (API, None), f"was granted resource '{API}' only, and no audience"),
        (READ, (API, None), "was granted no audience but the account's own"),
        (READ, (None, "own"), "was granted no audience but the account's own"),
        (replace(READ, mode="proxy"), (None, None), "through the proxy only"),
        (replace(READ, expires_at=NOW), (None, None), "has expired"),
        (AppGrant("other"), (None, None), "was not granted account 'me'"),
    ],
)
def test_an_audience_is_no_way_around_a_limit(grant: AppGrant, own: tuple[str | None, str | None], why: str) -> None:
    """Who may go to one place only gets to no other by calling it by another name."""
    decision = decide(app(grant), Ask("me", audience="bill"), ("read",), own[0], NOW, own[1])
    assert isinstance(decision, Denied)
    assert why in decision.reason
    assert decision.app == "backup"


@pytest.mark.parametrize(
    ("caller", "ask", "granted", "resource", "wish", "why"),
    [
        (Owner(), Ask("me", resource=OTHER), ("read",), API, Wish((), OTHER), f"is not for resource '{OTHER}'"),
        (Owner(), Ask("me", resource=OTHER), ("read",), None, Wish((), OTHER), f"is not for resource '{OTHER}'"),
        (app(replace(READ, resource=OTHER)), Ask("me"), ("read",), API, Wish((), OTHER), "is not for resource"),
        (
            app(replace(READ, resource=OTHER)),
            Ask("me", ("read",), OTHER),
            ("read", "write"),
            None,
            Wish(("read",), OTHER),
            "is not for resource",
        ),
        (
            app(replace(READ, scope=("read",))),
            Ask("me", ("read",)),
            ("read", "write"),
            None,
            Wish(("read",), None),
            "carries more than app 'backup' may have: 'write'",
        ),
        (
            app(replace(READ, scope=("admin", "read"))),
            Ask("me"),
            ("read", "write"),
            None,
            Wish(("read",), None),
            "carries more than app 'backup' may have: 'write'",
        ),
        # The provider does not tell what the token carries: it may be anything.
        (app(replace(READ, scope=("read",))), Ask("me"), (), None, Wish(("read",), None), "may carry more than app"),
    ],
)
def test_where_the_accounts_own_token_will_not_do(
    caller: Caller, ask: Ask, granted: tuple[str, ...], resource: str | None, wish: Wish, why: str
) -> None:
    """Whoever may not have the account's own token is given another or none, and the reason is known."""
    decision = decide(caller, ask, granted, resource, NOW)
    assert isinstance(decision, Narrow)
    assert (decision.wish, decision.own_will_do) == (wish, False)
    assert why in decision.reason


@given(ask=scopes, carried=scopes, granted=scopes)
def test_an_app_with_a_scope_never_gets_a_token_that_carries_more(
    ask: tuple[str, ...], carried: tuple[str, ...], granted: tuple[str, ...]
) -> None:
    """Whatever an app asks for, the account's own token is given only if its whole scope was granted to it."""
    decision = decide(app(replace(READ, scope=granted)), Ask("me", ask), carried, None, NOW)
    if granted and not set(carried) <= set(granted):
        assert isinstance(decision, Denied) or (isinstance(decision, Narrow) and not decision.own_will_do)
    if granted and isinstance(decision, Narrow):
        assert set() < set(decision.wish.scope) <= set(granted)


@given(ask=scopes, carried=scopes, granted=scopes, resource=st.sampled_from([None, API, OTHER]))
def test_an_app_never_gets_what_its_owner_would_not(
    ask: tuple[str, ...], carried: tuple[str, ...], granted: tuple[str, ...], resource: str | None
) -> None:
    """A grant only narrows: what is denied to the owner is denied to every app."""
    wish = Ask("me", ask, resource)
    if isinstance(decide(Owner(), wish, carried, API, NOW), Denied):
        assert isinstance(decide(app(replace(READ, scope=granted)), wish, carried, API, NOW), Denied)
