"""What a person sees of the practice provider: consent, a code to copy, a message.

Called by ``authorize`` and ``device``. No script; one style sheet, allowed by its nonce.
"""

import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(template: str, status: int = 200, leads_to: str = "", **values: object) -> Response:
    nonce = secrets.token_urlsafe(16)
    # Chromium applies form-action to the redirect after the form too, so the client's origin has to be in it.
    target = urlsplit(leads_to)
    form_action = f"'self' {target.scheme}://{target.netloc}" if target.netloc else "'self'"
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {form_action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(_templates().get_template(template).render(nonce=nonce, **values), status, headers)


def consent(*, action: str, ticket: str, client: str, scopes: Mapping[str, str], user: str, leads_to: str) -> Response:
    """Return the page that asks a person.

    Args:
        action: where the form goes.
        ticket: ties the decision to the request.
        client: name of who asks.
        scopes: scope -> what it means.
        user: proposed user name.
        leads_to: the redirect URI, or empty.
    """
    host = urlsplit(leads_to).netloc
    return _render(
        "consent.html",
        leads_to=leads_to,
        action=action,
        ticket=ticket,
        client=client,
        scopes=scopes,
        user=user,
        host=host,
    )


def code(answer: Mapping[str, str]) -> Response:
    """Return the page of the out-of-band redirect: a code to copy."""
    return _render("code.html", code=answer["code"])


def user_code(problem: str = "") -> Response:
    """Return the page that asks for the code shown on a device."""
    return _render("device.html", 400 if problem else 200, problem=problem)


def message(title: str, text: str, status: int = 200) -> Response:
    """Return a page that says one thing."""
    return _render("message.html", status, title=title, text=text)
