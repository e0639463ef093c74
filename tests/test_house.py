"""The rules of the house that no other tool checks."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
# The only places where a secret becomes text, each with its reason. A new one is a decision, not a detail.
REVEALING = {
    "oauth/assertion.py": "a private key, or a client secret, signs an assertion; of a key the public half is shown",
    "oauth/authcode.py": "state and code challenge go into the authorization URL (RFC 6749 4.1.1, 7636 4.3)",
    "oauth/grant.py": "an answer is parsed into a grant",
    "oauth/management.py": "the registration access token goes into the Authorization header, sealed again at once",
    "oauth/outgoing.py": "headers and bodies become bytes on the wire",
    "oauth/identity.py": "the bearer token goes into the Authorization header, sealed again at once",
    "oauth/idtoken.py": "an ID token is taken apart, and at_hash is computed (OpenID Connect Core 3.1.3.6)",
    "oauth/proof.py": "a client secret is form-encoded for Basic (RFC 6749 2.3.1)",
    "oauth/reply.py": "an answer is parsed, and an error text is rid of the secrets that it repeats",
    "oauth/upstream.py": "the account's token goes into the Authorization header of a request through the proxy",
    "oauth/wire.py": "a token proves who revokes it",
    "store/logins.py": "a state is hashed, and a person's authorization URL is opened again",
    "store/passphrase.py": "a passphrase is normalised and becomes a key",
    "store/providers.py": "what manages a registration is sealed as one text, and opened again",
    "store/seal.py": "what is to be sealed is encrypted",
    "store/tokenfiles.py": "a token goes into the file of an app that was granted one",
    "store/shelf.py": "an answer is written as an entry of the emergency journal, to be sealed",
    "usecases/apps.py": "a new app key is hashed",
    "usecases/sessions.py": "what signs a browser in is hashed",
    "usecases/given.py": "a brought token is checked for what no token can be",
    "usecases/paste.py": "a pasted code is put beside the parameters of a pasted URL",
    "web/approvals.py": "the address that signs the owner's browser in is told to the owner",
    "web/callback.py": "the browser's cookie is set",
    "web/emulate/azure.py": "a token goes out in Azure's own form",
    "web/emulate/google.py": "a token goes out in the form of Google's metadata server",
    "web/emulate/oauth.py": "an app key is looked up, and a token goes out in OAuth's own form",
    "web/emulate/oidc_agent.py": "a token goes out in oidc-agent's own form",
    "web/manage.py": "an app key is shown, once",
    "web/render.py": "the one way out for a token",
    "web/signed_in.py": "what signs a browser in is told to that browser",
    "cli/practice.py": "the practice provider's own client secret, made for this run, is shown",
    "practice/assertions.py": "the practice provider: a client secret verifies what the client signed with it",
    "practice/authorize.py": "the practice provider: a code goes into the redirect",
    "practice/clients.py": "the practice provider: a client secret is compared",
    "practice/grants.py": "the practice provider: a token is remembered by its digest",
    "practice/registration.py": "the practice provider: a registered client learns its secret and its token",
    "practice/token.py": "the practice provider: tokens go into the answer",
}
# What a program pays for that imports the client, or that another one calls at each of its own requests.
# What foreign programs import, each with the library that it is for; everything else of the room is started by them.
IMPORTED = frozenset({"auth_flow", "azure", "azure_policy", "bearer", "google", "httpx", "httpx2", "mcp", "requests"})
CLIENT = ("client_wire", "client_errors", "client_places", "client_proof", "challenge", "client")
# A protocol that is spoken has its maker's name on the wire: below a path, as a header's value, in a variable.
EMULATED = re.compile(r"^/google/|^Google$|GOOGLE_CLOUD_PROJECT|^GOOGLE_APPLICATION_CREDENTIALS$")
# Homes of people who do not exist, in examples and tests.
EXAMPLE_HOMES = {"me", "ada", "somebody", "x"}


def python(*rooms: str) -> Iterator[Path]:
    """Yield every module of some rooms of the repository; foreign servers' start scripts keep their own shape."""
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            if len(path.relative_to(ROOT / room).parts) < 3 or "servers" not in path.parts:
                yield path


def texts() -> Iterator[Path]:
    """Yield everything that people write here."""
    for room in ("broker", "migrations", "tests", "docs", "systemd", "benchmarks", ".ci"):
        for path in sorted((ROOT / room).rglob("*")):
            hidden = {part for part in path.relative_to(ROOT).parts if part in ("__pycache__", "node_modules", ".venv")}
            if path.is_file() and not hidden and path.suffix not in (".png", ".gif", ".pyc", ".cast", ".webp"):
                yield path
    yield from (path for path in (ROOT / name for name in ("README.md", "Makefile", "Dockerfile")) if path.exists())


