"""A provider: what a preset file says, what the store keeps, and what becomes of both.

A preset file fills some of the dimensions of ``rules``, discovery and the person fill others; ``catalog.resolve`` makes
a ``Provider``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from broker.providers.rules import (
    DeviceRules,
    Endpoints,
    IdentityRules,
    Parameter,
    Pkce,
    Redirect,
    RefreshPolicy,
    Registration,
    ReplyRules,
    RevocationRules,
    ThrottleRules,
    TokenRequest,
)

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 -- the name of a grant type


@dataclass(frozen=True, slots=True)
class Preset:
    """One preset file, checked but not resolved: its texts may still hold ``{base_url}`` and its parameters.

    Attributes:
        name: of the file.
        title: for people.
        data: what describes the provider.
        needs_base_url: it runs at many addresses, and a login has to name one.
        base_url: it runs at many addresses, and this one is taken where none is named; else empty.
        parameters: what else a person may have to name.
        unverified: the keys whose values nobody has seen confirmed by the provider.
        notes: for people.
        sources: where the values are from.
    """

    name: str
    title: str
    data: Mapping[str, Any]
    needs_base_url: bool
    base_url: str
    parameters: Mapping[str, Parameter]
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
        overrides: values in the shape of a preset file that the person gave (endpoints, issuer, scopes, refresh ...);
            ``values`` among them holds the parameters.
        discovered: values in the shape of a preset file that discovery pinned; overrides win over them.
        private: special-purpose addresses are allowed for this provider.
        created_at: epoch seconds.
        discovered_at: when its issuer was last asked about itself, epoch seconds; 0 where nobody knows.
    """

    name: str
    preset: str
    base_url: str
    overrides: Mapping[str, Any]
    discovered: Mapping[str, Any]
    private: bool
    created_at: float
    discovered_at: float = 0.0


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
        further_scopes: what the resource of a login may want later; a client is registered for it, and nobody is asked.
        scope_separator: between scopes in requests.
        scope_parameter: name of the parameter that holds them.
        authorize_params: extra parameters of the authorization request.
        pkce: which proof it takes: ``S256`` always, ``S256-public`` from clients without a secret only, ``plain`` where
            it knows nothing better, or ``none``.
        pkce_methods: the code challenge methods that it announces; empty means unknown.
        grants: the grant types that it announces; empty means unknown.
        auth_methods: client authentication methods it accepts, best first; empty means unknown. ``client_id_basic`` is
            HTTP Basic with an empty secret.
        auth_algs: the signing algorithms that it announces for client authentication; empty means unknown.
        client_id: a public client that comes with the preset, or empty. In it ``{origin}`` is the address of
            Keyfob's browser port, for providers whose client ids are addresses.
        register_url: where a person registers a client by hand, or empty.
        callback_checks: parameter of the authorization response -> what it has to hold where it is there: a login that
            belongs to another place of the same provider is told from it.
        callback_scope: parameter of the authorization response that says which scopes were granted, separated as in a
            token reply, for providers whose token reply does not name them; or empty.
        require_par: it takes pushed authorization requests only (RFC 9126 5).
        client_id_metadata: it takes the URL of a client's metadata as client id.
        iss_parameter: it promises ``iss`` in authorization responses (RFC 9207 3).
        id_token_algs: the signing algorithms it announces; empty means RS256 (OpenID Connect Core 15.1).
        redirect: redirect URI rules.
        token: how it wants to be asked for tokens.
        reply: how it answers.
        revocation: how tokens are revoked.
        device: how the device flow is spoken.
        registration: how to self-register, or None.
        refresh: refresh policy.
        identity: identity rules.
        throttle: throttle rules.
        api_base: base of the API that its tokens are for, or empty.
        api_scheme: what stands before the token in the ``Authorization`` header of that API.
        api_headers: further headers that the API wants; in them ``{client_id}`` is filled in.
        static_token_url: where a person makes a token by hand, or empty.
        git_username: the user name that it wants with a token at git over HTTP; empty: any will do.
        private: special-purpose addresses are allowed.
    """

    name: str
    title: str
    preset: str
    base_url: str = ""
    issuer: str = ""
    endpoints: Endpoints = field(default_factory=Endpoints)
    scopes: tuple[str, ...] = ()
    further_scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    scope_parameter: str = "scope"
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    pkce: Pkce = "S256"
    pkce_methods: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    auth_methods: tuple[str, ...] = ()
    auth_algs: tuple[str, ...] = ()
    client_id: str = ""
    register_url: str = ""
    callback_checks: Mapping[str, str] = field(default_factory=dict)
    callback_scope: str = ""
    require_par: bool = False
    client_id_metadata: bool = False
    iss_parameter: bool = False
    id_token_algs: tuple[str, ...] = ()
    redirect: Redirect = field(default_factory=Redirect)
    token: TokenRequest = field(default_factory=TokenRequest)
    reply: ReplyRules = field(default_factory=ReplyRules)
    revocation: RevocationRules = field(default_factory=RevocationRules)
    device: DeviceRules = field(default_factory=DeviceRules)
    registration: Registration | None = None
    refresh: RefreshPolicy = field(default_factory=RefreshPolicy)
    identity: IdentityRules = field(default_factory=IdentityRules)
    throttle: ThrottleRules = field(default_factory=ThrottleRules)
    api_base: str = ""
    api_scheme: str = "Bearer"
    api_headers: Mapping[str, str] = field(default_factory=dict)
    static_token_url: str = ""
    git_username: str = ""
    private: bool = False

    @property
    def identity_issuer(self) -> str:
        """What names this provider in an ``Identity``: its issuer, or its base URL, or its name."""
        return self.issuer or self.base_url or self.name

    def at_refresh(self) -> "Provider":
        """Return the provider as it answers a refresh."""
        rules = self.reply.of_refresh()
        return self if rules is self.reply else replace(self, reply=rules)

    @property
    def exchanges(self) -> bool:
        """Whether it gives one token for another (RFC 8693)."""
        return TOKEN_EXCHANGE in self.grants

    @property
    def narrows(self) -> bool:
        """Whether a token with less scope can be had beside the account's own."""
        return self.exchanges or (self.refresh.narrows and not self.refresh.kills_old_access_token)

    @property
    def serves_other_resources(self) -> bool:
        """Whether a token for another resource can be had beside the account's own."""
        return self.exchanges or (self.refresh.other_resources and not self.refresh.kills_old_access_token)
