"""kubectl's exec credential (client.authentication.k8s.io): what it asks, and the token in its form.

Called by ``cli.kube_credential``; kubectl and the Kubernetes clients for other languages start that.
"""

from __future__ import annotations

import json

from broker.client import ClientError, Token

GROUP = "client.authentication.k8s.io/"
# The answer has the same members in both; kubectl before 1.22 knows only the second.
VERSIONS = (f"{GROUP}v1", f"{GROUP}v1beta1")


def version(info: str) -> str:
    """Return the version of the API to answer in.

    Args:
        info: the value of ``KUBERNETES_EXEC_INFO``, or empty where nobody set it.

    Raises:
        ClientError: it is no such object, or of a version that is not known here.
    """
    if not info:
        return VERSIONS[0]
    try:
        asked = json.loads(info)
    except (ValueError, RecursionError):
        asked = None
    wanted = asked.get("apiVersion") if isinstance(asked, dict) else None
    if wanted in VERSIONS:
        return str(wanted)
    detail = "KUBERNETES_EXEC_INFO asks for no version of the exec credential that Keyfob knows."
    raise ClientError(detail, f"Set apiVersion: {VERSIONS[0]} in the kubeconfig.", code="invalid_request")


def credential(token: Token, api_version: str) -> str:
    """Return the answer: the token, and until when it may be kept."""
    status = {"token": token.access_token}
    if token.expires_at is not None:
        status["expirationTimestamp"] = token.expires_at
    return json.dumps({"apiVersion": api_version, "kind": "ExecCredential", "status": status})
