"""Who may ask: clients, what redirect URIs they may name, and how they prove themselves.

Called by every endpoint that knows clients.
"""

import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from broker.core.secret import Secret
from broker.practice.assertions import CLIENT_ASSERTION, SECRET_ALGORITHM, Judge, Shown, Unproven, show
from broker.practice.refusal import Refusal
from broker.practice.settings import CONFIDENTIAL_CLIENT, PUBLIC_CLIENT

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
BY_KEY, BY_SIGNED_SECRET = "private_key_jwt", "client_secret_jwt"
BY_ID = "client_id_basic"  # HTTP Basic with an empty secret; not one of those that a client can register for
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", BY_SIGNED_SECRET, BY_KEY)
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANT_TYPES = {
    "authorization_code": "code",
    "refresh_token": "refresh",
    "client_credentials": "client_credentials",
    JWT_BEARER: "jwt_bearer",
    "urn:ietf:params:oauth:grant-type:device_code": "device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange": "token_exchange",
}
"""Grant type -> the name that faults and events use for it."""

# The redirect URI of every Keyfob: a port and a provider name of its own choice (RFC 8252 7.3).
_KEYFOB_CALLBACK = re.compile(r"http://127\.0\.0\.1(:[1-9][0-9]{0,4})?/callback/[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client.

    Attributes:
        id: client id.
        secret: None for a public client, and for one with keys.
        auth_methods: how it may prove itself.
        grant_types: keys of ``GRANT_TYPES``.
        redirect_uris: registered ones; on a loopback address any port matches.
        any_callback: the preregistered Keyfob: any loopback port and any path under ``/callback/``.
        name: for the consent page.
        jwks: its public keys.
        secret_expires_at: when the secret ends, epoch seconds; 0: never (RFC 7591 3.2.1).
        registration_token: what changes and deletes it (RFC 7592 3); None where nothing does.
        metadata: everything that was registered, as it was asked.
    """

    id: str
    secret: Secret | None = None
    auth_methods: tuple[str, ...] = ("none",)
    grant_types: tuple[str, ...] = tuple(GRANT_TYPES)
    redirect_uris: tuple[str, ...] = ()
    any_callback: bool = False
    name: str = ""
    jwks: tuple[Mapping[str, Any], ...] = ()
    secret_expires_at: float = 0.0
    registration_token: Secret | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def confidential(self) -> bool:
        """Whether it can prove itself (RFC 6749 2.1)."""
        return self.secret is not None or bool(self.jwks)

    def may_redirect_to(self, uri: str) -> bool:
        """Tell whether this redirect URI is one of the client's, by simple comparison, loopback ports aside."""
        if not self.redirect_uris and _origin(self.id):
            return _origin(uri) == _origin(self.id)
        if self.any_callback and (uri == OUT_OF_BAND or _KEYFOB_CALLBACK.fullmatch(uri)):
            return True
        return uri in self.redirect_uris or _portless(uri) in {_portless(known) for known in self.redirect_uris} - {""}


def _origin(uri: str) -> str:
    """Return scheme, host and port of a URL that may be a client id; empty where it may not."""
    match = re.match(r"https://[^/@?#\s]+(?=/)|http://(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?(?=/)", uri)
    return match[0] if match else ""


def _portless(uri: str) -> str:
    """Return a loopback URI without its port, or empty text for every other URI."""
    match = re.fullmatch(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(/.*)", uri)
    return match[1] + match[2] if match else ""


def redirect_uri_problem(uri: str) -> str:
    """Return what is wrong with a redirect URI that somebody wants to register, or empty text."""
    if uri == OUT_OF_BAND:
        return ""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "it is no URL"
    if "#" in uri:
        return "it has a fragment"  # RFC 6749 3.1.2
    if parts.username is not None or not host:
        return "it has no plain host"
    if parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1")):
        return ""
    return "only https, or http on 127.0.0.1 or [::1], is accepted"


@dataclass(slots=True)
class ClientBook:
    """All clients of one provider.

    Attributes:
        secret: of the preregistered confidential client.
        judge: of what clients sign.
        clock: epoch seconds, for secrets that end.
    """

    secret: Secret
    judge: Judge
    clock: Callable[[], float] = lambda: 0.0
    _clients: dict[str, Client] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add(Client(PUBLIC_CLIENT, any_callback=True, name="Keyfob"))
        self.change_secret(self.secret)

    def change_secret(self, secret: Secret) -> None:
        """Give the confidential client another secret; the old one is refused from now on."""
        self.secret = secret
        methods = ("client_secret_basic", "client_secret_post", BY_SIGNED_SECRET)
        self.add(Client(CONFIDENTIAL_CLIENT, secret, methods, any_callback=True, name="Keyfob (machine)"))

    def add(self, client: Client) -> None:
        """Register a client."""
        self._clients[client.id] = client

    def find(self, client_id: str) -> Client | None:
        """Return the client of this id."""
        known = self._clients.get(client_id)
        # Whoever answers at an address may use it as client id, and be redirected to nowhere else.
        return known or (Client(client_id, name=client_id) if _origin(client_id) else None)

    def remove(self, client_id: str) -> None:
        """Forget a client."""
        del self._clients[client_id]

    def authenticate(self, form: Mapping[str, str], authorization: str, taken: tuple[str, ...] = ()) -> Client:
        """Return the client that made a request, strictly by RFC 6749 2.3.

        Args:
            form: the request's fields.
            authorization: the ``Authorization`` header, or empty.
            taken: how it may prove itself at this endpoint; empty where that is as it is registered.

        Raises:
            Refusal: ``invalid_client`` (401), or ``invalid_request`` where two methods are mixed.
        """
        if "client_assertion" in form or "client_assertion_type" in form:
            return self._by_assertion(form, authorization)
        client_id, password, method = _credentials(form, authorization)
        client = self.find(client_id)
        if client is None:
            raise _unproven(f"no client has the id {client_id!r}", method)
        taken = taken or client.auth_methods
        if method not in taken:
            raise _unproven(f"this client proves itself by {' or '.join(taken)}, not {method}", method)
        secret = None if method in ("none", BY_ID) else client.secret  # where those are taken, none has to be shown
        if secret is not None and not hmac.compare_digest(secret.reveal().encode(), password.encode()):
            raise _unproven("the client secret is wrong", method)
        if 0 < client.secret_expires_at <= self.clock():
            raise _unproven("the client secret has ended", method)
        return client

    def _by_assertion(self, form: Mapping[str, str], authorization: str) -> Client:
        """Return the client that signed the request's assertion (RFC 7523 2.2, 3)."""
        if authorization or "client_secret" in form:
            raise Refusal("invalid_request", "one way to prove a client is enough (RFC 6749 2.3)")
        if form.get("client_assertion_type") != CLIENT_ASSERTION:
            raise Refusal("invalid_request", f"client_assertion_type must be {CLIENT_ASSERTION}")
        try:
            shown = show(form.get("client_assertion", ""))
            client, claims = self.signed_by(shown)
        except Unproven as exc:
            raise _unproven(f"the client assertion: {exc}", BY_KEY) from exc
        if claims.get("sub") != client.id or form.get("client_id", client.id) != client.id:
            raise _unproven("the client assertion: issuer, subject and client_id must be the same client", BY_KEY)
        return client

    def signed_by(self, shown: Shown) -> tuple[Client, Mapping[str, Any]]:
        """Return the client that an assertion is from, and its claims.

        Raises:
            Unproven: it is of nobody, not in order, or made in a way that is not the client's.
        """
        client = self._clients.get(shown.issuer)
        if client is None:
            raise Unproven(f"no client has the id {shown.issuer!r}")
        method = BY_SIGNED_SECRET if shown.algorithm == SECRET_ALGORITHM else BY_KEY
        if method not in client.auth_methods:
            raise Unproven(f"this client proves itself by {' or '.join(client.auth_methods)}, not {method}")
        return client, self.judge.believed(shown, jwks=client.jwks, secret=client.secret)


def _credentials(form: Mapping[str, str], authorization: str) -> tuple[str, str, str]:
    """Return client id, secret and authentication method of a request."""
    if not authorization:
        secret = form.get("client_secret", "")
        return form.get("client_id", ""), secret, "client_secret_post" if secret else "none"
    if "client_secret" in form:
        raise Refusal("invalid_request", "credentials both in the header and in the body (RFC 6749 2.3)")
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as exc:
        raise _unproven("the Basic credentials cannot be decoded", "client_secret_basic") from exc
    if scheme.lower() != "basic" or not colon:
        raise _unproven("only the Basic scheme is known here", "client_secret_basic")
    client_id, secret = unquote_plus(user), unquote_plus(password)  # form-encoded before Base64: RFC 6749 2.3.1
    method = "client_secret_basic" if secret else BY_ID
    if form.get("client_id", client_id) != client_id:
        raise Refusal("invalid_request", "one client in the header, another in the body")
    return client_id, secret, method


def _unproven(description: str, method: str) -> Refusal:
    headers = {"WWW-Authenticate": 'Basic realm="practice"'} if method in ("client_secret_basic", BY_ID) else {}
    return Refusal("invalid_client", description, status=401, headers=headers)
