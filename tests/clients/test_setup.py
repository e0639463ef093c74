"""What `keyfob setup` writes is right in the eyes of the real programs: they work with it, and no more once undone."""

import json
import os
import pty
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Program
from tests.clients.forge import forge
from tests.clients.gate import gate
from tests.clients.mailbox import NEAR, Imap
from tests.clients.post import Post, post
from tests.clients.program import FOREIGN
from tests.clients.room import Room
from tests.clients.test_git import NO_PROMPT
from tests.clients.test_kubectl import ANSWER
from tests.clients.test_kubectl import pages as namespaces
from tests.clients.test_prometheus import Metrics, prometheus, scraping, target
from tests.clients.test_registries import FOLDER
from tests.clients.tls import certified
from tests.e2e.home import PATIENCE, Done, until

__all__ = ["prometheus"]

USER = "ada@example.org"
STORES = f"""
IMAPStore far
Account keyfob-me
{NEAR}"""
# What google-auth finds by itself in its environment.
GOOGLE = """
import google.auth, google.auth.transport.requests
credentials, _ = google.auth.default(scopes=["openid"])
credentials.refresh(google.auth.transport.requests.Request())
print(credentials.token)
"""

# The same of azure-identity.
AZURE = """
from azure.identity import ManagedIdentityCredential
print(ManagedIdentityCredential().get_token("https://storage.azure.com/.default").token)
"""


def setup(room: Room, tool: str, *options: str) -> Done:
    """Set a program up for the account, or undo that."""
    done = room.home.run("setup", tool, "me", *options, "--yes")
    assert done.code == 0, done
    return done


def good(room: Room, token: str) -> bool:
    """Whether a token is good now."""
    return room.practice.worth(token) is not None


def test_git(room: Room, program: Program) -> None:
    """A clone, with the person's own configuration around it, and a helper for all hosts that would know better."""
    git = program("git", "git")
    config = room.home.place / ".gitconfig"
    before = '[user]\n\tname = Ada\n[credential]\n\thelper = "!echo password=stale; echo username=old; :"\n'
    config.write_text(before)
    with forge(git, room.home.place / "srv", lambda token: good(room, token)) as service:
        room.serve(service.url)
        clone = (git, "clone", f"{service.url}/work.git")
        setup(room, "git")

        assert room.run(*clone, "one", **NO_PROMPT).code == 0
        assert service.welcomed[-1] == ("forge-token", room.home.token())
        assert service.refused == []

        setup(room, "git", "--undo")
        assert config.read_text() == before
        assert room.run(*clone, "two", **NO_PROMPT).code != 0
        assert service.refused == ["stale"]


@pytest.mark.parametrize("refused", ["", "--exec-interactive-mode"])
def test_kubectl(room: Room, program: Program, refused: str) -> None:
    """The command that it names makes a context ask with it; undone, kubectl has no such user.

    The same where kubectl does not know an option yet.
    """
    kubectl = program("kubectl", "kubernetes-client")
    if refused:
        older = room.home.place / "bin/kubectl"
        older.parent.mkdir()
        older.write_text(f'#!/bin/sh\ncase "$*" in *{refused}*) exit 1 ;; esac\nexec {kubectl} "$@"\n')
        older.chmod(0o700)
        room.home.environ["PATH"] = f"{older.parent}:{room.home.environ['PATH']}"
    certificate, context = certified(program("openssl", "openssl"), room.home.place)
    place = room.home.place / "kubeconfig"
    room.home.environ["KUBECONFIG"] = str(place)
    with gate(namespaces, lambda token: good(room, token), context=context) as cluster:
        room.serve()
        where = ("set-cluster", "c", f"--server={cluster.url}", f"--certificate-authority={certificate}")
        for words in (where, ("set-context", "x", "--cluster=c"), ("use-context", "x")):
            assert room.run(kubectl, "config", *words).code == 0
        before = place.read_bytes()
        first = room.home.run("setup", "kubectl", "me", "--yes")
        if "panic:" in first.err:
            pytest.skip("This kubectl breaks when it writes a user, as the one of Debian 12 does")
        assert first.code == 0, first
        setup(room, "kubectl", "--undo")
        assert place.read_bytes() == before

        told = setup(room, "kubectl")
        named = re.search(r"^  kubectl (config .*)", told.err, re.MULTILINE)
        assert named, told
        assert room.run(kubectl, *named[1].split()).code == 0
        got = room.run(kubectl, "get", "--raw", "/api/v1/namespaces")
        assert (got.code, json.loads(got.out)) == (0, ANSWER)
        assert cluster.users == {"Bearer"}
        assert "Nothing to change" in setup(room, "kubectl").err

        setup(room, "kubectl", "--undo")
        assert room.run(kubectl, "get", "--raw", "/api/v1/namespaces").code != 0
        assert "keyfob" not in room.run(kubectl, "config", "view", "--output=jsonpath={.users}").out


