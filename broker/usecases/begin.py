"""The beginning of a login that a person goes on with: which flow, and its first step.

Called by the web API.
"""

from collections.abc import Sequence
from dataclasses import replace

from broker.core.login import Flow, Login
from broker.providers.flows import first_offered
from broker.usecases import device, login
from broker.usecases.context import Context
from broker.usecases.newlogin import NewLogin, prepare


async def begin(ctx: Context, new: NewLogin, flows: Sequence[Flow]) -> Login:
    """Begin a login by the first of some flows that the provider offers.

    Raises:
        as ``login.begin`` and ``device.begin``; InvalidRequest where it offers none of them.
    """
    flow = flows[0]
    if len(flows) > 1:
        provider, *_ = await prepare(ctx, new)
        flow = first_offered(provider, *flows)
    chosen = replace(new, flow=flow)
    return await (device.begin(ctx, chosen) if flow == "device" else login.begin(ctx, chosen))
