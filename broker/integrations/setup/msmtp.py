"""msmtp: an account whose password is the token.

Called by ``cli.setup``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from broker.integrations.setup.changes import Block
from broker.integrations.setup.mail import server, user
from broker.integrations.setup.plan import Asked, Plan, config_home, first_there, plain

# RFC 8314 3.3: TLS from the first byte on; every other port begins in the clear (STARTTLS).
SUBMISSIONS = 465


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that msmtp reads."""
    return first_there([home / ".msmtprc", config_home(environ, home) / "msmtp/config"], home / ".msmtprc")


def plan(asked: Asked, key: str) -> Plan:
    """Return what adds the account."""
    del key
    name, who = plain(asked.entry, "name of the account"), user(asked)
    host, port = server(asked, SUBMISSIONS)
    lines = [
        f"account {name}",
        f"host {host}",
        f"port {port}",
        "tls on",
        f"tls_starttls {'off' if port == SUBMISSIONS or asked.options.get('tls') else 'on'}",
        f"auth {asked.options.get('mechanism') or 'xoauth2'}",
        f"user {who}",
        f"from {who}",
        f'passwordeval "{asked.command("token", asked.account)}"',
    ]
    block = Block(asked.file, f"msmtp {asked.account}", "".join(f"{line}\n" for line in lines))
    return Plan((block,), commands=(f"msmtp -a {name} someone@example.org",))
