"""git: a credential helper for the hosts of one account, in a file of its own that git's configuration includes.

Called by ``cli.setup``. git itself writes the line that includes it; what somebody sets for the same host later goes
into git's own file and not into this one, so it can be taken away as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.client import Client, ClientError, quote
from broker.integrations.places import Place, is_loopback, place_of
from broker.integrations.setup.changes import COPY, Own, Through
from broker.integrations.setup.plan import Asked, Plan, config_home, first_there, plain, url
from broker.integrations.whose import ADDRESSES, Wish, fitting


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that ``git config --global`` writes."""
    if named := environ.get("GIT_CONFIG_GLOBAL"):
        return Path(named)
    return first_there([home / ".gitconfig", config_home(environ, home) / "git/config"], home / ".gitconfig")


def told(client: Client, account: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """Return the places of an account's provider, and whether other accounts belong to one of them.

    Raises:
        ClientError: the daemon cannot be asked; or the provider has no place to which a token may go.
    """
    provider = client.request("GET", f"/v1/providers/{quote(account['provider'])}")
    addresses = [*(provider.get(key) for key in ADDRESSES), account.get("resource")]
    places = [place_of(address) for address in addresses if address]
    safe = {str(place): place for place in places if place.protocol == "https" or is_loopback(place.host)}
    if not safe and not options.get("host"):
        detail = f"Provider '{account['provider']}' of account '{account['account']}' has no host with TLS."
        raise ClientError(detail, "Name where the repositories are: --host HOST", code="no_host")
    belonging = {one["account"] for place in safe.values() for one in fitting(client, Wish("", None, ()), place)}
    return {"hosts": tuple(safe), "shared": bool(belonging - {account["account"]})}


def plan(asked: Asked, key: str) -> Plan:
    """Return what tells git; a host beside the provider's is one that the person names."""
    del key
    sections = [_section(host, asked.command("git-credential"), asked) for host in asked.hosts]
    if named := asked.options.get("host"):
        helper = asked.command("git-credential", "--account", asked.account, "--host", named)
        sections.append(_section(str(Place("https", named)), helper, asked))
    own = Own(asked.beside(".gitconfig"), "".join(sections))
    line = plain(own.path, "path of Keyfob's configuration")
    once = ("config", "--file", COPY, "--fixed-value")  # what is there already is not added again
    included = Through(
        asked.file,
        "git",
        rf"^[^#;\n]*path\s*=.*{re.escape(line)}",
        ((*once, "--replace-all", "include.path", line, line),),
        (*once, "--unset-all", "include.path", line),
        f"[include]\n\tpath = {line}\n",
        empty=r"^\[include\]\n(?=\[|\Z)",  # which git leaves where a comment stands above
    )
    places = ", ".join([*asked.hosts, *([str(Place("https", named))] if named else [])])
    notes = [f"git asks Keyfob at {places}, and no other helper there."]
    if asked.shared:
        notes.append("Other accounts belong there, too; a URL chooses one: https://ACCOUNT@HOST/...")
    return Plan((own, included), notes=tuple(notes))


def _section(place: str, helper: str, asked: Asked) -> str:
    # The empty helper takes those before it out of the way, which would keep the token or know an older one.
    lines = [f'[credential "{url(place, "host")}"]', "\thelper =", f'\thelper = "!{helper}"']
    if asked.shared and place in asked.hosts:
        lines.append(f"\tusername = {plain(asked.account, 'account')}")
    return "".join(f"{line}\n" for line in lines)
