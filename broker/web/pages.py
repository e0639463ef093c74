"""What a person sees in the browser: one frozen dataclass for each page, and ``render`` to make the answer of it.

Called by ``web.callback`` and ``web.asgi`` (browser port only). Every field of a page may come from a stranger, so each
one is escaped, cleaned and cut in the template, whatever the caller did to it before.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from broker.core.login import LOGIN_LIFETIME
from broker.errors import KeyfobError, LoginFailed
from broker.web import text
from broker.web.render import timestamp

if TYPE_CHECKING:
    from jinja2 import Environment

_ROOM = Path(__file__).parent / "ui"

# Enough for the longest list that a provider of ours grants; a hostile one must not make a page of megabytes.
SCOPES_SHOWN: Final = 60
# So many are named in a line of a list; the page that it leads to has all.
SOME_SCOPES: Final = 6
# So many accounts are offered while a name is typed, and of more none: all of them would be megabytes.
MOST_NAMES: Final = 1000

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
# Nothing may load, frame, post or be posted from these pages but our own stylesheet and icon (RFC 9700 4.2.4, 4.3.1).
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), midi=(), payment=(), "
        "publickey-credentials-get=(), serial=(), usb=()"
    ),
}
# Of the pages at which the owner signs in: our own script, which may ask this origin, port included.
SCRIPTED: Final = {**HEADERS, "Content-Security-Policy": f"{_POLICY}; script-src 'self'; connect-src 'self'"}


# --- the pages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuccessPage:
    """A login brought an account.

    Attributes:
        account: the account's name.
        provider_title: the provider, for people.
        identity: who is logged in (``Identity.label``); empty where the provider does not tell.
        scope: what was granted.
        missing_scope: what was asked and not granted (RFC 6749 5.1: the answer may be narrower).
        refreshable: whether a refresh token came; without one the page must not promise to keep the login fresh.
        back: the account's page at the owner's own origin, or empty: an answer may have come to ``localhost``.
        status: the HTTP status.
    """

    template: ClassVar[str] = "success.html.j2"
    account: str
    provider_title: str
    identity: str
    scope: tuple[str, ...]
    missing_scope: tuple[str, ...] = ()
    refreshable: bool = True
    back: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class FailurePage:
    """A login came to an end without an account.

    Attributes:
        title: the headline, without a full stop.
        what_happened: one or two plain sentences.
        next_step: what the person can do; empty where there is nothing.
        provider_error: ``error`` and ``error_description`` as the provider sent them; shown as inert text.
        command: a command line that does the next step.
        verdict: two or three words above the headline.
        back: where the owner's own page does the next step, or empty.
        status: the HTTP status.
    """

    template: ClassVar[str] = "failure.html.j2"
    title: str
    what_happened: str
    next_step: str
    provider_error: str = ""
    command: str = ""
    verdict: str = "Not logged in"
    back: str = ""
    status: int = 400


@dataclass(frozen=True, slots=True)
class RefusalPage:
    """The browser came with something that Keyfob does not act on. Nothing was changed.

    Attributes:
        title: the headline, without a full stop.
        what_happened: one or two plain sentences.
        next_step: what the person can do; empty where there is nothing.
        command: a command line that does the next step.
        verdict: two or three words above the headline.
        status: the HTTP status.
    """

    template: ClassVar[str] = "refusal.html.j2"
    title: str
    what_happened: str
    next_step: str
    command: str = ""
    verdict: str = "Stopped"
    status: int = 400


@dataclass(frozen=True, slots=True)
class HomePage:
    """``/ui/``. Anybody on this machine may see it, so it names no account and no path.

    Attributes:
        locked: whether the key to the stored secrets is missing (``Store.locked`` is the reason, for the owner only).
        status: the HTTP status.
    """

    template: ClassVar[str] = "home.html.j2"
    locked: bool = False
    status: int = 200


@dataclass(frozen=True, slots=True)
class ShellPage:
    """Any page that is the owner's: it shows nothing before it is signed in, and then the part that its address names.

    Attributes:
        code: of the request that it is about, or empty.
        status: the HTTP status.
    """

    template: ClassVar[str] = "shell.html.j2"
    code: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class DevicePage:
    """``/login/{id}`` of a device login: nothing is opened and nothing redirects, the person goes on by hand.

    Attributes:
        provider_title: the provider, for people.
        user_code: what to type there.
        address: where.
        complete: the same with the code in it, or empty.
        status: the HTTP status.
    """

    template: ClassVar[str] = "device.html.j2"
    provider_title: str
    user_code: str
    address: str
    complete: str
    status: int = 200


class Rendered(Protocol):
    """What :func:`render` draws: a page, or a part of one."""

    template: ClassVar[str]

    @property
    def status(self) -> int:
        """The HTTP status."""


Page = SuccessPage | FailurePage | RefusalPage | HomePage | ShellPage | DevicePage

_MINUTES = f"{LOGIN_LIFETIME / 60:.0f} minutes"
_LOGIN_AGAIN = "keyfob login ACCOUNT --provider NAME"

LOGIN_GONE: Final = RefusalPage(
    title="This login link is no longer good",
    what_happened=f"A login link works once and for {_MINUTES}. This one is unknown, used up or too old.",
    next_step="Start a new login where you started this one, or in a terminal:",
    command=_LOGIN_AGAIN,
    verdict="Nothing was changed",
    status=404,
)
OTHER_BROWSER: Final = RefusalPage(
    title="This login belongs to another browser",
    what_happened="The browser that opens a login link first is the only one that can finish it, "
    "so that nobody can finish a login for you.",
    next_step="Go on in the browser window where the login began. If somebody sent you this link, close this tab. "
    "To log in with this browser, start a new login:",
    command=_LOGIN_AGAIN,
    verdict="Stopped to protect you",
    status=403,
)
OTHER_USER: Final = RefusalPage(
    title="This login is another user’s",
    what_happened="Keyfob runs as one user of this computer, and this browser as another. Whoever finishes a login "
    "decides whose account it is, so only a browser of the same user may.",
    next_step="As Keyfob’s user, log in without a browser of this user’s:",
    command="keyfob login ACCOUNT --provider NAME --flow paste",
    verdict="Stopped to protect you",
    status=403,
)
WHOSE_BROWSER: Final = RefusalPage(
    title="Keyfob cannot tell whose browser this is",
    what_happened="This address signs in a browser of the user whose Keyfob it is, and of nobody else. The kernel does "
    "not say that this one is.",
    next_step="Print an address that signs in any browser, and open it here:",
    command="keyfob ui --no-browser",
    verdict="Stopped to protect you",
    status=403,
)
NO_LIVE_LOGIN: Final = RefusalPage(
    title="No login is waiting for this answer",
    what_happened="Your browser brought an answer from a provider, but the login that it belongs to is already "
    f"finished, was cancelled, took longer than {_MINUTES}, or never began here. The answer was not used.",
    next_step="If you have just logged in, you can close this tab. Otherwise start a new login:",
    command=_LOGIN_AGAIN,
    verdict="Nothing was changed",
    status=400,
)
NOT_FOUND: Final = RefusalPage(
    title="There is no page here",
    what_happened="Keyfob is running, but it has nothing at this address.",
    next_step="Check the address, or go to the start page with the Keyfob mark above.",
    verdict="Not found",
    status=404,
)
BROKEN: Final = RefusalPage(
    title="Something went wrong inside Keyfob",
    what_happened="That is a fault of Keyfob, not yours. The logins that you have are kept.",
    next_step="Try again. If it stays, the daemon’s log says what happened, and this says how Keyfob is:",
    command="keyfob status",
    verdict="Not done",
    status=500,
)


def paste_page(provider_title: str) -> RefusalPage:
    """The page at which a paste login arrives where it does load. It does not repeat its address: the code is there."""
    return RefusalPage(
        title="One step is left",
        what_happened=f"{provider_title} has answered. This login was begun in a terminal, with --flow paste, or on "
        "Keyfob’s own page, and only there it can be finished.",
        next_step="Copy the whole address of this page out of the address bar and paste it there, where Keyfob asks "
        "for it, and nowhere else, whoever asks. Then close this tab. If you began no such login, close it now.",
        verdict="Waiting",
        status=200,
    )


def page_of(error: KeyfobError) -> FailurePage | RefusalPage:
    """The page for a breakdown: a failed login says so; anything else is a refusal with the error's own status."""
    if isinstance(error, LoginFailed):
        return FailurePage(error.title, error.detail, error.hint, status=error.status)
    return RefusalPage(error.title, error.detail, error.hint, verdict="Not done", status=error.status)


