"""``keyfob provider``: the providers that accounts log in at, and the presets to make one from.

Called by ``main``.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from broker.cli import provider_show, terminal
from broker.cli.arguments import (
    auth_method_flag,
    each_word,
    json_flag,
    list_flags,
    name,
    nearest,
    param_flag,
    scope_flag,
    secret_from,
    subverbs,
)
from broker.cli.connect import connect
from broker.client import quote

# RFC 8414 2 and RFC 8628 4: metadata names, which are the API's keys and, with dashes, the options.
ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "registration_endpoint",
    "device_authorization_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
)
Row = tuple[str, ...]
# Those that get codes, tokens, client secrets, or the client itself.
CONFIDANTS = tuple(name for name in ENDPOINTS if name not in ("authorization_endpoint", "jwks_uri"))
# Adding may mean discovery: of an issuer, its site and its resource, each in up to three places.
ADD_TIMEOUT = 180.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    subverbs(parser, ACTIONS)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    code: int = args.action(args)
    return code


def _configure_add(parser: argparse.ArgumentParser) -> None:
    _provider(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", metavar="P", help="what Keyfob knows already (see: keyfob provider presets)")
    source.add_argument("--issuer", metavar="URL", help="an issuer, a site or a protected resource: the rest is found")
    parser.add_argument("--base-url", metavar="URL", help="the instance, for presets that are run by many")
    param_flag(parser)
    for endpoint in ENDPOINTS:
        parser.add_argument(_flag(endpoint), metavar="URL", help="where there is no metadata")
    parser.add_argument("--client-id", metavar="ID", help="the OAuth client that was registered by hand")
    parser.add_argument("--client-secret-file", metavar="FILE|-", help="file with its secret; - is stdin")
    auth_method_flag(parser)
    scope_flag(parser, "scopes that logins ask for")
    parser.add_argument(
        "--grants", metavar="G", nargs="+", action="extend", default=[], help="grant types that the server announces"
    )
    parser.add_argument("--private", action="store_true", help="it may be at a private or special-purpose address")
    json_flag(parser)


def _configure_one(parser: argparse.ArgumentParser) -> None:
    _provider(parser)
    json_flag(parser)


def _configure_remove(parser: argparse.ArgumentParser) -> None:
    _provider(parser)
    parser.add_argument("--local-only", action="store_true", help="do not tell the provider")


def _configure_discover(parser: argparse.ArgumentParser) -> None:
    _provider(parser)
    parser.add_argument("--confirm", action="store_true", help="new hosts that get tokens are fine")
    json_flag(parser)


def _configure_metadata(parser: argparse.ArgumentParser) -> None:
    _provider(parser)
    parser.add_argument(
        "--client-id", metavar="URL", help="where you will host it (default: the client's, if there is)"
    )


def _configure_presets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "search", metavar="SEARCH", nargs="*", default=[], help="only those with these words in name, title or notes"
    )
    list_flags(parser)


def _provider(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", metavar="NAME", type=name, help="name of the provider")


def _add(args: argparse.Namespace) -> int:
    with connect() as client:
        answer = client.request("POST", "/v1/providers", _body(args), ADD_TIMEOUT)
    if args.json:
        terminal.result_json(answer)
        return 0
    terminal.say(f"Provider '{args.provider}' is added. Log in: keyfob login --provider {args.provider}")
    tell_hosts(answer)
    if answer.get("redirect_uri"):
        terminal.say(
            f"Its redirect URI, for a client that is registered by hand: {terminal.clean(answer['redirect_uri'])}"
        )
    _print_keys(answer)
    return 0


def tell_hosts(provider: dict[str, Any]) -> None:
    """Say once, of a provider that is new, which hosts beside its own get codes, tokens or the client secret."""
    own = urlsplit(provider.get("issuer") or provider.get("base_url") or provider.get("token_endpoint") or "").netloc
    ends = (urlsplit(provider.get(name) or "").netloc for name in CONFIDANTS)
    if foreign := sorted({host for host in ends if host and host != own}):
        terminal.say(terminal.clean(f"It sends codes and tokens to another host as well: {', '.join(foreign)}."))


def _body(args: argparse.Namespace) -> dict[str, Any]:
    """Return what ``POST /v1/providers`` takes; what the person left out stays out."""
    keys = ("preset", "issuer", "base_url", *ENDPOINTS, "client_id", "token_endpoint_auth_method")
    body = {"name": args.provider} | {key: getattr(args, key) for key in keys}
    body["scope"] = each_word(args.scope)
    body["grants"] = each_word(args.grants)
    body["private"] = args.private or None
    body["parameters"] = dict(args.params) or None
    if args.client_secret_file:
        body["client_secret"] = secret_from(args.client_secret_file, "client secret")
    return {key: value for key, value in body.items() if value not in (None, [])}


def _list(args: argparse.Namespace) -> int:
    with connect() as client:
        answer = client.request("GET", "/v1/providers")
    if args.json:
        terminal.result_json(answer)
        return 0
    if not answer["providers"]:
        terminal.say(
            "There are no providers yet; the first login makes one. What Keyfob knows: keyfob provider presets"
        )
        return 0
    rows = [(one["name"], one.get("preset") or "", _where(one)) for one in answer["providers"]]
    terminal.table(("PROVIDER", "PRESET", "WHERE"), rows)
    return 0


def _show(args: argparse.Namespace) -> int:
    with connect() as client:
        one, configured = provider_show.found(client, args.provider)
    if args.json:
        terminal.result_json(one)
    else:
        provider_show.show(one, configured=configured)
        _print_keys(one)
    return 0


def _print_keys(provider: dict[str, Any]) -> None:
    """Print the public half of each key, so that it can be pasted at the provider."""
    for key in provider.get("keys") or []:
        whose = f"client {key['client_id']!r}" if key["client_id"] else "the client that is still to be named"
        terminal.say(terminal.clean(f"The public key of {whose}, to be given to the provider as its JWKS:"))
        terminal.result(terminal.clean(json.dumps(key["jwks"])))


def _remove(args: argparse.Namespace) -> int:
    query = "?local_only=true" if args.local_only else ""
    with connect() as client:
        gone = client.request("DELETE", f"/v1/providers/{quote(args.provider)}{query}", timeout=ADD_TIMEOUT) or {}
    terminal.say(f"Provider '{args.provider}' is removed.")
    for one in gone.get("clients", []):
        terminal.say(terminal.clean(f"Keyfob's registration {one['client_id']}: {one['detail']}"))
    return 0


def _discover(args: argparse.Namespace) -> int:
    with connect() as client:
        body = {"confirm": True} if args.confirm else {}
        answer = client.request("POST", f"/v1/providers/{quote(args.provider)}/discover", body, ADD_TIMEOUT)
    if args.json:
        terminal.result_json(answer)
        return 0
    terminal.say(f"Provider '{args.provider}' was asked about itself.")
    tell_hosts(answer)
    return 0


def _client_metadata(args: argparse.Namespace) -> int:
    query = f"?client_id={quote(args.client_id)}" if args.client_id else ""
    with connect() as client:
        answer = client.request("GET", f"/v1/providers/{quote(args.provider)}/client-metadata{query}")
    terminal.result_json(answer)
    terminal.say(f"Host this at its client_id, as application/json, and log in with: --client-id {answer['client_id']}")
    return 0


def _presets(args: argparse.Namespace) -> int:
    with connect() as client:
        answer = client.request("GET", "/v1/presets")
    wanted = " ".join(args.search)
    presets = [one for one in answer["presets"] if all(word in _searched(one) for word in wanted.lower().split())]
    if args.json:
        terminal.result_json({"presets": presets})
        return 0
    if not presets:
        near = nearest(wanted, (one["name"] for one in answer["presets"]))
        terminal.say(f"No preset has '{terminal.clean(wanted)}' in its name, title or notes.{near}")
        terminal.say("Any issuer works as well: keyfob login --provider ISSUER-URL")
        return 0
    header = ("PRESET", "TITLE", "LOG IN WITH", "NEEDS", "UNSURE")
    rows = [(one["name"], one["title"], ways(one), _needs(one), str(len(one["unverified"]))) for one in presets]
    terminal.table(header, _fitting(header, rows, title=1))
    if terminal.is_table():
        terminal.say("UNSURE: how many of its values nobody has verified yet. More: keyfob provider show PRESET")
    return 0


def _searched(preset: dict[str, Any]) -> str:
    return " ".join((preset["name"], preset["title"], *preset["notes"])).lower()


def ways(preset: dict[str, Any]) -> str:
    """Return how a person logs in; a paste login goes wherever a browser does."""
    return " ".join(flow for flow in preset["flows"] if flow in ("browser", "device", "token"))


def _fitting(header: Row, rows: Sequence[Row], *, title: int) -> Sequence[Row]:
    """Shorten the titles so that a terminal's line holds a row; a file or pipe gets them whole."""
    if not terminal.is_table():
        return rows
    others = [max(len(line[at]) for line in (header, *rows)) + 2 for at in range(len(header)) if at != title]
    room = max(shutil.get_terminal_size().columns - sum(others), len(header[title]) + 1)
    return [
        tuple(f"{cell[: room - 1]}…" if at == title and len(cell) > room else cell for at, cell in enumerate(row))
        for row in rows
    ]


def _needs(preset: dict[str, Any]) -> str:
    """Return what a login has to name beside the preset."""
    needs = ["--base-url"] if preset.get("needs_base_url") else []
    named = (one["name"] for one in preset.get("parameters", []) if not one["default"])
    return " ".join([*needs, *(f"--param {name}=..." for name in named)])


def _where(provider: dict[str, Any]) -> str:
    return str(provider.get("base_url") or provider.get("issuer") or provider.get("token_endpoint") or "")


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


ACTIONS = {
    "list": ("list the providers", list_flags, _list),
    "show": (
        "show a provider or a preset: addresses, rules, notes, sources, and what is not verified",
        _configure_one,
        _show,
    ),
    "add": ("add a provider by preset, by a URL or by its endpoints", _configure_add, _add),
    "remove": ("remove a provider that no account uses, and Keyfob's registration there", _configure_remove, _remove),
    "discover": ("ask a provider again what it says about itself", _configure_discover, _discover),
    "client-metadata": ("print the document for a client id that is an address", _configure_metadata, _client_metadata),
    "presets": ("list what Keyfob knows already", _configure_presets, _presets),
}
