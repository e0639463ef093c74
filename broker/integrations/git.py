"""git's credential protocol: which account a request means, what git wants to hear, and what it found out.

Called by ``cli.git_credential``. The protocol is git's (``git help credential``): ``key=value`` lines in and out. A
refresh token is never part of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from broker.client import Client, ClientError, NotAllowed, Token, quote
from broker.integrations.places import Place, is_loopback
from broker.integrations.text import checked

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from typing import Any

# git sends some hundred bytes; a server's WWW-Authenticate lines are part of them.
MAX_INPUT = 65_536
# Where a provider wants no particular user name: git wants one, and git-credential-oauth sends this.
USERNAME = "oauth2"
# What git asks helpers for, beside what it only tells them. Others may come, and a helper is to ignore them.
CAPABILITIES = ("version 0", "capability authtype")
# Where in the description of a provider its host may stand; only below the first lie its repositories.
ADDRESSES = ("base_url", "issuer", "authorization_endpoint", "api_base")


class Asked:
    """What git asks about.

    Attributes:
        place: the host, with protocol and path; None for what is no HTTP.
        username: from the URL or git's configuration, or empty.
        secret: the password or credential that was refused, or empty.
        bearer: git can send it as a bearer token, and nothing says that the server could not take that.
    """

    __slots__ = ("bearer", "place", "secret", "username")

    def __init__(self, text: str) -> None:
        values: dict[str, list[str]] = {}
        for line in text.split("\n"):
            if not line:
                break  # what comes after an empty line is no part of it
            name, equals, value = line.partition("=")
            if not equals:
                raise ClientError(
                    "git's request cannot be read: a line in it is not KEY=VALUE.", code="invalid_request"
                )
            checked(value, f"value of '{name}'" if name.isprintable() else "request", "invalid_request")
            # An empty value of a list takes back what came before it, as git's manual says.
            values[name] = [*values.get(name, []), value] if name.endswith("[]") and value else [value]
        protocol, host = _last(values, "protocol"), _last(values, "host")
        web = protocol in ("http", "https") and host
        self.place = Place(protocol, host, _last(values, "path")) if web else None
        self.username = _last(values, "username")
        self.secret = _last(values, "credential") or _last(values, "password")
        schemes = {value.partition(" ")[0].lower() for value in values.get("wwwauth[]", []) if value}
        self.bearer = "authtype" in values.get("capability[]", []) and (not schemes or "bearer" in schemes)


class Found:
    """The account that is meant.

    Attributes:
        account: its name.
        username: what git has to send with its token.
    """

    __slots__ = ("account", "username")

    def __init__(self, account: str, username: str) -> None:
        self.account, self.username = account, username


def find(client: Client, asked: Asked, place: Place, account: str | None, hosts: Sequence[str]) -> Found | None:
    """Return the account whose token belongs to the place, or None where there is no such account.

    Args:
        client: who is asked about accounts and providers.
        asked: what git asked about.
        place: and where that is.
        account: the one that the person named, or None.
        hosts: hosts that this account's token may go to, beside its provider's.

    Raises:
        ClientError: several accounts belong to it, or the named one does not; or the token would travel in the clear.
    """
    if account is not None and place.is_among(hosts):
        found = Found(account, asked.username or USERNAME)  # nobody has to be asked, so an app may ask as well
    else:
        fitting = _fitting(client, place)
        if account is not None:
            fitting = [one for one in fitting if one["account"] == account]
            if not fitting:
                detail = f"Account '{account}' is not known to belong to {place.host}; nothing was given."
                hint = f"If it does: keyfob git-credential --account {account} --host {place.host}"
                raise ClientError(detail, hint, code="other_host")
        if not fitting:
            return None
        one = _chosen(fitting, asked.username, place)
        found = Found(one["account"], one["git_username"] or asked.username or USERNAME)
    if place.protocol == "http" and not is_loopback(place.host):
        detail = f"git asks for {place}, where a token would travel in the clear; nothing was given."
        raise ClientError(detail, "Use https.", code="clear_text")
    return found


def lines(asked: Asked, found: Found, token: Token) -> list[str]:
    """Return what git is to read: the token, until when it is good, and nothing that outlives it.

    Raises:
        ClientError: a value could not stand in a line.
    """
    if asked.bearer:
        told = ["capability[]=authtype", "authtype=Bearer", f"credential={token.access_token}", "ephemeral=1"]
    else:
        told = [f"username={checked(found.username, 'user name')}", f"password={token.access_token}"]
    if token.expires_in is not None:
        told.append(f"password_expiry_utc={int(time.time()) + token.expires_in}")
    return told


def reject(client: Client, asked: Asked, place: Place, account: str | None, hosts: Sequence[str]) -> None:
    """Tell the daemon that the server refused this token; it renews whichever account the token is still that of.

    Raises:
        ClientError: the daemon cannot be told, or will not renew it yet.
    """
    if account is not None and place.is_among(hosts):
        names = [account]
    else:
        names = [one["account"] for one in _fitting(client, place)]
    for name in names:
        client.request("POST", f"/v1/accounts/{quote(name)}/token/rejected", {"access_token": asked.secret})


def _fitting(client: Client, place: Place) -> list[dict[str, Any]]:
    """Return the accounts that belong to a place, each with the user name that its provider wants."""
    try:
        accounts = client.request("GET", "/v1/accounts")["accounts"]
        providers = {one["name"]: one for one in client.request("GET", "/v1/providers")["providers"]}
    except NotAllowed as exc:
        hint = "An app has to name both: keyfob git-credential --account NAME --host HOST"
        raise NotAllowed(exc.detail, hint, code=exc.code) from exc
    deep: dict[int, list[dict[str, Any]]] = {}
    for one in accounts:
        provider = providers.get(one["provider"], {})
        if place.is_of([*(provider.get(key) for key in ADDRESSES), one.get("resource")]):
            depth = place.depth_below(provider.get("base_url") or "")
            deep.setdefault(depth, []).append({**one, "git_username": provider.get("git_username") or ""})
    # Two instances may share a host: the one whose path is the longest that fits is meant.
    fitting = deep[max(deep)] if deep and max(deep) >= 0 else []
    return [one for one in fitting if one["state"] != "pending"] or fitting


def _chosen(fitting: Sequence[Mapping[str, Any]], username: str, place: Place) -> Mapping[str, Any]:
    """Return the one that is there, else the one that the user name names."""
    if len(fitting) == 1:
        return fitting[0]
    for name_of in (_name, _label):
        named = [one for one in fitting if username and name_of(one) == username]
        if len(named) == 1:
            return named[0]
    listed = ", ".join(f"{_name(one)} ({_label(one)})" if _label(one) else _name(one) for one in fitting)
    origin = f"{place.protocol}://{place.host}"
    hint = f"Choose one: git config --global credential.{origin}.username {_name(fitting[0])}"
    raise ClientError(f"Several accounts belong to {place.host}: {listed}.", hint, code="several_accounts")


def _name(account: Mapping[str, Any]) -> str:
    return str(account["account"])


def _label(account: Mapping[str, Any]) -> str:
    return str((account.get("identity") or {}).get("label") or "")


def _last(values: Mapping[str, Iterable[str]], name: str) -> str:
    return next(iter(values.get(name, [])), "")
