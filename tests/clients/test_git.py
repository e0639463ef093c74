"""The real git clones and pushes over HTTP with tokens that live for seconds."""

import re
from collections.abc import Iterator

import pytest

from tests.clients.conftest import Program
from tests.clients.forge import Forge, forge
from tests.clients.room import Room
from tests.e2e.home import Done

# What git says where nothing gave it a credential and it may not ask.
NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
AUTHOR = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")


class Git:
    """git, set up with Keyfob as its credential helper, and the service that it talks to."""

    def __init__(self, room: Room, service: Forge, git: str) -> None:
        self.room, self.service, self._git = room, service, git
        (room.home.place / ".gitconfig").write_text(
            f'[credential "{service.url}"]\n\thelper = "!{room.keyfob} git-credential"\n'
        )

    def __call__(self, *words: str) -> Done:
        """Run git in the home."""
        return self.room.run(self._git, *words, **NO_PROMPT)

    def clone(self) -> Done:
        """Clone the service's repository to ``work``."""
        return self("clone", f"{self.service.url}/work.git", "work")

    def push(self, message: str) -> Done:
        """Commit something, and push it."""
        done = self("-C", "work", *AUTHOR, "commit", "--quiet", "--allow-empty", "--message", message)
        assert done.code == 0, done
        return self("-C", "work", "push", "origin", "HEAD:main")


@pytest.fixture
def refusing() -> set[str]:
    """The tokens that the service has been told to refuse, though they are good."""
    return set()


@pytest.fixture
def git(room: Room, program: Program, refusing: set[str]) -> Iterator[Git]:
    """Run the service and a daemon with a login at it."""
    found = program("git", "git")

    def is_good(token: str) -> bool:
        return token not in refusing and room.practice.worth(token) is not None

    with forge(found, room.home.place / "srv", is_good) as service:
        ready = Git(room, service, found)
        room.serve(service.url)
        yield ready


def test_clone_and_push_with_an_expiry_in_the_middle(git: Git) -> None:
    """A clone and a push work with a token each: the first one has ended before the second begins."""
    assert git.clone().code == 0
    first = git.service.welcomed[-1]

    git.room.outlive(first[1])
    pushed = git.push("one")
    assert pushed.code == 0, pushed
    assert git("-C", "work", "fetch").code == 0

    second = git.service.welcomed[-1]
    assert first[1] != second[1]
    assert {user for user, _ in git.service.welcomed} == {"forge-token"}
    assert git.service.refused == []
    log = git("--git-dir", "srv/work.git", "log", "--format=%s", "main")
    assert log.out == "one\n"


def test_a_token_that_the_server_refuses_is_renewed(git: Git, refusing: set[str]) -> None:
    """A push with a token that is dead too early fails once; git tells the helper, and the next push works."""
    assert git.clone().code == 0
    stale = git.room.home.token()
    refusing.add(stale)

    refused = git.push("one")
    again = git.push("two")

    assert (refused.code, again.code) == (128, 0), (refused, again)
    assert "Authentication failed" in refused.err
    assert git.service.refused == [stale]
    assert git.service.welcomed[-1][1] != stale


def test_a_login_that_is_needed(git: Git) -> None:
    """Git ends at once, without asking for a password, and above its own words stands what to do."""
    assert git.clone().code == 0
    git.room.end_login()

    done = git.push("one")

    assert done.code == 128, done
    told, fatal = done.err.splitlines()
    assert re.match(r"keyfob: .*keyfob login me", told)
    assert fatal.startswith("fatal: credential helper")


def test_the_daemon_is_down(room: Room, program: Program) -> None:
    """One line says that, and how to start it."""
    found = program("git", "git")
    with forge(found, room.home.place / "srv", lambda _: False) as service:
        done = Git(room, service, found).clone()

    assert done.code == 128, done
    cloning, told, fatal = done.err.splitlines()
    assert cloning.startswith("Cloning")
    assert re.match(r"keyfob: No daemon answers at .*keyfob serve", told)
    assert fatal.startswith("fatal: could not read Username")


def test_two_accounts_of_one_host(git: Git) -> None:
    """Which ones there are and how to choose is said; the command that is named makes the choice."""
    git.room.log_in("other")

    undecided = git.clone()

    assert undecided.code == 128, undecided
    said = re.search(r"keyfob: Several accounts .*: me \(ada\), other \(ada\)\. Choose one: git (.*)", undecided.err)
    assert said, undecided
    assert git(*said[1].split()).code == 0
    assert git.clone().code == 0
    assert git.service.welcomed[-1][1] == git.room.home.token("me")
