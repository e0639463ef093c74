"""Google's libraries: a credentials file that has them exchange an app's key, or the address of a metadata server.

Called by ``cli.setup``.
"""

from __future__ import annotations

import json

from broker.integrations.setup.changes import Own
from broker.integrations.setup.plan import Asked, Plan, Variable, environment, loading, plain

# RFC 8693 3; which of them it is says nothing here, but the libraries want one.
SUBJECT_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 -- a name, not a secret
CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"
# The libraries want both: by the one they find out that there is a server, and ask at the other.
METADATA = ("GCE_METADATA_HOST", "GCE_METADATA_IP")


def plan(asked: Asked, key: str) -> Plan:
    """Return what the libraries look for, and the app whose key they use."""
    return _metadata(asked, key) if asked.options.get("metadata") else _exchange(asked)


def _exchange(asked: Asked) -> Plan:
    app = asked.app()
    credentials = {
        "type": "external_account",
        "audience": asked.account,
        "subject_token_type": SUBJECT_TOKEN_TYPE,
        "token_url": f"{plain(asked.app_url, 'address of the app port')}/oauth/token",
        "credential_source": {"file": app.file},
    }
    own = Own(asked.beside(".credentials.json"), json.dumps(credentials, indent=2) + "\n")
    variables = (Variable(CREDENTIALS, own.path),)
    return Plan((own, environment(asked, variables)), variables, app, commands=(loading(asked),))


def _metadata(asked: Asked, key: str) -> Plan:
    _, _, port = plain(asked.app_url, "address of the app port").partition("://")
    variables = tuple(Variable(name, f"{port}/google/{key}", secret=True) for name in METADATA)
    app = asked.app(capability=True)
    notes = ("Keyfob knows of no project; a program that wants one finds it in GOOGLE_CLOUD_PROJECT.",)
    return Plan((environment(asked, variables),), variables, app, commands=(loading(asked),), notes=notes)
