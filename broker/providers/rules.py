"""The named dimensions in which providers differ: each a class, each with the value that the RFCs give it.

Filled by ``catalog`` from preset files, discovery and what people say; read by ``oauth`` and ``usecases``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Pkce = Literal["S256", "S256-public", "plain", "none"]
# Client authentication that sends a secret (RFC 6749 2.3.1).
WITH_SECRET = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider listens. Empty text means that it has no such endpoint, or that it is not known yet.

    ``refresh`` and ``device_token`` are for providers that want these requests elsewhere than at ``token``. In
    ``revocation``, ``{client_id}`` is filled in when it is used.
    """

    authorization: str = ""
    token: str = ""
    refresh: str = ""
    revocation: str = ""
    introspection: str = ""
    userinfo: str = ""
    jwks: str = ""
    registration: str = ""
    device_authorization: str = ""
    device_token: str = ""
    pushed_authorization: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that stands in a provider's addresses and differs from person to person: a tenant, a data centre.

    Attributes:
        what: what it is, for people.
        default: taken where the person names none; empty where one has to be named.
        choices: what it may be; empty where that is open.
    """

    what: str
    default: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """What redirect URIs the provider accepts.

    Attributes:
        host: what it wants to read there: the address, or ``localhost``.
        any_port: it ignores the port of a loopback address (RFC 8252 7.3).
        out_of_band: the URI that makes the provider show the code to a person, or empty.
        register_without_port: register ``http://127.0.0.1/callback/x``; such a one matches every port there
            (RFC 8252 7.3).
    """

    host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    any_port: bool = False
    out_of_band: str = ""
    register_without_port: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """How Keyfob registers itself, as names of form or JSON fields.

    Attributes:
        kind: ``rfc7591``, or the provider's ``own`` form.
        body: ``json`` or ``form``.
        fields: request field -> value; ``{name}``, ``{redirect_uris}`` (space-separated) and ``{scope}`` are filled.
        client_id: reply field.
        client_secret: reply field.
    """

    kind: Literal["own", "rfc7591"] = "own"
    body: Literal["json", "form"] = "json"
    fields: Mapping[str, str] = field(default_factory=dict)
    client_id: str = "client_id"
    client_secret: str = "client_secret"  # noqa: S105 -- the name of a field

    @property
    def carries_scope(self) -> bool:
        """Whether a client is registered for the scopes that a login asks for, and not for the same ones each time."""
        return self.kind == "rfc7591" or any("{scope}" in value for value in self.fields.values())


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How the token endpoint wants to be asked, where that is not as RFC 6749 4.1.3 and 6 say.

    Attributes:
        body: a form, or a JSON object.
        grant_field: name of the parameter that says what kind of request it is.
        code_grant: its value when a code is exchanged.
        refresh_grant: its value at a refresh.
        client_id_field: name of the parameter that holds the client id.
        params: further parameters of every request.
        code_params: further parameters of the exchange of a code.
        refresh_params: further parameters of a refresh.
        redirect_uri_on_refresh: a refresh has to repeat the redirect URI.
        headers: further headers of every request.
        assertion_audience: what the provider is called in an assertion (RFC 7523 3): its ``issuer`` where it has one,
            or its ``token_endpoint``.
    """

    body: Literal["form", "json"] = "form"
    grant_field: str = "grant_type"
    code_grant: str = "authorization_code"
    refresh_grant: str = "refresh_token"
    client_id_field: str = "client_id"
    params: Mapping[str, str] = field(default_factory=dict)
    code_params: Mapping[str, str] = field(default_factory=dict)
    refresh_params: Mapping[str, str] = field(default_factory=dict)
    redirect_uri_on_refresh: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    assertion_audience: Literal["issuer", "token_endpoint"] = "issuer"


@dataclass(frozen=True, slots=True)
class ReplyRules:
    """How the token endpoint answers, where that is not as RFC 6749 5.1 and 5.2 say.

    In paths a dot steps into an object, a number into a list: ``body``, ``errors.0.errorType``.

    Attributes:
        codec: JSON, or a form.
        path: the object that holds the token; empty where that is the reply itself.
        refresh_path: the same in the reply to a refresh; None where it does not differ.
        expires_in: field of the lifetime.
        expires_unit: seconds or milliseconds.
        assumed_lifetime_s: lifetime of a token of which the reply tells none, or None where it then does not end.
        zero_is_endless: a lifetime of 0 means that the token does not end.
        scope_separator: between scopes in a reply; empty where it is the same as in requests.
        bearer_names: what it calls a bearer token beside ``Bearer`` (RFC 6749 7.1).
        error: path of the error code.
        description: path of its description.
        success_field: path of a field that tells success from failure where the status does not; empty where none.
        success_value: what it holds at success.
        error_codes: what the provider calls an error -> OAuth's name for it (RFC 6749 5.2, RFC 8628 3.5).
        status_errors: status of an answer without an error code -> OAuth's name for that error.
    """

    codec: Literal["json", "form"] = "json"
    path: str = ""
    refresh_path: str | None = None
    expires_in: str = "expires_in"
    expires_unit: Literal["s", "ms"] = "s"
    assumed_lifetime_s: float | None = None
    zero_is_endless: bool = False
    scope_separator: str = ""
    bearer_names: tuple[str, ...] = ()
    error: str = "error"
    description: str = "error_description"
    success_field: str = ""
    success_value: bool | int | str = True
    error_codes: Mapping[str, str] = field(default_factory=dict)
    status_errors: Mapping[str, str] = field(default_factory=dict)

    def of_refresh(self) -> "ReplyRules":
        """Return how the reply to a refresh is shaped."""
        return self if self.refresh_path is None else replace(self, path=self.refresh_path)


