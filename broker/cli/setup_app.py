"""The app that a program needs which can run no command, and its key in a file.

Called by ``setup``. The key is never shown and never an argument.
"""

import http.client
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from broker.cli.files import read, remove, replace
from broker.client import Client, ClientError, NotAllowed, quote
from broker.errors import Conflict
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


def make(client: Client, app: App, asked: Asked, *, ours: bool) -> str:
    """Make the app, or give it another key, and keep that.

    Args:
        client: as the owner.
        app: its name, and where the key goes.
        asked: for which account.
        ours: an app of that name is one that ``keyfob setup`` made.

    Raises:
        Conflict: an app of that name is another's.
        ClientError: the daemon refuses.
    """
    path, kind = f"/v1/apps/{quote(app.name)}", {"capability": True} if app.capability else {}
    if _exists(client, path):
        if not ours:
            raise Conflict(
                f"An app '{app.name}' is there already, and 'keyfob setup' did not make it.",
                f"If it is not needed: keyfob app remove {app.name}",
            )
        client.request("PUT", f"{path}/grants/{quote(asked.account)}", {"mode": "token"})
        answer = client.request("POST", f"{path}/rotate", kind)
    else:
        grants = [{"account": asked.account, "mode": "token"}]
        answer = client.request("POST", "/v1/apps", {"name": app.name, "grants": grants, **kind})
    key = str(answer["key"])
    replace(Path(app.file), f"{key}\n")
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


def _exists(client: Client, path: str) -> bool:
    try:
        client.request("GET", path)
    except ClientError as exc:
        if exc.code != "unknown_app":
            raise
        return False
    return True
