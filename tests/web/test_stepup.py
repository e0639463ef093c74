"""Requests through the proxy that the login has too little scope for, or none at all any more."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from broker.practice.person import visit
from broker.practice.server import PracticeServer
from tests.e2e.home import until
from tests.web.api import Call, an_api
from tests.web.desktop import Desktop
from tests.web.house import PATIENCE
from tests.web.owner import Form, Owner
from tests.web.proxied import Proxied, problem, proxied

LACKS = 'Bearer error="insufficient_scope", error_description="More is needed."'
MCP = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
def me(desktop: Desktop, practice: PracticeServer) -> Iterator[Proxied]:
    """Log in as an account of the test's own, and run its API."""
    with proxied(desktop.house, f"me{len(practice.log.all('authorize'))}", practice.url) as found:
        yield found


def wants(practice: PracticeServer, scope: str, status: str = "403 Forbidden") -> Callable[[Call], None]:
    """Return an API that lets through who has a scope, and says to others what they lack (RFC 6750 3.1)."""

    def act(call: Call) -> None:
        known = practice.worth(call.header("authorization")[0].removeprefix("Bearer "))
        if known is not None and scope in known.scopes:
            call.answer("200 OK", {}, b"here")
        else:
            call.answer(status, {"WWW-Authenticate": f'{LACKS}, scope="openid {scope}"'})

    return act


def account(me: Proxied) -> dict[str, Any]:
    """Return what the owner is shown."""
    found: dict[str, Any] = me.house.owner.ask("GET", "/v1/accounts/{account}", 200, path={"account": me.account})
    return found


def told(me: Proxied) -> list[str]:
    """Return what the audit has of it, once that is written."""
    found: list[str] = []

    def written() -> list[str]:
        entries = me.house.owner.ask("GET", "/v1/audit", 200, params={"account": me.account})["entries"]
        found[:] = [entry["detail"] for entry in entries if entry["action"] == "scope-needed"]
        return found

    until("the audit has it", written)
    return found


def in_overview(owner: Owner, account: str) -> str:
    """Return the entry of an account on the first page, which is the first of those that it was searched among."""
    return "<li" + owner.part(f"overview?q={account}").partition('<ul class="accounts">')[2].split("<li")[1]


@pytest.mark.parametrize(("status", "by_url"), [("403 Forbidden", True), ("401 Unauthorized", False)])
def test_one_click_brings_what_is_missing(
    me: Proxied, practice: PracticeServer, owner: Owner, status: str, *, by_url: bool
) -> None:
    """Program and owner learn which scope it is, and each has an address for it; after that the same request works."""
    me.api.acts["/v1/x"] = wants(practice, "email", status)
    here = f"/proxy/{me.account}/x"

    refusals = [problem(me.app.get(here), 403, "insufficient_scope") for _ in range(2)]

    assert (refusals[0]["scope"], refusals[0]["account"]) == ("email", me.account)
    step = f"Log in for more: keyfob login {me.account} --scope email"
    assert refusals[0]["detail"] == (
        f"The API wants the scope 'email', which account '{me.account}' does not have. It says: More is needed. {step}"
    )
    shown = account(me)
    assert (shown["state"], shown["needed_scope"], shown["next_step"]) == ("active", "email", step)
    assert {shown["login_url"], *(refusal["login_url"] for refusal in refusals)} == {refusals[0]["login_url"]}
    assert told(me) == ["its API wants 'email'"]
    shown_there = owner.part(f"accounts/{me.account}").partition("for want of scope")[2]
    page = Form(shown_there.partition("</form>")[0])
    assert page.filled() == {"account": me.account, "scope": ["email"]}
    entry = in_overview(owner, me.account)
    assert entry.startswith('<li class="careful"')
    assert "Needs more scope" in entry
    assert f'href="/ui/accounts/{me.account}">See what is missing</a>' in entry
    visit(refusals[0]["login_url"] if by_url else owner.send(page)["start_url"], PATIENCE)
    assert me.app.get(here).text == "here"
    assert "for want of scope" not in owner.part(f"accounts/{me.account}")
    assert in_overview(owner, me.account).startswith('<li class="good"')
    shown = account(me)
    assert (shown["needed_scope"], shown["next_step"], shown["login_url"]) == (None, None, None)
    assert set(shown["scope"].split()) > {"openid", "email"}
    assert (shown["generation"], len(me.api.calls)) == (2, 3)  # no refresh was tried for it


