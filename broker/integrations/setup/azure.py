"""Azure's libraries: the endpoint of a managed identity, with an app's key as its secret or in its address.

Called by ``cli.setup``.
"""

from __future__ import annotations

from broker.integrations.setup.plan import Asked, Plan, Variable, environment, loading, plain


def plan(asked: Asked, key: str) -> Plan:
    """Return the variables by which the libraries find the endpoint, and the app whose key they send."""
    base, imds = plain(asked.app_url, "address of the app port"), bool(asked.options.get("imds"))
    variables = (
        (Variable("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"{base}/imds/{key}", secret=True),)
        if imds
        else (
            Variable("IDENTITY_ENDPOINT", f"{base}/azure/token"),
            Variable("IDENTITY_HEADER", key, secret=True),
        )
    )
    app = asked.app(capability=imds)
    return Plan((environment(asked, variables),), variables, app, commands=(loading(asked),))
