"""From ``keyfob VERB ...`` to an exit code: the table of verbs, and the one place where a failure becomes words.

Called by ``broker.cli``. A new verb is one row here, one line in the overview, and one file with ``configure`` and
``run``.
"""

from __future__ import annotations

import os
import sys

from broker import __version__
from broker.cli import terminal
from broker.client import ClientError

TYPE_CHECKING = False  # importing typing for its own constant costs `keyfob token` two milliseconds
if TYPE_CHECKING:
    from argparse import Namespace as Arguments
    from collections.abc import Sequence
    from types import ModuleType

    from broker.cli.arguments import Parser
else:

    class Arguments:
        """What a command line says, by name: argparse's own namespace comes with all of argparse."""


# verb -> (module in this package, one-line help). The module is imported only when its verb is called.
VERBS = {
    "demo": ("demo", "daemon, practice provider and a first login, in a temporary place"),
    "serve": ("serve", "the daemon, in the foreground"),
    "service": ("service", "install or uninstall the user service"),
    "login": ("login", "log in at a provider, in the browser"),
    "token": ("token", "print an access token that is valid now"),
    "exec": ("exec", "run a command with a token in its environment, or behind a file descriptor"),
    "accounts": ("accounts", "list the accounts"),
    "show": ("show", "show one account"),
    "refresh": ("refresh", "renew an account's token now"),
    "rename": ("rename", "give an account another name"),
    "logout": ("logout", "revoke and forget an account"),
    "provider": ("providers", "the providers that accounts log in at"),
    "proxy-url": ("proxy_url", "print where programs use an account's API without its token"),
    "app": ("apps", "the programs that have a key of their own"),
    "approvals": ("approvals", "list what programs ask for, and what was answered"),
    "approve": ("approve", "allow what a program asks for"),
    "deny": ("deny", "refuse what a program asks for"),
    "pair": ("pair", "get a program its app key without copy and paste"),
    "ui": ("ui", "open the web page, signed in"),
    "audit": ("audit", "show who got which token when, and what was done; --verify checks it"),
    "status": ("status", "show how the daemon is"),
    "doctor": ("doctor", "look at everything, and say what to do"),
    "lock": ("lock", "hand out nothing until it is unlocked"),
    "unlock": ("unlock", "ask for the key again, or take the passphrase"),
    "key": ("key", "make new keys for everything that is sealed"),
    "healthcheck": ("healthcheck", "exit 0 while the daemon answers, else 1"),
    "backup": ("backup", "copy the database, whether the daemon runs or not"),
    "restore": ("restore", "put a backup in the place of the database"),
    "setup": ("setup", "tell another program to ask Keyfob, and take that back"),
    "git-credential": ("git_credential", "git's credential helper"),
    "kube-credential": ("kube_credential", "exec credential plugin of kubectl"),
    "sasl": ("sasl", "what a mail program sends to log in with a token"),
    "docker-credential": ("docker_credential", "credential helper of Docker, Podman and skopeo"),
    "cargo-credential": ("cargo_credential", "credential provider of Cargo"),
    "bazel-credential": ("bazel_credential", "credential helper of Bazel"),
    "practice": ("practice", "a small real OAuth server, for tries and tests"),
    "completion": ("completion", "print a completion script for a shell"),
}

OVERVIEW = """\
Keyfob: log in once, and every local program gets a fresh OAuth token.

usage: keyfob COMMAND ...            keyfob COMMAND --help tells the rest

Start
  demo                     everything at once, in a temporary place
  serve                    the daemon, in the foreground
  service                  install or uninstall the user service

Log in, use the token
  login [ACCOUNT]          log in at a provider, in the browser
  token ACCOUNT            print an access token that is valid now
  exec ACCOUNT -- COMMAND  run a command that has a token

Accounts
  accounts                 list them
  show ACCOUNT             state, identity, scope, times
  refresh ACCOUNT          renew the token now
  rename ACCOUNT NEW       give it another name; its programs keep what they may have
  logout ACCOUNT           revoke and forget the login

Other programs
  setup TOOL ACCOUNT       tell git, kubectl, mail and others to ask Keyfob; --undo takes it back
  git-credential           git's credential helper
  kube-credential ACCOUNT  exec credential plugin of kubectl
  docker-credential        credential helper of Docker, Podman and skopeo
  cargo-credential         credential provider of Cargo
  bazel-credential         credential helper of Bazel
  sasl ACCOUNT --user U    what a mail program sends to log in with a token

Providers and programs
  provider                 list, show, add, remove; presets to choose from
  app                      programs with a key of their own, and what they may have
  proxy-url ACCOUNT        where programs use its API without ever seeing the token
  approvals                what programs ask for
  approve CODE             allow it: once, always, or for a time
  deny CODE                refuse it, for now or for good
  pair NAME                get a program its app key without copy and paste

Look after it
  ui                       open the web page, signed in
  status                   how the daemon is
  audit                    who got which token when, and what was done
  doctor                   look at everything, and say what to do
  lock                     hand out nothing until it is unlocked
  unlock                   ask for the key again, or take the passphrase
  key rotate               make new keys for everything that is sealed
  healthcheck              exit 0 while the daemon answers, else 1
  backup FILE              copy the database, whether the daemon runs or not
  restore FILE             put a backup in the place of the database
  practice                 a small real OAuth server, for tries and tests
  completion               a completion script for bash, zsh or fish

Examples
  keyfob login work --provider https://id.example.org --client-id ID
  keyfob token work --header | curl -H @- https://api.example.org/v1/me
  keyfob exec work -- ./backup.sh

Exit codes: 0 done, 1 failed, 2 usage, 3 login needed, 4 not allowed, 5 provider unreachable,
6 daemon not running, 7 locked. Lists to a pipe: one record a line, tabs between, no heading.
"""

