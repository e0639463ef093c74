"""The end of a login without a callback: a person copies the code, or the whole redirect URL, from another machine.

Called by the web API, and by the browser door for a callback that did load.
"""

from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl, urlsplit

from broker.core.login import Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, UnknownLogin
from broker.oauth import authcode
from broker.usecases.context import Context
from broker.usecases.login import Finished, complete


async def waiting(
    ctx: Context, provider_name: str, params: Sequence[tuple[str, str]], cookie_of: Callable[[str], Secret | None]
) -> Login | None:
    """Return the paste login that a browser has brought the answer of; None where that is for ``login.finish``.

    It waits for a terminal. A browser that is not known to belong to it may neither finish it, because whoever sent the
    person there would choose the account, nor end it, because the right answer is about to be pasted.

    Args:
        ctx: the collaborators.
        provider_name: from the redirect path.
        params: what the browser brought.
        cookie_of: tells the cookie that the browser shows for a login id, or None where it shows none.
    """
    state = next((Secret(value) for name, value in params if name == "state"), None)
    found = await ctx.store.waiting_login(state=state, now=ctx.clock()) if state is not None else None
    if found is None or found.login.flow != "paste" or found.login.provider != provider_name:
        return None
    browser = cookie_of(found.login.id)
    known = browser is not None and await ctx.store.opened_by(found.login.id, browser)
    return None if known else found.login


async def finish(ctx: Context, login_id: str, *, url: str = "", code: Secret | None = None) -> Finished:
    """Finish a login with what a person copied: the whole redirect URL, or the code that the provider showed.

    Raises:
        UnknownLogin: none such is pending.
        InvalidRequest: what was pasted cannot belong to this login; the login stays pending.
    """
    login = await ctx.store.login(login_id)
    if login is None:
        raise UnknownLogin("There is no such login.", "Start it again.")
    if login.state != "pending" or login.expires_at <= ctx.clock():
        raise _over(login)
    if login.flow == "device":
        # Keyfob asks the provider how that goes; it has no redirect URI, so any text would pass for a code of it.
        raise InvalidRequest("This login is finished at the provider, not here.", _at_the_provider(login))
    shown = code.reveal().strip() if code is not None else ""
    if not url and shown.startswith(f"{login.redirect_uri}?"):
        # An out-of-band address that the server sent the browser to: nobody would take that for an address to open.
        url = shown
    if url:
        params = _pasted_params(login, url)
        state = next((Secret(value) for name, value in params if name == "state"), None)
        if state is None:
            raise InvalidRequest("The pasted address has no 'state'.", "Copy the whole address, to its very end.")
        # Both must fit: an address of another login must not use that one up.
        taken = await ctx.store.take_login(state=state, id=login_id, now=ctx.clock())
        if taken is None:
            raise InvalidRequest("The pasted address belongs to another login.", "Start this one again.")
    else:
        if login.redirect_uri.startswith("http"):
            raise InvalidRequest(
                "This provider sends the code to an address, not to a page.", "Paste that whole address as the URL."
            )
        if not authcode.is_code(shown):
            raise InvalidRequest("That is no code.", "Copy the whole code that the provider shows, and nothing else.")
        params = [("code", shown)]
        taken = await ctx.store.take_login(id=login_id, now=ctx.clock())
        if taken is None:
            raise UnknownLogin("This login has just ended.", "Start it again.")
    return await complete(ctx, taken, params, pasted_code=not url)


def _over(login: Login) -> Conflict:
    """Say how a login ended for which something is pasted now."""
    if login.state == "done":
        return Conflict("This login is done.", "See: keyfob accounts")
    if login.state == "failed":
        return Conflict(f"This login has failed: {login.reason.rstrip('.')}.", "Start it again.")
    return Conflict("This login is expired.", "Start it again.")


def _at_the_provider(login: Login) -> str:
    """Say how a device login is finished; a locked store does not tell where."""
    address = "the verification address" if login.device is None else login.device.verification_uri
    return f"Open {address} and type the code there."


def _pasted_params(login: Login, url: str) -> list[tuple[str, str]]:
    try:
        given, expected = urlsplit(url.strip()), urlsplit(login.redirect_uri)
    except ValueError as exc:
        raise InvalidRequest("What was pasted is no address.", "Copy the whole address, to its very end.") from exc
    if (given.scheme, given.netloc, given.path) != (expected.scheme, expected.netloc, expected.path):
        raise InvalidRequest(
            "The pasted address is not the one that this login ends at.",
            f"It begins with {login.redirect_uri}? - copy it from the address bar after you logged in.",
        )
    return parse_qsl(given.query, keep_blank_values=True)
