"""A program that asks an API with requests-oauthlib: ``with_requests_oauthlib.py SERVER API``, once for each line.

As the library's own documentation has it for a client of its own: fetch, and fetch again when a token has expired. Run
by ``test_oauth_libraries`` with an interpreter that has requests-oauthlib, and no Keyfob.
"""

import json
import os
import sys

from oauthlib.oauth2 import BackendApplicationClient, TokenExpiredError
from requests_oauthlib import OAuth2Session

server, api = sys.argv[1:]
client_id, secret = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
by_basic = os.environ["AUTH_METHOD"] == "client_secret_basic"
session = OAuth2Session(client=BackendApplicationClient(client_id=client_id))


def fetch() -> None:
    """Get a token."""
    session.fetch_token(
        f"{server}/oauth/token{os.environ['QUERY']}",
        client_id=client_id,
        client_secret=secret,
        include_client_id=None if by_basic else True,
    )


for _ in sys.stdin:
    try:
        if not session.token:
            fetch()
        try:
            status = session.get(api).status_code
        except TokenExpiredError:
            fetch()
            status = session.get(api).status_code
        said = {"status": status, "token": session.token["access_token"], "expires_in": session.token["expires_in"]}
    except Exception as exc:  # noqa: BLE001 -- what the library says to whoever uses it is what is looked at
        said = {"error": f"{type(exc).__module__}.{type(exc).__name__}", "words": str(exc)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
