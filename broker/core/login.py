"""A login under way: what has to be remembered between the start page and the callback.

Made by ``usecases.login``, kept by ``store``; ``Client`` is here too because a login fixes which one is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from broker.core.account import Destination
from broker.core.secret import Secret

Flow = Literal[
    "browser", "paste", "device", "client-credentials", "jwt-bearer", "token-exchange", "token", "refresh-token"
]
# The client signs with a private key that Keyfob made (OpenID Connect Core 9).
BY_KEY = "private_key_jwt"
# HTTP Basic with the client id and an empty secret, which RFC 6749 2.3.1 lets a client send that has none: what Reddit
# wants of an "installed app". No registry has a name for it.
BY_ID = "client_id_basic"
# How a client without any secret says who it is.
PUBLIC = ("none", BY_ID)
# Whose a client is (``Client.origin``) that proved itself as a program only: no login of a person takes it by itself.
PROGRAMS = "program"
LoginState = Literal["pending", "done", "failed", "expired"]

# A person who was called away finds the page still good; a stolen link is not good for long.
LOGIN_LIFETIME = 600.0


def flow_name(said: str) -> str:
    """Return a flow's name as Keyfob writes it: OAuth writes its grant types ``client_credentials``."""
    return said.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client that Keyfob is at a provider. Its secret or private key, where it has one, stays in the store.

    Attributes:
        uuid: the row's own id; empty while it is not kept.
        provider: the configured provider it belongs to.
        client_id: as the provider knows it.
        auth_method: ``none``, ``client_secret_basic``, ``client_secret_post`` (RFC 7591 2), ``client_secret_jwt``,
            ``private_key_jwt`` (OpenID Connect Core 9) or ``client_id_basic``: HTTP Basic with an empty secret.
        origin: ``given`` by a person, ``registered`` by Keyfob, ``preset`` (a public client that comes with it), or
            ``program``: given with the login of a program.
        has_secret: whether the store holds what proves it: a client secret, or a private key.
        created_at: when it was made or last brought, in epoch seconds.
        redirect_uris: where answers may go, as Keyfob registered it; empty where nobody knows.
        scope: what it may ask for, as the provider registered it; empty where nobody knows.
        secret_expires_at: when its secret ends, in epoch seconds (RFC 7591 3.2.1); None where it does not.
        registration_uri: where its registration is managed (RFC 7592); empty where nowhere.
    """

    uuid: str
    provider: str
    client_id: str
    auth_method: str
    origin: str
    has_secret: bool
    created_at: float
    redirect_uris: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    secret_expires_at: float | None = None
    registration_uri: str = ""


@dataclass(frozen=True, slots=True)
class Management:
    """What manages a registration at the provider (RFC 7592 3).

    Attributes:
        uri: the client configuration endpoint.
        token: the registration access token.
        metadata: what the provider said that it registered, without ids and secrets; an update repeats all of it.
    """

    uri: str
    token: Secret
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registered:
    """A client that the provider has just made, or changed.

    Attributes:
        client_id: as the provider knows it.
        client_secret: shown once, or None for a public client.
        auth_method: how to authenticate with it.
        redirect_uris: where answers may go.
        scope: what it may ask for; empty where the provider does not say.
        secret_expires_at: when the secret ends, in epoch seconds, or None where it does not.
        management: what manages the registration, or None where nothing does.
    """

    client_id: str
    client_secret: Secret | None
    auth_method: str
    redirect_uris: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    secret_expires_at: float | None = None
    management: Management | None = None


@dataclass(frozen=True, slots=True)
class DevicePrompt:
    """What the person of a device login is shown, and how often it may be asked for its end (RFC 8628 3.2).

    Attributes:
        user_code: what the person types at the provider.
        verification_uri: where.
        verification_uri_complete: the same with the code in it, or None.
        interval: seconds between two polls; grows with every ``slow_down``.
    """

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    interval: float


@dataclass(frozen=True, slots=True)
class Login:
    """One login, from start to end.

    Attributes:
        id: unguessable; stands in the start URL, and is good for nothing without the browser that opened it first.
        account: the name that the account has or will have; empty until the identity gives a default.
        replaces: uuid of the account that logs in again, or None for a new one.
        provider: name of the configured provider.
        client: uuid of the client used; empty for one that came with the login and is kept when that succeeds.
        flow: how the person logs in.
        destination: where the code may go, fixed now (RFC 9700 4.4.2).
        redirect_uri: sent at authorize and token time, string-equal (RFC 6749 4.1.3).
        scope: what is asked.
        resource: RFC 8707, or None.
        nonce: for the ID token; empty where ``openid`` is not asked. No secret: it travels in the authorize URL.
        authorization_url: where the person is sent, state and challenge included; empty once the login has ended.
        state: pending, done, failed or expired.
        reason: why it failed, for people.
        created_at: epoch seconds.
        expires_at: epoch seconds; later a callback finds nothing.
        device: what a person is shown, in a device login while that is of use and the store is not locked.
    """

    id: str
    account: str
    replaces: str | None
    provider: str
    client: str
    flow: Flow
    destination: Destination
    redirect_uri: str
    scope: tuple[str, ...]
    resource: str | None
    nonce: str
    authorization_url: str
    state: LoginState
    reason: str
    created_at: float
    expires_at: float
    device: DevicePrompt | None = None
