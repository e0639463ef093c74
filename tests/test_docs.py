"""The documentation is true: links lead somewhere, commands parse, and every table is what the code says."""

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from broker import __version__, errors, settings
from broker.cli.main import VERBS, load
from broker.core.account import State
from broker.events import Kind
from broker.providers.shape import check_shape
from broker.store.chain import DAMAGED
from broker.store.verify import Kind as BreakKind

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
NAMES = [page.name for page in PAGES]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
# Programs after which the command of a line is not its first word.
RUNNERS = ("sudo", "docker", "podman", "exec")
# Raised before any door is open, or by the client where none answers: never an answer of the API.
NEVER_ANSWERED = {"daemon_not_running", "cannot_start"}
# What a message in the tables does not say itself: the dots, and the words of the system and of providers.
WILD = re.compile(r"'?\.\.\.'?| \((?:No such file or directory|Connection refused)\)|invalid_(?:grant|client)")


def text_of(page: Path) -> str:
    """A page."""
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its code blocks."""
    return BLOCK.sub("", text_of(page))


def slug(heading: str) -> str:
    """The anchor that hosting services make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Every anchor of a page."""
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)}


def section(page: str, heading: str) -> str:
    """What stands under a heading of a page in docs/, without the headings below it."""
    parts = re.split(r"^#+ (.*)$", text_of(DOCS / page), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in found, f"{page} has no section {heading!r}"
    return found[heading]


def rows(text: str) -> list[list[str]]:
    """The cells of a section's table, its header left out; code marks are taken off."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert cells, "there is no table"
    return [[cell.strip("`") for cell in line] for line in cells[2:]]


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link and picture of a page is there, its anchor too."""
    prose = prose_of(page)
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_found() -> None:
    """Every page of docs/ is linked from the README or from a page that is."""
    found, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        ahead += [(page.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+\.md)", prose_of(page))]
    assert set(PAGES) - found == set()


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(line: str) -> Iterator[list[str]]:
    """Every keyfob command in a shell line: first in it, after a pipe, inside $(...), or behind a runner."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from commands(inner)
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)|<\(", " X ", line), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split, lexer.commenters = True, ""
    simple: list[str] = []
    for word in [*lexer, ";"]:
        if word == "#" or set(word) <= set("|&;<>()"):
            yield from keyfob_command(simple)
            simple = []
            if word == "#":
                break
        else:
            simple.append(word)


def keyfob_command(words: list[str]) -> Iterator[list[str]]:
    """The words after ``keyfob``, if that is what the command runs."""
    while words and re.match(r"[A-Z_0-9]+=", words[0]):
        words = words[1:]
    at = [index for index, word in enumerate(words) if word.rsplit("/", 1)[-1] == "keyfob"]
    if not at:
        return
    behind = words[0] in RUNNERS and at[-1] + 1 < len(words) and words[at[-1] + 1] in VERBS
    if at[0] == 0 or behind:
        yield words[(at[-1] if behind else 0) + 1 :]


def shell_lines(page: Path) -> Iterator[str]:
    """The lines of a page that a person would type; what a program answers is left out."""
    for language, body in BLOCK.findall(text_of(page)):
        if language not in ("", "sh", "console"):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            typed = line.strip().removeprefix("$ ")
            if re.search(r"\bkeyfob\b", typed) and (language != "console" or line.lstrip().startswith("$ ")):
                yield typed


def refusal(words: list[str]) -> str:
    """What the real parser has against a command line; empty where it takes it."""
    if words in (["--help"], ["--version"]):
        return ""
    if not words or words[0] not in VERBS:
        return f"no such verb: {words}"
    parser, _ = load(words[0])
    try:
        parser.parse_args(words[1 : words.index("--")] if "--" in words else words[1:])
    except SystemExit as exc:
        return f"exit {exc.code}: keyfob {shlex.join(words)}"
    return ""


def unknown_parts(span: str) -> list[str]:
    """The verbs, actions and flags of a shortened command that do not exist."""
    words = span.partition(" -- ")[0].split()[1:]
    if words[0] not in VERBS:
        return [span]
    parser, _ = load(words[0])
    second = [word for word in words[1:2] if re.fullmatch(r"[a-z]+", word)]
    helped = io.StringIO()
    with contextlib.redirect_stdout(helped), contextlib.suppress(SystemExit):
        parser.parse_args([*second, "--help"])
    flags = [word for word in words if word.startswith("--")]
    wrong = [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", helped.getvalue())]
    return wrong or ([] if helped.getvalue() else second)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_parse(page: Path) -> None:
    """Every keyfob command in a page's code blocks is one that the real parser takes."""
    assert [told for line in shell_lines(page) for words in commands(line) if (told := refusal(words))] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_the_text_exist(page: Path) -> None:
    """Verbs, actions and flags that a sentence names exist, even where it leaves the rest out."""
    spans = re.findall(r"`(keyfob [a-z][^`]*)`", prose_of(page))
    assert [(span, wrong) for span in spans if (wrong := unknown_parts(span))] == []


def test_commands_are_found() -> None:
    """The search for commands misses none of the ways in which the pages write them."""
    line = 'A=b keyfob token a | curl -H @- x && echo "$(keyfob token b --header)" # keyfob nonsense'
    assert list(commands(line)) == [["token", "b", "--header"], ["token", "a"]]
    behind = "docker exec -it keyfob keyfob login work --flow paste"
    assert list(commands(behind)) == [["login", "work", "--flow", "paste"]]
    assert list(commands("docker run -d --name keyfob --read-only keyfob")) == []
    assert len([words for page in PAGES for line in shell_lines(page) for words in commands(line)]) > 50


def test_wrong_commands_are_refused() -> None:
    """The two judges above do refuse: a verb, an action and a flag that do not exist."""
    assert refusal(["tokn", "work"])
    assert refusal(["token", "work", "--min-tll", "5"])
    assert refusal(["app", "add", "backup"])
    assert unknown_parts("keyfob vault") == ["keyfob vault"]
    assert unknown_parts("keyfob app drop NAME") == ["drop"]
    assert unknown_parts("keyfob service install --now --print") == ["--now"]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_settings_table() -> None:
    """The table of settings is the code's: every key, variable, flag and default, and nothing else."""
    told = {row[1]: row for row in rows(section("configuration.md", "Settings of the daemon"))}
    defaults = settings.defaults(Path("~"), {"XDG_RUNTIME_DIR": "$XDG_RUNTIME_DIR"})
    assert set(told) == {settings.variable(spec.name) for spec in fields(settings.Settings)}
    for spec in fields(settings.Settings):
        key, variable, flag, default, meaning = told[settings.variable(spec.name)]
        expected = str(defaults[spec.name] or "none").replace(":///~/.local/state/keyfob", ":///STATE_DIR")
        assert key == ("-" if spec.name == "config" else spec.name)
        assert (variable, default) == (settings.variable(spec.name), expected)
        assert meaning
        parser, _ = load("serve")
        assert getattr(parser.parse_args([flag, "given"]), spec.name) == "given"


def test_words_of_settings() -> None:
    """Where a setting takes one of some words, the table names exactly those."""
    told = {row[0]: row[4] for row in rows(section("configuration.md", "Settings of the daemon"))}
    for key, words in (
        ("key_source", settings.KEY_SOURCES),
        ("lock_on_sleep", settings.ON_OFF),
        ("notify_desktop", settings.ON_OFF),
        ("oidc_socket", settings.ON_OFF),
        ("log", settings.LOG_LEVELS),
        ("log_format", settings.LOG_FORMATS),
    ):
        assert tuple(re.findall(r"`([\w-]+)`", f"`{told[key]}`".replace("``", "`"))) == words


def test_client_variables() -> None:
    """The table of the client's variables names every one that the client and the commands read, and nothing else."""
    sources = (ROOT / "broker/client.py", ROOT / "broker/client_places.py", ROOT / "broker/cli/connect.py")
    read = {name for source in sources for name in re.findall(r"\bKEYFOB_[A-Z_]+[A-Z]\b", text_of(source))}
    told = {row[0] for row in rows(section("configuration.md", "Variables of programs that ask"))}
    assert told == read


def every_error(kind: type[errors.KeyfobError] = errors.KeyfobError) -> Iterator[type[errors.KeyfobError]]:
    """Every class of the tree."""
    yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def test_error_codes() -> None:
    """The table of errors in the API's page has every code that a caller can meet, with its true status."""
    told = {row[0]: int(row[1]) for row in rows(section("http-api.md", "Errors"))}
    kinds = [kind for kind in every_error() if kind.__module__ == errors.__name__ and kind.code not in NEVER_ANSWERED]
    assert told == {kind.code: kind.status for kind in kinds}


def test_exit_codes() -> None:
    """The table of exit codes has every code that a breakdown ends with."""
    told = {int(row[0]) for row in rows(section("troubleshooting.md", "Exit codes"))}
    assert told == {0, *(kind.exit_code for kind in every_error())}


def test_states_and_events() -> None:
    """Both tables of account states, and the list of events, are the code's."""
    states = {kind.name for kind in get_args(State)}
    assert {row[0] for row in rows(section("troubleshooting.md", "States"))} == states
    assert {row[0] for row in rows(section("http-api.md", "Accounts"))} == states
    listed = re.findall(r"^((?:`[a-z-]+` ?)+)$", section("http-api.md", "Events"), re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", " ".join(listed))) == set(get_args(Kind))


def test_audit_entries() -> None:
    """The table of the audit's entries has every event but hand-outs, which are counted, and what else is written."""
    table = [row[0] for row in rows(section("audit.md", "What is in it"))]
    told = {word for cell in table for word in re.findall(r"[a-z][a-z-]+", cell)}
    assert told == {*get_args(Kind), "notified", "missed", DAMAGED} - {"handed-out"}
    breaks = {row[0] for row in rows(section("audit.md", "Is it as it was written?"))}
    assert breaks == set(get_args(BreakKind))


def spoken() -> str:
    """Every text in the code in small letters, one a line; an expression inside a text ends the line."""
    trees = [ast.parse(text_of(source)) for source in sorted((ROOT / "broker").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(node.value for node in nodes if isinstance(node.value, str)).lower()


def test_messages_are_ones_that_keyfob_says() -> None:
    """Every message in the troubleshooting tables is, but for what ``...`` stands for, one of the code's own."""
    said, page = spoken(), text_of(DOCS / "troubleshooting.md")
    messages = re.findall(r"^\| `([^`|]+)` \|", page.partition("## The daemon does not start")[2], re.MULTILINE)
    titles = re.findall(r'^\| "([^"]+)"', page, re.MULTILINE)
    assert len(messages) > 40
    missing = [
        (message, part)
        for message in messages + titles
        for part in WILD.split(message)
        if len(part.strip(" .,:;'")) > 3 and part.strip(" .,:;'").lower() not in said
    ]
    assert missing == []


def test_toml_examples() -> None:
    """Examples of files are such that Keyfob takes them: settings as settings, a preset as a preset."""
    examples = [
        (page.name, body) for page in PAGES for language, body in BLOCK.findall(text_of(page)) if language == "toml"
    ]
    assert {name for name, _ in examples} == {"configuration.md", "generic-oidc.md", "providers.md"}
    for name, body in examples:
        data = tomllib.loads(body)
        if name == "configuration.md":
            assert set(data) < {spec.name for spec in fields(settings.Settings)}
        else:
            check_shape(data, file=True)


# --- changelog and pictures -------------------------------------------------------------------------------------------


def test_changelog() -> None:
    """The changelog keeps to Keep a Changelog, newest first, and its newest version is this one."""
    headings = re.findall(r"^## (.*)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    assert all(versions), headings
    found = [(match[1], date.fromisoformat(match[2])) for match in versions if match]
    assert found[0][0] == __version__
    assert [day for _, day in found] == sorted((day for _, day in found), reverse=True)
    kinds = set(re.findall(r"^### (.*)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    assert project["version"] == __version__


def drawing() -> ModuleType:
    """The script that draws the recordings."""
    spec = importlib.util.spec_from_file_location("draw", DOCS / "images/draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_picture_is_what_was_recorded() -> None:
    """The moving picture shows what the recordings hold and no text beside."""
    draw = drawing()
    casts = [text_of(DOCS / "images" / name) for name in draw.CASTS]
    assert text_of(DOCS / "images/demo.svg") == draw.draw(casts)


def test_pictures_are_small() -> None:
    """No picture makes the page slow: each has less than 150 kB."""
    pictures = [path for path in (DOCS / "images").iterdir() if path.suffix in (".png", ".svg")]
    assert len(pictures) == 3
    assert all(path.stat().st_size < 150_000 for path in pictures)


def test_claims_of_security_name_tests_that_there_are() -> None:
    """Each claim has a test, each named test is there, and every class of attacks stands for some claim."""
    claims = rows(section("security.md", "What holds, and the test that says so"))
    named = [test for _, tests in claims for test in re.findall(r"tests/[\w/]+\.py(?:::\w+)?", tests)]

    assert [claim for claim, tests in claims if "tests/" not in tests and "](#" not in tests] == []
    for test in named:
        path, _, function = test.partition("::")
        assert (
            f"\ndef {function}(" in (ROOT / path).read_text(encoding="utf-8") if function else (ROOT / path).exists()
        ), test
    classes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/attacks").glob("test_*.py")}
    assert classes - {test.partition("::")[0] for test in named} == {"tests/attacks/test_unguarded.py"}
