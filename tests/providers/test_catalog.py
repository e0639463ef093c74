"""Presets and what becomes of them together with a person's choices."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.errors import CannotStart, InvalidRequest, UnknownProvider
from broker.providers import catalog
from broker.providers.model import Provider, ProviderConfig
from broker.providers.rules import Endpoints


def config(preset: str, base_url: str = "", **layers: Any) -> ProviderConfig:  # noqa: ANN401 -- layers in a preset file's shape
    """Return a configured provider."""
    return ProviderConfig(
        "mine",
        preset,
        base_url,
        layers.get("overrides", {}),
        layers.get("discovered", {}),
        private=layers.get("private", False),
        created_at=0.0,
    )


def test_a_funkwhale_pod_is_what_the_facts_say() -> None:
    """The preset is the only place that knows Funkwhale (funkwhale.md)."""
    pod = catalog.resolve(config("funkwhale", "https://Open.Audio/"))
    # Every client is registered for all that there is, so that more scope at a login needs no other client.
    assert pod.registration is not None
    assert not pod.registration.carries_scope
    assert replace(pod.registration, kind="rfc7591").carries_scope
    assert replace(pod.registration, fields={"scopes": "{scope}"}).carries_scope
    assert pod.endpoints == Endpoints(
        authorization="https://open.audio/authorize",
        token="https://open.audio/api/v1/oauth/token/",
        revocation="https://open.audio/api/v1/oauth/revoke/",
        registration="https://open.audio/api/v1/oauth/apps/",
    )
    assert pod.registration is not None
    assert set(pod.registration.fields) == {"name", "redirect_uris", "scopes"}
    assert pod.redirect.out_of_band == "urn:ietf:wg:oauth:2.0:oob"
    assert pod.redirect.register_without_port
    assert (pod.refresh.rotation, pod.refresh.kills_old_access_token, pod.refresh.idle_days) == ("always", True, 15)
    assert pod.refresh.dead_grant_errors == ("invalid_grant",)
    assert pod.throttle.statuses == (500,)
    assert (pod.identity.url, pod.identity.subject) == ("https://open.audio/api/v1/users/me/", "id")
    assert pod.static_token_url == "https://open.audio/settings/applications/new"
    assert pod.api_base == "https://open.audio/api/v1"
    assert (pod.title, pod.identity_issuer) == ("Funkwhale at open.audio", "https://open.audio")


def test_the_practice_server_is_complete_without_discovery() -> None:
    """A public client and every endpoint under the base URL."""
    practice = catalog.resolve(config("practice", "http://127.0.0.1:9999"))
    assert practice.issuer == "http://127.0.0.1:9999"
    assert practice.endpoints == Endpoints(
        authorization="http://127.0.0.1:9999/authorize",
        token="http://127.0.0.1:9999/token",
        revocation="http://127.0.0.1:9999/revoke",
        userinfo="http://127.0.0.1:9999/userinfo",
        jwks="http://127.0.0.1:9999/jwks",
        device_authorization="http://127.0.0.1:9999/device_authorization",
    )
    assert (practice.client_id, practice.auth_methods) == ("keyfob", ("none",))
    assert catalog.needs_discovery(config("practice", "http://127.0.0.1:9999")) == ""


def test_a_generic_provider_is_discovered_or_described() -> None:
    """The issuer is asked only while the endpoints are unknown."""
    issuer = {"issuer": "https://as.example/"}
    endpoints = {"authorization": "https://as.example/a", "token": "https://as.example/t"}
    assert catalog.needs_discovery(config("generic", overrides=issuer)) == "https://as.example/"
    assert catalog.needs_discovery(config("generic", overrides=issuer, discovered={"endpoints": endpoints})) == ""
    assert catalog.needs_discovery(config("generic", overrides={"endpoints": endpoints})) == ""
    described = catalog.resolve(config("generic", overrides={"endpoints": endpoints}))
    assert (described.title, described.endpoints.token) == ("as.example", "https://as.example/t")
    with pytest.raises(InvalidRequest, match="Nothing says where"):
        catalog.resolve(config("generic"))


def test_a_persons_word_wins_over_discovery_over_the_preset() -> None:
    """Three layers, tables field by field."""
    provider = catalog.resolve(
        config(
            "funkwhale",
            "https://pod.example",
            discovered={
                "scopes": ["a"],
                "endpoints": {"token": "https://pod.example/d", "jwks": "https://pod.example/j"},
            },
            overrides={
                "title": "Mine",
                "endpoints": {"token": "https://pod.example/p"},
                "refresh": {"rotation": "never", "idle_days": None},
                "authorize_params": {"prompt": "login"},
            },
        )
    )
    assert provider.title == "Mine"
    assert provider.scopes == ("a",)
    assert provider.endpoints.token == "https://pod.example/p"
    assert provider.endpoints.jwks == "https://pod.example/j"
    assert provider.endpoints.authorization == "https://pod.example/authorize"
    assert (provider.refresh.rotation, provider.refresh.idle_days) == ("never", None)
    assert provider.refresh.kills_old_access_token
    assert provider.authorize_params == {"prompt": "login"}


def test_resolving_changes_nothing_for_the_next_one() -> None:
    """Presets are shared by all providers that follow them."""
    catalog.resolve(config("funkwhale", "https://a.example", overrides={"refresh": {"rotation": "never"}}))
    assert catalog.resolve(config("funkwhale", "https://b.example")).refresh.rotation == "always"


@pytest.mark.parametrize(
    "overrides",
    [
        {"endpoint": {}},
        {"endpoints": {"tokens": "https://x.example"}},
        {"endpoints": []},
        {"endpoints": {"token": 5}},
        {"endpoints": {"token": "http://x.example"}},
        {"issuer": "http://x.example"},
        {"issuer": "https://x.example?a"},
        {"scopes": "a b"},
        {"scopes": [1]},
        {"refresh": {"rotation": "perhaps"}},
        {"refresh": {"rotation": ["always"]}},
        {"refresh": {"idle_days": -1}},
        {"refresh": {"reuse_grace_s": True}},
        {"throttle": {"statuses": [200]}},
        {"authorize_params": {"prompt": 5}},
        {"authorize_params": {"state": "mine"}},
        {"authorize_params": {"redirect_uri": "https://evil.example"}},
        {"iss_parameter": "yes"},
        {"needs_base_url": False},
    ],
)
def test_a_description_that_does_not_fit_is_refused(overrides: dict[str, Any]) -> None:
    """Unknown keys, wrong shapes and parameters that belong to the flow are told, not swallowed."""
    with pytest.raises(InvalidRequest):
        catalog.resolve(config("practice", "https://x.example", overrides=overrides))


def test_a_missing_base_url_is_asked_for() -> None:
    """The hint names the flag."""
    with pytest.raises(InvalidRequest, match="many addresses") as caught:
        catalog.resolve(config("funkwhale"))
    assert "--base-url" in caught.value.hint


def test_an_unknown_preset_is_answered_with_near_names() -> None:
    """A slip of the pen finds its way."""
    with pytest.raises(UnknownProvider) as caught:
        catalog.preset("funkwale")
    assert "funkwhale" in caught.value.hint
    with pytest.raises(UnknownProvider) as caught:
        catalog.preset("zzzzzz")
    assert caught.value.hint == "See: keyfob provider list, keyfob provider presets"
    with pytest.raises(UnknownProvider, match="Did you mean corp-login"):
        catalog.preset("corplogin", beside=["corp-login"])
    for name in ("id.example.org", "id.example.org:8443/realms/a"):
        with pytest.raises(UnknownProvider, match=f"--provider https://{name}"):
            catalog.preset(name)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ('titel = "x"', "titel"),
        ("[endpoints]\ntokn = 'x'", "endpoints.tokn"),
        ("[refresh]\nrotation = 'perhaps'", "refresh.rotation"),
        ("endpoints = 5", "endpoints"),
        ("needs_base_url = 'yes'", "needs_base_url"),
        ("title = ", "mine.toml"),
        ("[endpoints]\ntoken = 'https://{place}.example/t'", "{place}"),
        ("[parameters.tenant]\ndefault = 'x'", "parameters.tenant"),
        ("[reply]\nsuccess_value = [1]", "reply.success_value"),
        ("[token.params]\na = 1", "token.params"),
        ("[values]\ntenant = 'x'", "values"),
        ("[endpoints]\ntoken = 'https://{client_id}.example/t'", "{client_id}"),
        ("[endpoints]\ntoken = '{base_url}/t'", "{base_url}"),
        ("unverified = ['scope']", "'scope'"),
        ("unverified = ['refresh.rotate']", "'refresh.rotate'"),
        ("unverified = ['endpoints.']", "'endpoints.'"),
        ("unverified = ['notes']", "'notes'"),
    ],
)
def test_a_preset_file_with_a_slip_stops_the_start(tmp_path: Path, content: str, key: str) -> None:
    """File and key are named."""
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(CannotStart, match=r"mine\.toml") as caught:
        catalog.presets(tmp_path)
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('titel = "x"', 1),
        ('title = "x"\n\n[endpoints]\n# why\ntokn = "https://x.example"', 5),
        ('title = "x"\n[token]\nbody = "form"\n[refresh]\nbody = "form"', 5),
        ("title = 'x'\n[endpints]\ntoken = 'https://x.example'", 2),
        ("title = 'x'\n[parameters.dc]\nwhat = 'a place'\nchoice = ['a']", 4),
    ],
)
def test_a_slip_is_told_with_its_line(tmp_path: Path, content: str, line: int) -> None:
    """File, line, and what would be known there."""
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(CannotStart, match=rf"mine\.toml, line {line}, ") as caught:
        catalog.presets(tmp_path)
    assert "known are: " in str(caught.value)


TENANT = """
title = "Somewhere"
api_base = "https://{tenant}.api.example/{dc}"
[parameters.tenant]
what = "the name of your organisation"
[parameters.dc]
what = "where your data is"
default = "eu"
choices = ["eu", "com"]
[endpoints]
authorization = "https://{tenant}.example.{dc}/authorize"
token = "https://{tenant}.example.{dc}/token"
[identity]
body = '{"query": "{ viewer { id } }"}'
"""


def test_parameters_stand_in_addresses(tmp_path: Path) -> None:
    """A person's value, or the default; text that only looks like a template stays."""
    (tmp_path / "somewhere.toml").write_text(TENANT)
    filled = catalog.resolve(config("somewhere", overrides={"values": {"tenant": "me"}}), tmp_path)
    assert filled.endpoints.token == "https://me.example.eu/token"
    other = catalog.resolve(config("somewhere", overrides={"values": {"tenant": "me", "dc": "com"}}), tmp_path)
    assert (other.endpoints.authorization, other.api_base) == (
        "https://me.example.com/authorize",
        "https://me.api.example/com",
    )
    assert other.identity.body == '{"query": "{ viewer { id } }"}'
    assert catalog.provider_name("somewhere", "", "", {"tenant": "Me.example"}) == "somewhere-me-example"


