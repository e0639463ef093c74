"""A program that asks an API with Authlib's session over httpx: ``with_authlib.py SERVER API``, once for each line.

It knows nothing of Keyfob: it has a client id and secret, finds the token endpoint by RFC 8414, and leaves renewal to
the library. Run by ``test_oauth_libraries`` with an interpreter that has Authlib and httpx, and no Keyfob.
"""

import json
import os
import sys

import httpx
from authlib.integrations.httpx_client import OAuth2Client

server, api = sys.argv[1:]
found = httpx.get(f"{server}/.well-known/oauth-authorization-server").raise_for_status().json()
client = OAuth2Client(
    os.environ["CLIENT_ID"],
    os.environ["CLIENT_SECRET"],
    token_endpoint=found["token_endpoint"] + os.environ["QUERY"],
    token_endpoint_auth_method=os.environ["AUTH_METHOD"],
    grant_type="client_credentials",
)
for _ in sys.stdin:
    try:
        if client.token is None:
            client.fetch_token()
        status = client.get(api).status_code
        said = {"status": status, "token": client.token["access_token"], "expires_in": client.token["expires_in"]}
    except Exception as exc:  # noqa: BLE001 -- what the library says to whoever uses it is what is looked at
        said = {"error": f"{type(exc).__module__}.{type(exc).__name__}", "words": str(exc)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
