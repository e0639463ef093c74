"""Whose host it is: the account that another program's request means.

Called by ``git`` and by the verbs of the other credential helpers. A token goes to a host of its account's provider, or
to one that the person named, and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.client import Client, ClientError, NotAllowed
from broker.integrations.places import Place, is_loopback

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from typing import Any

# Where in the description of a provider its host may stand.
ADDRESSES = ("base_url", "issuer", "authorization_endpoint", "api_base")


class Wish:
    """What a helper was started with.

    Attributes:
        verb: its own command, such as ``keyfob git-credential``, for next steps.
        account: the account that the person named, or None.
        hosts: the hosts that this account's token may go to, beside its provider's.
        choice: the command that chooses among several accounts, without the name of one.
    """

    __slots__ = ("account", "choice", "hosts", "verb")

    def __init__(self, verb: str, account: str | None, hosts: Sequence[str], choice: str = "") -> None:
        self.verb, self.account, self.hosts = verb, account, hosts
        self.choice = choice or f"{verb} --account"

    def names(self, place: Place) -> str | None:
        """Return the account whose token the person lets go to this very host, or None."""
        return self.account if place.is_among(self.hosts) else None


class Found:
    """The account that is meant.

    Attributes:
        account: its name.
        username: the one that its provider wants with a token at git over HTTP, or empty.
    """

    __slots__ = ("account", "username")

    def __init__(self, account: str, username: str = "") -> None:
        self.account, self.username = account, username


def find(client: Client, wish: Wish, place: Place, username: str = "") -> Found | None:
    """Return the account whose token belongs to the place, or None where there is no such account.

    Args:
        client: who is asked about accounts and providers.
        wish: what the helper was started with.
        place: where the token is to go.
        username: chooses among several accounts, by the account's name or by who is logged in.

    Raises:
        ClientError: several accounts belong to it, or the named one does not; or the token would travel in the clear.
    """
    named = wish.names(place)
    if named is not None:
        found = Found(named)  # nobody has to be asked, so an app may ask as well
    else:
        belonging = fitting(client, wish, place)
        if wish.account is not None:
            belonging = [one for one in belonging if one["account"] == wish.account]
            if not belonging:
                detail = f"Account '{wish.account}' is not known to belong to {place.host}; nothing was given."
                hint = f"If it does: {wish.verb} --account {wish.account} --host {place.host}"
                raise ClientError(detail, hint, code="other_host")
        if not belonging:
            return None
        one = _chosen(belonging, username, place, wish)
        found = Found(one["account"], one["git_username"])
    if place.protocol != "https" and not (place.protocol == "http" and is_loopback(place.host)):
        detail = f"To {place} a token would travel in the clear; nothing was given."
        raise ClientError(detail, "Use https.", code="clear_text")
    return found


def fitting(client: Client, wish: Wish, place: Place) -> list[dict[str, Any]]:
    """Return the accounts that belong to a place, each with the user name that its provider wants at git.

    Raises:
        ClientError: the daemon cannot be asked, or this caller may not ask that.
    """
    try:
        accounts = client.request("GET", "/v1/accounts")["accounts"]
        providers = {one["name"]: one for one in client.request("GET", "/v1/providers")["providers"]}
    except NotAllowed as exc:
        hint = f"An app has to name both: {wish.verb} --account NAME --host HOST"
        raise NotAllowed(exc.detail, hint, code=exc.code) from exc
    deep: dict[int, list[dict[str, Any]]] = {}
    for one in accounts:
        provider = providers.get(one["provider"], {})
        if place.is_of([*(provider.get(key) for key in ADDRESSES), one.get("resource")]):
            depth = place.depth_below(provider.get("base_url") or "")
            deep.setdefault(depth, []).append({**one, "git_username": provider.get("git_username") or ""})
    # Two instances may share a host: the one whose path is the longest that fits is meant.
    belonging = deep[max(deep)] if deep and max(deep) >= 0 else []
    return [one for one in belonging if one["state"] != "pending"] or belonging


def _chosen(belonging: Sequence[Mapping[str, Any]], username: str, place: Place, wish: Wish) -> Mapping[str, Any]:
    """Return the one that is there, else the one that the user name names."""
    if len(belonging) == 1:
        return belonging[0]
    for name_of in (_name, _label):
        named = [one for one in belonging if username and name_of(one) == username]
        if len(named) == 1:
            return named[0]
    listed = ", ".join(f"{_name(one)} ({_label(one)})" if _label(one) else _name(one) for one in belonging)
    hint = f"Choose one: {wish.choice} {_name(belonging[0])}"
    raise ClientError(f"Several accounts belong to {place.host}: {listed}.", hint, code="several_accounts")


def _name(account: Mapping[str, Any]) -> str:
    return str(account["account"])


def _label(account: Mapping[str, Any]) -> str:
    return str((account.get("identity") or {}).get("label") or "")
