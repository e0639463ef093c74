"""rclone: a WebDAV remote that asks a command for its token; rclone itself writes it into its file.

Called by ``cli.setup``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from broker.integrations.setup.changes import COPY, Through
from broker.integrations.setup.plan import Asked, Plan, config_home, first_there, plain, url

# Begins what rclone has encrypted.
ENCRYPTED = "RCLONE_ENCRYPT_V"


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file that rclone reads."""
    if named := environ.get("RCLONE_CONFIG"):
        return Path(named)
    usual = config_home(environ, home) / "rclone/rclone.conf"
    return first_there([usual, home / ".rclone.conf"], usual)


def plan(asked: Asked, key: str) -> Plan:
    """Return what adds the remote."""
    del key
    remote = plain(asked.entry, "name of the remote")
    place = url(asked.option("url", "where the files are"), "address of the files")
    members = {"vendor": "other", "url": place, "bearer_token_command": asked.command("token", asked.account)}
    config = ("--config", COPY, "--ask-password=false", "config")
    entry = Through(
        asked.file,
        "rclone",
        rf"^\[{re.escape(remote)}\]",
        ((*config, "create", remote, "webdav", *(f"{name}={value}" for name, value in members.items())),),
        (*config, "delete", remote),
        fragment="".join([f"[{remote}]\ntype = webdav\n", *(f"{name} = {value}\n" for name, value in members.items())]),
        sealed=ENCRYPTED,
    )
    return Plan((entry,), commands=(f"rclone lsf {remote}:",))
