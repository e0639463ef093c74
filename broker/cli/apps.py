"""``keyfob app``: the programs that have a key of their own, and what each may have.

Called by ``main``.
"""

import argparse
import time
from typing import Any

from broker.cli import terminal
from broker.cli.arguments import each_word, json_flag, lasting, list_flags, name, percent, scope_flag, subverbs
from broker.cli.connect import connect
from broker.cli.show import show
from broker.client import Client, quote
from broker.core.policy import App, AppGrant, Ask, Denied, Narrow, decide
from broker.core.rules import READ_ONLY, Passage
from broker.errors import KeyfobError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    subverbs(parser, ACTIONS)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    code: int = args.action(args)
    return code


def _configure_add(parser: argparse.ArgumentParser) -> None:
    _app(parser)
    parser.add_argument(
        "--account", metavar="A", type=name, action="append", required=True, help="account it may use; repeatable"
    )
    _grant_options(parser)
    _capability_flag(parser)
    json_flag(parser)


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    _app(parser)
    _capability_flag(parser)
    json_flag(parser)


def _configure_grant(parser: argparse.ArgumentParser) -> None:
    _app(parser)
    parser.add_argument("--account", metavar="A", type=name, required=True, help="account it may use from now on")
    _grant_options(parser)


def _configure_revoke(parser: argparse.ArgumentParser) -> None:
    _app(parser)
    parser.add_argument("--account", metavar="A", type=name, required=True, help="account it may no longer use")


def _configure_one(parser: argparse.ArgumentParser) -> None:
    _app(parser)
    json_flag(parser)


def _app(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="NAME", type=name, help="name of the app")


def _capability_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--capability",
        action="store_true",
        help="a key for an address, where a program has no other place for it; good there only",
    )


def _grant_options(parser: argparse.ArgumentParser) -> None:
    scope_flag(parser, "scopes it may have (default: the account's)")
    parser.add_argument("--resource", metavar="R", help="the only resource it may have tokens for (RFC 8707)")
    parser.add_argument("--proxy-only", action="store_true", help="it may use the proxy, but never sees a token")
    parser.add_argument(
        "--rule",
        metavar="R",
        dest="rules",
        action="append",
        default=[],
        help="with --proxy-only: what it may send, such as 'GET,POST /v1/issues/*' or 'GET /api/**'; repeatable",
    )
    parser.add_argument(
        "--read-only", action="store_true", help="with --proxy-only: it may send GET, HEAD and OPTIONS, wherever to"
    )
    parser.add_argument(
        "--token-file",
        metavar="KIND",
        nargs="?",
        const="access_token",
        choices=("access_token", "id_token"),
        help="keep its token in a file that is always fresh, for programs that read one: access_token, or id_token",
    )
    parser.add_argument(
        "--rate-share", metavar="PERCENT", type=percent, help="the most of a rate limit that it may use up (1 to 100)"
    )
    parser.add_argument("--expires", metavar="30d", type=lasting, help="until when, from now on: 12h, 30d, 2w")


def _add(args: argparse.Namespace) -> int:
    grants = [{"account": account, **_grant(args)} for account in args.account]
    with connect() as client:
        doubts = [doubt for grant in grants if (doubt := _doubt(client, args.app, grant))]
        answer = client.request("POST", "/v1/apps", {"name": args.app, "grants": grants, **_kind(args)})
    code = _show_key(args, answer)
    if not args.json:
        _say_files(answer.get("grants") or [])
    _warn(doubts)
    return code


def _rotate(args: argparse.Namespace) -> int:
    with connect() as client:
        answer = client.request("POST", f"/v1/apps/{quote(args.app)}/rotate", _kind(args))
    return _show_key(args, answer)


def _list(args: argparse.Namespace) -> int:
    with connect() as client:
        answer = client.request("GET", "/v1/apps")
    if args.json:
        terminal.result_json(answer)
        return 0
    if not answer["apps"]:
        terminal.say("There are no apps yet. Make one: keyfob app add NAME --account ACCOUNT")
        return 0
    now = time.time()
    terminal.table(("APP", "ACCOUNTS", "CREATED", "LAST USED"), [_row(app, now) for app in answer["apps"]])
    return 0


def _show(args: argparse.Namespace) -> int:
    return show(f"/v1/apps/{quote(args.app)}", as_json=args.json)


def _remove(args: argparse.Namespace) -> int:
    with connect() as client:
        client.request("DELETE", f"/v1/apps/{quote(args.app)}")
    terminal.say(f"App '{args.app}' is removed; its key is worth nothing now.")
    return 0


def _grant_one(args: argparse.Namespace) -> int:
    grant = _grant(args)
    with connect() as client:
        doubt = _doubt(client, args.app, {"account": args.account, **grant})
        kept = client.request("PUT", f"/v1/apps/{quote(args.app)}/grants/{quote(args.account)}", grant)
    terminal.say(f"App '{args.app}' may use account '{args.account}' now: {_words(kept, time.time())}.")
    _say_files([kept])
    _warn([doubt] if doubt else [])
    return 0


def _revoke(args: argparse.Namespace) -> int:
    with connect() as client:
        client.request("DELETE", f"/v1/apps/{quote(args.app)}/grants/{quote(args.account)}")
    live_on = "Tokens that it was given live on until they end."
    terminal.say(f"App '{args.app}' may no longer use account '{args.account}'. {live_on}")
    return 0


