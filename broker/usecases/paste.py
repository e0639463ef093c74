"""The end of a login without a callback: a person copies the code, or the whole redirect URL, from another machine.

Called by the web API.
"""

from urllib.parse import parse_qsl, urlsplit

from broker.core.login import Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, UnknownLogin
from broker.oauth import authcode
from broker.usecases.context import Context
from broker.usecases.login import Finished, complete


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
        raise Conflict(f"This login is {login.state if login.state != 'pending' else 'expired'}.", "Start it again.")
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
