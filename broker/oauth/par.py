"""A pushed authorization request (RFC 9126): it goes to the provider first, and the browser carries a reference to it.

Called by ``usecases.push``.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import LoginFailed, ProviderUnavailable
from broker.oauth import strict, wire
from broker.oauth.http import Http, Reply
from broker.providers.model import Provider

# Longer than any reference seen, shorter than what some browsers and servers cut off.
URI_CAP = 2048
_AGAIN = "Start the login again."


@dataclass(frozen=True, slots=True)
class Pushed:
    """A request that the provider holds.

    Attributes:
        url: where the person is sent; it holds the client id and the reference, and nothing else of the request.
        expires_in: seconds for which the reference is good, once (RFC 9126 2.2).
    """

    url: str
    expires_in: float


async def push(
    http: Http, provider: Provider, client: Client, secret: Secret | None, *, authorization_url: str
) -> Pushed:
    """Push the authorization request that ``authorization_url`` would make.

    Raises:
        LoginFailed: the provider refused it, or gave no usable reference. There is no way back to a request in the
            browser: whoever can spoil this answer would choose that.
        ProviderUnavailable: it cannot be reached, is throttling, or answered nonsense.
    """
    endpoint = provider.endpoints.authorization
    request = _request(endpoint, authorization_url)
    match await wire.push(http, provider, client, secret, request=request):
        case Reply() as reply:
            request_uri, expires_in = _read(provider, reply)
        case wire.Refused(error=error, description=description):
            said = f"{error}: {description}" if description else error
            raise LoginFailed(f"{provider.title} refused the login: {said}.", _AGAIN)
        case wire.Throttled(reason=reason, retry_after=retry_after):
            raise ProviderUnavailable(f"{provider.title} is throttling: {reason}.", _AGAIN, retry_after=retry_after)
        case wire.Unreachable(reason=reason) | wire.Faulty(reason=reason) | wire.Lost(reason=reason):
            raise ProviderUnavailable(f"{provider.title} did not take the pushed request: {reason}.", _AGAIN)
    joint = "&" if urlsplit(endpoint).query else "?"
    query = urlencode({"client_id": client.client_id, "request_uri": request_uri})
    return Pushed(f"{endpoint}{joint}{query}", expires_in)


def _request(endpoint: str, authorization_url: str) -> dict[str, str | Secret]:
    """Return the parameters of the request, without those that are the endpoint's own (RFC 6749 3.1)."""
    own = len(parse_qsl(urlsplit(endpoint).query, keep_blank_values=True))
    pairs = parse_qsl(urlsplit(authorization_url).query, keep_blank_values=True)[own:]
    return {name: Secret(value) if name == "state" else value for name, value in pairs}


def _read(provider: Provider, reply: Reply) -> tuple[str, float]:
    """Judge the reply (RFC 9126 2.2)."""
    try:
        fields = strict.loads(reply.body)
    except ValueError as exc:
        raise LoginFailed(f"{provider.title} answered the pushed request with no JSON: {exc}.", _AGAIN) from exc
    request_uri, expires_in = fields.get("request_uri"), fields.get("expires_in")
    if not isinstance(request_uri, str) or not strict.is_printable(request_uri, cap=URI_CAP):
        raise LoginFailed(f"{provider.title} answered the pushed request without a request_uri.", _AGAIN)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int) or expires_in <= 0:
        raise LoginFailed(f"{provider.title} did not say for how long the pushed request is good.", _AGAIN)
    return request_uri, float(expires_in)
