"""A program that asks an API with google-auth's default credentials: ``with_google_metadata.py API [SCOPE ...]``.

It knows nothing of Keyfob; its environment says where the metadata server of its machine is. It asks once for each
line. Run by ``test_cloud_libraries`` with an interpreter that has google-auth, and no Keyfob.
"""

import json
import sys

import google.auth
from google.auth.transport.requests import AuthorizedSession

api, *scopes = sys.argv[1:]
session = None
for _ in sys.stdin:
    try:
        if session is None:
            session = AuthorizedSession(google.auth.default(scopes=scopes or None)[0])
        status = session.get(api).status_code
        said = {"status": status, "token": session.credentials.token}
    except Exception as exc:  # noqa: BLE001 -- what the library says to whoever uses it is what is looked at
        said = {"error": f"{type(exc).__module__}.{type(exc).__name__}", "words": str(exc)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
