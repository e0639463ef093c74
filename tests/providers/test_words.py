"""What a provider's data means, in words."""

from dataclasses import replace

import pytest

from broker.providers import catalog, words
from broker.providers.model import Provider, ProviderConfig
from broker.providers.rules import Endpoints, IdentityRules, Redirect, RefreshPolicy, RevocationRules

ENDS = Endpoints(authorization="https://x.example/a", token="https://x.example/t", revocation="https://x.example/r")
PLAIN = Provider(name="it", title="It", preset="it", endpoints=ENDS, auth_methods=("client_secret_basic",))


def said(provider: Provider) -> dict[str, str]:
    """Return the sentences by their keys; no key may say two things."""
    told = words.rules(provider)
    assert len({key for key, _ in told}) == len(told)
    return dict(told)


@pytest.mark.parametrize(
    ("methods", "secret"),
    [
        ((), "optional"),
        (("none",), "none"),
        (("client_id_basic",), "none"),
        (("client_id_basic", "client_secret_basic"), "optional"),
        (("none", "client_secret_post"), "optional"),
        (("client_secret_basic", "client_secret_post"), "needed"),
    ],
)
def test_whether_a_client_has_a_secret(methods: tuple[str, ...], secret: str) -> None:
    """Where nothing is known, it may have one."""
    assert words.client_secret(replace(PLAIN, auth_methods=methods)) == secret


def test_what_is_particular_is_said() -> None:
    """Each rule that differs from the usual has its sentence, and the numbers are in it."""
    assert said(PLAIN) == {
        "auth_methods": "A client needs its secret.",
        "pkce": "Logins are bound to Keyfob by PKCE (S256).",
        "refresh.rotation": "A refresh brings a new refresh token; each is taken to be good for one use.",
        "revocation": "keyfob logout ends the tokens there.",
        "identity": "It does not say who is logged in.",
    }
    other = said(
        replace(
            PLAIN,
            pkce="plain",
            redirect=Redirect("localhost", any_port=True, out_of_band="urn:x"),
            refresh=RefreshPolicy(
                "sometimes",
                reuse_grace_s=28800,
                kills_old_access_token=True,
                refreshes_per_10_min=10,
                refresh_tokens_per_client=20,
                idle_days=14.5,
                absolute_days=365,
                dead_grant_errors=("a", "b"),
            ),
            revocation=RevocationRules(ends_login=True),
            identity=IdentityRules(url="https://x.example/me"),
            api_scheme="OAuth",
            callback_scope="scope",
            api_headers={"B": "1", "A": "2"},
        )
    )
    assert other["pkce"].endswith("plain form.")
    assert other["redirect.host"] == "The redirect URI names 'localhost', not 127.0.0.1."
    assert {"redirect.any_port", "redirect.out_of_band", "refresh.kills_old_access_token"} <= other.keys()
    assert other["callback_scope"].endswith("told when the browser comes back.")
    assert other["refresh.rotation"].endswith(
        "may bring a new refresh token, but a spent one is accepted for 8 hours more."
    )
    assert other["refresh.idle_days"].endswith("not used for 14.5 days dies.")
    assert other["refresh.absolute_days"].startswith("A login ends after 365 days")
    assert other["refresh.refreshes_per_10_min"].startswith("10 refreshes")
    assert other["refresh.refresh_tokens_per_client"].startswith("20 logins")
    assert other["refresh.dead_grant_errors"] == "A login is over at: a, b."
    assert "with every token of it" in other["revocation.ends_login"]
    assert other["identity.url"] == "Who is logged in is asked at https://x.example/me."
    assert "'Authorization: OAuth TOKEN'" in other["api_scheme"]
    assert other["api_headers"].endswith("too: A, B.")


def test_what_is_not_there_is_said() -> None:
    """No revocation, no refresh tokens, no PKCE, nothing to register, nothing known yet."""
    poor = replace(
        PLAIN, endpoints=replace(ENDS, revocation=""), grants=("authorization_code",), pkce="none", client_id="known"
    )
    assert said(poor)["revocation"].endswith("forgets it here only.")
    assert said(poor)["grants"].startswith("It gives no refresh tokens")
    assert said(poor)["pkce"].startswith("It knows no PKCE")
    assert said(poor)["client_id"].endswith("nothing has to be registered.")
    assert said(replace(poor, grants=(*poor.grants, "refresh_token"))).keys() >= {"refresh.rotation"}
    assert said(replace(PLAIN, endpoints=Endpoints())).keys() == {"discovery", "refresh.rotation"}
    told = said(replace(PLAIN, identity=IdentityRules(reply_subject="user.id")))
    assert told["identity.reply_subject"] == "It says who is logged in along with the token."


@pytest.mark.parametrize(("seconds", "span"), [(30, "30 seconds"), (90, "90 seconds"), (1800, "30 minutes")])
def test_a_grace_is_told_in_words(seconds: float, span: str) -> None:
    """In the unit that a person would take."""
    told = said(replace(PLAIN, refresh=RefreshPolicy(reuse_grace_s=seconds)))
    assert f"accepted for {span} more" in told["refresh.rotation"]


def test_a_described_preset_keeps_what_a_person_has_to_name() -> None:
    """Defaults are filled in; the rest stands in braces, to be read."""
    assert catalog.described(catalog.preset("gitea")).endpoints.token == "{base_url}/login/oauth/access_token"
    assert catalog.described(catalog.preset("gitlab")).endpoints.token == "https://gitlab.com/oauth/token"
    assert "/common/" in catalog.described(catalog.preset("microsoft")).endpoints.token


def test_doubts_end_where_somebody_says_otherwise() -> None:
    """What discovery pinned or a person said is not the preset's to doubt; the rest stays doubtful."""
    about = ProviderConfig(
        "mine",
        "zoho",
        "",
        {"scopes": ["a"], "revocation": {"auth": "client"}, "identity": {"label": ["Email"]}},
        {"endpoints": {"revocation": "https://accounts.zoho.com/r"}},
        private=False,
        created_at=0.0,
    )
    before, after = catalog.preset("zoho").unverified, catalog.background(about).unverified
    assert set(before) - set(after) == {"scopes", "endpoints.revocation", "identity.label"}
    assert set(after) < set(before)
