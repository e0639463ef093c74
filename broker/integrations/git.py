"""git's credential protocol: what git asks about, what it wants to hear, and what it found out.

Called by ``cli.git_credential``. The protocol is git's (``git help credential``): ``key=value`` lines in and out. A
refresh token is never part of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from broker.client import Client, ClientError, Token, quote
from broker.integrations.places import Place
from broker.integrations.text import checked
from broker.integrations.whose import Found, Wish, fitting

# Where a provider wants no particular user name: git wants one, and git-credential-oauth sends this.
USERNAME = "oauth2"
# What git asks helpers for, beside what it only tells them. Others may come, and a helper is to ignore them.
CAPABILITIES = ("version 0", "capability authtype")


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
            if name.endswith("[]") and value:
                values.setdefault(name, []).append(value)
            else:  # an empty value of a list takes back what came before it, as git's manual says
                values[name] = [value]
        protocol, host = _last(values, "protocol"), _last(values, "host")
        web = protocol in ("http", "https") and host
        self.place = Place(protocol, host, _last(values, "path")) if web else None
        self.username = _last(values, "username")
        self.secret = _last(values, "credential") or _last(values, "password")
        schemes = {value.partition(" ")[0].lower() for value in values.get("wwwauth[]", []) if value}
        self.bearer = "authtype" in values.get("capability[]", []) and (not schemes or "bearer" in schemes)


def wish(place: Place, account: str | None, hosts: Sequence[str]) -> Wish:
    """Return what the helper was started with; among several accounts git's own configuration chooses."""
    choice = f"git config --global credential.{place}.username"
    return Wish("keyfob git-credential", account, hosts, choice)


def lines(asked: Asked, found: Found, token: Token) -> list[str]:
    """Return what git is to read: the token, until when it is good, and nothing that outlives it.

    Raises:
        ClientError: a value could not stand in a line.
    """
    if asked.bearer:
        told = ["capability[]=authtype", "authtype=Bearer", f"credential={token.access_token}", "ephemeral=1"]
    else:
        username = found.username or asked.username or USERNAME
        told = [f"username={checked(username, 'user name')}", f"password={token.access_token}"]
    if token.expires_in is not None:
        told.append(f"password_expiry_utc={int(time.time()) + token.expires_in}")
    return told


def reject(client: Client, asked: Asked, place: Place, wished: Wish) -> None:
    """Tell the daemon that the server refused this token; it renews whichever account the token is still that of.

    Raises:
        ClientError: the daemon cannot be told, or will not renew it yet.
    """
    named = wished.names(place)
    names = [named] if named is not None else [one["account"] for one in fitting(client, wished, place)]
    failed: ClientError | None = None
    for name in names:
        try:
            client.request("POST", f"/v1/accounts/{quote(name)}/token/rejected", {"access_token": asked.secret})
        except ClientError as exc:  # of one account; the token may be another's
            failed = failed or exc
    if failed is not None:
        raise failed


def _last(values: Mapping[str, Iterable[str]], name: str) -> str:
    return next(iter(values.get(name, [])), "")
