"""Azure's libraries: the endpoint of a managed identity, with an app's key as its secret.

Called by ``cli.setup``.
"""

from __future__ import annotations

from broker.integrations.setup.plan import Asked, Plan, Variable, environment, loading, plain


def plan(asked: Asked, key: str) -> Plan:
    """Return the variables by which the libraries find the endpoint, and the app whose key they send."""
    endpoint = f"{plain(asked.app_url, 'address of the app port')}/azure/token"
    variables = (Variable("IDENTITY_ENDPOINT", endpoint), Variable("IDENTITY_HEADER", key, secret=True))
    return Plan((environment(asked, variables),), variables, asked.app, commands=(loading(asked),))
