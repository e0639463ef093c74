# mypy: ignore-errors
"""A stand-in for a Funkwhale pod: its OAuth, its users/me and its rate limits, over django-oauth-toolkit.

What is imitated was read in the server's code and seen on a real pod; README.md lists it. /control/... is ours.
"""

import json
import os
import secrets
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from django_site import STATE, configure, log_event, log_token_answer, number, serve  # noqa: E402

RESOURCES = ("profile", "libraries", "edits", "follows", "favorites", "filters", "listenings", "radios", "playlists", "notifications", "reports")
SCOPES = {verb: verb for verb in ("read", "write")} | {f"{verb}:{what}": what for verb in ("read", "write") for what in RESOURCES}
OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
knobs = {"expires_in": number("AT_TTL", 36000)}

CONSENT = """<!doctype html><title>Authorize third-party app</title>{% if error %}<p class=error>{{ error.description }}</p>{% else %}
<h1>{{ application.name }} wants to access your account</h1><form method=post>{% csrf_token %}
{% for field in form %}{% if field.is_hidden %}{{ field }}{% endif %}{% endfor %}<input type=hidden name=allow value=true>
<button type=submit>Authorize {{ application.name }}</button></form>{% endif %}"""
CODE = "<!doctype html><title>Copy the code</title><p>Copy-paste the following code in the application:</p><input id=code type=text readonly value='{}'>"

configure(
    urlconf="pod",
    login_url="/login",
    templates={"oauth2_provider/authorize.html": CONSENT},
    first_middleware=["pod.limits", "pod.event_log", "django.middleware.common.CommonMiddleware"],
    provider={
        "SCOPES": SCOPES,
        "DEFAULT_SCOPES": ["read"],
        "ACCESS_TOKEN_EXPIRE_SECONDS": 36000,  # POST /control/expires_in, or AT_TTL, overrules it: see Server
        "AUTHORIZATION_CODE_EXPIRE_SECONDS": 300,
        "REFRESH_TOKEN_EXPIRE_SECONDS": 15 * 86400,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
        "REFRESH_TOKEN_REUSE_PROTECTION": False,  # an old refresh token is refused; the newer ones live on
        "PKCE_REQUIRED": False,
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https", "urn"],
        "REQUEST_APPROVAL_PROMPT": "force",
        "OAUTH2_VALIDATOR_CLASS": "pod.Validator",
        "OAUTH2_SERVER_CLASS": "pod.Server",
    },
)

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from oauth2_provider.models import AccessToken, Application, RefreshToken  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402
from oauth2_provider.views import AuthorizationView, RevokeTokenView, TokenView  # noqa: E402
from oauthlib.oauth2 import Server as OAuthlibServer  # noqa: E402
from ratelimits import RATES, Limits  # noqa: E402

rates = Limits()


class Server(OAuthlibServer):
    def __init__(self, validator, token_expires_in=None, **more):
        super().__init__(validator, token_expires_in=lambda request: knobs["expires_in"], **more)


class Validator(OAuth2Validator):
    def revoke_token(self, token, hint, request, *args, **kwargs):
        log_event("revocation", hint=hint)
        mine = {"token": token, "application": request.client}
        AccessToken.objects.filter(**mine).delete()  # and leaves its refresh token an orphan
        for refresh in RefreshToken.objects.filter(**mine):
            refresh.revoke()  # takes the access token along

    def validate_refresh_token(self, refresh_token, client, request, *args, **kwargs):
        # the pod's older toolkit stumbles over an orphan, and so its token endpoint answers 500 HTML
        if RefreshToken.objects.filter(token=refresh_token, revoked=None, access_token=None).exists():
            raise AccessToken.DoesNotExist
        return super().validate_refresh_token(refresh_token, client, request, *args, **kwargs)

    def validate_scopes(self, client_id, scopes, client, request, *args, **kwargs):
        allowed = set(client.allowed_origins.split())  # the scopes that the app registered; see register()
        return all(scope in SCOPES and (scope in allowed or scope.split(":")[0] in allowed) for scope in scopes)


class Authorize(AuthorizationView):
    """/authorize: of the pod's front end, which knows no PKCE, insists on state and shows errors itself."""

    def dispatch(self, request, *args, **kwargs):
        asked = request.GET.copy()
        for name in ("code_challenge", "code_challenge_method"):
            asked.pop(name, None)
        asked.setdefault("state", "undefined")
        request.GET, request.META["QUERY_STRING"] = asked, asked.urlencode()
        return super().dispatch(request, *args, **kwargs)

    def error_response(self, error, application, **kwargs):
        return self.render_to_response({"error": error.oauthlib_error})

    def redirect(self, redirect_to, application):
        if redirect_to.startswith(OUT_OF_BAND):
            return HttpResponse(CODE.format(redirect_to.partition("code=")[2].partition("&")[0]))
        return super().redirect(redirect_to, application)


def refusal(header, status=401, detail="Authentication credentials were not provided."):
    return JsonResponse({"detail": detail}, status=status, headers={"WWW-Authenticate": header} if header else {})


def authenticated(request):
    """The user and the scopes of a bearer (an OAuth access token or an application's own), or the pod's refusal."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer":
        return None, refusal('Bearer realm="api"')
    if secrets.compare_digest(bearer, (STATE / "application-token").read_text()):
        return get_user_model().objects.get(username="alice"), {"read"}
    token = AccessToken.objects.filter(token=bearer).select_related("user").first()
    if token is None or token.is_expired():
        what = "is invalid" if token is None else "has expired"
        return None, refusal(f'Bearer realm="api", error="invalid_token", error_description="The access token {what}."')
    return token.user, set(token.scope.split())


def me(request):
    user, scopes = authenticated(request)
    if user is None:
        return scopes
    if not scopes & {"read", "read:profile"}:
        return refusal(None, 403, "You do not have permission to perform this action.")
    return JsonResponse(
        {
            "id": user.pk,
            "username": user.username,
            "full_username": f"{user.username}@{request.get_host()}",
            "name": "",
            "email": user.email,
            "is_staff": False,
            "is_superuser": False,
            "permissions": {"library": False, "moderation": False, "settings": False},
            "date_joined": user.date_joined.isoformat(),
            "privacy_level": "instance",
            "summary": {"text": f"{user.username} likes old records", "content_type": "text/plain"},
            "instance_support_message_display_date": user.date_joined.isoformat(),
            "quota_status": {"max": 1000, "remaining": 987, "current": 13},
            "tokens": {"listen": f"{user.username}-listen-token:1pQ2:secret"},
        }
    )


@csrf_exempt
def register(request):
    """POST /api/v1/oauth/apps/: nothing is validated but the presence and the type of the fields."""
    given = json.loads(request.body) if request.content_type == "application/json" else request.POST.dict()
    problems = {field: ["This field is required."] for field in ("name", "redirect_uris") if not given.get(field)}
    problems |= {field: ["Not a valid string."] for field in ("name", "redirect_uris", "scopes") if not isinstance(given.get(field, ""), str)}
    if problems:
        return JsonResponse(problems, status=400)
    owner = None
    if "Authorization" in request.headers:  # an app made with a bearer belongs to that user, and has a token of its own
        owner, refused = authenticated(request)
        if owner is None:
            return refused
    secret = secrets.token_urlsafe(96)
    app = Application.objects.create(
        user=owner,
        name=given["name"],
        client_secret=secret,  # hashed as it is saved
        client_type="confidential",
        authorization_grant_type="authorization-code",
        redirect_uris=given["redirect_uris"],
        allowed_origins=given.get("scopes") or "read",  # a column that nothing here needs; the toolkit has none for scopes
    )
    log_event("registration_create.success", client=app.client_id, owner=owner and owner.username)
    return JsonResponse({"client_id": app.client_id, "client_secret": secret, **shown(app)}, status=201)


def shown(app):
    more = {"token": f"token-of-{app.user.username}"} if app.user else {}
    return {"name": app.name, "scopes": app.allowed_origins, "redirect_uris": app.redirect_uris, "created": app.created.isoformat(), "updated": app.updated.isoformat(), **more}


def show(request, client_id):
    app = Application.objects.filter(client_id=client_id).first()
    return JsonResponse({"client_id": client_id, **shown(app)}) if app else refusal(None, 404, "Not found.")


def tracks(request):
    user, refused = authenticated(request)
    return refused if user is None else JsonResponse({"count": 0, "next": None, "previous": None, "results": []})


def rate_limit(request):
    who = ident(request)
    return JsonResponse({"enabled": True, "ident": {"type": "anonymous" if "." in who else "authenticated", "id": who}, "scopes": rates.listing(who)})


def ident(request):
    """Of whom a request counts: of a person who has logged in, else of an address."""
    user, _ = authenticated(request)
    return str(user.pk) if user else request.META["REMOTE_ADDR"]


@csrf_exempt
def control(request, knob):
    """POST throttle {"scope", "seconds"}, rate {"scope", "limit", "seconds"}, expires_in {"seconds"}; GET apps, refused."""
    if knob == "refused":
        return JsonResponse(rates.refused)
    if knob == "apps":
        return JsonResponse({"apps": [{"name": app.name, "owned": app.user_id is not None, **shown(app)} for app in Application.objects.all()]})
    given = json.loads(request.body)
    if knob == "throttle":
        rates.throttle(given["scope"], given["seconds"])
    elif knob == "rate":
        RATES[given["scope"]] = given["limit"], given["seconds"]
    elif knob == "expires_in":
        knobs["expires_in"] = given["seconds"]
    else:
        return refusal(None, 404, "Not found.")
    return HttpResponse(status=204)


def limits(get_response):
    return partial(rates.answer, get_response, ident)


def event_log(get_response):
    def middleware(request):
        response = get_response(request)
        if request.path == "/api/v1/oauth/token/" and request.method == "POST":
            log_token_answer(request, response)
        return response

    return middleware


urlpatterns = [
    path("login", LoginView.as_view()),
    path("authorize", Authorize.as_view(login_url="/login")),
    path("api/v1/oauth/apps/", register),
    path("api/v1/oauth/apps/<str:client_id>/", show),
    path("api/v1/oauth/token/", TokenView.as_view()),
    path("api/v1/oauth/revoke/", RevokeTokenView.as_view()),
    path("api/v1/users/me/", me),
    path("api/v1/tracks/", tracks),
    path("api/v1/rate-limit", rate_limit),
    path("control/<str:knob>", control),
]


def seed():
    token = STATE / "application-token"
    if token.exists():
        return
    for name in ("alice", "bob"):
        get_user_model().objects.create_user(name, f"{name}@example.test", f"{name}-password")
    words = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "juniper", "kelp", "larch"]
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("-".join(secrets.choice(words) for _ in range(5)))


if __name__ == "__main__":
    sys.modules["pod"] = sys.modules["__main__"]
    serve(seed)
