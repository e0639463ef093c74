"""What a start of the daemon pays for: nothing that most of its runs never need, and nothing that is missing later."""

import subprocess
import sys
from pathlib import Path

# What the daemon does not load by itself, each with who needs it. All of them together would be a third of the start.
LATER = {
    "alembic": "a database of an older schema",
    "authlib": "logins in a browser",
    "broker.integrations": "other programs",
    "broker.practice": "the practice provider, which is another process",
    "greenlet": "SQLAlchemy's asyncio extension",
    "cryptography.x509": "joserfc",
    "http.cookiejar": "clients that keep cookies",
    "httpx2": "whoever goes out by TLS, for its trust store",
    "jinja2": "browsers",
    "joserfc": "ID tokens, and clients that have a key",
    "nacl": "clients of oidc-agent",
    "secretstorage": "who keeps the key in the desktop's keyring",
    "segno": "device logins",
    "sqlalchemy.ext": "nobody here",
    "sqlalchemy.orm": "nobody here: the store writes its statements itself",
}
# Lines of their own: a module that cannot be found, as where an installation is not whole.
MISSING = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == sys.argv[1] else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from broker.cli import main
sys.exit(main(["serve"]))
"""


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python, with no setting but a home."""
    command, environ = [sys.executable, *words], {"HOME": str(home)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_what_few_need_is_loaded_for_those_few(tmp_path: Path) -> None:
    """The daemon starts without what only some of its runs need: it costs time at each start, and memory for good."""
    done = run(tmp_path, "-c", "import broker.cli.serve, broker.daemon, sys; print(*sys.modules)")
    loaded = set(done.stdout.split())

    assert "sqlalchemy.engine" in loaded
    assert loaded & set(LATER) == set()


def test_what_is_loaded_later_is_missed_at_the_start(tmp_path: Path) -> None:
    """A package that is only loaded when somebody needs it, and is not there, stops the start with its name."""
    done = run(tmp_path, "-c", MISSING, "segno")

    assert done.returncode == 2
    assert "The Python package segno is missing." in done.stderr
    assert list(tmp_path.iterdir()) == []