def _grant(args: argparse.Namespace) -> dict[str, Any]:
    """Return one grant as the API takes it; what the person left out stays out."""
    grant: dict[str, Any] = {"mode": "proxy" if args.proxy_only else "token"}
    if args.scope:
        grant["scope"] = each_word(args.scope)
    if args.resource:
        grant["resource"] = args.resource
    if args.expires is not None:
        grant["expires_at"] = args.expires
    if rules := [*([READ_ONLY] if args.read_only else []), *args.rules]:
        grant["rules"] = rules
    if args.token_file:
        grant["token_file"] = args.token_file
    if args.rate_share is not None:
        grant["rate_share"] = args.rate_share
    return grant


def _say_files(grants: list[dict[str, Any]]) -> None:
    for grant in grants:
        if path := grant.get("token_file_path"):
            what = "ID token" if grant["token_file"] == "id_token" else "access token"  # noqa: S105 -- a kind's name
            terminal.say(terminal.clean(f"The {what} of account '{grant['account']}' is kept in {path}"))


def _words(grant: dict[str, Any], now: float) -> str:
    """Return a grant in words, whole: an earlier one of the same account is replaced, its limits included."""
    scope, resource = terminal.words(grant.get("scope")), terminal.clean(grant.get("resource") or "")
    parts = [f"the scopes {scope}" if scope else "all its scopes"]
    parts += [f"for {resource}"] if resource else []
    parts += ["through the proxy only"] if grant.get("mode") == "proxy" else []
    parts += [f"by the rules {terminal.clean(', '.join(rules))}"] if (rules := grant.get("rules")) else []
    parts += [f"with {share} % of a rate limit"] if (share := grant.get("rate_share")) else []
    ends = terminal.when(grant.get("expires_at"), now)
    return ", ".join([*parts, f"ends {ends}" if ends else "without an end"])


def _doubt(client: Client, app: str, grant: dict[str, Any]) -> tuple[str, str] | None:
    """Return why every request with such a grant would be refused as the account is now, and what helps; or None.

    Asked before the grant is made: whatever fails here then leaves nothing half done.
    """
    wanted = AppGrant(
        grant["account"],
        tuple(grant.get("scope", ())),
        grant.get("resource"),
        grant["mode"],
        token_file=grant.get("token_file"),
    )
    if not wanted.scope and not wanted.resource:
        return None
    account = client.request("GET", f"/v1/accounts/{quote(wanted.account)}")
    carried, resource = terminal.words(account.get("scope")).split(), account.get("resource")
    passage = Passage("GET", "/") if wanted.mode == "proxy" else None
    decision = decide(App(app, (wanted,)), Ask(wanted.account, passage=passage), carried, resource, time.time())
    if isinstance(decision, Narrow) and wanted.files_id_token:
        return decision.reason, "An ID token has no scope and no resource of its own: leave --scope and --resource out."
    if isinstance(decision, Narrow):
        provider = client.request("GET", f"/v1/providers/{quote(account['provider'])}")
        needed = (decision.wish.resource == resource or provider["other_resources"]) and (
            not decision.wish.scope or provider["narrower_tokens"]
        )
        if decision.own_will_do or needed:
            return None
    elif not isinstance(decision, Denied):
        return None
    if wanted.resource not in (None, resource):
        return (
            decision.reason,
            "This provider gives no token for another resource than the login's: leave --resource out.",
        )
    more = f"Grant more (--scope {' '.join(carried)}), or" if carried else "Either"
    return decision.reason, f"{more} leave --scope out, or log in another account with just these scopes."


def _warn(doubts: list[tuple[str, str]]) -> None:
    for reason, step in doubts:
        terminal.say(terminal.clean(f"Warning: with this grant, every request is refused as things are: {reason}."))
        terminal.say(f"  {terminal.clean(step)}")


def _kind(args: argparse.Namespace) -> dict[str, Any]:
    return {"capability": True} if args.capability else {}


def _show_key(args: argparse.Namespace, answer: dict[str, Any]) -> int:
    name = terminal.clean(answer["name"])
    try:
        if args.json:
            terminal.result_json(answer)
        else:
            terminal.result(terminal.clean(answer["key"]))
        terminal.flush()
    except KeyfobError as exc:
        step = f"App '{name}' is there, but its key is lost; for another one: keyfob app rotate {name}"
        raise KeyfobError(exc.detail, step) from exc
    if args.json:
        return 0
    if args.capability:
        terminal.say(f"This key of app '{name}' is shown this once. It belongs in the address at which the program")
        terminal.say("looks for the metadata server of its cloud, and is good nowhere else.")
    else:
        terminal.say(f"This key of app '{name}' is shown this once. Hand it to the program in")
        terminal.say("a file that only it can read, named by KEYFOB_APP_KEY_FILE.")
    return 0


def _row(app: dict[str, Any], now: float) -> tuple[str, ...]:
    accounts = " ".join(_marked(grant["account"], grant, now) for grant in app.get("grants") or [])
    return (
        _marked(app["name"], app, now),
        accounts,
        *(terminal.moment(app.get(key), now) for key in ("created_at", "last_used_at")),
    )


def _marked(name: str, lasting: dict[str, Any], now: float) -> str:
    """Return a name with a mark for a person where its time is over; a program gets names that are names."""
    over = terminal.is_table() and terminal.is_past(lasting.get("expires_at"), now)
    return f"{name} (expired)" if over else name


ACTIONS = {
    "add": ("make an app and print its key, once", _configure_add, _add),
    "list": ("list the apps", list_flags, _list),
    "show": ("show one app and what it may have", _configure_one, _show),
    "remove": ("remove an app and its key", _app, _remove),
    "rotate": ("give an app another key and print it, once; the old one ends", _configure_rotate, _rotate),
    "grant": ("let an app use one more account, or replace how it may", _configure_grant, _grant_one),
    "revoke": ("take an account away from an app", _configure_revoke, _revoke),
}
