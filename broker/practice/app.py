"""The route table of the practice provider.

Called by ``server``.
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route

from broker.practice import authorize, device, registration, resources, token
from broker.practice.control import Control
from broker.practice.state import Practice
from broker.practice.wire import Handler, Namer, endpoint


def build(practice: Practice) -> Starlette:
    """Return the app: every endpoint with its faults, and the control beside them."""

    def route(path: str, method: str, name: str | Namer, handler: Handler) -> Route:
        return Route(path, endpoint(practice, name, handler), methods=[method])

    control = Control(practice)
    return Starlette(
        routes=[
            route("/.well-known/openid-configuration", "GET", "openid_configuration", resources.metadata),
            route("/.well-known/oauth-authorization-server", "GET", "oauth_metadata", resources.metadata),
            route("/authorize", "GET", "authorize", authorize.show),
            route("/authorize", "POST", "consent", authorize.decide),
            route("/token", "POST", token.grant_name, token.token),
            route("/refresh", "POST", token.grant_name, token.token),
            *(route("/revoke", method, "revoke", resources.revoke) for method in ("POST", "DELETE", "GET")),
            *(route("/revoke/{client_id}", method, "revoke", resources.revoke) for method in ("POST", "DELETE", "GET")),
            *(route("/identity", method, "identity", resources.identity) for method in ("GET", "POST")),
            route("/introspect", "POST", "introspect", resources.introspect),
            route("/userinfo", "GET", "userinfo", resources.userinfo),
            route("/userinfo", "POST", "userinfo", resources.userinfo),
            route("/jwks", "GET", "jwks", resources.jwks),
            route("/register", "POST", "register", registration.register),
            route("/register/{client}", "GET", "registration", registration.read),
            route("/register/{client}", "PUT", "registration", registration.change),
            route("/register/{client}", "DELETE", "registration", registration.delete),
            route("/api/v1/apps", "POST", "apps", registration.own_form),
            route("/api", "GET", "resource", resources.protected),
            route("/.well-known/oauth-protected-resource/api", "GET", "resource_metadata", resources.resource_metadata),
            route("/device_authorization", "POST", "device_authorization", device.device_authorization),
            route("/device", "GET", "device", device.show),
            route("/device", "POST", "consent", device.decide),
            Route("/practice/faults", control.faults, methods=["GET", "POST"]),
            Route("/practice/log", control.log, methods=["GET"]),
            Route("/practice/revoke-grants", control.revoke_grants, methods=["POST"]),
        ],
        # A foreign Host is a rebound name: some web page that wants to read from here.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )
