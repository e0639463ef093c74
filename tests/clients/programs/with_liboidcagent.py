"""A program that gets a token from its agent with liboidcagent: ``with_liboidcagent.py ACCOUNT-OR-ISSUER``.

It knows nothing of Keyfob; ``OIDC_SOCK`` points to the agent. Run by ``test_oidc_agent`` with an interpreter that has
liboidcagent, and no Keyfob. What the library raises ends it, as it ends most programs.
"""

import json
import sys

import liboidcagent

whose = sys.argv[1]
get = liboidcagent.get_token_response_by_issuer_url if "://" in whose else liboidcagent.get_token_response
token, issuer, expires_at = get(whose, application_hint="walk")
sys.stdout.write(json.dumps({"token": token, "issuer": issuer, "expires_at": expires_at}))