def short(path: Path) -> str:
    """Return a path as people name it."""
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    """Return a module's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def without_docstrings(module: ast.Module) -> Iterator[ast.AST]:
    """Yield every node but the texts that stand there for people."""
    for node in ast.walk(module):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield from (child for child in ast.iter_child_nodes(node))


def test_the_house_is_looked_at() -> None:
    """The walks below see something: a moved directory must not make every rule true."""
    assert len(list(python("broker"))) > 80
    assert len(list(texts())) > 150


@pytest.mark.parametrize("room", ["broker", "migrations", "tests", "benchmarks"])
def test_no_module_is_too_long(room: str) -> None:
    """A module that no longer fits into a head is two modules."""
    sizes = {short(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python(room)}

    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}


def test_no_page_or_style_is_too_long() -> None:
    """The same for templates, styles and presets."""
    kinds = (".html", ".j2", ".css", ".toml", ".sql")
    found = [path for path in (ROOT / "broker").rglob("*") if path.suffix in kinds]

    assert found
    assert [short(path) for path in found if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES] == []


def test_every_module_says_what_it_is_for() -> None:
    """The first line of a module says what the room is for; in the package it goes on to who calls it."""
    for path in python("broker", "migrations", "tests", "benchmarks"):
        first, _, rest = (ast.get_docstring(tree(path)) or "").partition("\n")

        assert first.endswith((".", ":")), short(path)
        if path.is_relative_to(ROOT / "broker"):
            assert rest.strip(), short(path)


def test_every_test_states_its_promise() -> None:
    """A test without a sentence is a test that nobody can judge."""
    mute = [
        f"{short(path)}: {node.name}"
        for path in python("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert mute == []


def test_tests_neither_sleep_nor_pretend() -> None:
    """No test waits for time to pass, and none replaces our classes by doubles that say yes."""
    for path in python("tests"):
        if "servers" in path.parts:  # real servers have real lifetimes
            continue
        for node in ast.walk(tree(path)):
            match node:
                case ast.Call(func=ast.Attribute(attr="sleep"), args=[ast.Constant(value=int() | float() as seconds)]):
                    assert seconds <= 0.05, short(path)
                case ast.ImportFrom(module="unittest") | ast.ImportFrom(module="unittest.mock"):
                    raise AssertionError(short(path))
                case _:
                    pass


def test_nothing_is_left_for_later() -> None:
    """What is not done is an issue, not a mark in the code."""
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")

    assert [short(path) for path in texts() if mark.search(path.read_text(encoding="utf-8"))] == []


def test_no_path_of_any_machine() -> None:
    """The repository works wherever it lies: no checkout and no person's home is written into it."""
    homes = re.compile(r"(?<![\w}])/(?:home|Users)/(\w+)")
    for path in texts():
        content = path.read_text(encoding="utf-8")
        if len(ROOT.parts) > 2:
            assert not re.search(rf"(?<![\w}}]){re.escape(str(ROOT))}\b", content), short(path)
        assert set(homes.findall(content)) <= EXAMPLE_HOMES, short(path)


def test_providers_are_data() -> None:
    """No provider's name decides anything in code, and those of real ones do not even appear: differences are data."""
    presets = {path.stem for path in (ROOT / "broker/providers/presets").glob("*.toml")}
    ours = {"practice", "generic"}
    # One name is a letter, too; the comparisons below count for it as well. Others begin words of ours: oura, box.
    names = "|".join(map(re.escape, sorted(presets - ours - {"x"})))
    foreign = re.compile(rf"(?<![a-z])({names})(?![a-z])")
    assert len(presets - ours) >= 1
    for path in python("broker"):
        for node in without_docstrings(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = EMULATED.sub("", node.value)
                assert not foreign.search(text.lower()), f"{short(path)}:{node.lineno}"
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            sides += [node.value] if isinstance(node, ast.MatchValue) else []
            named = [side.value for side in sides if isinstance(side, ast.Constant)]
            if "practice" not in path.parts:
                assert not presets & {name for name in named if isinstance(name, str)}, f"{short(path)}:{node}"


def test_secrets_become_text_in_known_places_only() -> None:
    """`reveal` is called where the list above says, and every place of the list still does."""
    found = {
        path.relative_to(ROOT / "broker").as_posix()
        for path in python("broker")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    }

    assert found == set(REVEALING)


def test_what_starts_on_every_request_is_standard_library() -> None:
    """The client knows nothing of the inside, and nothing that has to be installed."""
    own = frozenset({"broker", *(f"broker.{name}" for name in CLIENT)})
    here = {path.stem for path in (ROOT / "broker/integrations").glob("*.py")}
    assert here > IMPORTED
    called = {f"integrations/{name}" for name in here - IMPORTED}
    seen = frozenset({"broker.client", *(f"broker.{name.replace('/', '.')}" for name in called)})
    rooms = dict.fromkeys(CLIENT, own) | dict.fromkeys(called, seen)
    for name, known in rooms.items():
        for node in ast.walk(tree(ROOT / f"broker/{name}.py")):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            for module in imported:
                assert module in known or module.partition(".")[0] in sys.stdlib_module_names, f"{name}: {module}"


def test_plans_for_other_programs_are_standard_library() -> None:
    """What says how others are set up knows the client, its own room and what is beside it that hosts are told by."""
    known = ("broker.client", "broker.integrations.setup", "broker.integrations.places", "broker.integrations.whose")
    room = sorted((ROOT / "broker/integrations/setup").glob("*.py"))
    assert len(room) > 10
    for path in room:
        for node in ast.walk(tree(path)):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            for module in imported:
                ours = module.startswith(known) or module == "broker.integrations.kube"
                assert ours or module.partition(".")[0] in sys.stdlib_module_names, f"{short(path)}: {module}"


def test_what_is_true_needs_no_clock() -> None:
    """The rooms of facts neither ask for the time nor for chance of their own, nor wait: both are arguments."""
    forbidden = {"time", "asyncio", "secrets", "socket", "subprocess", "os", "pathlib"}
    for path in python("broker/core"):
        for node in ast.walk(tree(path)):
            imported = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            imported |= {node.module or "."} if isinstance(node, ast.ImportFrom) else set()
            assert not {name.partition(".")[0] for name in imported} & forbidden, short(path)
            assert not isinstance(node, ast.Await | ast.AsyncFunctionDef), short(path)
