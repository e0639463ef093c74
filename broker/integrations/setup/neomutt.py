"""neomutt: the token for IMAP and SMTP.

Called by ``cli.setup``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from broker.integrations.setup.changes import Block
from broker.integrations.setup.plan import Asked, Plan, config_home, first_there, plain

AUTHENTICATORS = "oauthbearer:xoauth2"


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that neomutt reads, in the order of its manual."""
    config = config_home(environ, home)
    places = (config / "neomutt", config / "mutt", home / ".neomutt", home / ".mutt")
    found = [place / name for place in places for name in ("neomuttrc", "muttrc")]
    return first_there([*found, home / ".neomuttrc", home / ".muttrc"], found[0])


def plan(asked: Asked, key: str) -> Plan:
    """Return what sets both; where the mailbox is stays in the person's own lines, unless a user is named."""
    del key
    command = asked.command("token", asked.account)
    lines = []
    for protocol in ("imap", "smtp"):
        lines.append(f"set {protocol}_authenticators = '{AUTHENTICATORS}'")
        lines.append(f"set {protocol}_oauth_refresh_command = '{command}'")
    if asked.options.get("user"):
        lines.append(f"set imap_user = '{plain(asked.options['user'], 'user')}'")
    block = Block(asked.file, f"neomutt {asked.account}", "".join(f"{line}\n" for line in lines))
    return Plan((block,), notes=("neomutt sends a token over TLS only: imaps://, smtps://, or STARTTLS.",))
