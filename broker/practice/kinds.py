"""Every kind of fault, as data: what it is called, what value it takes, where it can happen.

Read by ``faults``; carried out by ``sabotage`` (stages ``instead`` and ``answer``) and by the endpoints (``content``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

GROUPS: Mapping[str, tuple[str, ...]] = {
    "token": ("code", "refresh", "client_credentials", "jwt_bearer", "device_code", "token_exchange", "other_grant"),
    "discovery": ("openid_configuration", "oauth_metadata"),
}
ENDPOINTS: tuple[str, ...] = (
    "authorize", "par", "userinfo", "identity", "jwks", "revoke", "introspect", "register", "registration", "apps",
    "device_authorization", "resource", "resource_metadata",
    *GROUPS["token"], *GROUPS["discovery"],
)  # fmt: skip

_ANYWHERE = ("token", *ENDPOINTS, "discovery")
_TOKEN = ("token", *GROUPS["token"])
_AUTHORIZE = ("authorize",)
_NOT_AUTHORIZE = tuple(place for place in _ANYWHERE if place != "authorize")
_WITH_FIELDS = tuple(place for place in _ANYWHERE if place != "revoke")  # its answer is empty
_LONGEST_WAIT = 3600.0  # seconds; a rehearsal that waits longer is a typing error
_BIGGEST_BODY = 65_536  # KiB; enough to burst any cap, not enough to burst the machine


def _status(text: str) -> int:
    number = int(text)
    if not 200 <= number <= 599:  # noqa: PLR2004 -- the final statuses of HTTP (RFC 9110 15)
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= _LONGEST_WAIT:
        raise ValueError(text)
    return number


def _kibibytes(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _BIGGEST_BODY:
        raise ValueError(text)
    return number


def _object(text: str) -> dict[str, Any]:
    loaded = json.loads(text)
    if not isinstance(loaded, dict):
        raise ValueError(text)  # noqa: TRY004 -- one exception for every unusable value
    return loaded


def _loose(text: str) -> Any:  # noqa: ANN401 -- any JSON value is a possible fault
    """Read JSON where it is JSON, and take it as text where not."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _word(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(text)
    return text


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: as written in a spec.
        stage: ``instead`` of carrying the request out; to the ``answer``; in the ``content`` of the answer.
        about: what happens, for people.
        value: what its value is called in the help; empty where it takes none.
        parse: reads the value; raises ValueError.
        default: the value where none is given; None where one must be given.
        endpoints: where it can happen; the first is meant where a spec names none.
    """

    name: str
    stage: Literal["instead", "answer", "content"]
    about: str
    value: str = ""
    parse: Callable[[str], Any] = str
    default: Any = None
    endpoints: tuple[str, ...] = _ANYWHERE

    @property
    def usage(self) -> str:
        """``name``, ``name=VALUE`` or ``name[=VALUE]``."""
        if not self.value:
            return self.name
        return f"{self.name}={self.value}" if self.default is None else f"{self.name}[={self.value}]"

    def fits(self, endpoint: str) -> bool:
        """Tell whether it can happen at this endpoint, or at one of this group."""
        return endpoint in self.endpoints or any(member in self.endpoints for member in GROUPS.get(endpoint, ()))


_ALL = (
    Kind("status", "instead", "this HTTP status, with a line of text", "N", _status),
    Kind("html", "instead", "a web page, as a captive portal answers", "N", _status, 200),
    Kind("empty", "instead", "204 without a body"),
    Kind("body", "instead", "200 and this text as application/json", "TEXT"),
    Kind("error", "instead", "400 and this OAuth error code", "CODE", _word, endpoints=_NOT_AUTHORIZE),
    Kind("invalid_client", "instead", "401 and the OAuth error invalid_client", endpoints=(
        *_TOKEN, "revoke", "introspect", "device_authorization", "par",
    )),
    Kind("throttle", "instead", "429 with Retry-After in seconds", "S", _seconds, 30.0),
    Kind("throttle_date", "instead", "429 with Retry-After as a date, S seconds from now", "S", _seconds, 30.0),
    Kind("redirect", "instead", "307 to this URL", "URL", _word),
    Kind("refuse", "instead", "the connection is closed without an answer"),
    Kind("drop", "answer", "the connection is closed without the answer"),
    Kind("cut", "answer", "the connection is closed in the middle of the body"),
    Kind("delay", "answer", "the answer comes S seconds late", "S", _seconds),
    Kind("hold", "answer", "the answer waits until the faults are changed or the provider stops"),
    Kind("drip", "answer", "one byte every S seconds", "S", _seconds),
    Kind("garbage", "answer", "bytes that are no JSON and no UTF-8"),
    Kind("answer", "answer", "this text as body, with the true status", "TEXT"),
    Kind("form", "answer", "the JSON fields form-encoded", endpoints=_NOT_AUTHORIZE),
    Kind("gzip", "answer", "Content-Encoding: gzip, asked for or not"),
    Kind("big", "answer", "so many KiB of white space before the body", "KIB", _kibibytes),
    Kind("used_up", "answer", "its headers tell that nothing is left of a rate limit for S seconds", "S", _seconds),
    Kind("json", "content", "these fields laid over the answer's", "{...}", _object, endpoints=_WITH_FIELDS),
    Kind("without", "content", "this field left out", "FIELD", _word, endpoints=_WITH_FIELDS),
    Kind("no_refresh_token", "content", "no refresh_token, although one was made", endpoints=_TOKEN),
    Kind("empty_refresh_token", "content", 'refresh_token: ""', endpoints=_TOKEN),
    Kind("null_refresh_token", "content", "refresh_token: null", endpoints=_TOKEN),
    Kind("expires_in", "content", "this expires_in (JSON where it is JSON, else text)", "VALUE", _loose,
         endpoints=_TOKEN),
    Kind("token_type", "content", "this token_type (JSON where it is JSON, else text)", "VALUE", _loose,
         endpoints=_TOKEN),
    Kind("no_id_token", "content", "no ID token", endpoints=_TOKEN),
    Kind("wrong_iss", "content", "a foreign issuer (in the ID token, the redirect or the metadata)", endpoints=(
        *_TOKEN, "authorize", "discovery", *GROUPS["discovery"],
    )),
    Kind("wrong_sub", "content", "somebody else (in the ID token or userinfo)", endpoints=(*_TOKEN, "userinfo")),
    Kind("wrong_aud", "content", "an ID token for another client", endpoints=_TOKEN),
    Kind("wrong_nonce", "content", "an ID token with a foreign nonce", endpoints=_TOKEN),
    Kind("no_nonce", "content", "an ID token without a nonce", endpoints=_TOKEN),
    Kind("wrong_at_hash", "content", "an ID token for another access token", endpoints=_TOKEN),
    Kind("expired_id_token", "content", "an ID token that ended an hour ago", endpoints=_TOKEN),
    Kind("alg_none", "content", "an ID token without a signature (alg none)", endpoints=_TOKEN),
    Kind("bad_signature", "content", "an ID token signed by another key", endpoints=_TOKEN),
    Kind("deny", "content", "the redirect carries this OAuth error", "CODE", _word, "access_denied", _AUTHORIZE),
    Kind("no_iss", "content", "the redirect carries no iss", endpoints=_AUTHORIZE),
    Kind("wrong_state", "content", "the redirect carries a foreign state", endpoints=_AUTHORIZE),
    Kind("no_state", "content", "the redirect carries no state", endpoints=_AUTHORIZE),
)  # fmt: skip

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
