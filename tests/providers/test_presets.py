"""Every preset that comes with Keyfob, checked as data."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from broker.core.login import PUBLIC
from broker.providers import catalog, rules, shape, words
from broker.providers.flows import offered
from broker.providers.model import Preset, Provider, ProviderConfig
from broker.usecases import login
from broker.usecases.context import Context

SHIPPED = catalog.presets()
# Two that are ours: for any server, and for the one that comes along.
OURS = {"generic", "practice"}
NAMES = sorted(SHIPPED.keys() - OURS)
BASE_URL = "https://instance.example"
# Filled in when they are used, each in its own place only.
LATE = {
    "client_id": r"\{origin\}/",
    "endpoints.revocation": r"https://[a-z.]+(/[a-z]+)*/\{client_id\}(/[a-z]+)*",
    "api_headers": r"\{client_id\}",
    "registration.fields": r"\{(name|redirect_uris|scope)\}",
}
# Endpoints at another registrable domain than the authorization endpoint, each with its reason. Codes, tokens or client
# secrets go there, so none may slip in unseen.
ELSEWHERE = {
    "dropbox": ({"dropboxapi.com"}, "Dropbox has its API at a domain of its own"),
    "google": ({"googleapis.com"}, "Google has its APIs at a domain of their own"),
    "microsoft": ({"microsoft.com"}, "Graph says who is logged in"),
    "withings": ({"withings.net"}, "Withings has its API at a domain of its own"),
    "yandex": ({"yandex.ru"}, "Yandex ID says who is logged in at its first domain"),
}
# What needs no scope at a login: the provider has none, or gives what its app was set up with, or a useful least.
WITHOUT_SCOPES = {
    "anilist", "basecamp", "bitbucket", "box", "dropbox", "github-app", "home-assistant", "lichess", "mailchimp",
    "myanimelist", "nextcloud", "notion", "soundcloud", "trakt", "yandex", "ynab", "zoom",
}  # fmt: skip
# RFC 6749 3.3.
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
OUT_OF_BAND = re.compile(r"urn:ietf:wg:oauth:2\.0:oob|https://[a-z0-9.]+/[a-z0-9/]+")


def sample(preset: Preset, **overrides: Any) -> Provider:  # noqa: ANN401 -- values in a preset file's shape
    """Resolve a preset for somebody who names what has to be named, and nothing else."""
    values = {name: "sample" for name, one in preset.parameters.items() if not one.default}
    config = ProviderConfig(
        preset.name,
        preset.name,
        BASE_URL if preset.needs_base_url else "",
        {**overrides, **({"values": values} if values else {})},
        {},
        private=False,
        created_at=0.0,
    )
    return catalog.resolve(config)


def domain(url: str) -> str:
    """Return the registrable domain of an address; every suffix that presets know has one label."""
    return ".".join((urlsplit(url).hostname or "").split(".")[-2:])


def texts(value: object, where: str = "") -> list[tuple[str, str]]:
    """Return every text in a provider with the dotted name of its place."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, dict):
        dotted = f"{where}." if where else ""
        return [pair for key, item in value.items() for pair in texts(item, f"{dotted}{key}")]
    if isinstance(value, tuple):
        return [pair for item in value for pair in texts(item, where)]
    return [(where, value)] if isinstance(value, str) else []


def addresses(provider: Provider) -> dict[str, str]:
    """Return the addresses that codes, tokens or client secrets go to."""
    found = {field.name: getattr(provider.endpoints, field.name) for field in fields(provider.endpoints)}
    return {name: url for name, url in {**found, "identity": provider.identity.url}.items() if url}


def test_there_are_many() -> None:
    """As many as the project promises, and each named as a provider can be."""
    assert len(NAMES) >= 55
    assert SHIPPED.keys() > OURS


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_used(name: str) -> None:
    """It resolves, has a title and a source, leads somewhere, and there is a way to be a client of it."""
    preset, provider = SHIPPED[name], sample(SHIPPED[name])
    assert preset.title != name
    assert preset.sources
    assert all(preset.sources)
    assert preset.data.get("discovery") or (provider.endpoints.authorization and provider.endpoints.token)
    assert provider.register_url or provider.registration or provider.client_id
    assert not provider.registration or provider.endpoints.registration
    assert not preset.data.get("discovery") or provider.issuer


@pytest.mark.parametrize("name", NAMES)
def test_every_address_is_https_and_at_home(name: str) -> None:
    """Codes, tokens and secrets go to the provider's own domain, or to one that the table above gives a reason for."""
    provider = sample(SHIPPED[name])
    own = domain(provider.endpoints.authorization or provider.issuer)
    found = addresses(provider)
    shown = (provider.register_url, provider.static_token_url, provider.api_base, provider.issuer)
    assert {urlsplit(url).scheme for url in (*found.values(), *filter(None, shown))} <= {"https"}
    assert {domain(url) for url in found.values()} - {own} == ELSEWHERE.get(name, (set(), ""))[0]


def test_the_exceptions_are_needed() -> None:
    """Nobody stands in the tables above who need not."""
    assert {name for name, (hosts, why) in ELSEWHERE.items() if not (hosts and why)} == set()
    assert ELSEWHERE.keys() <= set(NAMES)
    assert {name for name in NAMES if not SHIPPED[name].data.get("scopes")} == WITHOUT_SCOPES


@pytest.mark.parametrize("name", NAMES)
def test_no_template_is_left(name: str) -> None:
    """What stands in braces is filled, now or where that kind of text is used."""
    for where, text in texts(sample(SHIPPED[name])):
        if re.search(r"\{[a-z_]+\}", text):
            assert any(where.startswith(place) and re.fullmatch(known, text) for place, known in LATE.items()), where


@pytest.mark.parametrize("name", NAMES)
def test_scopes_are_words(name: str) -> None:
    """Each can stand in a request by itself; OpenID is asked for only where an ID token can be checked."""
    preset, provider = SHIPPED[name], sample(SHIPPED[name])
    for scope in provider.scopes:
        assert SCOPE.fullmatch(scope), scope
        assert provider.scope_separator not in scope
        assert not provider.reply.scope_separator or provider.reply.scope_separator not in scope
    assert len(set(provider.scopes)) == len(provider.scopes)
    if "openid" in provider.scopes:
        assert provider.issuer
        assert provider.endpoints.jwks or preset.data.get("discovery")


@pytest.mark.parametrize("name", NAMES)
def test_a_client_can_authenticate(name: str) -> None:
    """The ways are known ones, and the preset's own client needs no secret."""
    provider = sample(SHIPPED[name])
    assert set(provider.auth_methods) <= {"none", "client_id_basic", "client_secret_basic", "client_secret_post"}
    assert len(set(provider.auth_methods)) == len(provider.auth_methods)
    assert provider.auth_methods or SHIPPED[name].data.get("discovery")
    assert not provider.client_id or "none" in provider.auth_methods
    if provider.pkce == "none" and set(PUBLIC) & set(provider.auth_methods):
        assert name in {"home-assistant", "reddit"}, "a client without a secret and without a proof of the code"


@pytest.mark.parametrize("name", NAMES)
def test_the_device_flow_does_not_contradict_itself(name: str) -> None:
    """Rules for it stand only where it is, and a poll's answers are the ones that RFC 8628 3.5 knows."""
    provider = sample(SHIPPED[name])
    ends = provider.endpoints
    if not ends.device_authorization:
        assert not ends.device_token
        assert provider.device == rules.DeviceRules()
    known = {"authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_grant"}
    assert set(provider.device.status_errors.values()) <= known
    assert all(re.fullmatch(r"4\d\d", status) for status in provider.device.status_errors)
    if provider.device.status_errors:
        assert "authorization_pending" in provider.device.status_errors.values()


