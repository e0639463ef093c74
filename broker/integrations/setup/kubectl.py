"""kubectl: a user whose credential is Keyfob's exec plugin; kubectl itself writes it into its file.

Called by ``cli.setup``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.client import Client, ClientError
from broker.integrations.kube import VERSIONS
from broker.integrations.setup.changes import COPY, Through
from broker.integrations.setup.plan import Asked, Plan, plain


def where(environ: Mapping[str, str], home: Path) -> Path:
    """Return the kubeconfig: the first that the environment names."""
    named = next(filter(None, environ.get("KUBECONFIG", "").split(os.pathsep)), "")
    return Path(named) if named else home / ".kube/config"


def told(client: Client, account: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """Return nothing more than is known; an account without an ID token cannot hand one over.

    Raises:
        ClientError: it is wanted, and it has none.
    """
    del client
    scope = str(account.get("scope") or "").split()
    if options.get("id_token") and scope and "openid" not in scope:
        detail = f"Account '{account['account']}' was logged in without the scope openid, so it has no ID token."
        raise ClientError(detail, f"keyfob login {account['account']} --scope {' '.join(['openid', *scope])}")
    return {}


def plan(asked: Asked, key: str) -> Plan:
    """Return what adds the user; which cluster is asked with it stays the person's choice."""
    del key
    user, program = plain(asked.entry, "name of the user"), plain(asked.keyfob, "path of the keyfob command")
    arguments = ["kube-credential", asked.account, *(["--id-token"] if asked.options.get("id_token") else [])]
    config = ("config", f"--kubeconfig={COPY}")
    told = [f"--exec-command={program}", *(f"--exec-arg={word}" for word in arguments)]
    # kubectl before 1.22 knows neither the version nor the mode.
    modern = (f"--exec-api-version={VERSIONS[0]}", "--exec-interactive-mode=Never")
    ways = (modern, (f"--exec-api-version={VERSIONS[1]}",))
    entry = Through(
        asked.file,
        "kubectl",
        rf"^\s*- name: {re.escape(user)}\s*$",  # kubectl sorts: only a user begins with its name
        tuple((*config, "set-credentials", user, *way, *told) for way in ways),
        (*config, "delete-user", user),
        _fragment(user, program, arguments),
    )
    notes = ["A cluster is asked with it once a context names this user."]
    if not asked.options.get("id_token"):
        notes.insert(0, "A cluster that checks OpenID Connect itself wants the ID token: --id-token")
    return Plan((entry,), commands=(f"kubectl config set-context --current --user={user}",), notes=tuple(notes))


def _fragment(user: str, program: str, arguments: list[str]) -> str:
    listed = "".join(f"      - {word}\n" for word in arguments)
    return (
        f"users:\n- name: {user}\n  user:\n    exec:\n      apiVersion: {VERSIONS[0]}\n      args:\n{listed}"
        f"      command: {program}\n      env: null\n      interactiveMode: Never\n      provideClusterInfo: false\n"
    )
