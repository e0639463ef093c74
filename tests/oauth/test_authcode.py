"""The browser's end of a login (security.md R01 to R06, R15, R51)."""

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.core.secret import Secret
from broker.errors import LoginFailed
from broker.oauth import authcode
from broker.providers.model import Provider
from broker.providers.rules import Pkce

PROVIDER = Provider(name="p", title="P", preset="generic")
ISSUER = "https://as.example"


def begin(provider: Provider = PROVIDER, **changes: object) -> authcode.AuthRequest:
    """Begin a request with usual values."""
    given: dict[str, object] = {
        "client_id": "id",
        "redirect_uri": "http://127.0.0.1:8400/callback/p",
        "scope": ("read", "write"),
        "resource": None,
        "authorization_endpoint": "https://as.example/authorize?tenant=a%20b",
        "openid": False,
        "public": True,
        **changes,
    }
    return authcode.begin(provider, **given)  # type: ignore[arg-type]  # keyword arguments by name


def query(request: authcode.AuthRequest) -> dict[str, list[str]]:
    """Return the parameters of a request."""
    return parse_qs(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True)


def test_the_url_carries_all_that_was_made_for_it() -> None:
    """State, S256 challenge and redirect URI are in the URL; the endpoint's own query stays."""
    request = begin()
    challenge = urlsafe_b64encode(hashlib.sha256(request.verifier.reveal().encode()).digest()).rstrip(b"=").decode()
    assert request.url.startswith("https://as.example/authorize?")
    assert query(request) == {
        "tenant": ["a b"],
        "response_type": ["code"],
        "client_id": ["id"],
        "redirect_uri": ["http://127.0.0.1:8400/callback/p"],
        "scope": ["read write"],
        "state": [request.state.reveal()],
        "code_challenge": [challenge],
        "code_challenge_method": ["S256"],
    }
    assert request.verifier.reveal() not in request.url
    assert request.nonce == ""


def test_nothing_is_made_twice() -> None:
    """State, verifier and nonce are new in every login, and long enough not to be guessed (R01, R02)."""
    made = [begin(openid=True) for _ in range(20)]
    secrets = {secret for one in made for secret in (one.state.reveal(), one.verifier.reveal(), one.nonce)}
    assert len(secrets) == 60
    assert {len(secret) for secret in secrets} == {43}


def test_openid_gets_a_nonce_and_asks_for_consent_to_stay() -> None:
    """Without prompt=consent many servers leave the refresh token out in silence (OpenID Connect Core 11)."""
    request = begin(openid=True, scope=("openid", "offline_access"))
    assert query(request)["nonce"] == [request.nonce]
    assert query(request)["prompt"] == ["consent"]
    assert "prompt" not in query(begin(openid=True, scope=("openid",)))


@pytest.mark.parametrize(("pkce", "public", "method"), [
    ("S256", True, "S256"), ("S256", False, "S256"),
    ("S256-public", True, "S256"), ("S256-public", False, None),
    ("plain", True, "plain"), ("plain", False, "plain"),
    ("none", True, None), ("none", False, None),
])  # fmt: skip
def test_pkce_is_as_the_preset_says_and_never_less(pkce: Pkce, public: bool, method: str | None) -> None:  # noqa: FBT001 -- a case
    """S256 unless a preset says otherwise in so many words (R02, R03); without PKCE it is the state that protects."""
    request = begin(replace(PROVIDER, pkce=pkce), public=public)
    sent = query(request)
    assert sent.get("code_challenge_method") == (None if method is None else [method])
    assert bool(request.verifier) == ("code_challenge" in sent) == (method is not None)
    assert (request.verifier.reveal() in request.url) == (method != "S256"), "only plain shows it; empty is in all"
    assert sent["state"] == [request.state.reveal()]
    assert len(request.state.reveal()) == 43


def test_scopes_go_under_the_name_that_the_provider_has_for_them() -> None:
    """Slack's person is asked for ``user_scope``; where none is asked for, none is named."""
    provider = replace(PROVIDER, scope_parameter="user_scope", scope_separator=",")
    assert query(begin(provider))["user_scope"] == ["read,write"]
    assert "scope" not in query(begin(provider))
    assert not {"scope", "user_scope"} & query(begin(provider, scope=())).keys()


