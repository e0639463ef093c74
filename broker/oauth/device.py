"""The device authorization grant (RFC 8628): asking for the codes, and asking once whether the person has decided.

Called by ``usecases.device``. Nothing here waits: when to ask again is the caller's to know.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from broker.core.login import Client, DevicePrompt
from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.oauth import strict, wire
from broker.oauth.http import Http, Reply
from broker.providers.model import Provider
from broker.providers.urls import split

# RFC 8628 3.2: taken where the provider names no interval.
INTERVAL = 5.0
# A provider that wants to be asked less often than once in five minutes means something else.
LONGEST_INTERVAL = 300.0
# A code that somebody else may type is not kept waiting for longer (RFC 8628 5.4), whatever the provider says.
LONGEST_LIFE = 3600.0
# RFC 8628 6.1 recommends eight characters; what cannot be typed from a screen is no user code.
LONGEST_USER_CODE = 64
# Visible ASCII with single blanks: a person has to type it, and a terminal to show it.
_USER_CODE = re.compile(r"[!-~]+(?: [!-~]+)*")
# HTTP statuses (RFC 9110 15.3).
_OK = range(200, 300)
# Seconds as text, which some providers send.
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Codes:
    """The provider waits for a person.

    Attributes:
        device_code: what the polls carry; a secret.
        prompt: what the person is shown.
        expires_in: seconds after which nobody can enter the code any more.
    """

    device_code: Secret
    prompt: DevicePrompt
    expires_in: float


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody has decided yet (``authorization_pending``)."""


@dataclass(frozen=True, slots=True)
class TooFast:
    """Nobody has decided yet, and all further polls have to come five seconds later (``slow_down``)."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The person said no (``access_denied``)."""


@dataclass(frozen=True, slots=True)
class CodeExpired:
    """Nobody decided in time (``expired_token``)."""


Polled = Undecided | TooFast | Denied | CodeExpired | wire.Outcome
# RFC 8628 3.5.
_MEANING: dict[str, Undecided | TooFast | Denied | CodeExpired] = {
    "authorization_pending": Undecided(),
    "slow_down": TooFast(),
    "access_denied": Denied(),
    "expired_token": CodeExpired(),
}


async def authorize(
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    scope: tuple[str, ...],
    resource: str | None,
) -> Codes | wire.NoToken:
    """Ask for a device code and a user code (RFC 8628 3.1).

    Args:
        http: the way out.
        provider: with a device authorization endpoint.
        client: who asks.
        secret: its secret, or None for a public client.
        scope: what is asked; empty asks for the provider's default.
        resource: RFC 8707, or None.
    """
    # Needed only of who does not authenticate (3.1), but some servers look for it all the same.
    form: dict[str, str | Secret] = {provider.token.client_id_field: client.client_id}
    form |= _scopes(provider, scope)
    if {"openid", "offline_access"} <= set(scope):
        # OpenID Connect Core 11, as in ``authcode``: without it the refresh token is silently left out.
        form["prompt"] = "consent"
    if resource is not None:
        form["resource"] = resource
    endpoint = provider.endpoints.device_authorization
    reply, outcome = await wire.ask(http, provider, *_who(provider, client, secret), endpoint, form)
    if reply is None or reply.status not in _OK or isinstance(outcome, wire.Refused):
        return wire.Faulty("a token where codes were asked for") if isinstance(outcome, wire.Answered) else outcome
    return _read(reply)


async def poll(
    http: Http,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    token_endpoint: str,
    device_code: Secret,
    scope: tuple[str, ...],
    resource: str | None,
) -> Polled:
    """Ask once whether the person has decided (RFC 8628 3.4, 3.5).

    Args:
        http: the way out.
        provider: whose quirks count.
        client: who asks.
        secret: its secret, or None for a public client.
        token_endpoint: the one that was fixed when the login began.
        device_code: of this login.
        scope: of this login, for providers that want it repeated.
        resource: RFC 8707, or None.
    """
    rules = provider.device
    form: dict[str, str | Secret] = {rules.code_field: device_code}
    if rules.grant:
        form[provider.token.grant_field] = rules.grant
    if rules.scope_at_poll:
        form |= _scopes(provider, scope)
    if resource is not None:
        form["resource"] = resource
    endpoint = provider.endpoints.device_token or token_endpoint
    reply, outcome = await wire.ask(http, provider, *_who(provider, client, secret), endpoint, form)
    # Where the status alone says it, the body may say anything.
    if reply is not None and (error := rules.status_errors.get(str(reply.status))):
        outcome = wire.Refused(error, "", reply.status)
    return _MEANING.get(outcome.error, outcome) if isinstance(outcome, wire.Refused) else outcome


def _scopes(provider: Provider, scope: tuple[str, ...]) -> dict[str, str | Secret]:
    """Return the parameter that holds the scopes; none where there are none."""
    name = provider.device.scope_parameter or provider.scope_parameter
    return {name: provider.scope_separator.join(scope)} if scope else {}


def _who(provider: Provider, client: Client, secret: Secret | None) -> tuple[Client, Secret | None]:
    return (client, secret) if provider.device.client_secret else (replace(client, auth_method="none"), None)


def _read(reply: Reply) -> Codes | wire.Faulty:
    """Read the codes (RFC 8628 3.2). What is not in order is not shown to anybody."""
    try:
        fields = strict.loads(reply.body)
    except ValueError as exc:
        return wire.Faulty(f"HTTP {reply.status}, but {exc}")
    device_code, user_code = fields.get("device_code"), fields.get("user_code")
    if not isinstance(device_code, str) or not strict.is_printable(device_code):
        return wire.Faulty("its device_code is missing, or not text that can be sent")
    if not isinstance(user_code, str) or not _can_be_typed(user_code):
        return wire.Faulty("its user_code is missing, or nothing that a person could type")
    # Drafts before RFC 8628 called it verification_url, and one large provider still does.
    where = _address(fields.get("verification_uri") or fields.get("verification_url"))
    if where is None:
        return wire.Faulty("its verification_uri is missing, or not an https address")
    life = _seconds(fields.get("expires_in"))
    if not life:
        return wire.Faulty("its expires_in is missing, or not a number of seconds")
    interval = INTERVAL if fields.get("interval") is None else _seconds(fields["interval"])
    if interval is None or interval > LONGEST_INTERVAL:
        return wire.Faulty("its interval is not a number of seconds")
    complete = _address(fields.get("verification_uri_complete") or fields.get("verification_url_complete"))
    # An interval of nothing would be one poll after the other.
    prompt = DevicePrompt(user_code, where, complete, max(1.0, interval))
    return Codes(Secret(device_code), prompt, min(life, LONGEST_LIFE))


def _can_be_typed(code: str) -> bool:
    return len(code) <= LONGEST_USER_CODE and _USER_CODE.fullmatch(code) is not None


def _address(value: Any) -> str | None:  # noqa: ANN401 -- a JSON value
    """Return an address that a person may be sent to: https, or http on this machine; None where it is none."""
    try:
        return split(value, what="verification address").geturl() if isinstance(value, str) else None
    except InvalidRequest:
        return None


def _seconds(value: Any) -> float | None:  # noqa: ANN401 -- a JSON value
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