@pytest.mark.parametrize("name", NAMES)
def test_replies_can_be_read(name: str) -> None:
    """Errors are called by OAuth's names, and rules about failures do not stand without what they need."""
    provider = sample(SHIPPED[name])
    known = {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "temporarily_unavailable",
        "expired_token",
    }  # fmt: skip
    assert set(provider.reply.error_codes.values()) <= known
    assert set(provider.reply.status_errors.values()) <= known
    assert provider.reply.refresh_path is None or provider.reply.path
    assert provider.refresh.dead_grant_errors
    assert provider.refresh.grace_depth is None or provider.refresh.reuse_grace_s
    assert provider.refresh.reuse_grace_s == 0 or provider.refresh.rotation != "never"
    assert not (provider.refresh.narrows and provider.refresh.kills_old_access_token)


@pytest.mark.parametrize("name", NAMES)
def test_a_logout_can_be_sent(name: str) -> None:
    """Rules for a revocation stand only where there is one, and a token goes along in exactly one way."""
    provider = sample(SHIPPED[name])
    revocation = provider.revocation
    if not provider.endpoints.revocation:
        assert revocation == rules.RevocationRules()
    else:
        assert bool(revocation.token_field) != (revocation.auth == "bearer")
        assert bool(revocation.token_field) == (revocation.body != "none")


