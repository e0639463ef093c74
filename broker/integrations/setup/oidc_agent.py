"""oidc-agent's clients: the variable that leads them to Keyfob's socket.

Called by ``cli.setup``.
"""

from __future__ import annotations

from pathlib import Path

from broker.integrations.setup.plan import Asked, Plan, Variable, environment, loading, plain

SOCKET = "oidc.sock"


def plan(asked: Asked, key: str) -> Plan:
    """Return the variable; its socket knows every account of the person, by its name or its issuer."""
    del key
    variables = (Variable("OIDC_SOCK", str(Path(asked.socket).with_name(SOCKET))),)
    tried = f"oidc-token {plain(asked.account, 'account')}"
    return Plan((environment(asked, variables),), variables, commands=(loading(asked), tried))
