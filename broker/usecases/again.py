"""The command that begins a login anew: what a person said is said again, so that it works as well as the first time.

Called by ``accounts`` and ``get_token`` for a login under way, and by the page that says how a login ended.
"""

import shlex

from broker.core import advice
from broker.core.login import Login
from broker.providers import words
from broker.providers.model import Provider
from broker.usecases.context import Context
from broker.usecases.providers import find


async def command(ctx: Context, begun: Login) -> str:
    """Return it, as a line for a shell.

    Raises:
        UnknownProvider: the login's provider was removed.
    """
    return describe(begun, await find(ctx, begun.provider))


def describe(begun: Login, provider: Provider) -> str:
    """Return it for a provider that was looked up already.

    A client that came with a login is kept once that has succeeded, so until then it has to be named again.
    """
    line = ["keyfob", "login", *filter(None, (begun.account,))]
    if not begun.replaces:
        line += ["--provider", begun.provider]
    if begun.scope and set(begun.scope) != set(provider.scopes):
        line += ["--scope", *begun.scope]
    if begun.resource:
        line += ["--resource", begun.resource]
    if not begun.client and begun.destination.client_id:
        line += advice.option("--client-id", begun.destination.client_id)
        if words.client_secret(provider) == "needed":
            line += ["--client-secret-file", "FILE"]
    if begun.flow != "browser":
        line += ["--flow", begun.flow]
    return shlex.join(line)