def test_an_account_at_another_place_of_the_provider_is_told_so() -> None:
    """A parameter that is there has to hold what belongs to this login; the code is not read, let alone sent."""
    checks = {"accounts-server": "https://accounts.zoho.eu"}
    here, there = ("accounts-server", "https://accounts.zoho.eu"), ("accounts-server", "https://accounts.zoho.com\r\n")
    for params in ([("code", "c")], [("code", "c"), here]):
        assert authcode.read_callback(params, issuer="", iss_required=False, checks=checks) == authcode.Code(
            Secret("c")
        )
    with pytest.raises(LoginFailed, match=r"another data centre.*accounts\.zoho\.com'.*accounts\.zoho\.eu") as caught:
        authcode.read_callback([("code", "marker"), there], issuer="", iss_required=False, checks=checks)
    assert "marker" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_preset_adds_its_own_parameters() -> None:
    """Extra parameters, the resource and the scope separator of the provider are honoured."""
    provider = replace(PROVIDER, authorize_params={"access_type": "offline", "prompt": "select"}, scope_separator=",")
    request = begin(provider, openid=True, scope=("openid", "offline_access"), resource="https://api.example/v1")
    assert query(request)["access_type"] == ["offline"]
    assert query(request)["prompt"] == ["select"]
    assert query(request)["resource"] == ["https://api.example/v1"]
    assert query(request)["scope"] == ["openid,offline_access"]


def test_a_code_comes_out() -> None:
    """The plain case, with and without an issuer."""
    answer = authcode.read_callback(
        [("code", "c"), ("state", "s"), ("iss", ISSUER)], issuer=ISSUER, iss_required=True, checks={}
    )
    assert isinstance(answer, authcode.Code)
    assert answer.code.reveal() == "c"
    assert isinstance(authcode.read_callback([("code", "c")], issuer="", iss_required=False, checks={}), authcode.Code)


def test_an_error_comes_out_cleaned() -> None:
    """What the provider says is text for people: no markup quotes, no controls (R51)."""
    params = [("error", "access_denied"), ("error_description", 'no\x1b "<script>"'), ("state", "s")]
    answer = authcode.read_callback(params, issuer=ISSUER, iss_required=False, checks={})
    assert answer == authcode.CallbackError("access_denied", "no  '<script>'")


BAD = {
    "a code twice": [("code", "a"), ("code", "b")],
    "a state twice": [("code", "a"), ("state", "s"), ("state", "s")],
    "an issuer twice": [("code", "a"), ("iss", ISSUER), ("iss", ISSUER)],
    "too long": [("code", "a" * 2049)],
    "too long in a field nobody reads": [("code", "a"), ("x", "y" * 2049)],
    "a name too long": [("code", "a"), ("x" * 2049, "y")],
    "too many": [("code", "a"), *((f"p{n}", "") for n in range(40))],
    "another issuer": [("code", "a"), ("iss", "https://evil.example")],
    "nearly the issuer": [("code", "a"), ("iss", ISSUER + "/")],
    "another issuer in an error": [("error", "access_denied"), ("iss", "https://evil.example")],
    "an empty issuer": [("code", "a"), ("iss", "")],
    "code and error": [("code", "a"), ("error", "b")],
    "neither": [("state", "s")],
    "an empty code": [("code", "")],
    "nothing": [],
    "a code with a line end": [("code", "a\r\nb")],
    "a code of another script": [("code", "é")],
}


@pytest.mark.parametrize("params", BAD.values(), ids=BAD.keys())
def test_an_answer_that_is_not_believed_ends_the_login(params: list[tuple[str, str]]) -> None:
    """Hostile input ends the login with no request to anybody (R06, R15)."""
    with pytest.raises(LoginFailed):
        authcode.read_callback(params, issuer=ISSUER, iss_required=False, checks={})


@pytest.mark.parametrize("params", [[("code", "a")], [("error", "access_denied")]])
def test_a_promised_issuer_has_to_be_there(params: list[tuple[str, str]]) -> None:
    """A server that announces iss sends it in every answer, errors included (RFC 9207 2.4)."""
    with pytest.raises(LoginFailed, match="does not say which server"):
        authcode.read_callback(params, issuer=ISSUER, iss_required=True, checks={})


def test_a_person_still_reads_what_an_unbelieved_error_says() -> None:
    """Some servers forget iss in errors: the login ends all the same, and the person learns why."""
    with pytest.raises(LoginFailed, match="access_denied"):
        authcode.read_callback([("error", "access_denied")], issuer=ISSUER, iss_required=True, checks={})


def test_a_request_does_not_print_its_secrets() -> None:
    """State is in the URL by nature; the verifier is nowhere in the repr."""
    request = begin()
    assert request.verifier.reveal() not in repr(request)
