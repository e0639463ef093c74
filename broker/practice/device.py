"""The device flow's two other halves: where the device asks, and where the person decides (RFC 8628 3.1 to 3.3).

Routed by ``app``; the polling is in ``token``.
"""

import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode

from starlette.responses import Response

from broker.practice import pages, sabotage
from broker.practice.authorize import SCOPES, checked_scopes
from broker.practice.events import Event
from broker.practice.grants import User
from broker.practice.refusal import Refusal
from broker.practice.state import Device
from broker.practice.wire import Answer, Call, json_response

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; the set of RFC 8628 6.1
_LIFETIME = 600  # seconds; time to fetch another device
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"


def device_authorization(call: Call) -> Answer:
    """POST: a device code for the device and a user code for the person."""
    call.shaped, shape = True, call.shape
    form = shape.renamed(call.json_fields() if shape.body == "json" else call.form())
    client = call.authenticate(form, () if shape.activation.client_secret else ("none",))
    if _GRANT_TYPE not in client.grant_types:
        raise Refusal("unauthorized_client", f"this client is not registered for {_GRANT_TYPE}")
    practice = call.practice
    code, letters = secrets.token_urlsafe(32), [secrets.choice(_LETTERS) for _ in range(8)]
    user_code = "".join(letters[:4]) + "-" + "".join(letters[4:])
    interval = practice.settings.device_interval
    scopes, expires_at = _asked(call, form), practice.clock() + _LIFETIME
    practice.devices[code] = Device(client.id, scopes, expires_at, interval, user_code=user_code)
    page = f"{practice.issuer}/device"
    answer = {
        "device_code": code,
        "user_code": user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?{urlencode({'user_code': user_code})}",
        "expires_in": _LIFETIME,
        "interval": int(interval),
    }
    return json_response(sabotage.content(answer, call.faults))


def _asked(call: Call, form: Mapping[str, str]) -> tuple[str, ...]:
    """Return the scopes of a request for codes."""
    name = call.shape.activation.scope_parameter
    if name != "scope" and "scope" in form:
        raise Refusal("invalid_request", f"scope is called {name} here")
    return checked_scopes(form.get(name, ""), call.shape)


def show(call: Call) -> Answer:
    """GET: ask for the user code, or with one ask for consent; ``auto_approve`` allows at once."""
    user_code = parse_qs(call.request.url.query).get("user_code", [""])[0]
    if not user_code:
        return pages.user_code()
    device = _waiting(call, user_code)
    if device is None:
        return pages.user_code(f"The code {user_code} is not known, or too old.")
    if call.practice.settings.auto_approve:
        return _decided(call, device, call.practice.settings.user, device.scopes)
    client = call.practice.clients.find(device.client_id)
    return pages.consent(
        action="/device",
        ticket=device.user_code,
        client=client.name if client else device.client_id,
        scopes={scope: SCOPES.get(scope, scope) for scope in device.scopes},
        user=call.practice.settings.user,
        leads_to="",
    )


def decide(call: Call) -> Answer:
    """POST: the person's decision."""
    fields = parse_qs(call.body.decode(errors="replace"))
    device = _waiting(call, fields.get("ticket", [""])[0])
    if device is None:
        return pages.message("This page is too old", "Begin again at the device.", status=400)
    scopes = tuple(scope for scope in device.scopes if scope in fields.get("scope", []))
    if fields.get("decision") != ["allow"] or not scopes:
        device.denied = True
        call.practice.log.add(Event(call.practice.clock(), "consent", "denied", device.client_id))
        return pages.message("Not allowed", "The device gets no access.")
    user = fields.get("user", [""])[0].strip() or call.practice.settings.user
    return _decided(call, device, user, scopes)


def _waiting(call: Call, user_code: str) -> Device | None:
    """Return the undecided device of a user code, however it was typed (RFC 8628 6.1)."""
    typed = "".join(letter for letter in user_code.upper() if letter in _LETTERS)
    for device in call.practice.devices.values():
        undecided = device.grant is None and not device.denied and call.practice.clock() < device.expires_at
        if undecided and device.user_code.replace("-", "") == typed:
            return device
    return None


def _decided(call: Call, device: Device, user: str, scopes: tuple[str, ...]) -> Response:
    device.grant = call.practice.grants.open(device.client_id, User(user), scopes)
    call.practice.log.add(Event(call.practice.clock(), "consent", "allowed", device.client_id, device.grant.id))
    return pages.message("Allowed", "The device is logged in. You can close this tab.")