def test_rclone(room: Room, program: Program) -> None:
    """The remote lists a folder; undone, the other remotes are there as they were."""
    rclone = program("rclone", "rclone")
    config = room.home.place / ".config/rclone/rclone.conf"
    config.parent.mkdir(parents=True)
    before = "# mine\n[other]\ntype = local\n"
    config.write_text(before)

    def folder(method: str, _path: str, _url: str) -> tuple[str, bytes] | None:
        return ("application/xml", FOLDER) if method == "PROPFIND" else None

    with gate(folder, lambda token: good(room, token)) as server:
        room.serve()
        setup(room, "rclone", "--url", server.url)
        assert "Nothing to change" in setup(room, "rclone", "--url", server.url).err
        assert "hello.txt" in room.run(rclone, "lsf", "keyfob-me:").out
        assert set(server.welcomed) == {room.home.token()}

        setup(room, "rclone", "--undo")
        assert room.run(rclone, "lsf", "keyfob-me:").code != 0
    assert config.read_text() == before
    assert [path.name for path in config.parent.iterdir()] == ["rclone.conf"]


class Mail:
    """A mail server, its certificate, and the options that lead to it."""

    def __init__(self, room: Room, server: Post, certificate: Path) -> None:
        self.room, self.server, self.certificate = room, server, certificate
        self.options = ("--host", "127.0.0.1", "--port", str(server.port), "--tls", "--user", USER)


@pytest.fixture
def mailbox(room: Room, program: Program) -> Iterator[Mail]:
    """Run an IMAP server, and a daemon with a login."""
    certificate, context = certified(program("openssl", "openssl"), room.home.place)
    with post(context, lambda token: good(room, token), Imap) as server:
        room.serve()
        yield Mail(room, server, certificate)


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_msmtp(room: Room, program: Program, mechanism: str) -> None:
    """A mail is sent through the account; undone, msmtp knows no such account."""
    msmtp = program("msmtp", "msmtp")
    certificate, context = certified(program("openssl", "openssl"), room.home.place)
    config = room.home.place / ".msmtprc"
    before = f"defaults\ntls_trust_file {certificate}\n"
    config.write_text(before)
    config.chmod(0o600)
    with post(context, lambda token: good(room, token)) as server:
        room.serve()
        setup(room, "msmtp", *Mail(room, server, certificate).options, "--mechanism", mechanism)
        mail = (msmtp, "-a", "keyfob-me", "grace@example.org")
        sent = room.run(*mail, stdin="Subject: hello\n\nhello\n")
        assert sent.code == 0, sent
        assert [user for user, _ in server.mails] == [USER]

        setup(room, "msmtp", "--undo")
        assert room.run(*mail, stdin="Subject: hello\n\nhello\n").code != 0
        assert len(server.mails) == 1
    assert config.read_text() == before


def test_mbsync(room: Room, program: Program, mailbox: Mail) -> None:
    """A store that names the account is read; undone, mbsync misses the account."""
    mbsync = program("mbsync", "isync libsasl2-modules-kdexoauth2")
    (room.home.place / "mail").mkdir()
    config = room.home.place / ".mbsyncrc"
    config.write_text(STORES)
    setup(room, "mbsync", *mailbox.options)

    read = room.run(mbsync, "all", SSL_CERT_FILE=str(mailbox.certificate))
    if "SASL mechanism(s) not available" in read.err and "CI" not in os.environ:
        pytest.skip("mbsync has no XOAUTH2 here. On Debian: apt install libsasl2-modules-kdexoauth2")
    assert read.code == 0, read
    assert [user for user, _ in mailbox.server.logins] == [USER]

    setup(room, "mbsync", "--undo")
    assert config.read_text() == STORES
    assert room.run(mbsync, "all", SSL_CERT_FILE=str(mailbox.certificate)).code != 0
    assert len(mailbox.server.logins) == 1


