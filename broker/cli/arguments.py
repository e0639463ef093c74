"""How command lines are read: a parser that knows its neighbours, durations, and secrets from files.

Called by ``main`` and by the verbs' ``configure``. Secrets are never taken from the command line itself: every user of
the machine can read that.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

TYPE_CHECKING = False  # importing typing for its own constant costs `keyfob token` two milliseconds
if TYPE_CHECKING:
    from typing import NoReturn

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# No token or client secret comes near it; a larger file is a wrong file.
MAX_SECRET = 65_536
# From here on two words look like one and its typing error: `tokn` is 0.89 like `token`, `users` 0.6 like `serve`.
LIKENESS = 0.75
# RFC 7591 2, OpenID Connect Core 9; and Keyfob's own name for HTTP Basic with an empty secret (RFC 6749 2.3.1).
AUTH_METHODS = (
    "none",
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "client_id_basic",
)
LAST_PORT = 65_535
# The file name that means stdin.
STDIN = "-"

Configure = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that says which option or word was probably meant."""

    # The parsers of a verb's actions: argparse lets the verb's own one complain about their options.
    actions: Sequence[Parser] = ()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and which option comes nearest, and end with 2."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        unknown = re.search(r"unrecognized arguments: (-\S*)", message)
        guess = ""
        if choice:
            guess = nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        elif unknown:
            known = [flag for parser in (self, *self.actions) for flag in parser.flags()]
            guess = nearest(unknown[1].partition("=")[0], known)
        from broker.cli import terminal

        # argparse begins its messages in small letters, and always with a word of its own.
        terminal.fail(f"{sentence(message.rstrip('.'))}{guess}", f"{self.prog} --help")
        sys.exit(2)

    def flags(self) -> list[str]:
        """Return the long options."""
        return list(dict.fromkeys([*re.findall(r"--[a-z][a-z-]*", self.format_usage()), "--help"]))

    def words(self) -> list[str]:
        """Return the words among which the first argument is chosen, if it is chosen among some."""
        choices = re.search(r"(?<!-)\{([a-z,-]+)\}", re.sub(r"--\S+ \S+", "", self.format_usage()))
        return choices[1].split(",") if choices else []


def sentence(summary: str) -> str:
    """Return a line without capital and full stop as a sentence."""
    return f"{summary[0].upper()}{summary[1:]}."


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'X'?``, or nothing where no known word is near."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=LIKENESS)
    return f" Did you mean {near[0]!r}?" if near else ""


def subverbs(
    parser: argparse.ArgumentParser, actions: Mapping[str, tuple[str, Configure, Run]], word: str = "action"
) -> None:
    """Give a verb its second words, each with its own options; the chosen one's function becomes ``args.action``."""
    choices = parser.add_subparsers(metavar=word.upper(), required=True, title=f"{word}s", parser_class=Parser)
    for name, (summary, configure, run) in actions.items():
        action = choices.add_parser(name, help=summary, description=sentence(summary), allow_abbrev=False)
        configure(action)
        action.set_defaults(action=run)
    if isinstance(parser, Parser):
        parser.actions = list(choices.choices.values())


def json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="write JSON to stdout")


def list_flags(parser: argparse.ArgumentParser) -> None:
    """Add what every list has: ``--json``, and the word about what a program reads without it."""
    json_flag(parser)
    parser.epilog = "To a pipe or a file: one record a line, tabs between its columns, no heading, times as in --json."


def account_name(parser: argparse.ArgumentParser) -> None:
    """Add the account that the verb is about."""
    parser.add_argument("account", metavar="ACCOUNT", type=name, help="name of the account (see: keyfob accounts)")


def host_flags(parser: argparse.ArgumentParser) -> None:
    """Add which account a credential helper means, where its host does not say so; :func:`hosts_fit` looks at them."""
    parser.add_argument("--account", metavar="A", type=name, help="the account; default: the one of the named host")
    parser.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        type=host,
        default=[],
        help="with --account: a host, with its port if any, that its token may go to, too; repeatable",
    )


def host(text: str) -> str:
    """Refuse what is no host, with or without a port."""
    if not re.fullmatch(r"[\w.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host such as git.example.org or git.example.org:8443")
    return text


def port(text: str) -> int:
    """Read a port."""
    return _whole(text, LAST_PORT, "not a port")


def hosts_fit(args: argparse.Namespace) -> bool:
    """Whether an account is named with the hosts; else it is said that one is missing."""
    if not args.host or args.account is not None:
        return True
    from broker.cli import terminal

    terminal.fail("--host says where the token of one account may go.", "Name it, too: --account A")
    return False


