"""What a start of the daemon pays for: nothing that most of its runs never need, and nothing that is missing later."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli.main import load

# What the daemon does not load by itself, each with who needs it. All of them together would be a third of the start.
LATER = {
    "alembic": "a database of an older schema",
    "argparse": "who gives flags",
    "authlib": "logins in a browser",
    "broker.integrations": "other programs",
    "broker.practice": "the practice provider, which is another process",
    "broker.web.browser": "browsers",
    "greenlet": "SQLAlchemy's asyncio extension",
    "cryptography.x509": "joserfc",
    "difflib": "who misspells",
    "encodings.idna": "names with other letters than those of ASCII",
    "http.cookiejar": "clients that keep cookies",
    "httpx2": "whoever goes out by TLS where OpenSSL does not know of the certificates",
    "jinja2": "browsers",
    "joserfc": "ID tokens, and clients that have a key",
    "nacl": "clients of oidc-agent",
    "secretstorage": "who keeps the key in the desktop's keyring",
    "segno": "device logins",
    "sqlalchemy.ext": "nobody here",
    "sqlalchemy.orm": "nobody here: the store writes its statements itself",
}
# It stops at once, as there is no such level; what it has loaded until then is told at the end.
WITHOUT_FLAGS = """
import atexit, os, sys
os.environ["KEYFOB_LOG"] = "loud"
atexit.register(lambda: print(*sys.modules))
from broker.cli import main
sys.exit(main(["serve"]))
"""
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


def test_without_flags_it_is_as_a_parser_reads_it(tmp_path: Path) -> None:
    """Every setting that a flag could have set is left to the environment."""
    parser, module = load("serve")

    assert vars(parser.parse_args([])) == module.PLAIN
    assert "argparse" not in run(tmp_path, "-c", WITHOUT_FLAGS).stdout.split()


# By a name and by an address: as a connection to a provider is made.
CONNECTED = """
import contextlib, sys, uvloop
from broker.oauth.addresses import addresses_of
from broker.oauth.sockets import Sockets
import httpcore2
async def connect():
    for address in await addresses_of("localhost", 1):
        with contextlib.suppress(httpcore2.ConnectError):
            await Sockets().connect_tcp(address, 1)
uvloop.run(connect())
print("encodings.idna" in sys.modules)
"""


def test_a_connection_needs_no_table_of_all_letters(tmp_path: Path) -> None:
    """Names of providers are ASCII by the time that they are resolved."""
    done = run(tmp_path, "-c", CONNECTED)

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_what_is_loaded_later_is_missed_at_the_start(tmp_path: Path) -> None:
    """A package that is only loaded when somebody needs it, and is not there, stops the start with its name."""
    done = run(tmp_path, "-c", MISSING, "segno")

    assert done.returncode == 2
    assert "The Python package segno is missing." in done.stderr
    assert list(tmp_path.iterdir()) == []


# As a daemon does, and then what its threads do; glibc tells of its heaps (malloc_info(3)).
THREADS = """
import ctypes, threading
from broker.daemon import keep_one_heap
if %s:
    keep_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
meet = threading.Barrier(4)
def work():
    meet.wait()
    libc.malloc(1000)
    meet.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc here")
@pytest.mark.parametrize(("kept", "heaps"), [(True, {1}), (False, {2, 3, 4, 5})], ids=["as the daemon", "otherwise"])
def test_threads_share_one_heap(tmp_path: Path, kept: bool, heaps: set[int]) -> None:  # noqa: FBT001 -- a parameter of the test
    """Memory that one thread has freed is there for the next one."""
    done = run(tmp_path, "-c", THREADS % kept)

    assert done.stdout.count("<heap nr=") in heaps, done.stderr
