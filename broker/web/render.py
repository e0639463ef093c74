"""From an outcome or an error to a status and a body: the only shapes that outsiders see.

Called by ``api``, ``emulate`` and ``guards``.
"""

import functools
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.responses import Response

from broker.core import advice
from broker.core.account import Account, Pending
from broker.core.login import Login
from broker.core.policy import AppGrant
from broker.errors import KeyfobError
from broker.events import Event, Kind
from broker.providers import catalog, words
from broker.providers.discovery import ENDPOINTS
from broker.providers.flows import offered
from broker.providers.model import Preset, Provider
from broker.store.store import AppRow, AuditEntry, Break, Verdict
from broker.usecases.accounts import PendingView, View
from broker.usecases.outcomes import Outcome, Ready
from broker.web import told
from broker.web.body import LATEST
from broker.web.refusals import refusal

PROBLEM = "application/problem+json"
# Every answer of an app door: nothing is cached, nothing is guessed.
ANSWER_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
# Problem types are names, not pages: they need no server (RFC 9457 3.1.1 allows any URI).
PROBLEM_TYPE = "urn:keyfob:problem:"
# The events that tell of trouble, and the state that the account is in from then on.
STATE_OF: Mapping[Kind, str] = {
    "refresh-failed": "refreshing-failed",
    "needs-login": "needs-login",
    "misconfigured": "misconfigured",
    "uncertain": "uncertain",
    "suspect": "suspect",
}


def answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, {**ANSWER_HEADERS, **(headers or {})}, "application/json")


def problem(error: KeyfobError, status: int | None = None) -> Response:
    """Return an error as a problem document (RFC 9457); ``status`` where the error's own is not precise enough."""
    status = error.status if status is None else status
    body: dict[str, Any] = {
        "type": PROBLEM_TYPE + error.code,
        "title": error.title,
        "status": status,
        "detail": told.printable(f"{error.detail} {error.hint}".strip()),
        "code": error.code,
        **error.extra,
    }
    headers = dict(ANSWER_HEADERS)
    retry_after = error.extra.get("retry_after")
    if isinstance(retry_after, (int, float)):
        body["retry_after"] = math.ceil(retry_after)
        headers["retry-after"] = str(math.ceil(retry_after))
    if status == 401:  # noqa: PLR2004 -- RFC 9110 15.5.2: a 401 names the scheme
        headers["www-authenticate"] = 'Bearer realm="keyfob"'
    return Response(json.dumps(body, ensure_ascii=False).encode(), status, headers, PROBLEM)


def token(outcome: Outcome, *, plain: bool = False) -> Response:
    """Return what ``get_token`` decided. ``plain`` changes successes only."""
    if not isinstance(outcome, Ready):
        return problem(refusal(outcome))
    if plain:
        return Response(outcome.access_token.reveal(), 200, ANSWER_HEADERS, "text/plain; charset=utf-8")
    expires_at = outcome.facts.expires_at
    return answer(
        {
            "account": outcome.account.name,
            "access_token": outcome.access_token.reveal(),
            "token_type": outcome.facts.token_type,
            "expires_at": timestamp(expires_at),
            "expires_in": None if expires_at is None else max(0, math.floor(expires_at - outcome.now)),
            "scope": " ".join(outcome.facts.scope),
            "resource": outcome.resource,
            "audience": outcome.audience,
        }
    )


