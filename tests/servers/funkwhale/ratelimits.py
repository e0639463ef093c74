# mypy: ignore-errors
"""The pod's rate limits: headers on every answer, and refusals in the pod's two odd shapes.

Used by pod.py as its outermost middleware.
"""

import math
import time

from django.http import HttpResponse, JsonResponse

HOUR, DAY = 3600, 86400
# path -> scope; the first match counts
PATHS = (
    ("/api/v1/oauth/token", "oauth-token"),
    ("/api/v1/oauth/revoke", "oauth-revoke-token"),
    ("/api/v1/oauth/apps", "anonymous-oauth-app"),
    ("/authorize", "oauth-authorize"),
    ("/login", "login"),
    ("/api/", "authenticated-retrieve"),
)
RATES = {
    "oauth-token": (100, HOUR),
    "oauth-revoke-token": (100, HOUR),
    "anonymous-oauth-app": (10, DAY),
    "oauth-authorize": (100, HOUR),
    "login": (30, HOUR),
    "authenticated-retrieve": (2000, HOUR),
}
# These are not served by the API's framework: their refusal becomes an internal error.
REFUSED_WITH_500 = {"oauth-token", "oauth-revoke-token", "oauth-authorize", "login"}
COSTS_NOTHING = "/api/v1/rate-limit"


class Limits:
    def __init__(self):
        self.hits = {scope: [] for scope in RATES}
        self.throttled_until = dict.fromkeys(RATES, 0.0)

    def throttle(self, scope, seconds):
        """Refuse this scope for so long, as if its limit had been reached."""
        self.throttled_until[scope] = time.time() + seconds

    def state(self, scope, now):
        """Remaining requests, and seconds until the oldest one ages out."""
        limit, window = RATES[scope]
        self.hits[scope] = [hit for hit in self.hits[scope] if hit > now - window]
        wait = self.hits[scope][0] + window - now if self.hits[scope] else 0
        if now < self.throttled_until[scope]:
            return 0, self.throttled_until[scope] - now
        return limit - len(self.hits[scope]), wait

    def headers(self, scope, now):
        (limit, window), (remaining, wait) = RATES[scope], self.state(scope, now)
        out = {"X-RateLimit-Limit": limit, "X-RateLimit-Scope": scope, "X-RateLimit-Remaining": max(remaining, 0), "X-RateLimit-Duration": window}
        if wait:
            seconds = math.ceil(wait)
            out |= {"X-RateLimit-Reset": int(now) + seconds, "X-RateLimit-ResetSeconds": seconds, "Retry-After": seconds}
        return out

    def answer(self, get_response, request):
        scope = next((scope for prefix, scope in PATHS if request.path.startswith(prefix)), None)
        if scope is None or request.path == COSTS_NOTHING:
            return get_response(request)
        now = time.time()
        remaining, _ = self.state(scope, now)
        headers = self.headers(scope, now)  # of before this request: the first answer of a window has no Retry-After
        if remaining > 0:
            self.hits[scope].append(now)
            response = get_response(request)
        elif scope in REFUSED_WITH_500:
            response = HttpResponse("<!doctype html><title>Server Error (500)</title><h1>Server Error (500)</h1>", status=500)
        else:
            response = JsonResponse({"detail": f"Request was throttled. Expected available in {headers['Retry-After']} seconds."}, status=429)
        for name, value in headers.items():
            response[name] = value
        return response

    def listing(self):
        now, out = time.time(), []
        for scope, (limit, window) in RATES.items():
            remaining, wait = self.state(scope, now)
            out.append({"id": scope, "limit": limit, "duration": window, "remaining": max(remaining, 0), "reset_seconds": math.ceil(wait) or None})
        return out