def test_a_scope_that_nobody_names(me: Proxied, desktop: Desktop) -> None:
    """What the API says instead is passed on; the owner is told until a login has come since."""
    me.api.acts["/v1/x"] = lambda call: call.answer("403 Forbidden", {"WWW-Authenticate": LACKS})

    found = problem(me.app.get(f"/proxy/{me.account}/x"), 403, "insufficient_scope")

    assert "wants more scope than" in found["detail"]
    assert "It says: More is needed." in found["detail"]
    assert not {"scope", "login_url"} & set(found)
    assert account(me)["needed_scope"] == ""
    assert account(me)["next_step"].endswith("--scope SCOPE")
    desktop.now += 1
    visit(me.house.owner.ask("POST", "/v1/logins", 201, json={"account": me.account})["start_url"], PATIENCE)
    assert account(me)["needed_scope"] is None


def test_an_app_sees_no_login_that_could_become_anybodys(desktop: Desktop, practice: PracticeServer) -> None:
    """Where an account does not know its person, only the owner is shown where to log in: whoever opens it decides."""
    login = {"account": "bare", "provider": "practice", "base_url": practice.url, "scope": ["offline_access"]}
    visit(desktop.house.owner.ask("POST", "/v1/logins", 201, json=login)["start_url"], PATIENCE)
    made = {"name": "bare-app", "grants": [{"account": "bare", "mode": "proxy"}]}
    key = desktop.house.owner.ask("POST", "/v1/apps", 201, json=made)["key"]
    with an_api() as api, desktop.house.app(key).http as app:
        api.acts["/v1/x"] = wants(practice, "email")
        base = {"api_base": f"http://{api.host}/v1"}
        desktop.house.owner.ask("PATCH", "/v1/accounts/{account}", 200, path={"account": "bare"}, json=base)

        assert "login_url" not in problem(app.get("/proxy/bare/x"), 403, "insufficient_scope")

        shown = desktop.house.owner.ask("GET", "/v1/accounts/{account}", 200, path={"account": "bare"})
        assert shown["identity"] is None
        assert shown["login_url"]


def test_an_app_that_was_granted_less_asks_for_a_grant(me: Proxied, practice: PracticeServer) -> None:
    """Where the login has the scope, it is the owner's word that is missing, and no login."""
    where = {"app": f"{me.account}-app", "account": me.account}
    grant = {"mode": "proxy", "scope": ["openid"]}
    me.house.owner.ask("PUT", "/v1/apps/{app}/grants/{account}", 200, path=where, json=grant)
    me.api.acts["/v1/x"] = wants(practice, "profile")

    found = problem(me.app.get(f"/proxy/{me.account}/x"), 403, "not_granted")

    assert found["approval_url"]
    assert account(me)["needed_scope"] is None


def test_a_refusal_that_nothing_here_helps_against(me: Proxied) -> None:
    """An API that wants what the token has got is passed on as it is."""
    said = f'{LACKS}, scope="openid"'
    me.api.acts["/v1/x"] = lambda call: call.answer("403 Forbidden", {"WWW-Authenticate": said}, b"no")

    answer = me.app.get(f"/proxy/{me.account}/x")

    assert (answer.status_code, answer.text, answer.headers["www-authenticate"]) == (403, "no", said)
    assert account(me)["needed_scope"] is None


def test_a_login_that_has_ended_is_told_at_once(me: Proxied, practice: PracticeServer) -> None:
    """The request that finds out gets the way to log in, and so does each after it, though the token has time left."""

    def act(call: Call) -> None:
        known = practice.worth(call.header("authorization")[0].removeprefix("Bearer "))
        call.answer("401 Unauthorized" if known is None else "200 OK", {})

    me.api.acts["/v1/x"] = act
    practice.revoke_grants()

    for _ in range(2):
        found = problem(me.app.get(f"/proxy/{me.account}/x"), 409, "login_needed")
        assert "Log in: keyfob login" in found["detail"]
    visit(found["login_url"], PATIENCE)
    assert me.app.get(f"/proxy/{me.account}/x").status_code == 200


def test_clients_of_mcp_are_told_in_their_own_form(me: Proxied, practice: PracticeServer) -> None:
    """The same problem is the error of a JSON-RPC answer to who sends a message of MCP, and to nobody else."""
    me.api.acts["/v1/x"] = wants(practice, "email")
    here = f"/proxy/{me.account}/x"

    plain, odd = me.app.post(here), me.app.post(f"{here}%5Cy", headers=MCP)
    answer = me.app.post(here, headers=MCP)

    assert plain.headers["content-type"] == "application/problem+json"
    assert me.app.get(here, headers=MCP).headers["content-type"] == "application/problem+json"
    for one, status in ((answer, 403), (odd, 400)):
        assert (one.status_code, one.headers["content-type"]) == (status, "application/json")
        found = one.json()
        assert (found["jsonrpc"], found["id"], found["error"]["code"]) == ("2.0", None, -32090)
        assert found["error"]["message"] == found["error"]["data"]["detail"]
    assert answer.json()["error"]["data"] == plain.json()
