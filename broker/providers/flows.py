"""Which ways to log in a provider offers.

Called by ``usecases`` before a login begins, and by ``web.render``, so that people and programs can choose.
"""

from broker.core.login import Flow
from broker.errors import InvalidRequest
from broker.providers.model import Provider

# RFC 6749 4.4 and 6, RFC 7523 2.1 and RFC 8628 3.4, as servers announce them in ``grant_types_supported``.
_CREDENTIALS = "client_credentials"
_ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_REFRESH = "refresh_token"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def offered(provider: Provider) -> tuple[Flow, ...]:
    """Return the flows that can work there, best first.

    A token that was made by hand can be kept for any provider, and is named where there is a page to make one. Where
    no endpoint is known yet, the issuer tells them; each such server has a browser's way at the least.
    """
    ends = provider.endpoints
    flows: list[Flow] = []
    if bool(ends.authorization) == bool(ends.token):
        flows += ["browser", "paste"]
    if ends.device_authorization and ends.token and (not provider.grants or _DEVICE in provider.grants):
        flows += ["device"]
    if ends.token and _is_for_programs(provider, _CREDENTIALS):
        flows += ["client-credentials"]
    if ends.token and _is_for_programs(provider, _ASSERTION):
        flows += ["jwt-bearer"]
    if ends.token and provider.exchanges:
        flows += ["token-exchange"]
    if provider.static_token_url:
        flows += ["token"]
    if ends.token and (not provider.grants or _REFRESH in provider.grants):
        flows += ["refresh-token"]
    return tuple(flows)


def _is_for_programs(provider: Provider, grant: str) -> bool:
    """Whether the provider announces a grant of programs; or announces none, and has no place for people to go to."""
    return grant in provider.grants or not (provider.grants or provider.endpoints.authorization)


def first_offered(provider: Provider, *wanted: Flow) -> Flow:
    """Return the first of some flows that the provider offers.

    Raises:
        InvalidRequest: it offers none of them; the hint names those that it does offer.
    """
    flows = offered(provider)
    fitting = [flow for flow in wanted if flow in flows]
    for flow in fitting:
        if not (flow == "device" and provider.device.own_client and len(fitting) > 1):
            return flow
    raise InvalidRequest(
        f"{provider.title} offers no login by {' or '.join(wanted)}.", f"Use one of: --flow {', --flow '.join(flows)}."
    )
