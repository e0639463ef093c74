"""How a practice provider speaks, dimension by dimension; each default is what the RFCs say.

Part of its settings. ``asked`` turns a token request into RFC 6749's words, strictly; ``told``, ``refused`` and
``person`` turn its answers into the shape's. What is decided in between knows nothing of shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from broker.practice.refusal import Refusal

CODE, REFRESH = "authorization_code", "refresh_token"
_OK = 200
_NO_CODE = 500  # stands for an error that has no number of its own


@dataclass(frozen=True, slots=True)
class Revocation:
    """How tokens are revoked.

    Attributes:
        method: the one that is answered.
        body: what it has to carry.
        auth: ``client`` as at the token endpoint, ``basic``, the token itself as ``bearer``, or ``none``.
        token_field: where the token stands.
        hint: ``token_type_hint`` has to be there; else it must not.
        takes: the kinds of token that can be revoked.
        params: further parameters, demanded.
        ends_login: any token takes its whole grant along; else only a refresh token does.
        at_token: the request comes to the token endpoint, told by ``params``.
    """

    method: str = "POST"
    body: Literal["form", "json", "none"] = "form"
    auth: Literal["client", "basic", "bearer", "none"] = "client"
    token_field: str = "token"  # noqa: S105 -- the name of a field
    hint: bool | None = None
    takes: tuple[str, ...] = ("refresh_token", "access_token")
    params: Mapping[str, str] = field(default_factory=dict)
    ends_login: bool = False
    at_token: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """How ``/identity`` says who it is.

    Attributes:
        method: the one that is answered.
        body: the JSON that has to come along; None where nothing may.
        scheme: of the ``Authorization`` header.
        headers: further ones, demanded.
        subject: path of the subject.
        label: path of the name; empty where it tells none.
    """

    method: str = "GET"
    body: object = None
    scheme: str = "Bearer"
    headers: Mapping[str, str] = field(default_factory=dict)
    subject: str = "sub"
    label: str = "preferred_username"


@dataclass(frozen=True, slots=True)
class Activation:
    """How the device flow is spoken (RFC 8628).

    Attributes:
        client_secret: a confidential client authenticates at both requests; else its id alone is taken.
        scope_parameter: the parameter of the scopes at both requests.
        scope_at_poll: a poll has to repeat them; else it must not.
    """

    client_secret: bool = True
    scope_parameter: str = "scope"
    scope_at_poll: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """How a provider speaks. In paths a dot steps into an object, a number into a list.

    Attributes:
        scopes: that may be asked for beside the practice provider's own.
        scope_separator: between them in a request.
        scope_parameter: their parameter in an authorization request.
        authorize_params: demanded there.
        pkce: the one method that is taken (``S256-public``: from clients without a secret, else none).
        callback_params: sent along with the code.
        callback_scope: the parameter beside the code that says what was granted, which no token reply then does.
        sends_iss: the answer says who it is from (RFC 9207).
        body: of a token request.
        grant_field: the parameter that says what kind of request it is.
        code_grant: what it holds for a code.
        refresh_grant: what it holds for a refresh.
        client_id_field: the parameter with the client id.
        params: demanded of every token request, as ``code_params`` and ``refresh_params`` of one kind.
        code_params: see there.
        refresh_params: see there.
        headers: demanded of every token request.
        redirect_uri_on_refresh: a refresh has to repeat the redirect URI; else it must not.
        refresh_endpoint: a refresh has to come to ``/refresh``.
        codec: of the token reply.
        path: where the token stands in it.
        refresh_path: the same for a refresh.
        expires_in: name of the lifetime; empty where none is told.
        expires_factor: what seconds are multiplied with.
        endless: a lifetime of 0 is told, and the token does not end.
        reply_scope_separator: between scopes in a reply.
        token_type: what it calls a bearer token.
        error: path of an error code.
        description: path of its description.
        success_field: path of the field that tells success where the status is always 200; empty where it is not.
        success_value: what it holds then.
        errors: OAuth's name for an error -> its own.
        statuses: OAuth's name for an error -> the status that is all it says.
        reply_subject: path of the subject in a token reply; empty where it tells none.
        reply_label: path of the name there; empty likewise.
        revocation: how tokens are revoked.
        person: how it says who it is.
        activation: how the device flow is spoken.
    """

    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    scope_parameter: str = "scope"
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    pkce: Literal["S256", "S256-public", "plain", "none"] = "S256"
    callback_params: Mapping[str, str] = field(default_factory=dict)
    callback_scope: str = ""
    sends_iss: bool = True
    body: Literal["form", "json"] = "form"
    grant_field: str = "grant_type"
    code_grant: str = CODE
    refresh_grant: str = REFRESH
    client_id_field: str = "client_id"
    params: Mapping[str, str] = field(default_factory=dict)
    code_params: Mapping[str, str] = field(default_factory=dict)
    refresh_params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    redirect_uri_on_refresh: bool | None = None
    refresh_endpoint: bool = False
    codec: Literal["json", "form"] = "json"
    path: str = ""
    refresh_path: str = ""
    expires_in: str = "expires_in"
    expires_factor: int = 1
    endless: bool = False
    reply_scope_separator: str = " "
    token_type: str = "Bearer"  # noqa: S105 -- RFC 6750
    error: str = "error"
    description: str = "error_description"
    success_field: str = ""
    success_value: bool | int | str = True
    errors: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    reply_subject: str = ""
    reply_label: str = ""
    revocation: Revocation = field(default_factory=Revocation)
    person: Person = field(default_factory=Person)
    activation: Activation = field(default_factory=Activation)

    def pkce_of(self, *, public: bool) -> str:
        """Return the method that a client has to use: ``S256``, ``plain`` or ``none``."""
        if self.pkce == "S256-public":
            return "S256" if public else "none"
        return self.pkce

    def asked(self, fields: Mapping[str, str], headers: Mapping[str, str], *, at_refresh: bool) -> dict[str, str]:
        """Return a token request in RFC 6749's words.

        Args:
            fields: as they came.
            headers: of the request.
            at_refresh: it came to ``/refresh``.

        Raises:
            Refusal: ``invalid_request``: something is missing, or stands where it means nothing.
        """
        form = self.renamed(fields)
        kind = form.pop(self.grant_field, "")
        if "grant_type" in form:
            raise Refusal("invalid_request", f"grant_type is called {self.grant_field} here")
        kind = {self.code_grant: CODE, self.refresh_grant: REFRESH}.get(kind, kind)
        more = {CODE: self.code_params, REFRESH: self.refresh_params}.get(kind, {})
        for name, value in {**self.params, **more}.items():
            if form.get(name, "") != value:
                raise Refusal("invalid_request", f"{name} has to be {value!r}")
        for name, value in self.headers.items():
            if headers.get(name) != value:
                raise Refusal("invalid_request", f"the header {name} has to be {value!r}")
        if kind == REFRESH and self.redirect_uri_on_refresh not in (None, "redirect_uri" in form):
            raise Refusal("invalid_request", "a refresh has to repeat redirect_uri, or must not")
        if (kind == REFRESH and self.refresh_endpoint) != at_refresh:
            raise Refusal("invalid_request", "this is not the endpoint for that")
        return {**form, "grant_type": kind} if kind else form

    def renamed(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return a request with the client id under its usual name."""
        form = dict(fields)
        if self.client_id_field != "client_id":
            if "client_id" in form:
                raise Refusal("invalid_request", f"client_id is called {self.client_id_field} here")
            if self.client_id_field in form:
                form["client_id"] = form.pop(self.client_id_field)
        return form

    def told(self, answer: Mapping[str, Any], *, refreshed: bool, subject: str, label: str) -> dict[str, Any]:
        """Return a token reply in the shape's own words.

        Args:
            answer: as RFC 6749 5.1 has it.
            refreshed: it answers a refresh.
            subject: of the person; empty where there is none.
            label: the person's name.
        """
        token = dict(answer)
        lifetime = token.pop("expires_in", None)
        if self.expires_in and lifetime is not None:
            exact = type(lifetime) is int and not self.endless  # a fault may have put anything there
            token[self.expires_in] = lifetime * self.expires_factor if exact else 0 if self.endless else lifetime
        if self.callback_scope:
            token.pop("scope", None)
        if isinstance(token.get("scope"), str):
            token["scope"] = self.reply_scope_separator.join(token["scope"].split())
        if token.get("token_type") == "Bearer":
            token["token_type"] = self.token_type
        path = self.refresh_path if refreshed else self.path
        whole: dict[str, Any] = {} if path else token
        if path:
            put(whole, path, token)
        if subject and self.reply_subject:
            put(whole, self.reply_subject, subject)
        if subject and self.reply_label and self.reply_label != self.reply_subject:
            put(whole, self.reply_label, label)
        return self.succeeded(whole)

    def succeeded(self, whole: dict[str, Any]) -> dict[str, Any]:
        """Return an answer that says that it is a success, where one has to."""
        if self.success_field:
            put(whole, self.success_field, self.success_value)
        return whole

    def refused(self, error: str, description: str, status: int) -> tuple[int, dict[str, Any]]:
        """Return status and body of a refusal."""
        if error in self.statuses:
            return self.statuses[error], {}
        own = self.errors.get(error, error)
        body: dict[str, Any] = {}
        if self.success_field:
            status = _OK
            failure = not self.success_value if isinstance(self.success_value, bool) else _NO_CODE
            put(body, self.success_field, failure)
        by_number = self.success_field == self.error
        put(body, self.error, (int(own) if own.isdigit() else _NO_CODE) if by_number else own)
        if self.description != self.error:
            put(body, self.description, description)
        return status, body


def put(target: dict[str, Any], path: str, value: object) -> None:
    """Put a value at a path, making the objects and lists on the way."""
    here: Any = target
    steps: list[str | int] = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            here.extend(None for _ in range(step + 1 - len(here)))
        old = here[step] if isinstance(step, int) else here.get(step)
        if following is None:
            here[step] = value
        elif old is None:
            here[step] = [] if isinstance(following, int) else {}
        here = here[step]
