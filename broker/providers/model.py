"""The named dimensions in which providers differ.

A preset file fills some of them, discovery and the person fill others; ``catalog.resolve`` makes a ``Provider``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider listens. Empty text means that it has no such endpoint, or that it is not known yet."""

    authorization: str = ""
    token: str = ""
    revocation: str = ""
    userinfo: str = ""
    jwks: str = ""
    registration: str = ""
    device_authorization: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """What redirect URIs the provider accepts.

    Attributes:
        out_of_band: the URI that makes the provider show the code to a person, or empty.
        register_without_port: register ``http://127.0.0.1/callback/x``; such a one matches every port there
            (RFC 8252 7.3).
    """

    out_of_band: str = ""
    register_without_port: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """How Keyfob registers itself, as names of form or JSON fields.

    Attributes:
        body: ``json`` or ``form``.
        fields: request field -> value; ``{name}``, ``{redirect_uris}`` (space-separated) and ``{scope}`` are filled.
        client_id: reply field.
        client_secret: reply field.
    """

    body: Literal["json", "form"] = "json"
    fields: Mapping[str, str] = field(default_factory=dict)
    client_id: str = "client_id"
    client_secret: str = "client_secret"  # noqa: S105 -- the name of a field


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """What a refresh does at this provider; unknown means rotating without grace.

    Attributes:
        rotation: ``never``: the refresh token stays; ``sometimes``; ``always``: each may be spent once.
        reuse_grace_s: seconds in which a spent refresh token is still accepted.
        grace_depth: how many refreshes after it was spent a token is still accepted within that grace: 1 where only the
            newest previous one is; None where any number, or always with the same answer.
        kills_old_access_token: a refresh makes the old access token invalid at once.
        refreshes_per_10_min: so many access tokens of one login live in ten minutes, one more ends the oldest; None
            where unknown or unlimited.
        refresh_tokens_per_client: so many logins of one person with one client live, one more ends the oldest; None
            where unknown or unlimited.
        idle_days: a refresh token unused for so long dies; None where unknown or never.
        absolute_days: a login dies after so long whatever one does; None where unknown or never.
        dead_grant_errors: the error codes that mean "log in again"; nothing else ends a login.
    """

    rotation: Literal["never", "sometimes", "always"] = "always"
    reuse_grace_s: float = 0.0
    grace_depth: int | None = None
    kills_old_access_token: bool = False
    refreshes_per_10_min: int | None = None
    refresh_tokens_per_client: int | None = None
    idle_days: float | None = None
    absolute_days: float | None = None
    dead_grant_errors: tuple[str, ...] = ("invalid_grant",)


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """How to learn who is logged in where there is no ID token.

    Attributes:
        url: a GET with the bearer; empty where the provider has none.
        subject: the reply's field that never changes for a person (dots step into objects).
        label: fields to show to people, first present wins.
    """

    url: str = ""
    subject: str = "sub"
    label: tuple[str, ...] = ("preferred_username", "email", "name", "sub")


@dataclass(frozen=True, slots=True)
class ThrottleRules:
    """Answers that mean "too fast" although their status says something else.

    Attributes:
        statuses: statuses that are a throttle when ``header`` reads ``"0"``.
        header: name of the header that counts what is left.
    """

    statuses: tuple[int, ...] = ()
    header: str = "X-RateLimit-Remaining"


@dataclass(frozen=True, slots=True)
class Preset:
    """One preset file, checked but not resolved: endpoint values may still hold ``{base_url}``."""

    name: str
    title: str
    data: Mapping[str, Any]
    needs_base_url: bool
    unverified: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """What the store keeps of a configured provider: the person's choices and what discovery pinned.

    Attributes:
        name: also the last part of its redirect path; ``[a-z0-9][a-z0-9-]{0,62}``.
        preset: the preset it follows.
        base_url: instance URL without a trailing slash, or empty.
        overrides: values in the shape of a preset file that the person gave (endpoints, issuer, scopes, refresh ...).
        discovered: values in the shape of a preset file that discovery pinned; overrides win over them.
        private: special-purpose addresses are allowed for this provider.
        created_at: epoch seconds.
    """

    name: str
    preset: str
    base_url: str
    overrides: Mapping[str, Any]
    discovered: Mapping[str, Any]
    private: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Provider:
    """A configured provider, resolved: everything that the flows need to know.

    Attributes:
        name: as in ``ProviderConfig``.
        title: for people.
        preset: the preset it follows.
        base_url: instance URL, or empty.
        issuer: issuer identifier (RFC 8414 2), or empty where the provider has none.
        endpoints: where it listens.
        scopes: asked for when the person names none.
        scope_separator: between scopes in requests and replies.
        authorize_params: extra parameters of the authorization request.
        auth_methods: client authentication methods it accepts, best first; empty means unknown.
        client_id: a public client that comes with the preset, or empty.
        register_url: where a person registers a client by hand, or empty.
        iss_parameter: it promises ``iss`` in authorization responses (RFC 9207 3).
        id_token_algs: the signing algorithms it announces; empty means RS256 (OpenID Connect Core 15.1).
        redirect: redirect URI rules.
        registration: how to self-register, or None.
        refresh: refresh policy.
        identity: identity rules.
        throttle: throttle rules.
        api_base: base of the API that its tokens are for, or empty.
        static_token_url: where a person makes a token by hand, or empty.
        private: special-purpose addresses are allowed.
    """

    name: str
    title: str
    preset: str
    base_url: str = ""
    issuer: str = ""
    endpoints: Endpoints = field(default_factory=Endpoints)
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    auth_methods: tuple[str, ...] = ()
    client_id: str = ""
    register_url: str = ""
    iss_parameter: bool = False
    id_token_algs: tuple[str, ...] = ()
    redirect: Redirect = field(default_factory=Redirect)
    registration: Registration | None = None
    refresh: RefreshPolicy = field(default_factory=RefreshPolicy)
    identity: IdentityRules = field(default_factory=IdentityRules)
    throttle: ThrottleRules = field(default_factory=ThrottleRules)
    api_base: str = ""
    static_token_url: str = ""
    private: bool = False

    @property
    def identity_issuer(self) -> str:
        """What names this provider in an ``Identity``: its issuer, or its base URL, or its name."""
        return self.issuer or self.base_url or self.name
