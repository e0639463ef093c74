"""The authorization code grant at the browser's end: the URL that a person is sent to, and what comes back.

Called by ``usecases.login``.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.core.secret import Secret
from broker.errors import LoginFailed
from broker.oauth import strict
from broker.providers.model import Provider

# 256 bits: the verifier's 43 characters are the shortest that RFC 7636 4.1 allows, and enough.
_ENTROPY_BYTES = 32
# Longer than any code seen, shorter than what hurts (security.md R15).
PARAM_CAP = 2048
# More parameters than any provider sends.
PARAMS_CAP = 32


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """An authorization request, made together with what proves that the answer is its own.

    Attributes:
        url: where the person is sent.
        state: single use, bound to the browser.
        verifier: PKCE, sent with the code only; empty where the provider knows no PKCE.
        nonce: for the ID token, or empty where none is asked.
    """

    url: str
    state: Secret
    verifier: Secret
    nonce: str


@dataclass(frozen=True, slots=True)
class Code:
    """The person said yes."""

    code: Secret


@dataclass(frozen=True, slots=True)
class CallbackError:
    """The provider said no (RFC 6749 4.1.2.1); the texts are safe to show."""

    error: str
    description: str


def begin(
    provider: Provider,
    *,
    client_id: str,
    redirect_uri: str,
    scope: tuple[str, ...],
    resource: str | None,
    authorization_endpoint: str,
    openid: bool,
    public: bool,
) -> AuthRequest:
    """Make an authorization request with fresh state, PKCE and, for OpenID Connect, nonce.

    PKCE is S256. Only a preset that says so in so many words makes it ``plain`` or none: nothing that a provider
    answers does (RFC 9700 4.8). Without it, it is the state that proves that the answer belongs to the request.

    Args:
        provider: whose quirks count.
        client_id: who asks.
        redirect_uri: where the answer goes.
        scope: what is asked; empty asks for the provider's default.
        resource: RFC 8707, or None.
        authorization_endpoint: where to.
        openid: an ID token is asked for.
        public: the client has no secret.
    """
    state, verifier = Secret(secrets.token_urlsafe(_ENTROPY_BYTES)), Secret("")
    nonce = secrets.token_urlsafe(_ENTROPY_BYTES) if openid else ""
    extra = dict(provider.authorize_params)
    if openid:
        extra["nonce"] = nonce
        if "offline_access" in scope:
            # OpenID Connect Core 11: without it the refresh token is silently left out.
            extra.setdefault("prompt", "consent")
    if resource is not None:
        extra["resource"] = resource
    extra |= {provider.scope_parameter: provider.scope_separator.join(scope)} if scope else {}
    if provider.pkce in ("S256", "plain") or (provider.pkce == "S256-public" and public):
        verifier = Secret(secrets.token_urlsafe(_ENTROPY_BYTES))
        extra |= _challenge(verifier, plain=provider.pkce == "plain")
    # Forty modules that only a login needs: here, and not at each start of the daemon; serve sees that they are there.
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415 -- as just said

    url = prepare_grant_uri(
        authorization_endpoint,
        client_id,
        "code",
        redirect_uri=redirect_uri,
        state=state.reveal(),
        **extra,
    )
    return AuthRequest(str(url), state, verifier, nonce)


def _challenge(verifier: Secret, *, plain: bool) -> dict[str, str]:
    """Return the parameters that tie the code to the verifier (RFC 7636 4.3)."""
    if plain:
        return {"code_challenge": verifier.reveal(), "code_challenge_method": "plain"}
    from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415 -- as in ``begin``

    return {"code_challenge": create_s256_code_challenge(verifier.reveal()), "code_challenge_method": "S256"}


def read_callback(
    params: Sequence[tuple[str, str]], *, issuer: str, iss_required: bool, checks: Mapping[str, str]
) -> Code | CallbackError:
    """Read what the browser brought. Who may bring it is judged elsewhere, by the state.

    Args:
        params: in order, as they came.
        issuer: of this login, or empty where the provider has none.
        iss_required: the provider promises ``iss`` in every answer (RFC 9207).
        checks: what a parameter has to hold where it is there.

    Raises:
        LoginFailed: a parameter comes twice or is too long, the answer is from another issuer or does not say from
            which, is about an account at another place of the provider, or is neither a code nor an error.
    """
    values = dict(params)
    if len(values) != len(params) or len(params) > PARAMS_CAP:
        raise LoginFailed("The answer of the provider names something twice, so it is not believed.", _AGAIN)
    if any(len(name) > PARAM_CAP or len(value) > PARAM_CAP for name, value in params):
        raise LoginFailed("The answer of the provider is too long, so it is not believed.", _AGAIN)
    _check_issuer(values, issuer, required=iss_required)
    for name, wanted in checks.items():
        if values.get(name, wanted) != wanted:
            raise LoginFailed(
                f"Your account is at another place of this provider, such as another data centre: it answered with "
                f"{name} '{strict.clean(values[name])}', and this login is for '{wanted}'. The code was not sent.",
                "Log in again and name the right place with --param; see: keyfob provider presets",
            )
    code, error = values.get("code", ""), values.get("error", "")
    if bool(code) == bool(error):
        raise LoginFailed("The answer of the provider is neither a code nor an error.", _AGAIN)
    if error:
        return CallbackError(strict.clean(error) or "error", strict.clean(values.get("error_description")))
    if not is_code(code):
        raise LoginFailed("The code from the provider holds characters that no code has.", _AGAIN)
    return Code(Secret(code))


_AGAIN = "Start the login again."


def granted(provider: Provider, params: Sequence[tuple[str, str]], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the scopes that were asked for count as granted where the token reply will name none.

    Where the provider says it in the authorization response, it is what that names: a person may have left some out
    (developers.strava.com, authentication). Elsewhere it is all that was asked for (RFC 6749 5.1).

    Anybody can write into the address of a callback, so nothing is taken from it but a yes or no to each scope that
    was asked for: what it names beside them is neither kept nor shown. An answer that names none grants none that is
    known.

    Args:
        provider: whose ``callback_scope`` says where to look.
        params: of an answer that :func:`read_callback` has read.
        asked: the scopes of the request.
    """
    if not provider.callback_scope:
        return asked
    told = dict(params).get(provider.callback_scope, "")
    named = told.replace(provider.reply.scope_separator or provider.scope_separator or " ", " ").split(" ")
    return tuple(scope for scope in asked if scope in named)


def is_code(text: str) -> bool:
    """Tell whether ``text`` can be an authorization code (RFC 6749 A.11)."""
    return strict.is_printable(text, cap=PARAM_CAP)


def _check_issuer(values: dict[str, str], issuer: str, *, required: bool) -> None:
    """Compare ``iss`` (RFC 9207 2.4), in errors as well: a mix-up shows itself there too."""
    if "iss" in values and issuer and values["iss"] != issuer:
        raise LoginFailed(
            f"The answer came from another server than {issuer}. Nothing was sent to either.",
            "Start the login again, and only from a link that you trust.",
        )
    if required and "iss" not in values:
        said = strict.clean(values.get("error"))
        raise LoginFailed(
            f"The answer does not say which server it is from, although {issuer} always says so; it is not believed."
            + (f" It reports: {said}." if said else ""),
            _AGAIN,
        )