@pytest.mark.parametrize("name", NAMES)
def test_it_can_tell_who_is_logged_in(name: str) -> None:
    """A question with a body is a POST, and there is something to show wherever there is something to ask."""
    identity = sample(SHIPPED[name]).identity
    assert not identity.body or identity.method == "POST"
    assert identity.url or (identity.subject, identity.label) == ("sub", rules.IdentityRules().label)
    assert not identity.url or identity.label
    assert not identity.reply_label or identity.reply_subject


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_verified_is_a_key_with_a_value(name: str) -> None:
    """A doubt is about something that the file says, or about a default that stands in its place; each once."""
    preset = SHIPPED[name]
    assert len(set(preset.unverified)) == len(preset.unverified)
    for dotted in preset.unverified:
        assert shape.is_key(dotted), dotted
        table, _, key = dotted.partition(".")
        assert key in preset.data.get(table, {}) or table != "endpoints" or not key, dotted
        if table in preset.unverified:
            assert not key, f"{dotted} stands below {table} already"
    # Where to register is nobody's fact but a person's who tried it.
    assert (
        "register_url" in preset.unverified
        or not preset.data.get("register_url")
        or name in {"myanimelist", "fastmail"}
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_told_in_words(name: str) -> None:
    """Each sentence stands for one key, so that a doubt about that key marks it, and no template is left in it."""
    told = words.rules(catalog.described(SHIPPED[name]))
    assert all(shape.is_key(key) for key, _ in told)
    assert len({key for key, _ in told}) == len(told)
    assert offered(sample(SHIPPED[name]))[0] == "browser"


@pytest.mark.parametrize("name", NAMES)
def test_notes_are_for_people(name: str) -> None:
    """Whole sentences that fit a terminal, without Markdown."""
    for note in SHIPPED[name].notes:
        assert note.endswith("."), note
        assert "`" not in note
        assert len(note) <= 130, note


def test_the_redirect_is_one_that_keyfob_makes() -> None:
    """It is an address of this machine in the form that the provider wants, with the provider's name as its path."""
    ctx = cast("Context", SimpleNamespace(browser_url="http://127.0.0.1:8400"))
    for name in NAMES:
        provider = sample(SHIPPED[name])
        made = login.redirect_uri(ctx, provider)
        assert made == f"http://{provider.redirect.host}:8400/callback/{name}"
        assert not (provider.redirect.register_without_port and provider.redirect.host != "127.0.0.1")
        # The one that makes the provider show the code is registered instead of it, or not at all.
        assert not provider.redirect.out_of_band or OUT_OF_BAND.fullmatch(provider.redirect.out_of_band)
        if provider.redirect.out_of_band.startswith("https://"):
            assert domain(provider.redirect.out_of_band) == domain(provider.endpoints.authorization)
        # A client id that is an address has to share its host and port with the redirect URI.
        assert "{origin}" not in provider.client_id or provider.redirect.host == "127.0.0.1"


def test_what_the_facts_single_out_is_in_the_data() -> None:
    """The differences for which the dimensions were made."""
    at = {name: sample(SHIPPED[name]) for name in NAMES}
    assert at["google"].authorize_params == {"access_type": "offline", "prompt": "consent"}
    assert at["google"].auth_methods == ("client_secret_post",)
    assert at["github"].token.headers == {"Accept": "application/json"}
    assert (at["slack"].reply.path, at["slack"].reply.refresh_path) == ("authed_user", "")
    assert (at["withings"].reply.path, at["withings"].reply.success_value) == ("body", 0)
    assert at["mailchimp"].reply.zero_is_endless
    assert (at["basecamp"].token.grant_field, at["basecamp"].token.refresh_grant) == ("type", "refresh")
    assert at["figma"].endpoints.refresh == "https://api.figma.com/v1/oauth/refresh"
    assert (at["trakt"].token.body, at["trakt"].device.status_errors["418"]) == ("json", "access_denied")
    assert at["myanimelist"].pkce == "plain"
    assert at["zoho"].callback_checks == {"accounts-server": "https://accounts.zoho.com"}
    assert sample(SHIPPED["zoho"], values={"dc": "eu"}).callback_checks["accounts-server"].endswith(".eu")
    assert at["zoho"].api_scheme == "Zoho-oauthtoken"
    assert at["nextcloud"].refresh.dead_grant_errors == ("invalid_request",)
    assert (at["atlassian"].refresh.idle_days, at["atlassian"].refresh.absolute_days) == (90, 365)
    assert at["microsoft"].endpoints.token == "https://login.microsoftonline.com/common/oauth2/v2.0/token"
    assert at["stackexchange"].reply.expires_in == "expires"
    assert at["gitlab"].endpoints.token == "https://gitlab.com/oauth/token"
    assert at["home-assistant"].revocation.params == {"action": "revoke"}
    assert catalog.needs_discovery(_config("huggingface")) == "https://huggingface.co"
    assert {name for name in NAMES if catalog.needs_discovery(_config(name))} == {"huggingface"}


def test_a_file_says_nothing_twice() -> None:
    """A key of a file differs from the default that would stand in its place; some are said for their own sake."""
    defaults: dict[str, Any] = {
        "redirect": rules.Redirect(),
        "token": rules.TokenRequest(),
        "reply": rules.ReplyRules(),
        "revocation": rules.RevocationRules(),
        "device": rules.DeviceRules(),
        "refresh": rules.RefreshPolicy(),
    }
    for name in NAMES:
        for table, default in defaults.items():
            for key, value in SHIPPED[name].data.get(table, {}).items():
                stated = key in {"rotation", "success_value", "dead_grant_errors", "client_secret"}
                said = tuple(value) if isinstance(value, list) else value
                assert stated or getattr(default, key) != said, f"{name}: {table}.{key}"


def test_the_files_are_where_presets_are_read() -> None:
    """One file a preset, and nothing else beside them."""
    directory = Path(catalog.__file__).parent / "presets"
    assert {path.stem for path in directory.iterdir()} == SHIPPED.keys()
    assert {path.suffix for path in directory.iterdir()} == {".toml"}


def _config(name: str) -> ProviderConfig:
    preset = SHIPPED[name]
    return ProviderConfig(name, name, BASE_URL if preset.needs_base_url else "", {}, {}, private=False, created_at=0.0)


def test_user_names_at_git() -> None:
    """The two that insist on a user name with a token at git over HTTP have it; the others take any."""
    named = {name: sample(SHIPPED[name]).git_username for name in NAMES}

    assert {name: username for name, username in named.items() if username} == {
        "bitbucket": "x-token-auth",
        "gitlab": "oauth2",
    }
