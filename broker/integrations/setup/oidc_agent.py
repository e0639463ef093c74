"""oidc-agent's clients: the variable that leads them to Keyfob's socket.

Called by ``cli.setup``.
"""

from __future__ import annotations

from broker.client import ClientError
from broker.integrations.setup.plan import Asked, Plan, Variable, environment, loading, plain


def plan(asked: Asked, key: str) -> Plan:
    """Return the variable; its socket knows every account of the person, by its name or its issuer.

    Raises:
        ClientError: the daemon has no such socket.
    """
    del key
    if not asked.agent:
        raise ClientError("The daemon has no socket for oidc-agent's clients.", 'Set it: oidc_socket = "on"')
    variables = (Variable("OIDC_SOCK", asked.agent),)
    tried = f"oidc-token {plain(asked.account, 'account')}"
    return Plan((environment(asked, variables),), variables, commands=(loading(asked), tried))