def test_neomutt(room: Room, program: Program, mailbox: Mail) -> None:
    """It logs in over TLS around an expiry; then a login is needed, and undone it does not ask Keyfob at all."""
    neomutt = program("neomutt", "neomutt")
    (room.home.place / "Mail").mkdir()
    config = room.home.place / ".neomuttrc"
    before = (
        f"set ssl_ca_certificates_file = '{mailbox.certificate}'\nset imap_user = '{USER}'\nset imap_pass = 'none'\n"
    )
    config.write_text(before)
    setup(room, "neomutt", "--user", USER)
    look = (neomutt, "-n", "-z", "-f", f"imaps://127.0.0.1:{mailbox.server.port}/INBOX")
    told = room.run(neomutt, "-n", "-D").out
    for variable in ("imap_oauth_refresh_command", "smtp_oauth_refresh_command"):
        assert f'set {variable} = "{room.keyfob} token me"' in told

    assert "Mailbox is empty" in _at_a_terminal(room, *look)
    room.outlive(mailbox.server.logins[0][1])
    assert "Mailbox is empty" in _at_a_terminal(room, *look)
    assert [user for user, _ in mailbox.server.logins] == [USER, USER]
    assert mailbox.server.refused == []
    room.end_login()
    assert "keyfob login me" in _at_a_terminal(room, *look)

    setup(room, "neomutt", "--undo")
    assert config.read_text() == before
    assert "keyfob" not in _at_a_terminal(room, *look)
    assert len(mailbox.server.logins) == 2


def _at_a_terminal(room: Room, *command: str) -> str:
    """Run a program that wants a terminal to its end, and return what it painted; keys are pressed for it."""
    ours, theirs = pty.openpty()
    painted: list[bytes] = []

    def watch() -> None:
        try:
            while seen := os.read(ours, 4096):
                painted.append(seen)
                if b"any key" in seen:
                    os.write(ours, b"q")
        except OSError:  # the other side is closed
            pass

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    subprocess.run(
        command,
        env={**room.home.environ, "TERM": "xterm"},
        cwd=room.home.place,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        check=False,
        timeout=PATIENCE,
    )
    os.close(theirs)
    watching.join(PATIENCE)
    os.close(ours)
    return b"".join(painted).decode()


def test_prometheus(room: Room, prometheus: str) -> None:
    """The printed block makes a scrape work through several tokens; undone, its target is down."""
    room.serve()
    block = setup(room, "prometheus").out
    metrics = Metrics(room.practice)
    place = room.home.place / "prometheus"
    place.mkdir()
    indented = block.replace("\n", "\n    ")
    config = (
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n  - job_name: api\n"
        f'    static_configs: [{{targets: ["127.0.0.1:{metrics.port}"]}}]\n    {indented}\n'
    )
    with metrics.open(), scraping(prometheus, place, config) as http:
        until("it was scraped with two tokens", lambda: len(metrics.seen) >= 2)
        assert target(http)["health"] == "up"
        key = room.home.place / ".config/keyfob/apps/prometheus-me.key"
        assert key.stat().st_mode & 0o777 == 0o600

        setup(room, "prometheus", "--undo")

        assert not key.exists()
        assert room.home.run("app", "list", "--json").json() == {"apps": []}
        until("it is down", lambda: target(http).get("health") == "down")


def test_oidc_agent(room: Room, program: Program) -> None:
    """With the printed line in its environment, oidc-token gets the account's token."""
    oidc_token = program("oidc-token", "oidc-agent-cli")
    room.serve()
    name, _, value = setup(room, "oidc-agent").out.strip().partition("=")

    assert room.run(oidc_token, "me", **{name: value}).out.strip() == room.home.token()

    setup(room, "oidc-agent", "--undo")
    assert [*(room.home.place / ".config/keyfob/setup").iterdir()] == []


@pytest.mark.parametrize(
    ("tool", "option"), [("gcloud", ""), ("gcloud", "--metadata"), ("azure", ""), ("azure", "--imds")]
)
def test_libraries_of_clouds(room: Room, tool: str, option: str) -> None:
    """With the printed lines in its environment, the library finds Keyfob by itself; undone, it gets nothing."""
    if not FOREIGN.exists():
        pytest.fail(f"There is no {FOREIGN}. Run: make test-clients")
    room.serve()
    options = (option,) if option else ()
    setup(room, tool, *options)
    printed = room.home.run("setup", tool, "me", *options, "--print")
    variables = dict(re.findall(r"^([A-Z_]+)=(.*)$", printed.out, re.MULTILINE))
    library = GOOGLE if tool == "gcloud" else AZURE

    found = room.run(FOREIGN, "-I", "-c", library, **variables)
    assert good(room, found.out.strip()), found

    setup(room, tool, "--undo")
    assert room.run(FOREIGN, "-I", "-c", library, **variables).code != 0