def account(view: View | PendingView) -> dict[str, Any]:
    """Return an account as people and programs see it; never a token."""
    if isinstance(view, PendingView):
        begun = view.login
        return {
            "account": begun.account,
            "provider": begun.provider,
            "state": Pending.name,
            "reason": Pending.reason,
            "since": timestamp(begun.created_at),
            "identity": None,
            "scope": "",
            "asked_scope": " ".join(begun.scope),
            "missing_scope": "",
            "needed_scope": None,
            "resource": begun.resource,
            "audience": None,
            "api_base": None,
            "expires_at": None,
            "next_refresh_at": None,
            "last_refresh_at": None,
            "last_used_at": None,
            "refresh_expires_at": None,
            "created_at": timestamp(begun.created_at),
            "client_id": begun.destination.client_id,
            "renewal": None,
            "from": None,
            "subject": None,
            "generation": 0,
            "login_url": view.login_url,
            "next_step": advice.step(Pending.name, begun.account, view.again),
        }
    shown = view.account
    return {
        "account": shown.name,
        "provider": shown.provider,
        "state": shown.state.name,
        "reason": shown.state.reason,
        "since": timestamp(shown.state.since),
        "identity": None
        if shown.identity is None
        else {
            "issuer": shown.identity.issuer,
            "subject": shown.identity.subject,
            "label": shown.identity.label,
        },
        "scope": " ".join(shown.scope),
        "asked_scope": " ".join(shown.asked_scope),
        "missing_scope": " ".join(shown.missing_scope),
        "needed_scope": None if view.needed_scope is None else " ".join(view.needed_scope),
        "resource": shown.resource,
        "audience": shown.audience,
        "api_base": shown.api_base or None,
        "expires_at": timestamp(shown.token.expires_at if shown.token is not None else None),
        "next_refresh_at": timestamp(view.next_refresh_at),
        "last_refresh_at": timestamp(shown.last_refresh_at),
        "last_used_at": timestamp(shown.last_used_at),
        "refresh_expires_at": timestamp(shown.refresh_expires_at),
        "created_at": timestamp(shown.created_at),
        "client_id": shown.destination.client_id,
        "renewal": shown.renewal.by if shown.renewable else None,
        "from": view.parent or None,
        "subject": None if shown.is_derived else shown.renewal.subject or None,
        "generation": shown.generation,
        "login_url": view.login_url or None,
        "next_step": view.next_step or None,
    }


def login(shown: Login, start_url: str, account: Account | None = None) -> dict[str, Any]:
    """Return a login. The authorization URL is told only where a person needs it: in a paste login."""
    body: dict[str, Any] = {
        "id": shown.id,
        "state": shown.state,
        "account": shown.account,
        "provider": shown.provider,
        "flow": shown.flow,
        "scope": " ".join(shown.scope),
        "reason": shown.reason,
        "expires_at": timestamp(shown.expires_at),
    }
    if shown.state == "pending":
        body["start_url"] = start_url
        if shown.flow == "paste":
            body["authorization_url"] = shown.authorization_url
            body["redirect_uri"] = shown.redirect_uri
        if shown.device is not None:
            body["user_code"] = shown.device.user_code
            body["verification_uri"] = shown.device.verification_uri
            body["verification_uri_complete"] = shown.device.verification_uri_complete
            body["interval"] = shown.device.interval
    if account is not None:
        body["granted_scope"] = " ".join(account.scope)
        body["missing_scope"] = " ".join(account.missing_scope)
    if account is not None and account.label:
        body["identity"] = account.label
    return body


def provider(
    shown: Provider,
    client_ids: list[str],
    redirect_uri: str,
    about: Preset,
    keys: list[tuple[str, dict[str, Any]]] | None,
) -> dict[str, Any]:
    """Return a configured provider, with what its preset says about itself.

    Of ``keys`` (client id, public JWK set) there is nothing to tell while locked.
    """
    return {
        "name": shown.name,
        "preset": shown.preset,
        "clients": client_ids,
        "keys": None if keys is None else [{"client_id": client, "jwks": jwks} for client, jwks in keys],
        "redirect_uri": redirect_uri,
        "private": shown.private,
        **_description(shown),
        **_background(about),
    }


def preset(shown: Preset) -> dict[str, Any]:
    """Return a preset as it stands in a list."""
    described = catalog.described(shown)
    return {
        "name": shown.name,
        "title": shown.title,
        "needs_base_url": shown.needs_base_url,
        "base_url": shown.base_url,
        "parameters": [
            {"name": name, "what": one.what, "default": one.default, "choices": list(one.choices)}
            for name, one in shown.parameters.items()
        ],
        "flows": list(offered(described)),
        "register_url": described.register_url,
        "static_token_url": described.static_token_url,
        **_background(shown),
    }


def preset_in_full(shown: Preset, redirect_uri: str) -> dict[str, Any]:
    """Return a preset with all that it says about the provider; in braces, what a login has to name."""
    return {**preset(shown), **_description(catalog.described(shown)), "redirect_uri": redirect_uri}


def _background(about: Preset) -> dict[str, Any]:
    return {"unverified": list(about.unverified), "notes": list(about.notes), "sources": list(about.sources)}


