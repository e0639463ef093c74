"""A program that asks an API with azure-identity: ``with_azure_identity.py CREDENTIAL SCOPE API``, once for each line.

It knows nothing of Keyfob; its environment says that there is a managed identity. Run by ``test_cloud_libraries`` with
an interpreter that has azure-identity, and no Keyfob.
"""

import json
import sys

import azure.identity
from azure.core import PipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest

kind, scope, api = sys.argv[1:]
credential = getattr(azure.identity, kind)()
client = PipelineClient(api, policies=[BearerTokenCredentialPolicy(credential, scope)])
for _ in sys.stdin:
    try:
        # An API with a token but without TLS is there in tests only.
        answer = client.send_request(HttpRequest("GET", api), enforce_https=False)
        token = answer.request.headers["Authorization"].removeprefix("Bearer ")
        said = {"status": answer.status_code, "token": token}
    except Exception as exc:  # noqa: BLE001 -- what the library says to whoever uses it is what is looked at
        said = {"error": f"{type(exc).__module__}.{type(exc).__name__}", "words": str(exc)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