# What a shell shows for a program that was ended by SIGINT and by SIGPIPE (128 + signal).
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; no exception leaves this function.

    Args:
        argv: the words after ``keyfob``; default: the process's own.
    """
    args = Arguments()
    # Who starts it with a stream closed (>&-) wants to see nothing of it: what is asked for is done all the same.
    # Without stdin there is nobody to ask and nothing to read; whatever is opened next must not become descriptor 0.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 -- pathlib takes 2 ms; for good
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- pathlib takes 2 ms; for good
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- the same
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv), args)
        terminal.flush()
    except SystemExit as exc:  # argparse: 0 after --help, 2 after a usage error
        return _code_of(exc)
    except KeyboardInterrupt:
        terminal.say()
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as in `keyfob accounts | head -1`
        terminal.abandon_output()
        return BROKEN_PIPE
    except Exception as exc:  # noqa: BLE001 -- the last line of defence: a person never sees a traceback
        return _fail(exc, getattr(args, "account", None))
    return code


def load(verb: str) -> tuple[Parser, ModuleType]:
    """Import a verb's module and return its configured parser with it."""
    import importlib

    from broker.cli.arguments import Parser, sentence

    name, summary = VERBS[verb]
    module = importlib.import_module(f"broker.cli.{name}")
    # No abbreviations: an option that is added later must not change what a script meant.
    parser = Parser(prog=f"keyfob {verb}", description=sentence(summary), allow_abbrev=False)
    module.configure(parser)
    return parser, module


def _run(argv: list[str], args: Arguments) -> int:
    if not argv:
        terminal.say(OVERVIEW.rstrip())
        return 2
    verb, rest = argv[0], argv[1:]
    if verb == "help" and rest:
        verb, rest = rest[0], ["--help"]
    if verb in ("help", "--help", "-h"):
        terminal.result(OVERVIEW.rstrip())
        return 0
    if verb in ("--version", "-V"):
        terminal.result(f"keyfob {__version__}")
        return 0
    if verb not in VERBS:
        from broker.cli.arguments import nearest

        what = "option" if verb.startswith("-") else "command"
        terminal.fail(f"There is no {what} {verb!r}.{nearest(verb, [*VERBS, '--help', '--version'])}", "keyfob --help")
        return 2
    if verb == "token" and len(rest) == 1 and rest[0].strip() and not rest[0].startswith("-"):
        # Scripts ask so at every request; a parser takes as long to import as the token takes to come.
        from broker.cli import token

        vars(args).update(token.PLAIN, account=rest[0])
        return token.run(args)
    if verb == "serve" and not rest:
        # As the units start it. What a parser takes, the daemon would keep for as long as it lives.
        from broker.cli import serve

        vars(args).update(serve.PLAIN)
        return serve.run(args)
    parser, module = load(verb)
    if parser.get_default("command") is not None and "--" in rest:  # what comes after -- is not ours to parse
        cut = rest.index("--")
        args.command, rest = rest[cut + 1 :], rest[:cut]
    parser.parse_args(rest, args)
    code: int = module.run(args)
    return code


def _fail(exc: Exception, account: str | None) -> int:
    from broker.errors import KeyfobError

    if isinstance(exc, ClientError):
        from broker.cli import failures

        return failures.report(exc, account)
    if isinstance(exc, KeyfobError):
        terminal.fail(exc.detail, exc.hint)
        return exc.exit_code
    if os.environ.get("KEYFOB_LOG") == "debug":
        import traceback

        traceback.print_exception(exc)
    # NOTE: only the kind is named; the text of an unforeseen exception may hold anything.
    terminal.fail(f"This is a bug in Keyfob ({type(exc).__name__}).", "The details: KEYFOB_LOG=debug keyfob ...")
    return 1


def _code_of(exc: SystemExit) -> int:
    return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
