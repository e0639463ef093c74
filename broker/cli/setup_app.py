"""The app that a program needs which can run no command, and its key in a file.

Called by ``setup``. The key is never shown and never an argument.
"""

import contextlib
import http.client
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from broker.cli import terminal
from broker.cli.files import read, remove, replace
from broker.client import Client, ClientError, NotAllowed, quote
from broker.errors import Conflict, KeyfobError
from broker.integrations.setup.plan import App, Asked

# A metadata server says at this address whether it is one; every key for addresses is good here.
ASKED_AT = "/google/"
FLAVOR = {"Metadata-Flavor": "Google"}
ANSWER_WITHIN = 10.0
OK = 200


def key_of(app: App, asked: Asked) -> str:
    """Return the key that is kept, if it is worth something for this account; else empty text.

    Raises:
        ClientError: the app port cannot be asked.
    """
    key = (read(app.file) or "").strip()
    if not key:
        return ""
    if app.capability:
        return key if _opens(asked.app_url, key) else ""
    try:
        with Client(url=asked.app_url, key=key) as client:
            grants = client.request("GET", f"/v1/apps/{quote(app.name)}")["grants"]
    except NotAllowed:  # it is no app's any more
        return ""
    return key if any(one["account"] == asked.account for one in grants) else ""


def is_there(client: Client, app: App, *, ours: bool) -> bool:
    """Whether the app is there, made by an earlier run.

    Args:
        client: as the owner.
        app: its name.
        ours: an app of that name is one that ``keyfob setup`` made.

    Raises:
        Conflict: an app of that name is another's.
        ClientError: the daemon refuses.
    """
    there = _exists(client, f"/v1/apps/{quote(app.name)}")
    if there and not ours:
        raise Conflict(
            f"An app '{app.name}' is there already, and 'keyfob setup' did not make it.",
            f"If it is not needed: keyfob app remove {app.name}",
        )
    return there


def make(client: Client, app: App, asked: Asked, remember: Callable[[], None], *, ours: bool) -> str:
    """Make the app, or give it another key, and keep that; an app that is new goes again where that fails.

    Args:
        client: as the owner.
        app: its name, and where the key goes.
        asked: for which account.
        remember: notes that the app is there, so that it can be undone.
        ours: an app of that name is one that ``keyfob setup`` made.

    Raises:
        Conflict: an app of that name is another's.
        ClientError: the daemon refuses.
        KeyfobError: the key or the note cannot be written.
    """
    path, kind = f"/v1/apps/{quote(app.name)}", {"capability": True} if app.capability else {}
    if is_there(client, app, ours=ours):
        client.request("PUT", f"{path}/grants/{quote(asked.account)}", {"mode": "token"})
        key = str(client.request("POST", f"{path}/rotate", kind)["key"])
        _keep(app, key)
        remember()
        return key
    grants = [{"account": asked.account, "mode": "token"}]
    key = str(client.request("POST", "/v1/apps", {"name": app.name, "grants": grants, **kind})["key"])
    with contextlib.ExitStack() as otherwise:  # else it would be an app of which nobody knows
        otherwise.callback(_give_up, client, app)
        _keep(app, key)
        otherwise.callback(remove, Path(app.file))
        remember()
        otherwise.pop_all()
    return key


def same_form(app: App, last: App, asked: Asked) -> None:
    """Let nothing through that needs a key of another kind than the one that is in use.

    Raises:
        Conflict: it does.
    """
    if app.capability != last.capability:
        raise Conflict(
            f"'{asked.account}' is set up for {asked.tool} already in another form, and --print changes nothing.",
            "Print that form; or run this without --print, which changes it; "
            f"or take it away: keyfob setup {asked.tool} {asked.account} --undo",
        )


def nothing_there(app: App, files: Iterable[str], *, known: bool) -> None:
    """Let nothing through where something of it is there already, but no good key.

    Args:
        app: whose key would have to be made.
        files: what would be written beside the key; what is no path of a file is not there.
        known: ``keyfob setup`` made the app once.

    Raises:
        Conflict: something is there.
    """
    if known:
        raise Conflict(
            f"The key of app '{app.name}' in {app.file} is gone or no longer good, and --print makes no other.",
            "Run it without --print: that makes another key.",
        )
    for path in (app.file, *files):
        if Path(path).exists():
            raise Conflict(f"{path} is there already, and --print changes nothing.", "Move it, or leave --print out.")


def end(client: Client, app: App) -> None:
    """Remove the app and the file with its key; what is gone already is no error.

    Raises:
        ClientError: the daemon refuses.
        KeyfobError: the file cannot be removed.
    """
    path = f"/v1/apps/{quote(app.name)}"
    if _exists(client, path):
        client.request("DELETE", path)
    remove(Path(app.file))


def _opens(app_url: str, key: str) -> bool:
    """Whether a key that stands in an address is worth something: asked as the programs do that use it.

    Raises:
        ClientError: the app port cannot be asked.
    """
    address = urlsplit(app_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=ANSWER_WITHIN)
    try:
        connection.request("GET", f"{ASKED_AT}{quote(key)}/", headers=FLAVOR)
        return connection.getresponse().status == OK
    except (OSError, http.client.HTTPException) as exc:
        raise ClientError(f"The app port {app_url} cannot be asked: {exc}.", "See: keyfob doctor") from exc
    finally:
        connection.close()


def _keep(app: App, key: str) -> None:
    try:
        replace(Path(app.file), f"{key}\n")
    except KeyfobError as exc:  # to --print it is needed as well
        raise KeyfobError(exc.detail, "Mend that, and run this again.") from exc


def _give_up(client: Client, app: App) -> None:
    """Remove an app whose key nobody has, or say that it is there."""
    try:
        client.request("DELETE", f"/v1/apps/{quote(app.name)}")
    except ClientError:
        terminal.say(terminal.clean(f"App '{app.name}' was made and is left: keyfob app remove {app.name}"))


def _exists(client: Client, path: str) -> bool:
    try:
        client.request("GET", path)
    except ClientError as exc:
        if exc.code != "unknown_app":
            raise
        return False
    return True
