"""``keyfob login``: log in at a provider and keep the login.

Called by ``main``. The login itself happens in the daemon; this starts it, shows the person the way, and waits.
"""

import argparse
import contextlib
import getpass
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from broker.cli import device, paste, terminal, ways
from broker.cli.accounts import identity
from broker.cli.arguments import (
    STDIN,
    auth_method_flag,
    each_word,
    end,
    json_flag,
    name,
    param_flag,
    scope_flag,
    seconds,
    secret_from,
)
from broker.cli.browser import open_in_browser
from broker.cli.connect import connect
from broker.cli.providers import tell_hosts
from broker.cli.spinner import Spinner
from broker.client import Client, ClientError, quote
from broker.core import advice
from broker.core.login import flow_name
from broker.errors import InvalidRequest, LoginFailed

FLOWS = ("browser", "paste", "device", "client-credentials", "jwt-bearer", "token-exchange", "token", "refresh-token")
# These need nobody: the login is done as soon as it is begun.
MACHINE_FLOWS = ("client-credentials", "jwt-bearer")
# What a person brings along to these -> the option that names its file.
BROUGHT = {"token": "token", "refresh-token": "refresh-token"}
ACCOUNT_HELP = "its name (default: the one that this person has there already, else PROVIDER, else PROVIDER-PERSON)"
SCOPE_HELP = (
    "scopes to ask for; of a person's ACCOUNT that there is, beside those that it asked for before (a program's asks "
    "for these alone)"
)
FLOW_HELP = (
    "how (default: as before for an account that needs nobody; token-exchange with --from; else browser; where no "
    "browser is at hand, as over SSH: device, else paste)"
)
AUDIENCE_HELP = f"whom the token is for, with {', '.join(MACHINE_FLOWS)} or token-exchange"
FROM_HELP = "derive it from this account: its tokens are that one's, exchanged (RFC 8693)"
# Starting may mean discovery and registration, finishing means exchange and identity: some calls of 20 s each.
STEP_TIMEOUT = 180.0
# How long one look at the login may hang; short enough for every idle timeout in between.
POLL = 20.0
# What the daemon needs beyond that to answer.
GRACE = 10.0
# Ctrl-C should be felt at once, whatever the daemon is doing.
CANCEL_TIMEOUT = 3.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("account", metavar="ACCOUNT", nargs="?", type=name, help=ACCOUNT_HELP)
    parser.add_argument("--provider", metavar="NAME|URL", help="where: by name, or an issuer, site or resource")
    parser.add_argument(
        "--resource", metavar="URL", help="what the token is for (RFC 8707); alone, it tells where to log in"
    )
    parser.add_argument("--base-url", metavar="URL", help="the instance, for providers that are run by many")
    param_flag(parser)
    scope_flag(parser, SCOPE_HELP)
    parser.add_argument("--only-scope", action="store_true", help="ask for nothing but --scope")
    parser.add_argument("--flow", type=flow_name, choices=FLOWS, help=FLOW_HELP)
    parser.add_argument("--client-id", metavar="ID", help="OAuth client to use instead of the provider's own")
    parser.add_argument("--client-secret-file", metavar="FILE|-", help="file with its secret; - is stdin")
    auth_method_flag(parser)
    parser.add_argument("--subject", metavar="S", help="for whom, with --flow jwt-bearer (default: the client itself)")
    parser.add_argument("--audience", metavar="A", help=AUDIENCE_HELP)
    parser.add_argument("--from", metavar="ACCOUNT", dest="source", type=name, help=FROM_HELP)
    parser.add_argument("--token-file", metavar="FILE|-", help="file with the token, for --flow token; - is stdin")
    parser.add_argument(
        "--refresh-token-file",
        metavar="FILE|-",
        help="file with another program's refresh token, for --flow refresh-token; from then on only Keyfob may use it",
    )
    parser.add_argument("--expires", metavar="DATE|90d", type=end, help="when that token ends, for --flow token")
    parser.add_argument("--private", action="store_true", help="a new provider may be at a private address")
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        help="give up after so long, such as 90 or 10m (default: when it expires)",
    )
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Log in and say who did.

    Raises:
        InvalidRequest: the options do not go together.
        LoginFailed: the login came to an end without an account.
        ClientError: the daemon refused, or is not there.
    """
    _check(args)
    args.flow = args.flow or ("token-exchange" if args.source else None)
    with connect() as client, _ended_by_signal():
        known = _providers(client) if args.resource or "://" in (args.provider or "") else None
        try:
            login = client.request("POST", "/v1/logins", _body(args), STEP_TIMEOUT)
        except ClientError as exc:
            if not exc.problem.get("redirect_uri"):
                raise
            return _client_needed(exc, args)
        if known is not None and login["provider"] not in known:
            tell_hosts(client.request("GET", f"/v1/providers/{quote(login['provider'])}"))
        path = f"/v1/logins/{quote(login['id'])}"
        end = float("inf") if args.timeout is None else time.monotonic() + args.timeout
        try:
            if login["state"] == "pending":
                if args.flow is None and not args.no_browser and not ways.browser_is_here(os.environ):
                    _show_tunnel(client, login, args)
                login = (
                    paste.carry(client, path, login, STEP_TIMEOUT, end)
                    if "authorization_url" in login
                    else _show_way(login, args)
                )
            login = _wait(client, path, login, end)
        except BaseException as exc:
            if login["state"] == "pending":
                _cancel(client, path)
            if isinstance(exc, KeyboardInterrupt):
                terminal.say("The login was cancelled; nothing was kept.")
            raise
        if login["state"] != "done":
            why = login.get("reason") or f"the login has {login['state']}"
            if login["state"] == "expired" and login.get("user_code"):
                why = "the code expired before anybody allowed it"
            raise LoginFailed(
                f"The login did not succeed: {why.rstrip('.')}.", f"Try again: {_again(args, login, args.flow)}"
            )
        account = client.request("GET", f"/v1/accounts/{quote(login['account'])}")
    _tell(account, as_json=args.json)
    return 0


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Let a SIGTERM end the command like Ctrl-C does, so that the login is cancelled and not left pending."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only that one may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _providers(client: Client) -> set[str]:
    return {one["name"] for one in client.request("GET", "/v1/providers")["providers"]}


def _check(args: argparse.Namespace) -> None:
    if args.account is None and args.provider is None and args.resource is None:
        raise InvalidRequest(
            "Name the provider of a new login.",
            "keyfob login --provider NAME|URL; the names: keyfob provider list, keyfob provider presets",
        )
    if args.source and args.flow not in (None, "token-exchange"):
        raise InvalidRequest("--from goes with --flow token-exchange.")
    if args.source and args.account is None:
        raise InvalidRequest("Name the account to make.", f"keyfob login NAME --from {args.source}")
    for flow, option in BROUGHT.items():
        file = getattr(args, f"{option.replace('-', '_')}_file")
        if file and args.flow != flow:
            raise InvalidRequest(f"--{option}-file goes with --flow {flow}.")
        if args.flow == flow and not file and not sys.stdin.isatty():
            raise InvalidRequest("Where is the token?", f"Add --{option}-file FILE, or --{option}-file - for stdin.")
    if args.expires and args.flow != "token":
        raise InvalidRequest("--expires goes with --flow token.", "Of other tokens the provider says when they end.")
    if args.only_scope and not args.scope:
        raise InvalidRequest("--only-scope goes with --scope.")
    from_stdin = STDIN in (args.token_file, args.refresh_token_file)
    if args.client_secret_file == STDIN and (from_stdin or args.flow == "paste"):
        raise InvalidRequest("Only one thing can come from stdin.", "Put the client secret into a file.")


def _body(args: argparse.Namespace) -> dict[str, Any]:
    """Return what ``POST /v1/logins`` takes; what the person left out stays out."""
    body: dict[str, Any] = {
        "account": args.account,
        "provider": args.provider,
        "base_url": args.base_url,
        "parameters": dict(args.params) or None,
        "private": args.private or None,
        "scope": each_word(args.scope),
        "only_scope": args.only_scope or None,
        "resource": args.resource,
        "flow": args.flow or ways.flows(os.environ, no_browser=args.no_browser, can_paste=_can_paste(args)),
        "client_id": args.client_id,
        "expires_at": args.expires,
        "token_endpoint_auth_method": args.token_endpoint_auth_method,
        "subject": args.subject,
        "audience": args.audience,
        "from": args.source,
    }
    if args.client_secret_file:
        body["client_secret"] = secret_from(args.client_secret_file, "client secret")
    if args.flow == "token":
        body["access_token"] = _brought(args.token_file, "token")
    elif args.flow == "refresh-token":
        body["refresh_token"] = _brought(args.refresh_token_file, "refresh token")
    return {key: value for key, value in body.items() if value not in (None, [])}


def _brought(path: str | None, what: str) -> str:
    """Read a token from the file that the person names, or ask for it."""
    return secret_from(path, what) if path else getpass.getpass(f"Paste the {what} (it is not shown): ").strip()


def _can_paste(args: argparse.Namespace) -> bool:
    return sys.stdin.isatty() and args.client_secret_file != STDIN


def _show_tunnel(client: Client, login: dict[str, Any], args: argparse.Namespace) -> None:
    """No browser is at hand here: tell how one on the person's own machine can be, where the provider has pages."""
    if "browser" not in client.request("GET", f"/v1/providers/{quote(login['provider'])}")["flows"]:
        return
    terminal.say("No browser is at hand here. To log in with one of your own machine, run there")
    terminal.say(f"  {terminal.clean(ways.tunnel(login['start_url'], os.environ))}")
    terminal.say(f"and here\n  {terminal.clean(_again(args, login, 'browser'))} --no-browser")
    terminal.say()


