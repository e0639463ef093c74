"""Claude Code: an MCP server over HTTP whose headers come from a command.

Called by ``cli.setup``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from broker.integrations.setup.members import Member
from broker.integrations.setup.plan import Asked, Plan, url


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file with the servers of all of this person's projects."""
    return Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json"


def plan(asked: Asked, key: str) -> Plan:
    """Return what adds the server, under a name that can be part of a tool's."""
    del key
    name = re.sub(r"[^A-Za-z0-9_-]", "-", asked.options.get("name") or asked.entry)
    place = url(asked.option("url", "where the MCP server is"), "address of the MCP server")
    helper = asked.command("token", asked.account, "--json-header")
    value = {"type": "http", "url": place, "headersHelper": helper}
    # However the command is found: another installation of Keyfob's is Keyfob's, too.
    ours = ("headersHelper", helper.removeprefix(asked.keyfob))
    notes = ("It is read when Claude Code starts; a session that runs may write over it, so end that first.",)
    return Plan((Member(asked.file, "mcpServers", name, value, ours),), notes=notes)
