# mypy: ignore-errors
# (It runs on Django, in an environment of its own; Keyfob's has neither Django nor types for it.)
"""What both Django servers here share: settings for a site without a project, an event log, a threaded server.

Imported by django_oauth_toolkit/site_.py and funkwhale/pod.py. Settings come from the environment (see the READMEs).
"""

import hashlib
import json
import os
import socket
import time
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

STATE = Path(os.environ["STATE"])
PORT = int(os.environ["PORT"])
BASE = f"http://127.0.0.1:{PORT}"

LOGIN_PAGE = """<!doctype html><title>Log in</title><form method=post>{% csrf_token %}{{ form.as_p }}
<input type=hidden name=next value='{{ next }}'><button>Log in</button></form>"""
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


def number(name, default):
    return int(os.environ.get(name, default))


def log_event(event, **more):
    """One line of $STATE/events.jsonl: what the server itself saw, for checks that count requests."""
    with (STATE / "events.jsonl").open("a") as log:
        log.write(json.dumps({"t": time.time(), "event": event, **more}) + "\n")


def log_token_answer(request, response):
    """The same lines as ../oidc_provider writes for its token endpoint; then $STATE/hold, which is explained there."""
    error = None if response.status_code == 200 else response.content[:200].decode(errors="replace")
    issued = None if error else json.loads(response.content).get("refresh_token")
    log_event(
        "grant.error" if error else "grant.success",
        grant_type=request.POST.get("grant_type"),
        status=response.status_code,
        error=error,
        user=_whose(issued),
        spent=_fingerprint(request.POST.get("refresh_token")),
        issued=_fingerprint(issued),
    )
    if (STATE / "hold").exists():
        time.sleep(float((STATE / "hold").read_text()))


def _whose(refresh_token):
    from oauth2_provider.models import get_refresh_token_model  # there is no such model before configure()

    found = get_refresh_token_model().objects.filter(token=refresh_token).select_related("user").first()
    return found and found.user.username


def _fingerprint(token):
    return hashlib.sha256(token.encode()).hexdigest()[:16] if token else None


def configure(urlconf, provider, templates, first_middleware=(), login_url="/accounts/login/"):
    settings.configure(
        DEBUG=False,
        SECRET_KEY="not-a-secret",
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=urlconf,
        USE_TZ=True,
        APPEND_SLASH=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages", "oauth2_provider"],
        MIDDLEWARE=[*first_middleware, *MIDDLEWARE],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth"],
                    "loaders": [("django.template.loaders.locmem.Loader", {"registration/login.html": LOGIN_PAGE, **templates}), "django.template.loaders.app_directories.Loader"],
                },
            }
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": STATE / "db.sqlite3", "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"}}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        LOGIN_URL=login_url,
        OAUTH2_PROVIDER=provider,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # made-up passwords, and a start that does not wait
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"file": {"class": "logging.FileHandler", "filename": STATE / "django.log"}},
            "loggers": {"django": {"handlers": ["file"], "propagate": False}},
            "root": {"handlers": ["file"], "level": "INFO"},
        },
    )
    django.setup()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):  # without the reverse look-up of the address that WSGIServer makes
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def serve(seed):
    """Migrate, seed, serve until killed."""
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    seed()
    with make_server("127.0.0.1", PORT, get_wsgi_application(), _Server, _Quiet) as server:
        print(f"READY {BASE}", flush=True)
        server.serve_forever()