def _show_way(login: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Open the browser, or tell the person what to open."""
    if login.get("user_code"):
        device.show(login)
        return login
    address = terminal.clean(login["start_url"])
    if not args.no_browser and open_in_browser(login["start_url"], os.environ):
        terminal.say(f"Your browser opens. If it does not, go to:\n  {address}")
        return login
    terminal.say(f"Open this address in a browser on this machine:\n  {address}")
    if os.environ.get("SSH_CONNECTION"):
        terminal.say(terminal.clean(f"From another machine: {_again(args, login, 'paste')}"))
        terminal.say(terminal.clean(f"Or let its browser in:  {ways.tunnel(login['start_url'], os.environ)}"))
    return login


def _again(args: argparse.Namespace, login: dict[str, Any], flow: str | None) -> str:
    """Return the command that begins such a login anew, as a line for a shell.

    Whoever named a provider may have no account yet, and then the account's name alone would not be enough.
    """
    words = ["keyfob", "login", *([args.account] if args.account else [])]
    if args.provider:
        words += ["--provider", login.get("provider") or args.provider]
    if args.scope:
        words += ["--scope", *each_word(args.scope)]
    if args.only_scope:
        words += ["--only-scope"]
    if args.resource:
        words += ["--resource", args.resource]
    if args.client_id:
        words += advice.option("--client-id", args.client_id)
    if args.client_secret_file:
        words += ["--client-secret-file", args.client_secret_file]
    for option in ("token_endpoint_auth_method", "subject", "audience"):
        if value := getattr(args, option):
            words += advice.option(f"--{option.replace('_', '-')}", value)
    if args.source:
        words += ["--from", args.source]
    if flow not in (None, "browser"):
        words += ["--flow", flow]
    return shlex.join(words)


def _client_needed(exc: ClientError, args: argparse.Namespace) -> int:
    """Say how a client is made by hand: where, what to paste there, and the command to run then."""
    provider = str(exc.problem.get("provider") or args.provider)
    where = exc.problem.get("register_url") or "in the provider's settings for developers"
    # Always with its provider: a first login that is under way, and would tell it, is forgotten after ten minutes.
    named = argparse.Namespace(**{**vars(args), "provider": provider})
    command = f"{_again(named, {'provider': provider}, args.flow)} --client-id ID"
    needed = exc.problem.get("client_secret")
    unknown = f"Provider '{provider}' does not know Keyfob yet: make a client there, once."
    tried = exc.problem.get("registration")
    terminal.fail(
        f"Keyfob tried to register itself, and could not: {tried} Make a client there, once." if tried else unknown,
        f"1. Make one: {where}",
        f"2. Give it exactly this redirect URI: {exc.problem['redirect_uri']}",
        f"3. Run: {command}{' --client-secret-file FILE' if needed == 'needed' else ''}",
        "   If it has a secret, add: --client-secret-file FILE" if needed == "optional" else "",
        f"What to choose there: keyfob provider show {provider}",
        f"Or try again in {terminal.span(exc.retry_after)}; Keyfob then tries again, too." if exc.retry_after else "",
    )
    return exc.exit_code


def _wait(client: Client, path: str, login: dict[str, Any], end: float) -> dict[str, Any]:
    """Look at the login until it has come to an end, or ``time.monotonic`` to ``end``."""
    if login["state"] != "pending":
        return login
    with Spinner(partial(_waiting, login, end)):
        while login["state"] == "pending":
            left = min(POLL, end - time.monotonic())
            if left <= 0:
                raise LoginFailed("Nobody logged in in time, so the login was cancelled.", "Give it more: --timeout S")
            login = {**login, **client.request("GET", f"{path}?wait={left:.0f}", timeout=left + GRACE)}
    return login


def _waiting(login: dict[str, Any], end: float) -> str:
    if not login.get("user_code"):
        return "Waiting for the login in the browser ... (Ctrl-C cancels it)"
    expires = datetime.fromisoformat(login["expires_at"]).timestamp()
    left = max(0, int(min(expires - time.time(), end - time.monotonic())))
    return f"Waiting, {left // 60}:{left % 60:02} left (Ctrl-C cancels)"


def _cancel(client: Client, path: str) -> None:
    try:
        client.request("DELETE", path, timeout=CANCEL_TIMEOUT)
    except ClientError as exc:
        if exc.status == 0:  # the daemon has gone away; one that answers has ended the login already
            terminal.say(
                f"keyfob: the daemon could not be told to forget the login; it expires by itself. {exc.detail}"
            )


def _tell(account: dict[str, Any], *, as_json: bool) -> None:
    label, who = terminal.clean(account["account"]), identity(account)
    source = f", derived from {terminal.clean(account['from'])!r}" if account.get("from") else ""
    terminal.say(f"Logged in{f' as {terminal.paint(who)}' if who else ''}: account {label!r}{source}.")
    if account.get("missing_scope"):
        terminal.say("Not all that was asked for was granted; programs that need the rest will be turned away.")
        terminal.say(f"  asked: {terminal.clean(account['asked_scope'])}; granted: {terminal.clean(account['scope'])}")
        terminal.say(f"  To ask again: keyfob login {label} --scope {terminal.clean(account['missing_scope'])}")
    if account["state"] == "active" and "renewal" in account and account["renewal"] is None:
        ends = terminal.when(account.get("expires_at"), time.time())
        terminal.say(
            "No refresh token came, so nothing can renew this login. "
            + (f"Its token ends {ends}: log in again then." if ends else "When it ends was not said.")
        )
    if as_json:
        terminal.result_json(account)
    else:
        terminal.say(f"Its token: keyfob token {label}")
