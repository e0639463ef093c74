"""ID tokens: who logged in, believed only after every check of OpenID Connect Core 3.1.3.7.

Called by ``usecases.login`` and, for tokens that come with a refresh, by ``usecases.refresh``.
"""

import asyncio
import hashlib
import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from broker.core.secret import Secret
from broker.core.token import LIFETIME_CAP
from broker.errors import LoginFailed, ProviderUnavailable
from broker.oauth import strict
from broker.oauth.http import AnswerLost, Http, NotSent
from broker.oauth.identity import SUBJECT_CAP, label_of
from broker.providers.model import Provider

if TYPE_CHECKING:
    from broker.oauth.signatures import Key

# Ours, whatever a provider announces: no "none", no shared-secret signatures (RFC 8725 3.1).
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
# Clocks of well-kept machines differ by less.
LEEWAY = 60.0
# An ID token is made for this login, now (security.md R26).
ISSUED_WITHIN = 600.0
# A machine that starts without the network may be off by months: past that, TLS takes no certificate any more.
OFF_AT_MOST = 30 * 86_400.0
# Keys are asked for again after this long, so that one withdrawn by the provider is not trusted for a day.
KEYS_TTL = 3600.0
# Tokens with made-up key ids must not turn into requests.
REFETCH_AFTER = 300.0
# Keys that could not be had are not asked for again at once: an outage is not to be hammered.
RETRY_AFTER = 10.0
# Far more keys than any provider shows at a time.
_KEYS_CAP = 64
# Header, claims, signature (RFC 7515 7.1).
_PARTS = 3
_OK = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """What is believed of an ID token.

    Attributes:
        issuer: with ``subject`` the key of a person.
        subject: never an e-mail address (OpenID Connect Core 5.7).
        label: what people read.
    """

    issuer: str
    subject: str
    label: str


class Untimely(LoginFailed):
    """An ID token that is in order but for its times: the clock of this machine, or the provider's, is wrong."""


@dataclass(slots=True)
class _KeySet:
    keys: Sequence[Mapping[str, Any]]
    fetched_at: float
    refetched_at: float = -math.inf
    # Place in ``keys`` and algorithm -> what was made of it: that takes as long as all else that is verified.
    made: dict[tuple[int, str], "Key | None"] = field(default_factory=dict)

    def fitting(self, header: Mapping[str, Any]) -> "list[Key]":
        """Return the keys that have the header's ``kid``, where it names one, and can make its ``alg``."""
        from broker.oauth import signatures  # noqa: PLC0415 -- megabytes: see there

        found: list[Key] = []
        algorithm = header["alg"]
        for place, jwk in enumerate(self.keys):
            if "kid" in header and jwk.get("kid") != header["kid"]:
                continue
            if jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
                continue
            if (place, algorithm) not in self.made:
                self.made[place, algorithm] = signatures.public_key(jwk, algorithm)
            key = self.made[place, algorithm]
            if key is not None:
                found.append(key)
        return found


@dataclass(frozen=True, slots=True)
class _Failure:
    at: float
    detail: str
    hint: str


# Where keys are, and whether that may be an address of a private network.
_Place = tuple[str, bool]


def _place(provider: Provider) -> _Place:
    return provider.endpoints.jwks, provider.private


