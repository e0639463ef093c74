"""mbsync (isync): an IMAP account whose password is the token.

Called by ``cli.setup``. Stores and channels, which say what is kept where, stay the person's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from broker.integrations.setup.changes import Block
from broker.integrations.setup.mail import server, user
from broker.integrations.setup.plan import Asked, Plan, config_home, first_there, plain

# RFC 8314 3.2: TLS from the first byte on; every other port begins in the clear (STARTTLS).
IMAPS = 993


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that mbsync reads."""
    return first_there([home / ".mbsyncrc", config_home(environ, home) / "isyncrc"], home / ".mbsyncrc")


def plan(asked: Asked, key: str) -> Plan:
    """Return what adds the account."""
    del key
    name = plain(asked.entry, "name of the account")
    host, port = server(asked, IMAPS)
    lines = [
        f"IMAPAccount {name}",
        f"Host {host}",
        f"Port {port}",
        f"User {user(asked)}",
        f'PassCmd "{asked.command("token", asked.account)}"',
        "AuthMechs XOAUTH2",
        f"SSLType {'IMAPS' if port == IMAPS or asked.options.get('tls') else 'STARTTLS'}",
        "",  # it ends the section
    ]
    block = Block(asked.file, f"mbsync {asked.account}", "".join(f"{line}\n" for line in lines), first=True)
    notes = (
        f"An IMAPStore below it uses it with the line: Account {name}",
        "mbsync needs a SASL plugin for XOAUTH2; Debian has one in libsasl2-modules-kdexoauth2.",
    )
    return Plan((block,), notes=notes)
