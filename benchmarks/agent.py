"""A real oidc-agent (Debian: oidc-agent-cli) with an account of its own at the practice provider, and no browser.

Used by ``peers.py``. ``oidc-gen`` takes a refresh token, which a device login brings here.
"""

import base64
import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.run import PATIENCE, answers, process, until
from broker.practice.person import visit

ACCOUNT = "one"
SCOPE = "openid offline_access"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Agent:
    """One that runs.

    Attributes:
        socket: where it listens.
        pid: its process.
        environ: what its clients find in the environment.
    """

    socket: str
    pid: int
    environ: Mapping[str, str]


def post(url: str, fields: Mapping[str, Any], client: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Send a form as a client that proves itself, or JSON as nobody in particular; return the JSON of the answer."""
    if client is None:
        body, headers = json.dumps(fields), {"Content-Type": "application/json"}
    else:
        proof = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
        body, headers = urllib.parse.urlencode(fields), {"Authorization": f"Basic {proof}"}
    asking = urllib.request.Request(url, body.encode(), headers)  # noqa: S310 -- our own, on this machine
    with urllib.request.urlopen(asking, timeout=PATIENCE) as answer:  # noqa: S310 -- as above
        told: dict[str, Any] = json.load(answer)
        return told


@contextlib.contextmanager
def oidc_agent(place: Path, provider: str, environ: Mapping[str, str]) -> Iterator[Agent | None]:
    """Run one for the length of the block, logged in as ``one``; None where there is none on this machine."""
    if shutil.which("oidc-agent") is None or shutil.which("oidc-gen") is None:
        print("oidc-agent is not here, so it is left out (Debian: apt install oidc-agent-cli)")
        yield None
        return
    wanted = {"redirect_uris": ["http://127.0.0.1:4242/"], "grant_types": [DEVICE, "refresh_token"]}
    client = post(f"{provider}/register", {**wanted, "token_endpoint_auth_method": "client_secret_basic"})
    device = post(f"{provider}/device_authorization", {"scope": SCOPE}, client)
    visit(device["verification_uri_complete"], PATIENCE)
    login = post(f"{provider}/token", {"grant_type": DEVICE, "device_code": device["device_code"]}, client)

    sock, config = str(place / "agent.sock"), place / "oidc-agent"
    config.mkdir(mode=0o700)
    environ = {**environ, "OIDC_CONFIG_DIR": str(config), "OIDC_SOCK": sock}
    with process(["oidc-agent", "--console", f"--socket-path={sock}"], environ) as running:
        until(lambda: answers(sock), "oidc-agent")
        subprocess.run(
            [
                *("oidc-gen", ACCOUNT, "--flow=refresh", "--rt-env", f"--iss={provider}", f"--scope={SCOPE}"),
                *(f"--client-id={client['client_id']}", f"--client-secret={client['client_secret']}"),
                *("--redirect-uri=http://localhost:4242", "--no-save", "--pw-env", "--prompt=none"),
                "--confirm-default",
            ],
            env={**environ, "OIDC_REFRESH_TOKEN": login["refresh_token"], "OIDC_ENCRYPTION_PW": "unused"},
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        yield Agent(sock, running.pid, environ)
