"""``keyfob completion``: a completion script for a shell, made from the verbs themselves.

Called by ``main``. Account names are asked of the daemon while the person types; where it does not run, none are
offered.
"""

import argparse
import re
from collections.abc import Iterator

from broker.cli import terminal
from broker.cli.arguments import Parser
from broker.cli.main import VERBS, load

# "app add" -> [("--account", ""), ...]: a word that may follow, and its help where there is one.
Tree = dict[str, list[tuple[str, str]]]

# One name a line, out of the stable --json form; no jq needed.
NAMES = r"""keyfob accounts --json 2>/dev/null | sed -n 's/^ *"account": "\([^"]*\)".*/\1/p'"""

BASH = """\
# bash completion of keyfob. Load it with:  source <(keyfob completion bash)
_keyfob_accounts() { %(names)s; }
_keyfob() {
    local cur=${COMP_WORDS[COMP_CWORD]} path=${COMP_WORDS[1]} words=
    ((COMP_CWORD > 2)) && path+=" ${COMP_WORDS[2]}"
    if ((COMP_CWORD == 1)); then
        words="%(verbs)s --help --version"
    elif [[ ${COMP_WORDS[COMP_CWORD-1]} == --account ]]; then
        words=$(_keyfob_accounts)
    elif ((COMP_CWORD < 4)) && [[ $cur != -* && "|%(takers)s|" == *"|$path|"* ]]; then
        words=$(_keyfob_accounts)
    else
        case $path in
%(cases)s
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _keyfob keyfob"""

ZSH = """\
#compdef keyfob
# zsh completion of keyfob. Load it with:  source <(keyfob completion zsh)
_keyfob_accounts() { %(names)s }
_keyfob() {
    local path_=$words[2]
    local -a offer
    ((CURRENT > 3)) && path_+=" $words[3]"
    if ((CURRENT == 2)); then
        offer=(%(verbs)s --help --version)
    elif [[ $words[CURRENT-1] == --account ]]; then
        offer=(${(f)"$(_keyfob_accounts)"})
    elif ((CURRENT < 5)) && [[ $PREFIX != -* && "|%(takers)s|" == *"|$path_|"* ]]; then
        offer=(${(f)"$(_keyfob_accounts)"})
    else
        case $path_ in
%(cases)s
        esac
    fi
    compadd -a offer || _files
}
if (($+functions[compdef])); then compdef _keyfob keyfob; fi"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the choice of shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to print a script for")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    tree, takers = _read_verbs()
    if args.shell == "fish":
        terminal.result("\n".join(_fish(tree, takers)))
        return 0
    assign = 'words="{}"' if args.shell == "bash" else "offer=({})"
    # The longer path comes first: `app add` before whatever else begins with `app`.
    paths = sorted(tree, key=lambda path: -path.count(" "))
    cases = [
        f"            {_pattern(path)}) {assign.format(' '.join(word for word, _ in tree[path]))} ;;" for path in paths
    ]
    values = {"names": NAMES, "verbs": " ".join(VERBS), "takers": "|".join(takers), "cases": "\n".join(cases)}
    terminal.result((BASH if args.shell == "bash" else ZSH) % values)
    return 0


def _read_verbs() -> tuple[Tree, list[str]]:
    """Return what may follow each verb and each of its actions, and those of them that an account's name follows."""
    tree: Tree = {}
    takers = []
    for verb in VERBS:
        parser, module = load(verb)
        actions = getattr(module, "ACTIONS", {})
        tree[verb] = [(action, row[0]) for action, row in actions.items()]
        tree[verb] += [(word, "") for word in [*parser.words(), *parser.flags()] if word not in actions]
        if _takes_account(parser):
            takers.append(verb)
        for action, (_, configure_action, _run) in actions.items():
            sub = Parser(prog=f"keyfob {verb} {action}")
            configure_action(sub)
            tree[f"{verb} {action}"] = [(flag, "") for flag in sub.flags()]
            if _takes_account(sub):
                takers.append(f"{verb} {action}")
    return tree, takers


def _takes_account(parser: Parser) -> bool:
    return bool(re.search(r" \[?ACCOUNT\b", re.sub(r"--\S+ \S+", "", parser.format_usage())))


def _pattern(path: str) -> str:
    """Return the pattern of a shell's ``case`` for a verb, whatever follows it, or for a verb and its action."""
    return f'"{path}"' if " " in path else f'{path}|"{path} "*'


def _fish(tree: Tree, takers: list[str]) -> Iterator[str]:
    yield "# fish completion of keyfob. Load it with:  keyfob completion fish | source"
    yield f"function __keyfob_accounts; {NAMES}; end"
    yield "complete -c keyfob -f -l account -x -a '(__keyfob_accounts)'"
    for verb, (_, summary) in VERBS.items():
        quoted = summary.replace("'", r"\'")
        yield f"complete -c keyfob -f -n __fish_use_subcommand -a {verb} -d '{quoted}'"
    for path in takers:
        yield f"complete -c keyfob -f -n '{_seen(path)}' -a '(__keyfob_accounts)'"
    for path, offered in tree.items():
        for word, summary in offered:
            what = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            text = summary.replace("'", r"\'")
            yield f"complete -c keyfob -n '{_seen(path)}' {what}" + (f" -d '{text}'" if text else "")


def _seen(path: str) -> str:
    """Return fish's condition for a verb, or for a verb and its action."""
    return "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path.split())
