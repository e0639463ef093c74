# mypy: ignore-errors
"""A one-file Django site around django-oauth-toolkit, nothing of it changed. Settings: see README.md."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from django_site import BASE, STATE, configure, log_token_answer, number, serve  # noqa: E402

key = STATE / "rsa.pem"
if not key.exists():
    key.write_bytes(subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout)

configure(
    urlconf="site_",
    templates={},
    first_middleware=["site_.event_log"],
    provider={
        "OIDC_ENABLED": True,
        "OIDC_ISS_ENDPOINT": f"{BASE}/o",
        "OIDC_RSA_PRIVATE_KEY": key.read_text(),
        "SCOPES": {"openid": "OpenID", "email": "e-mail", "api:read": "Read", "api:write": "Write"},
        "DEFAULT_SCOPES": ["api:read"],
        "ACCESS_TOKEN_EXPIRE_SECONDS": number("AT_TTL", 30),
        "AUTHORIZATION_CODE_EXPIRE_SECONDS": number("CODE_TTL", 60),
        "REFRESH_TOKEN_EXPIRE_SECONDS": number("RT_TTL", 86400),
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": number("GRACE", 0),
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "PKCE_REQUIRED": True,
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https", "urn"],
        "REQUEST_APPROVAL_PROMPT": "force",
        "DCR_ENABLED": True,
        "DCR_REGISTRATION_PERMISSION_CLASSES": ("oauth2_provider.dcr.AllowAllDCRPermission",),
        "OAUTH_DEVICE_VERIFICATION_URI": f"{BASE}/o/device/",
        "OAUTH_DEVICE_VERIFICATION_URI_COMPLETE": f"{BASE}/o/device/?user_code={{user_code}}",
        "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    },
)

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider.models import get_application_model  # noqa: E402
from oauth2_provider.urls import metadata_urlpatterns  # noqa: E402

urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("accounts/login/", LoginView.as_view()),
    path("", include((metadata_urlpatterns, "root"), namespace="root")),
]


def event_log(get_response):
    def middleware(request):
        response = get_response(request)
        if request.path == "/o/token/" and request.method == "POST":
            log_token_answer(request, response)
        return response

    return middleware


def seed():
    users, applications = get_user_model().objects, get_application_model().objects
    if users.filter(username="alice").exists():
        return
    for name in ("alice", "bob", *(f"p{number}" for number in range(1, 9))):
        users.create_user(name, f"{name}@example.test", f"{name}-password")
    out_of_band = "urn:ietf:wg:oauth:2.0:oob urn:ietf:wg:oauth:2.0:oob:auto"
    redirects = f"http://127.0.0.1/callback {out_of_band} {os.environ.get('EXTRA_REDIRECTS', '')}".strip()
    code = {"authorization_grant_type": "authorization-code", "redirect_uris": redirects, "algorithm": "RS256"}
    applications.create(name="native", client_id="native", client_secret="", client_type="public", **code)
    machine = {"client_type": "confidential", "authorization_grant_type": "client-credentials"}
    applications.create(name="machine", client_id="machine", client_secret="machine-secret", **machine)
    device = "urn:ietf:params:oauth:grant-type:device_code"
    applications.create(name="device", client_id="device", client_secret="", client_type="public", authorization_grant_type=device, algorithm="RS256")
    applications.create(name="basic", client_id="basic", client_secret="basic-secret", client_type="confidential", **code)


if __name__ == "__main__":
    sys.modules["site_"] = sys.modules["__main__"]
    serve(seed)
