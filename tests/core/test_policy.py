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
