"""``keyfob provider show``: a provider, or the preset that one could be made from, for people.

Called by ``providers``.
"""

import shlex
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

from broker.cli import terminal
from broker.client import Client, ClientError, quote

UNSURE = "not verified"
# A line of text is read best up to here, however wide the terminal is.
MOST_COLUMNS = 100
# Member of the answer -> what people read, and the key of a preset file that the value is from.
ADDRESSES = {
    "authorization_endpoint": ("authorization", "endpoints.authorization"),
    "token_endpoint": ("token", "endpoints.token"),
    "revocation_endpoint": ("revocation", "endpoints.revocation"),
    "userinfo_endpoint": ("userinfo", "endpoints.userinfo"),
    "device_authorization_endpoint": ("device", "endpoints.device_authorization"),
    "registration_endpoint": ("registration", "endpoints.registration"),
    "jwks_uri": ("keys", "endpoints.jwks"),
    "api_base": ("API", "api_base"),
    "static_token_url": ("token by hand", "static_token_url"),
}


def found(client: Client, name: str) -> tuple[dict[str, Any], bool]:
    """Return a configured provider, or else the preset of that name; and whether it is configured.

    Raises:
        ClientError: there is neither; the hint offers names that are near.
    """
    try:
        return client.request("GET", f"/v1/providers/{quote(name)}"), True
    except ClientError as exc:
        if exc.code != "unknown_provider":
            raise
    return client.request("GET", f"/v1/presets/{quote(name)}"), False


def show(one: dict[str, Any], *, configured: bool) -> None:
    """Print everything that is known about a provider or preset, and mark what nobody has verified."""
    unverified = list(one.get("unverified", []))
    _head(one, configured=configured)
    _section("Addresses", _addresses(one, unverified))
    rules = [f"{rule['text']}{_mark(rule['key'], unverified)}" for rule in one.get("rules", [])]
    _section("What it does", _items(rules))
    _section("To register a client by hand", _by_hand(one, unverified, configured=configured))
    _section("Good to know", _items(one.get("notes", [])))
    _section("Sources", _items(one.get("sources", [])))
    # What stands above carries its mark already; this is the whole list, in the words of the preset file.
    listed = ", ".join(unverified)
    _section("NOT VERIFIED with the provider, and so perhaps wrong", _wrapped(listed, "  ", "  ") if listed else [])


def _head(one: dict[str, Any], *, configured: bool) -> None:
    what = f"provider '{one['name']}', set up here" if configured else f"preset '{one['name']}', not set up yet"
    terminal.result(f"{terminal.paint(terminal.clean(one.get('title') or one['name']))}: {terminal.clean(what)}")
    unverified = list(one.get("unverified", []))
    facts = {
        "log in": _login(one, configured=configured),
        "ways to log in": ", ".join(one.get("flows", [])),
        "scopes": " ".join(one.get("scope", [])) + (_mark("scopes", unverified) if one.get("scope") else ""),
        "follows preset": one.get("preset", "") if configured else "",
        "base URL": one.get("base_url", ""),
        "issuer": f"{one['issuer']}{_mark('issuer', unverified)}" if one.get("issuer") else "",
        "clients": " ".join(one.get("clients", [])),
        "private": "yes" if one.get("private") else "",
    }
    for line in _facts(facts, ""):
        terminal.result(line)
    for parameter in one.get("parameters", []):
        choices = f": {', '.join(parameter['choices'])}" if parameter["choices"] else ""
        default = f" (if you name none: {parameter['default']})" if parameter["default"] else ""
        text = f"--param {parameter['name']}=...  {parameter['what']}{choices}{default}"
        for line in _wrapped(text, "", "  "):
            terminal.result(line)


def _login(one: dict[str, Any], *, configured: bool) -> str:
    anywhere = not (configured or one.get("token_endpoint") or one.get("issuer"))
    words = ["keyfob", "login", "--provider", "ISSUER-URL" if anywhere else one["name"]]
    if not configured:
        words += ["--base-url", "URL"] if one.get("needs_base_url") else []
        for parameter in one.get("parameters", []):
            words += [] if parameter["default"] else ["--param", f"{parameter['name']}=VALUE"]
    return shlex.join(words)


def _addresses(one: dict[str, Any], unverified: list[str]) -> list[str]:
    told = {
        label: f"{one[member]}{_mark(key, unverified)}" for member, (label, key) in ADDRESSES.items() if one.get(member)
    }
    return _facts(told, "  ")


def _by_hand(one: dict[str, Any], unverified: list[str], *, configured: bool) -> list[str]:
    """Return where, what to paste, and what to run then; nothing where Keyfob is a client without that."""
    where = one.get("register_url", "")
    if not where and not configured:
        return []
    command = _login(one, configured=configured)
    secret = {"needed": " --client-secret-file FILE", "optional": " (--client-secret-file FILE, if it has a secret)"}
    facts = {
        "where": f"{where}{_mark('register_url', unverified)}" if where else "",
        # Where the login has to say which of many it means, the address comes of that: the refused login tells it.
        "redirect URI": f"{one['redirect_uri']}{_mark('redirect.host', unverified)}"
        if one.get("redirect_uri")
        else f"run this, and it is told: {command}",
        "then": f"{command} --client-id ID{secret.get(one.get('client_secret', ''), '')}",
    }
    return _facts(facts, "  ")


def _mark(key: str, unverified: list[str]) -> str:
    """Return the mark of a value whose key, or the table that it is in, nobody has verified."""
    return f" ({UNSURE})" if key in unverified or key.partition(".")[0] in unverified else ""


def _section(heading: str, lines: list[str]) -> None:
    if not lines:
        return
    terminal.result("")
    terminal.result(terminal.paint(heading))
    for line in lines:
        terminal.result(line)


def _items(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in _wrapped(text, "  - ", "    ")]


def _facts(facts: dict[str, str], indent: str) -> list[str]:
    told = {label: value for label, value in facts.items() if value}
    width = max((len(label) for label in told), default=0)
    return [
        line
        for label, value in told.items()
        for line in _wrapped(value, f"{indent}{label.ljust(width)}  ", " " * (len(indent) + width + 2))
    ]


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """Return text in lines that fit; an address is never broken, so that it can be copied."""
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    return textwrap.wrap(
        terminal.clean(text),
        columns,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
