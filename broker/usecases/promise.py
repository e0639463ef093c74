"""What a list shows where a login would help: an address that begins one when it is opened, and not before.

Called by ``accounts`` for a list, and by the browser door for what was opened. To begin a login for each account of a
list would ask providers, write rows, and end others' offers, because somebody looked.
"""

from broker.core.account import Account, NeedsLogin
from broker.errors import KeyfobError, LoginFailed, UnknownLogin
from broker.providers.flows import offered
from broker.usecases import login, providers, stepup
from broker.usecases.context import Context
from broker.usecases.links import BETWEEN

# Provider name -> whether a browser can log in there; looked up once for a list.
Open = dict[str, bool]


async def of(ctx: Context, account: Account, known: Open) -> str:
    """Return an address at which a login can be begun that would help; empty where there is none.

    Args:
        ctx: the collaborators.
        account: as it is listed.
        known: what this list has found out about providers.
    """
    if not _wants(ctx, account):
        return ""
    whom = await login.whose_helps(ctx, account)
    if whom is None or whom.proven is False:
        return ""
    if whom.provider not in known:
        known[whom.provider] = await _is_open(ctx, whom.provider)
    link = ctx.links.make(whom.uuid, ctx.clock()) if known[whom.provider] else ""
    return login.start_url(ctx, link) if link else ""


def is_one(login_id: str) -> bool:
    """Whether what stands in the place of a login's id is such an address."""
    return BETWEEN in login_id


async def kept(ctx: Context, link: str) -> str:
    """Begin the login that was promised, and return its start page; of an address that was opened before, that one.

    So the first browser owns the login, as it owns every other.

    Raises:
        UnknownLogin: the address is none of ours or too old, or its account needs no login any more.
        LoginFailed: the login cannot be begun now.
    """
    uuid = ctx.links.read(link, ctx.clock())
    if uuid and link in ctx.links.opened:
        return ctx.links.opened[link][1]
    account = await ctx.store.account_by_uuid(uuid) if uuid else None
    if account is None or not _wants(ctx, account):
        raise UnknownLogin("This login is unknown, is not needed any more, or too old.", "See: keyfob accounts")
    lacking = stepup.noted(ctx, account)
    url = await login.offer(ctx, account, lacking.scopes if lacking is not None else ())
    if not url:
        raise LoginFailed(f"The login of account '{account.name}' cannot be begun now.", f"keyfob login {account.name}")
    ctx.links.note(link, url, ctx.clock())
    return url


def _wants(ctx: Context, account: Account) -> bool:
    lacking = stepup.noted(ctx, account)
    return isinstance(account.state, NeedsLogin) or (lacking is not None and bool(lacking.scopes))


async def _is_open(ctx: Context, provider: str) -> bool:
    try:
        return "browser" in offered(await providers.find(ctx, provider))
    except KeyfobError:  # such as a preset file that is broken now
        return False