class Jwks:
    """The providers' public keys, kept for an hour; asked again at most once in five minutes for an unknown one.

    Whoever needs them while somebody fetches them waits for the same answer.
    """

    def __init__(self) -> None:
        self._sets: dict[_Place, _KeySet] = {}
        self._fetches: dict[_Place, asyncio.Task[_KeySet]] = {}
        self._failures: dict[_Place, _Failure] = {}

    async def find(self, http: Http, provider: Provider, header: Mapping[str, Any], now: float) -> "list[Key]":
        """Return the provider's keys that can have made a signature with this header.

        Raises:
            ProviderUnavailable: the keys cannot be had, or could not a moment ago.
        """
        known = self._sets.get(_place(provider))
        # A clock that was set back must not keep keys alive.
        if known is None or not 0 <= now - known.fetched_at < KEYS_TTL:
            known = await self._fetched(http, provider, now)
        fitting = known.fitting(header)
        if not fitting and not 0 <= now - known.refetched_at < REFETCH_AFTER:
            known = await self._fetched(http, provider, now, refetched_at=now)
            fitting = known.fitting(header)
        return fitting

    async def _fetched(self, http: Http, provider: Provider, now: float, *, refetched_at: float = -math.inf) -> _KeySet:
        """Join the one fetch of these keys, beginning it where none is under way."""
        place = _place(provider)
        task = self._fetches.get(place)
        if task is None:
            failure = self._failures.get(place)
            if failure is not None and 0 <= now - failure.at < RETRY_AFTER:
                raise ProviderUnavailable(failure.detail, failure.hint)
            task = asyncio.create_task(self._ask(http, provider, now, refetched_at), name=f"keys of {provider.title}")
            self._fetches[place] = task
            task.add_done_callback(lambda done: self._landed(place, done))
        # Who goes away must not take the answer away from the others.
        return await asyncio.shield(task)

    async def _ask(self, http: Http, provider: Provider, now: float, refetched_at: float) -> _KeySet:
        place = _place(provider)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            keys = await _fetch(http, provider)
        except ProviderUnavailable as exc:
            # The pause begins when it failed: a server that is silent takes longer than that to fail.
            self._failures[place] = _Failure(now + loop.time() - began, exc.detail, exc.hint)
            raise
        self._failures.pop(place, None)
        # Counted as asked for again only now: what failed has not told whether there is such a key.
        known = self._sets[place] = _KeySet(keys, now, refetched_at)
        return known

    def _landed(self, place: _Place, task: asyncio.Task[_KeySet]) -> None:
        del self._fetches[place]
        if not task.cancelled():
            task.exception()  # everybody who waited may have gone away


async def verify(  # noqa: PLR0913 -- what a token is checked against is that much, and each part is named
    http: Http,
    provider: Provider,
    jwks: Jwks,
    *,
    id_token: Secret,
    client_id: str,
    nonce: str | None,
    access_token: Secret,
    now: float,
    asked_at: float | None = None,
    by_server: float | None = None,
) -> Claims:
    """Verify an ID token.

    Its times are judged by this machine's clock; where they do not fit, by the clock of the server that has given it:
    that vouches for them over TLS, as for the token itself, and it could put any other time into the token as well. So
    a wrong clock here costs nobody a login. What keeps an old token from being brought again is the nonce.

    Args:
        http: the way out, for keys.
        provider: with issuer and jwks endpoint.
        jwks: the keys known so far.
        id_token: as it came.
        client_id: who it must be for.
        nonce: of this login; None at a refresh (OpenID Connect Core 12.2).
        access_token: that came with it, for ``at_hash``.
        now: epoch seconds.
        asked_at: when it was asked for, epoch seconds, where that may be longer ago than an answer takes: its times
            are judged by that.
        by_server: that moment by the clock of the server that it came from; None where that did not tell.

    Raises:
        LoginFailed: it is not to be believed; ``Untimely``, for its times alone.
        ProviderUnavailable: the keys cannot be had.
    """
    if not provider.issuer or not provider.endpoints.jwks:
        raise LoginFailed(
            f"{provider.title} sent an ID token, but it is not known how to check it.", "Configure it by its issuer."
        )
    from broker.oauth import signatures  # noqa: PLC0415 -- megabytes: see there

    header, payload, signed, signature = _take_apart(id_token)
    algorithm = _algorithm(provider, header)
    keys = await jwks.find(http, provider, header, now)
    if not any(signatures.is_signed(algorithm, signed, signature, key) for key in keys):
        _refuse("its signature is not by a key of the provider")
    _check_parties(payload, provider.issuer, client_id)
    if nonce is not None and not _same(payload.get("nonce"), nonce):
        _refuse("it was made for another login")
    if "at_hash" in payload and not _same(payload["at_hash"], _half_hash(algorithm, access_token)):
        _refuse("it belongs to another access token")
    claims = _whose(provider, payload)
    moment = now if asked_at is None else asked_at
    why = _untimely(payload, moment)
    if why and by_server is not None and abs(by_server - moment) <= OFF_AT_MOST:
        why = _untimely(payload, by_server)
    if why:
        raise Untimely(
            f"The ID token of the provider is not believed: {why}.",
            "See that the clock of this machine is right, then start the login again.",
        )
    return claims


def unverified(provider: Provider, id_token: Secret, *, client_id: str) -> Claims:
    """Return whom an ID token names that came straight from the token endpoint, while the keys cannot be had.

    TLS vouches for where it came from (OpenID Connect Core 3.1.3.7, item 6). That is enough to see that a refresh
    brought nobody else's token, and not to hand it out: others go by the signature.

    Raises:
        LoginFailed: it is not from this issuer, not for this client, or names nobody.
    """
    _, payload, _, _ = _take_apart(id_token)
    _check_parties(payload, provider.issuer, client_id)
    return _whose(provider, payload)


