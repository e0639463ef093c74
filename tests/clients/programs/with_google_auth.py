"""A program that asks an API with google-auth's default credentials: ``with_google_auth.py SERVER API``, once a line.

Its credentials file is one of an external account: google-auth exchanges what another file holds (RFC 8693). Run by
``test_oauth_libraries`` with an interpreter that has google-auth, and no Keyfob.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import google.auth
from google.auth.transport.requests import AuthorizedSession

server, api = sys.argv[1:]
with tempfile.TemporaryDirectory() as place:
    key = Path(place, "app.key")
    key.write_text(os.environ["CLIENT_SECRET"] + "\n")
    credentials = Path(place, "credentials.json")
    credentials.write_text(
        json.dumps(
            {
                "type": "external_account",
                "audience": "work",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{server}/oauth/token",
                "credential_source": {"file": str(key)},
            }
        )
    )
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(credentials)
    found, _ = google.auth.default(scopes=["openid"])
    session = AuthorizedSession(found)
    for _ in sys.stdin:
        try:
            status = session.get(api).status_code
            said = {"status": status, "token": found.token, "expires_in": 0}
        except Exception as exc:  # noqa: BLE001 -- what the library says to whoever uses it is what is looked at
            said = {"error": f"{type(exc).__module__}.{type(exc).__name__}", "words": str(exc)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