@pytest.mark.parametrize(
    ("values", "said", "hint"),
    [
        ({}, "needs its tenant: the name of your organisation", "--param tenant=VALUE"),
        ({"tenant": "me", "dc": "moon"}, "dc of Somewhere cannot be 'moon'", "eu, com"),
        ({"tenant": "me/../you"}, "cannot be", "letters, digits"),
        ({"tenant": "evil.example/x#"}, "cannot be", "letters, digits"),
        ({"tenant": "me", "tennant": "x"}, "no parameter 'tennant'", "tenant, dc"),
    ],
)
def test_a_parameter_that_cannot_be_is_told(tmp_path: Path, values: dict[str, str], said: str, hint: str) -> None:
    """Missing, unknown, not among the choices, or nothing that can stand in an address."""
    (tmp_path / "somewhere.toml").write_text(TENANT)
    with pytest.raises(InvalidRequest, match=said) as caught:
        catalog.resolve(config("somewhere", overrides={"values": values}), tmp_path)
    assert hint in caught.value.hint


def test_a_preset_may_name_the_instance_that_most_mean(tmp_path: Path) -> None:
    """Its base URL is taken where a person names none, and gives way to theirs."""
    (tmp_path / "forge.toml").write_text(
        "base_url = 'https://forge.example'\nunverified = ['base_url', 'authorize_params.prompt', 'revocation']\n"
        "[endpoints]\ntoken = '{base_url}/t'\nrevocation = '{base_url}/apps/{client_id}'"
    )
    most = catalog.resolve(config("forge"), tmp_path)
    assert (most.base_url, most.endpoints.token) == ("https://forge.example", "https://forge.example/t")
    assert most.endpoints.revocation == "https://forge.example/apps/{client_id}"
    own = catalog.resolve(config("forge", "https://git.example"), tmp_path)
    assert (own.base_url, own.endpoints.token) == ("https://git.example", "https://git.example/t")
    assert catalog.provider_name("forge", "", "") == "forge"