def _description(shown: Provider) -> dict[str, Any]:
    """Return what is known about a provider, configured or not."""
    return {
        "title": shown.title,
        "base_url": shown.base_url,
        "issuer": shown.issuer,
        **{member: getattr(shown.endpoints, ours) for member, ours in ENDPOINTS.items()},
        "registration": shown.registration.kind if shown.registration is not None else "",
        "client_id_metadata": shown.client_id_metadata,
        "api_base": shown.api_base,
        "register_url": shown.register_url,
        "static_token_url": shown.static_token_url,
        "git_username": shown.git_username,
        "scope": list(shown.scopes),
        "flows": list(offered(shown)),
        "client_secret": words.client_secret(shown),
        "rules": [{"key": key, "text": text} for key, text in words.rules(shown)],
        "refresh": {
            "rotation": shown.refresh.rotation,
            "reuse_grace_s": shown.refresh.reuse_grace_s,
            "grace_depth": shown.refresh.grace_depth,
            "kills_old_access_token": shown.refresh.kills_old_access_token,
            "refreshes_per_10_min": shown.refresh.refreshes_per_10_min,
            "refresh_tokens_per_client": shown.refresh.refresh_tokens_per_client,
            "idle_days": shown.refresh.idle_days,
            "absolute_days": shown.refresh.absolute_days,
            "dead_grant_errors": list(shown.refresh.dead_grant_errors),
            "narrows": shown.refresh.narrows,
            "other_resources": shown.refresh.other_resources,
        },
        "narrower_tokens": shown.narrows,
        "other_resources": shown.serves_other_resources,
    }


def grant(shown: AppGrant, file: Path | None) -> dict[str, Any]:
    """Return what an app may have of one account, and where its token is kept, if it is."""
    return {
        "account": shown.account,
        "scope": " ".join(shown.scope),
        "resource": shown.resource,
        "mode": shown.mode,
        "expires_at": timestamp(shown.expires_at),
        "token_file": shown.token_file,
        "token_file_path": None if file is None else str(file),
        "rules": list(shown.rules),
        "rate_share": shown.rate_share,
    }


def app(row: AppRow, grants: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an app with its grants; never its key."""
    return {
        "name": row.name,
        "grants": grants,
        "created_at": timestamp(row.created_at),
        "last_used_at": timestamp(row.last_used_at),
        "expires_at": timestamp(row.expires_at),
    }


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """Return one line of the audit."""
    return {
        "number": entry.number,
        "at": timestamp(entry.at),
        "action": entry.action,
        "account": entry.account,
        "app": entry.app,
        "generation": entry.generation,
        "first": timestamp(entry.first),
        "last": timestamp(entry.last),
        "count": entry.count,
        "detail": entry.detail,
    }


def verdict(shown: Verdict) -> dict[str, Any]:
    """Return what became of a check of the audit."""
    return {
        "intact": shown.broken is None,
        "entries": shown.checked,
        "first": shown.first,
        "last": shown.last,
        "seal": shown.seal.hex() or None,
        "begins_at": timestamp(shown.begins_at),
        "before_the_chain": shown.old,
        "sealed_late": shown.late,
        "unsealed": shown.unsealed,
        "broken": None if shown.broken is None else _broken(shown.broken),
    }


def _broken(shown: Break) -> dict[str, Any]:
    # What stands there may be anything: a time beyond the calendar is no time.
    at = shown.at if shown.at is not None and 0 <= shown.at < LATEST else None
    return {
        "kind": shown.kind,
        "number": shown.number,
        "detail": shown.detail,
        "at": timestamp(at),
        "action": shown.action or None,
        "account": shown.account,
        "app": shown.app,
    }


def event(shown: Event) -> dict[str, Any]:
    """Return one event."""
    body = {"kind": shown.kind, "at": timestamp(shown.at), "account": shown.account, "app": shown.app}
    return {
        **body,
        "detail": shown.detail,
        "login": shown.login,
        "generation": shown.generation,
        "next_refresh_at": timestamp(shown.retry_at),
        "next_step": shown.next_step or advice.step(STATE_OF.get(shown.kind, ""), shown.account) or None,
    }


def timestamp(seconds: float | None) -> str | None:
    """Return epoch seconds as RFC 3339 UTC, to the millisecond."""
    return None if seconds is None else _written(seconds)


# Of one account several times are the same moment, and of accounts that are renewed together.
@functools.lru_cache(256)
def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