def scope_flag(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--scope``, which takes several and may come several times; :func:`each_word` takes them apart."""
    parser.add_argument("--scope", metavar="S", nargs="+", action="extend", default=[], help=text)


def each_word(given: Iterable[str]) -> list[str]:
    """Return the words of an option, however they were put together."""
    return [word for text in given for word in text.split()]


def param_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--param``, which may come several times."""
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        dest="params",
        action="append",
        default=[],
        type=_pair,
        help="what else its addresses need, such as tenant=contoso.com (see: keyfob provider show NAME)",
    )


def auth_method_flag(parser: argparse.ArgumentParser) -> None:
    """Add how the client authenticates at the provider."""
    parser.add_argument(
        "--token-endpoint-auth-method",
        choices=AUTH_METHODS,
        metavar="M",
        help=f"how the client proves itself: {', '.join(AUTH_METHODS)} (HTTP Basic with an empty secret); for "
        "private_key_jwt Keyfob makes the key",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return key, value


def name(text: str) -> str:
    """Refuse an empty name: the path of its URL would be another's."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a name is needed, not an empty text")
    return text


def seconds(text: str) -> float:
    """Read a length of time: ``90``, ``90s``, ``15m``, ``12h``, ``30d``, ``2w``; seconds come out."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhdw]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time such as 90s, 15m, 12h or 30d")
    return float(match[1]) * UNITS[match[2] or "s"]


def span(text: str) -> float:
    """Read a length of time as :func:`seconds` does, but with its unit: what ends after 90 may mean days as well."""
    if text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: write {text}d for days, {text}h for hours")
    return seconds(text)


def end(text: str) -> str:
    """Read when something ends: a date, a time with its zone, or how long from now; an RFC 3339 time comes out.

    A date is its first moment in UTC: what ends in the course of that day is not overrated.
    """
    return _moment(text, 1)


def percent(text: str) -> int:
    """Read a share in percent."""
    return _whole(text, 100, "no whole number from 1 to 100")


def _whole(text: str, most: int, otherwise: str) -> int:
    """Read a whole number from 1 on."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is {otherwise}")
    return int(text)


def lasting(text: str) -> str:
    """Read how long something lasts from now on, with its unit; when it ends comes out, as an RFC 3339 time."""
    span(text)
    try:
        return _moment(text, 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} ends beyond every calendar") from None


def begin(text: str) -> str:
    """Read when something began: a date, a time with its zone, or how long ago; an RFC 3339 time comes out."""
    return _moment(text, -1)


def _moment(text: str, direction: int) -> str:
    import time
    from datetime import UTC, datetime, timedelta

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.fromtimestamp(time.time(), UTC) + direction * timedelta(seconds=span(text))
        except (argparse.ArgumentTypeError, OverflowError):
            if text.isdigit():
                span(text)  # it says what is missing
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither a date such as 2030-01-31 nor a length of time such as 90d"
            ) from None
    if moment.tzinfo is None:
        if len(text) > len("2030-01-31"):
            raise argparse.ArgumentTypeError(f"{text!r} does not name its time zone, such as 2030-01-31T12:00:00Z")
        moment = moment.replace(tzinfo=UTC)
    try:
        # Not strftime: its years before 1000 have no zeros in front.
        return f"{moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"
    except OverflowError:  # at the edge of the calendar, and beyond it in UTC
        raise argparse.ArgumentTypeError(f"{text!r} is beyond every calendar") from None


def secret_from(path: str, what: str) -> str:
    """Read a secret from a file, or from stdin for ``-``; blanks and newlines around it are dropped.

    Raises:
        InvalidRequest: the file cannot be read, is empty, or is not one line of text.
    """
    from broker.errors import InvalidRequest

    try:
        if path == STDIN:
            text = sys.stdin.read(MAX_SECRET + 1)
        else:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- one read
                text = file.read(MAX_SECRET + 1)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise InvalidRequest(f"The {what} cannot be read from {path}: {reason}.") from exc
    text = text.strip()
    where = "stdin" if path == STDIN else path
    if "\n" in text:
        raise InvalidRequest(f"There is more than one line in {where}.", f"The {what} alone is expected there.")
    if not text or not text.isprintable() or len(text) > MAX_SECRET:
        raise InvalidRequest(f"There is no {what} in {where}.", "One line of text is expected.")
    return text