def test_a_preset_file_has_a_name_that_a_provider_can_have(tmp_path: Path) -> None:
    """The file's name stands in URLs."""
    (tmp_path / "My Preset.toml").write_text("title = 'x'")
    with pytest.raises(CannotStart, match="name that no provider"):
        catalog.presets(tmp_path)


def test_a_persons_own_preset_stands_beside_and_over_the_shipped_ones(tmp_path: Path) -> None:
    """A directory of one's own adds and replaces; one that does not exist adds nothing."""
    (tmp_path / "mine.toml").write_text("title = 'Mine'\n[endpoints]\ntoken = 'https://x.example/t'")
    (tmp_path / "practice.toml").write_text("title = 'Other'")
    assert catalog.preset("mine", tmp_path).title == "Mine"
    assert catalog.preset("practice", tmp_path).title == "Other"
    assert catalog.resolve(config("mine"), tmp_path).endpoints.token == "https://x.example/t"
    assert catalog.presets(tmp_path / "none") == catalog.presets()


@pytest.mark.parametrize(
    ("preset", "base_url", "issuer", "name"),
    [
        ("github", "", "", "github"),
        ("funkwhale", "https://open.audio", "", "funkwhale-open-audio"),
        ("generic", "", "https://example.com:8443", "example-com-8443"),
        ("generic", "", "https://Example.com/", "example-com"),
        ("generic", "", "https://kc.example.com/realms/work", "kc-example-com-realms-work"),
        ("practice", "http://[::1]:9", "", "practice-1-9"),
    ],
)
def test_a_name_says_what_and_where(preset: str, base_url: str, issuer: str, name: str) -> None:
    """Short where it can be, and always fit for a redirect path."""
    assert catalog.provider_name(preset, base_url, issuer) == name


