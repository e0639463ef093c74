# mypy: ignore-errors
"""The pod's rate limits: headers on every answer, and refusals in the pod's two odd shapes.

Used by pod.py as its outermost middleware. A window slides: each request is free again when it has become as old as the
window is long. Whoever has logged in has limits of his own; the others share those of their address.
"""

import math
import re
import threading
import time

from django.http import HttpResponse, JsonResponse

HOUR, DAY = 3600, 86400
# path -> scope; the first match counts
PATHS = (
    (r"/api/v1/oauth/token", "oauth-token"),
    (r"/api/v1/oauth/revoke", "oauth-revoke-token"),
    (r"/api/v1/oauth/apps", "anonymous-oauth-app"),
    (r"/authorize", "oauth-authorize"),
    (r"/login", "login"),
    (r"/api/v1/tracks/$", "authenticated-list"),
    (r"/api/", "authenticated-retrieve"),
)
RATES = {
    "oauth-token": (100, HOUR),
    "oauth-revoke-token": (100, HOUR),
    "anonymous-oauth-app": (10, DAY),
    "oauth-authorize": (100, HOUR),
    "login": (30, HOUR),
    "authenticated-list": (10000, HOUR),
    "authenticated-retrieve": (2000, HOUR),
}
# These are not served by the API's framework: their refusal becomes an internal error.
REFUSED_WITH_500 = {"oauth-token", "oauth-revoke-token", "oauth-authorize", "login"}
COSTS_NOTHING = "/api/v1/rate-limit"


class Limits:
    def __init__(self):
        self.hits = {}  # scope and whose -> when, the oldest first
        self.throttled_until = dict.fromkeys(RATES, 0.0)
        self.refused = dict.fromkeys(RATES, 0)
        self._lock = threading.Lock()

    def throttle(self, scope, seconds):
        """Refuse this scope for so long, as if its limit had been reached."""
        self.throttled_until[scope] = time.time() + seconds

    def history(self, scope, who, now):
        _, window = RATES[scope]
        hits = self.hits[scope, who] = [hit for hit in self.hits.get((scope, who), []) if hit > now - window]
        return hits

    def take(self, scope, who):
        """Count a request if there is room for it; tell whether there was, and the headers of its answer."""
        (limit, window), now = RATES[scope], time.time()
        with self._lock:
            hits = self.history(scope, who, now)
            first, allowed = not hits, len(hits) < limit and now >= self.throttled_until[scope]
            if allowed:
                hits.append(now)
            else:
                self.refused[scope] += 1
            remaining, oldest, latest = limit - len(hits), int(hits[0]) if hits else 0, int(hits[-1]) if hits else 0
        # The first answer of a window is made from a list that was empty.
        out = {"X-RateLimit-Limit": limit, "X-RateLimit-Scope": scope, "X-RateLimit-Remaining": limit if first else remaining, "X-RateLimit-Duration": window}
        if hits and not first:
            until_all = window - (int(now) - latest)
            out |= {"Retry-After": window - (int(now) - oldest), "X-RateLimit-Reset": int(now) + until_all, "X-RateLimit-ResetSeconds": until_all}
        if now < self.throttled_until[scope]:
            seconds = math.ceil(self.throttled_until[scope] - now)
            out |= {"X-RateLimit-Remaining": 0, "X-RateLimit-Reset": int(now) + seconds, "X-RateLimit-ResetSeconds": seconds, "Retry-After": seconds}
        return allowed, out

    def answer(self, get_response, who, request):
        scope = next((scope for pattern, scope in PATHS if re.match(pattern, request.path)), None)
        if scope is None or request.path == COSTS_NOTHING:
            return get_response(request)
        allowed, headers = self.take(scope, who(request))
        if allowed:
            response = get_response(request)
        elif scope in REFUSED_WITH_500:
            response = HttpResponse("<!doctype html><title>Server Error (500)</title><h1>Server Error (500)</h1>", status=500)
        else:
            response = JsonResponse({"detail": f"Request was throttled. Expected available in {headers['Retry-After']} seconds."}, status=429)
        for name, value in headers.items():
            response[name] = value
        return response

    def listing(self, who):
        now, out = time.time(), []
        for scope, (limit, window) in RATES.items():
            with self._lock:
                hits = self.history(scope, who, now)
            wait = math.ceil(hits[-1] + window - now) if hits else None
            out.append({"id": scope, "limit": limit, "duration": window, "remaining": max(limit - len(hits), 0), "reset_seconds": wait})
        return out
