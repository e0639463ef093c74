"""Google's libraries: a credentials file that has them exchange an app's key for the account's token.

Called by ``cli.setup``.
"""

from __future__ import annotations

import json

from broker.integrations.setup.changes import Own
from broker.integrations.setup.plan import Asked, Plan, Variable, environment, loading, plain

# RFC 8693 3; which of them it is says nothing here, but the libraries want one.
SUBJECT_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 -- a name, not a secret
VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


def plan(asked: Asked, key: str) -> Plan:
    """Return the credentials file, the app whose key it names, and the variable that names it."""
    del key
    credentials = {
        "type": "external_account",
        "audience": asked.account,
        "subject_token_type": SUBJECT_TOKEN_TYPE,
        "token_url": f"{plain(asked.app_url, 'address of the app port')}/oauth/token",
        "credential_source": {"file": asked.app.file},
    }
    own = Own(asked.beside(".credentials.json"), json.dumps(credentials, indent=2) + "\n")
    variables = (Variable(VARIABLE, own.path),)
    return Plan((own, environment(asked, variables)), variables, asked.app, commands=(loading(asked),))
