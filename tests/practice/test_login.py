"""The authorization endpoint, the consent page and the code exchange: strict, so that a client's mistake shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from broker.practice.grants import s256

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from tests.practice.conftest import Walk


def arrived(answer: httpx2.Response) -> dict[str, str]:
    """Return the parameters of the redirect."""
    assert answer.status_code == 303, answer.text
    return dict(pair.split("=", 1) for pair in urlsplit(answer.headers["location"]).query.split("&"))


def ticket_of(page: str) -> str:
    """Return the hidden ticket of a consent page."""
    match = re.search(r'name="ticket" value="([^"]+)"', page)
    assert match is not None
    return match[1]


def test_a_login_ends_with_tokens_and_a_true_id_token(start: Callable[..., Walk]) -> None:
    """The honest walk yields a bearer, a refresh token and an ID token with every promised claim."""
    walk = start(ttl=60)
    back = walk.come_back()
    assert (back["state"], back["iss"]) == ("the-state", walk.server.url)
    tokens = walk.exchange(back["code"]).json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 60)
    assert tokens["scope"] == "openid profile offline_access"
    claims = walk.id_token(tokens)
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (walk.server.url, "keyfob", "the-nonce")
    assert claims["iat"] == claims["auth_time"] == walk.clock.now
    assert claims["exp"] > walk.clock.now
    assert claims["at_hash"]
    assert walk.userinfo(tokens["access_token"]).json() == {
        "sub": claims["sub"],
        "preferred_username": "ada",
        "name": "Ada",
    }


def test_a_refreshed_id_token_names_the_same_person_without_a_nonce(start: Callable[..., Walk]) -> None:
    """A refresh brings an ID token with the same subject and login time (OpenID Connect Core 12.2)."""
    walk = start()
    tokens = walk.login()
    first = walk.id_token(tokens)
    walk.clock.now += 50
    second = walk.id_token(walk.refresh(tokens["refresh_token"]).json())
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])
    assert second["iat"] == first["iat"] + 50
    assert "nonce" not in second


def test_the_same_name_is_the_same_person(start: Callable[..., Walk]) -> None:
    """The subject depends on the user name alone; a hint chooses it."""
    walk = start()
    subjects = [walk.id_token(walk.login(login_hint=name))["sub"] for name in ("ada", "grace", "ada")]
    assert subjects[0] == subjects[2] != subjects[1]


def test_the_consent_page_shows_what_is_asked(start: Callable[..., Walk]) -> None:
    """The page names client, scopes and host, proposes a user, and brings its own style under a strict policy."""
    walk = start(auto_approve=False, user="grace")
    answer = walk.authorize(scope="openid read")
    assert answer.status_code == 200
    for text in ("Keyfob asks for access", ">openid<", ">read<", 'value="grace"', "127.0.0.1:8400"):
        assert text in answer.text
    policy = answer.headers["content-security-policy"]
    nonce = re.search(r"style-src 'nonce-([\w-]+)'", policy)
    assert nonce is not None
    assert f'<style nonce="{nonce[1]}">' in answer.text
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:8400;" in policy
    assert "<script" not in answer.text


def test_allow_sends_the_browser_back_with_a_code(start: Callable[..., Walk]) -> None:
    """Allow answers 303 with code, state and iss; the code gives tokens of the user who was typed."""
    walk = start(auto_approve=False)
    ticket = ticket_of(walk.authorize(scope="openid profile read").text)
    form = {"ticket": ticket, "decision": "allow", "user": "linus", "scope": ["openid", "profile"]}
    back = arrived(walk.http.post("/authorize", data=form))
    tokens = walk.exchange(back["code"]).json()
    assert tokens["scope"] == "openid profile"
    assert walk.userinfo(tokens["access_token"]).json()["preferred_username"] == "linus"


@pytest.mark.parametrize("form", [{"decision": "deny", "scope": ["openid"]}, {"decision": "allow", "scope": []}, {}])
def test_deny_sends_the_browser_back_with_access_denied(start: Callable[..., Walk], form: dict[str, str]) -> None:
    """Deny, and Allow with nothing chosen, answer access_denied with state and iss."""
    walk = start(auto_approve=False)
    back = arrived(walk.http.post("/authorize", data={"ticket": ticket_of(walk.authorize().text), **form}))
    assert (back["error"], back["state"]) == ("access_denied", "the-state")
    assert "iss" in back
    assert "code" not in back


def test_a_consent_page_counts_once_and_not_for_ever(start: Callable[..., Walk]) -> None:
    """A second decision, a late one and an invented one get a page and no redirect."""
    walk = start(auto_approve=False)
    form = {"ticket": ticket_of(walk.authorize().text), "decision": "allow", "user": "ada", "scope": "openid"}
    assert walk.http.post("/authorize", data=form).status_code == 303
    assert walk.http.post("/authorize", data=form).status_code == 400
    late = form | {"ticket": ticket_of(walk.authorize().text)}
    walk.clock.now += 601
    assert walk.http.post("/authorize", data=late).status_code == 400
    assert walk.http.post("/authorize", data=form | {"ticket": "invented"}).status_code == 400


def test_auto_approve_can_be_asked_for(start: Callable[..., Walk]) -> None:
    """The query parameter auto_approve redirects at once where the setting does not."""
    walk = start(auto_approve=False)
    assert walk.authorize().status_code == 200
    assert "code" in walk.come_back(auto_approve="1")


def test_prompt_none_without_a_session_is_login_required(start: Callable[..., Walk]) -> None:
    """Prompt none never shows a page."""
    assert start(auto_approve=False).come_back(prompt="none")["error"] == "login_required"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/callback/practice"},
        {"redirect_uri": "http://localhost:8400/callback/practice"},
        {"redirect_uri": "http://127.0.0.1:8400/elsewhere"},
        {"redirect_uri": "http://127.0.0.1:8400/callback/a/../../b"},
        {"redirect_uri": "http://127.0.0.1:8400/callback/a?next=b"},
        {"redirect_uri": "http://127.0.0.1:8400@evil.example/callback/a"},
    ],
)
def test_an_unproven_redirect_uri_is_never_followed(start: Callable[..., Walk], changes: dict[str, str | None]) -> None:
    """An unknown client or a foreign redirect URI gets a 400 page (RFC 6749 4.1.2.1)."""
    answer = start().authorize(**changes)
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1/callback/x", "http://127.0.0.1:1/callback/a-b", "http://127.0.0.1:65535/callback/practice"],
)
def test_any_loopback_port_is_keyfobs(start: Callable[..., Walk], uri: str) -> None:
    """The preregistered client may come from any port and any provider path."""
    answer = start().authorize(redirect_uri=uri)
    assert answer.headers["location"].startswith(f"{uri}?code=")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "openid everything"}, "invalid_scope"),
    ],
)
def test_a_wrong_request_comes_back_as_an_error(
    start: Callable[..., Walk], changes: dict[str, str | None], error: str
) -> None:
    """Every other mistake is told to the client, with state and iss."""
    back = start().come_back(**changes)
    assert (back["error"], back["state"]) == (error, "the-state")
    assert "iss" in back


def test_repeated_parameters_are_refused(start: Callable[..., Walk]) -> None:
    """No parameter may come twice (RFC 6749 3.1 and 3.2)."""
    walk = start()
    query = f"client_id=keyfob&client_id=keyfob&redirect_uri=x&code_challenge={s256(walk.verifier)}"
    assert walk.http.get(f"/authorize?{query}").status_code == 400
    form = {"grant_type": ["refresh_token", "refresh_token"], "client_id": "keyfob"}
    assert walk.http.post("/token", data=form).json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "a" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:8401/callback/practice"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"code": "invented"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
    ],
)
def test_a_wrong_exchange_is_refused_and_spends_nothing(
    start: Callable[..., Walk], changes: dict[str, str | None], error: str
) -> None:
    """Each mistake has its error; the honest exchange still works after it."""
    walk = start()
    code = walk.come_back()["code"]
    wrong = dict(changes)
    answer = walk.exchange(wrong.pop("code", code) or "", **wrong)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert walk.exchange(code).status_code == 200


def test_a_code_is_for_one_client_for_a_minute_and_once(start: Callable[..., Walk]) -> None:
    """A foreign client and a late one are refused; a second use also kills what the first one got."""
    walk = start()
    code = walk.come_back()["code"]
    assert walk.exchange(code, **walk.machine()).json()["error"] == "invalid_grant"
    tokens = walk.exchange(code).json()
    assert walk.exchange(code).json()["error"] == "invalid_grant"
    assert walk.userinfo(tokens["access_token"]).status_code == 401
    late = walk.come_back()["code"]
    walk.clock.now += 60
    assert walk.exchange(late).json()["error"] == "invalid_grant"


def test_out_of_band_shows_the_code(start: Callable[..., Walk]) -> None:
    """The out-of-band redirect URI ends on a page with the code, which works when it is pasted."""
    walk = start()
    oob = "urn:ietf:wg:oauth:2.0:oob"
    page = walk.authorize(redirect_uri=oob).text
    match = re.search(r'<code class="code">([\w-]+)</code>', page)
    assert match is not None
    assert walk.exchange(match[1], redirect_uri=oob).status_code == 200


def test_what_a_person_types_is_escaped(start: Callable[..., Walk]) -> None:
    """Text from outside cannot become markup."""
    page = start(auto_approve=False).authorize(login_hint='"><script>alert(1)</script>').text
    assert "<script" not in page