def _whose(provider: Provider, payload: Mapping[str, Any]) -> Claims:
    subject = payload.get("sub")
    if not isinstance(subject, str) or not subject or len(subject) > SUBJECT_CAP or not subject.isprintable():
        _refuse("it names nobody")
    return Claims(provider.issuer, subject, label_of(payload, provider.identity.label) or subject)


def life(id_token: Secret) -> tuple[float, float]:
    """Return when a token that ``verify`` has believed was issued, and when it expires, in epoch seconds."""
    _, payload, _, _ = _take_apart(id_token)
    return _time(payload, "iat"), _time(payload, "exp")


def _refuse(why: str) -> NoReturn:
    raise LoginFailed(f"The ID token of the provider is not believed: {why}.", "Start the login again.")


def _take_apart(id_token: Secret) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Return header, claims, what was signed, and the signature (RFC 7515 7.1)."""
    parts = id_token.reveal().split(".")
    if len(parts) != _PARTS:
        _refuse("it is not a signed token")
    try:
        header, payload = strict.loads(strict.base64url(parts[0])), strict.loads(strict.base64url(parts[1]))
        return header, payload, f"{parts[0]}.{parts[1]}".encode("ascii"), strict.base64url(parts[2])
    except ValueError as exc:
        raise LoginFailed("The ID token of the provider cannot be read.", "Start the login again.") from exc


def _algorithm(provider: Provider, header: Mapping[str, Any]) -> str:
    # RS256 is what every OpenID provider supports, so it is meant where none is announced (OpenID Connect Core 15.1).
    announced = provider.id_token_algs or ("RS256",)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or algorithm not in announced:
        _refuse("its signature is of a kind that is not accepted")
    if "crit" in header:
        # Extensions that must be understood (RFC 7515 4.1.11); none is.
        _refuse("it asks for something that Keyfob does not know")
    return algorithm


def _check_parties(payload: Mapping[str, Any], issuer: str, client_id: str) -> None:
    if payload.get("iss") != issuer:
        _refuse("it is from another issuer")
    audience = payload.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences:
        _refuse("it is for another client")
    if any(other != client_id for other in audiences):
        _refuse("it is for others as well, and nobody vouches for them")
    if payload.get("azp", client_id) != client_id:
        _refuse("it was issued to another client")


def _untimely(payload: Mapping[str, Any], now: float) -> str:
    """Return what is wrong with a token's times at a moment; empty text where they are right."""
    expires, issued = _time(payload, "exp"), _time(payload, "iat")
    if now >= expires + LEEWAY:
        return "it has expired by this machine's clock"
    if expires - now > LIFETIME_CAP:
        return "it claims to live for centuries"
    if abs(now - issued) > ISSUED_WITHIN:
        return "it was not made just now by this machine's clock"
    if "nbf" in payload and now < _time(payload, "nbf") - LEEWAY:
        return "it is not valid yet by this machine's clock"
    return ""


def _time(payload: Mapping[str, Any], name: str) -> float:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(f"it has no usable '{name}'")
    return float(value)


def _same(value: object, expected: str) -> bool:
    return isinstance(value, str) and hmac.compare_digest(value.encode(), expected.encode())


def _half_hash(algorithm: str, access_token: Secret) -> str:
    """Return ``at_hash`` (OpenID Connect Core 3.1.3.6): the algorithm's own hash; Ed25519's is SHA-512 (RFC 8032)."""
    digest = (hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256)(access_token.reveal().encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


async def _fetch(http: Http, provider: Provider) -> list[Mapping[str, Any]]:
    trouble = f"The keys of {provider.title} cannot be had"
    try:
        reply = await http.send("GET", provider.endpoints.jwks, private=provider.private)
    except (NotSent, AnswerLost) as exc:
        raise ProviderUnavailable(f"{trouble}: {exc.reason}.", "Try again later.") from exc
    if reply.status != _OK:
        raise ProviderUnavailable(f"{trouble}: HTTP {reply.status}.", "Try again later.")
    try:
        keys = strict.loads(reply.body).get("keys")
    except ValueError as exc:
        raise ProviderUnavailable(f"{trouble}: {exc}.", "Try again later.") from exc
    usable: list[Mapping[str, Any]] = (
        [key for key in keys[:_KEYS_CAP] if isinstance(key, dict)] if isinstance(keys, list) else []
    )
    if not usable:
        # Not to be remembered: a server that is just starting would lock everybody out until the next look.
        raise ProviderUnavailable(f"{trouble}: there is none at its jwks_uri.", "Try again later.")
    return usable