def test_long_addresses_keep_names_of_their_own() -> None:
    """Cut names of two places do not meet."""
    names = {catalog.provider_name("generic", "", f"https://{'a' * 60}.example/{n}") for n in range(3)}
    assert len(names) == 3
    assert {len(name) for name in names} == {63}


def test_no_providers_name_appears_in_code() -> None:
    """Differences are data: nothing but presets and quirks knows a provider by name."""
    root = Path(catalog.__file__).parent.parent
    known = set(catalog.presets()) - {"generic", "practice"}
    for path in [*root.glob("oauth/*.py"), *root.glob("usecases/*.py"), *root.glob("providers/*.py")]:
        code = "\n".join(line for line in path.read_text().lower().splitlines() if "==" in line)
        assert not any(f'"{name}"' in code for name in known), path.name


def test_the_model_has_a_place_for_every_value() -> None:
    """A resolved provider is a plain value that compares."""
    assert isinstance(catalog.resolve(config("practice", "http://127.0.0.1:1")), Provider)
    assert catalog.resolve(config("practice", "http://127.0.0.1:1")) == catalog.resolve(
        config("practice", "http://127.0.0.1:1/")
    )


@pytest.mark.parametrize("open_to_others", ["file", "directory"])
def test_a_preset_that_others_could_have_written_is_refused(tmp_path: Path, open_to_others: str) -> None:
    """It decides where codes, secrets and tokens go, so it has to be its owner's alone to write."""
    file = tmp_path / "own.toml"
    file.write_text('title = "Own"\n', encoding="utf-8")
    file.chmod(0o666 if open_to_others == "file" else 0o600)
    tmp_path.chmod(0o777 if open_to_others == "directory" else 0o700)
    with pytest.raises(CannotStart, match="may be written by others"):
        catalog.presets(tmp_path)
    file.chmod(0o600)
    tmp_path.chmod(0o700)
    assert "own" in catalog.presets(tmp_path)


def test_an_endpoint_for_registration_is_rfc_7591s_unless_rules_say_otherwise() -> None:
    """Discovered or given by hand, it needs no further rules; a preset's own form stays."""
    there = {"endpoints": {"token": "https://as.example/token", "registration": "https://as.example/register"}}
    found = catalog.resolve(config("generic", discovered={"issuer": "https://as.example", **there}))
    assert found.registration is not None
    assert found.registration.kind == "rfc7591"
    own = catalog.resolve(config("funkwhale", "https://pod.example", discovered=there))
    assert own.registration is not None
    assert (own.registration.kind, "name" in own.registration.fields) == ("own", True)
    assert catalog.resolve(config("practice", "http://127.0.0.1:1")).registration is None


def test_our_own_address_is_filled_in_at_the_login(tmp_path: Path) -> None:
    """A client id may hold {origin}: where the answer of a login goes is not known before."""
    (tmp_path / "house.toml").write_text(
        'needs_base_url = true\nclient_id = "{origin}/"\n[endpoints]\ntoken = "{base_url}/token"\n'
    )
    assert catalog.resolve(config("house", "https://house.example"), tmp_path).client_id == "{origin}/"