@dataclass(frozen=True, slots=True)
class RevocationRules:
    """How a token is revoked, where that is not as RFC 7009 says.

    Attributes:
        method: of the request.
        body: a form, a JSON object, or nothing.
        auth: who asks: the ``client`` as at the token endpoint, the client by HTTP ``basic``, the token as ``bearer``,
            or ``none``.
        auth_methods: how clients may authenticate there, as it announces; empty means as at the token endpoint.
        token_field: name of the parameter with the token; empty where none is sent.
        hint: ``token_type_hint`` is sent.
        which: the token that is sent; with ``both`` the refresh token first.
        params: further parameters.
        ends_login: one such request ends every token of the login.
    """

    method: Literal["POST", "DELETE", "GET"] = "POST"
    body: Literal["form", "json", "none"] = "form"
    auth: Literal["client", "basic", "bearer", "none"] = "client"
    auth_methods: tuple[str, ...] = ()
    token_field: str = "token"  # noqa: S105 -- the name of a field
    hint: bool = True
    which: Literal["refresh", "access", "both"] = "both"
    params: Mapping[str, str] = field(default_factory=dict)
    ends_login: bool = False

    def method_for(self, method: str) -> str:
        """Return how a client authenticates here that does so by ``method`` elsewhere; empty where it cannot."""
        taken = ("client_secret_basic",) if self.auth == "basic" else self.auth_methods
        if self.auth in ("bearer", "none") or not taken or method in taken:
            return method
        # The same secret, sent in another place.
        return next((way for way in WITH_SECRET if way in taken), "") if method in WITH_SECRET else ""


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """How the device flow is spoken, where that is not as RFC 8628 says.

    Attributes:
        grant: value of the grant parameter when polling; empty where none is sent.
        code_field: name of the parameter with the device code when polling.
        client_secret: a confidential client authenticates at both requests as at the token endpoint (RFC 8628 3.1,
            3.4); where not, its id alone is sent.
        own_client: it wants a client of another type than a login in a browser does, so that nobody is led here who did
            not ask for it.
        status_errors: status of a poll's answer -> OAuth's name for that error.
        scope_parameter: name of the parameter that holds the scopes in this flow; empty where it is the same as in an
            authorization request.
        scope_at_poll: a poll repeats the scopes.
    """

    grant: str = "urn:ietf:params:oauth:grant-type:device_code"
    code_field: str = "device_code"
    client_secret: bool = True
    own_client: bool = False
    status_errors: Mapping[str, str] = field(default_factory=dict)
    scope_parameter: str = ""
    scope_at_poll: bool = False


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
        narrows: a refresh may ask for less scope, and the next one for all of it again.
        other_resources: a refresh may name another resource than the login did (RFC 8707 2.2), tokens for the others
            live on, and a refresh that is refused for its resource has not spent the refresh token. The last is not so
            everywhere: npm oidc-provider spends it first, and so a mistyped resource would cost the login.
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
    narrows: bool = False
    other_resources: bool = False


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """How to learn who is logged in where there is no ID token. Paths are as in ``ReplyRules``.

    Attributes:
        url: where to ask with the bearer; empty where the provider has no such place.
        method: of that request.
        body: its JSON body, or empty.
        subject: what never changes for a person.
        label: what to show to people, first present wins.
        reply_subject: the same in the token reply, for providers that tell it there; empty where they do not. It starts
            at the reply itself, whatever ``ReplyRules.path`` says.
        reply_label: what to show of the token reply, likewise.
    """

    url: str = ""
    method: Literal["GET", "POST"] = "GET"
    body: str = ""
    subject: str = "sub"
    label: tuple[str, ...] = ("preferred_username", "email", "name", "sub")
    reply_subject: str = ""
    reply_label: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ThrottleRules:
    """Answers that mean "too fast" although their status says something else.

    Attributes:
        statuses: statuses that are a throttle when ``header`` reads ``"0"``.
        header: name of the header that counts what is left.
    """

    statuses: tuple[int, ...] = ()
    header: str = "X-RateLimit-Remaining"