# --- the files that the pages load ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asset:
    """A file of ours. Its hash is in its name, so it may be cached for ever and never be stale."""

    name: str
    body: bytes
    media_type: str

    @property
    def path(self) -> str:
        return f"/ui/static/{self.name}"

    @property
    def integrity(self) -> str:
        """Subresource integrity: when another program had our port before us, its cached file is not taken for ours."""
        return "sha256-" + base64.b64encode(hashlib.sha256(self.body).digest()).decode()


def _asset(filename: str, media_type: str) -> _Asset:
    body = (_ROOM / "static" / filename).read_bytes()
    stem, _, ending = filename.rpartition(".")
    return _Asset(f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{ending}", body, media_type)


_CSS = _asset("keyfob.css", "text/css")
_MARK = _asset("keyfob-mark.svg", "image/svg+xml")
_DESK = _asset("desk.css", "text/css")
_JS = _asset("keyfob.js", "text/javascript")
_FORMS = _asset("forms.js", "text/javascript")
_ASSETS = {asset.name: asset for asset in (_CSS, _DESK, _MARK, _JS, _FORMS)}


def static(name: str) -> Response:
    """The file for ``/ui/static/{name}``: a look-up in a table, so no name can reach the disk."""
    asset = _ASSETS.get(name)
    if asset is None:
        return render(NOT_FOUND)
    headers = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(asset.body, media_type=asset.media_type, headers=headers)


# --- the answer -------------------------------------------------------------------------------------------------------

_WITH_SCRIPT = ("home.html.j2", "shell.html.j2")


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 -- two megabytes, for browsers only

    templates = Environment(
        # The mark lies with the static files, and the layout draws it inline: one drawing, two uses.
        loader=FileSystemLoader([_ROOM / "templates", _ROOM / "static"]),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "clean": text.clean,
        "provider_words": text.provider_words,
        "word": text.word,
        "iso": timestamp,
        "utc": text.utc,
        "slug": partial(quote, safe=""),
    }
    templates.globals |= {
        "css": _CSS,
        "mark": _MARK,
        "desk": _DESK,
        "js": _JS,
        "forms": _FORMS,
        "SCOPES_SHOWN": SCOPES_SHOWN,
        "SOME_SCOPES": SOME_SCOPES,
        "MOST_NAMES": MOST_NAMES,
    }
    return templates


def render(page: Rendered) -> HTMLResponse:
    """The whole answer: the page's own status, its HTML and every header that guards it."""
    html = _templates().get_template(page.template).render(page=page)
    scripted = page.template in _WITH_SCRIPT
    return HTMLResponse(html, status_code=page.status, headers=SCRIPTED if scripted else HEADERS)
