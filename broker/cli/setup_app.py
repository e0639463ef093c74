"""The app that a program needs which can run no command, and its key in a file.

Called by ``setup``. The key is never shown and never an argument.
"""

from pathlib import Path

from broker.cli.files import read, remove, replace
from broker.client import Client, ClientError, NotAllowed, quote
from broker.errors import Conflict
from broker.integrations.setup.plan import App, Asked


def key_of(app: App, asked: Asked) -> str:
    """Return the key that is kept, if it is worth something for this account; else empty text.

    Raises:
        ClientError: the app port cannot be asked.
    """
    key = (read(app.file) or "").strip()
    if not key:
        return ""
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
    path = f"/v1/apps/{quote(app.name)}"
    if _exists(client, path):
        if not ours:
            raise Conflict(
                f"An app '{app.name}' is there already, and 'keyfob setup' did not make it.",
                f"If it is not needed: keyfob app remove {app.name}",
            )
        client.request("PUT", f"{path}/grants/{quote(asked.account)}", {"mode": "token"})
        answer = client.request("POST", f"{path}/rotate", {})
    else:
        grants = [{"account": asked.account, "mode": "token"}]
        answer = client.request("POST", "/v1/apps", {"name": app.name, "grants": grants})
    key = str(answer["key"])
    replace(Path(app.file), f"{key}\n")
    return key


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


def _exists(client: Client, path: str) -> bool:
    try:
        client.request("GET", path)
    except ClientError as exc:
        if exc.code != "unknown_app":
            raise
        return False
    return True
