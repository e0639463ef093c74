# mypy: ignore-errors
# (It runs on Canaille, in an environment of its own; Keyfob's has neither Canaille nor types for it.)
"""Canaille on SQLite, with users and an event log; nothing of it changed. Settings: see README.md."""

import hashlib
import json
import os
import secrets
import time
from pathlib import Path

from canaille import create_app
from canaille.app import models
from flask import request
from werkzeug.serving import WSGIRequestHandler, make_server

STATE, PORT = Path(os.environ["STATE"]), int(os.environ["PORT"])
BASE = f"http://127.0.0.1:{PORT}"
AT_TTL = int(os.environ.get("AT_TTL", "30"))
# A refresh token lives no longer than its access token here: half as long again, so that a slow machine is in time.
LIFETIME = AT_TTL * 3 // 2
# What a registration endpoint's method is called in ../oidc_provider's log.
REGISTRATION = {"POST": "create", "PUT": "update", "DELETE": "delete"}

app = create_app(
    {
        "SECRET_KEY": secrets.token_hex(),
        "SERVER_NAME": f"127.0.0.1:{PORT}",
        "PREFERRED_URL_SCHEME": "http",
        "DEBUG": False,
        # Left alone: ten days after a login, an hour after a refresh.
        "OAUTH2_TOKEN_EXPIRES_IN": {"authorization_code": LIFETIME, "refresh_token": LIFETIME, "client_credentials": AT_TTL},
        # No look for a mail server on this machine.
        "CANAILLE": {"DATABASE": "sql", "SMTP": None},
        # Made-up passwords, and a start that does not wait.
        "CANAILLE_SQL": {"DATABASE_URI": f"sqlite:///{STATE}/db.sqlite3", "PASSWORD_SCHEMES": "plaintext"},
        # No domain is trusted, so that consent is asked. The keys are made at each start.
        "CANAILLE_OIDC": {"DYNAMIC_CLIENT_REGISTRATION_OPEN": True, "TRUSTED_DOMAINS": []},
    }
)


def fingerprint(token):
    return hashlib.sha256(token.encode()).hexdigest()[:16] if token else None


def log_event(event, **more):
    """The same lines of $STATE/events.jsonl as ../oidc_provider writes."""
    with (STATE / "events.jsonl").open("a") as log:
        log.write(json.dumps({"t": time.time(), "event": event, **more}) + "\n")


@app.after_request
def log(response):
    if request.endpoint == "oidc.endpoints.issue_token":
        told = response.get_json(silent=True) or {}
        done = response.status_code == 200
        kept = app.backend.get(models.Token, refresh_token=told["refresh_token"]) if told.get("refresh_token") else None
        log_event(
            "grant.success" if done else "grant.error",
            grant_type=request.form.get("grant_type"),
            error=None if done else told or response.status,
            user=kept and kept.subject.user_name,
            spent=fingerprint(request.form.get("refresh_token")),
            issued=fingerprint(told.get("refresh_token")),
            signed="client_assertion" in request.form,
        )
    elif (request.endpoint or "").startswith("oidc.endpoints.client_registration") and request.method in REGISTRATION:
        outcome = "success" if response.status_code < 300 else "error"
        told = {**(response.get_json(silent=True) or {}), **(request.view_args or {})}
        log_event(
            f"registration_{REGISTRATION[request.method]}.{outcome}",
            registered=told.get("client_id"),
            auth_method=told.get("token_endpoint_auth_method"),
            status=response.status_code,
        )
    return response


class Quiet(WSGIRequestHandler):
    def log_request(self, *args):
        pass


with app.app_context(), app.backend.session():
    for name in ("alice", "bob", "carol", *(f"p{number}" for number in range(1, 9))):
        user = models.User(user_name=name, formatted_name=name, family_name=name, emails=[f"{name}@example.test"])
        app.backend.save(user)
        app.backend.set_user_password(user, f"{name}-password")

server = make_server("127.0.0.1", PORT, app, threaded=True, request_handler=Quiet)
print(f"READY {BASE}", flush=True)
server.serve_forever()
