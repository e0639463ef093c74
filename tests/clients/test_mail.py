"""Mail is sent and read with tokens: by the real msmtp and mbsync, and with what ``keyfob sasl`` prints."""

import os
import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Program
from tests.clients.mailbox import NEAR, Imap
from tests.clients.post import Post, post
from tests.clients.room import Room
from tests.clients.tls import certified
from tests.e2e.home import Done

USER = "ada@example.org"
# No ``user`` part: this one is also the sender.
MSMTPRC = """
account default
host 127.0.0.1
port {port}
tls on
tls_starttls off
tls_trust_file {certificate}
auth {mechanism}
user {user}
from {user}
passwordeval "{keyfob} token me"
"""

MBSYNCRC = """
IMAPStore far
Host 127.0.0.1
Port {port}
User {user}
PassCmd "{keyfob} token me"
AuthMechs XOAUTH2
SSLType IMAPS
CertificateFile {certificate}
"""


class Mail:
    """The mail server, its certificate, and a home with a login."""

    def __init__(self, room: Room, server: Post, certificate: Path) -> None:
        self.room, self.server, self.certificate = room, server, certificate

    def send(self, msmtp: str, mechanism: str) -> Done:
        """Send a mail with msmtp."""
        values = {"port": self.server.port, "certificate": self.certificate, "user": USER, "keyfob": self.room.keyfob}
        config = self.room.home.place / ".msmtprc"
        config.write_text(MSMTPRC.format(mechanism=mechanism, **values))
        config.chmod(0o600)
        return self.room.run(msmtp, "grace@example.org", stdin="Subject: hello\n\nhello\n")


@pytest.fixture
def mail(room: Room, program: Program) -> Iterator[Mail]:
    """Run the mail server, and a daemon with a login."""
    certificate, context = certified(program("openssl", "openssl"), room.home.place)
    with post(context, lambda token: room.practice.worth(token) is not None) as server:
        room.serve()
        yield Mail(room, server, certificate)


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_msmtp_around_an_expiry(mail: Mail, program: Program, mechanism: str) -> None:
    """Two mails, each with a token that was good when it was sent."""
    msmtp = program("msmtp", "msmtp")
    first = mail.send(msmtp, mechanism)
    assert first.code == 0, first
    mail.room.outlive(mail.server.logins[0][1])

    second = mail.send(msmtp, mechanism)

    assert second.code == 0, second
    assert [user for user, _ in mail.server.mails] == [USER, USER]
    assert mail.server.logins[0][1] != mail.server.logins[1][1]
    assert mail.server.refused == []


def test_mbsync_around_an_expiry(room: Room, program: Program) -> None:
    """Two looks into a mailbox, each with a token that was good then; with a login that is needed, the sentence."""
    mbsync = program("mbsync", "isync libsasl2-modules-kdexoauth2")
    certificate, context = certified(program("openssl", "openssl"), room.home.place)
    (room.home.place / "mail").mkdir()
    with post(context, lambda token: room.practice.worth(token) is not None, Imap) as server:
        room.serve()
        values = {"port": server.port, "certificate": certificate, "user": USER, "keyfob": room.keyfob}
        (room.home.place / ".mbsyncrc").write_text(MBSYNCRC.format(**values) + NEAR)
        first = room.run(mbsync, "all")
        if "SASL mechanism(s) not available" in first.err and "CI" not in os.environ:
            pytest.skip("mbsync has no XOAUTH2 here. On Debian: apt install libsasl2-modules-kdexoauth2")
        assert first.code == 0, first
        room.outlive(server.logins[0][1])
        second = room.run(mbsync, "all")
        room.end_login()
        refused = room.run(mbsync, "all")

    assert second.code == 0, second
    assert [user for user, _ in server.logins] == [USER, USER]
    assert server.logins[0][1] != server.logins[1][1]
    assert server.refused == []
    assert refused.code != 0
    assert "keyfob login me" in refused.err, refused


def test_msmtp_when_a_login_is_needed(mail: Mail, program: Program) -> None:
    """The sentence stands above msmtp's own error, and the server is not bothered."""
    msmtp = program("msmtp", "msmtp")
    mail.room.end_login()

    done = mail.send(msmtp, "xoauth2")

    assert done.code != 0
    assert re.search(r"^keyfob: .*\n?.*keyfob login me", done.err, re.MULTILINE), done
    assert (mail.server.mails, mail.server.refused) == ([], [])


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_sasl(mail: Mail, mechanism: str) -> None:
    """What `keyfob sasl` prints is the whole initial response, in both mechanisms."""
    where = ("--host", "127.0.0.1", "--port", str(mail.server.port))
    told = mail.room.run(mail.room.keyfob, "sasl", "me", "--user", "a=d,a@x", "--mechanism", mechanism, *where)
    assert told.code == 0, told
    context = ssl.create_default_context(cafile=str(mail.certificate))

    with smtplib.SMTP_SSL("127.0.0.1", mail.server.port, context=context) as smtp:
        smtp.ehlo()
        assert smtp.docmd("AUTH", f"{mechanism.upper()} {told.out.strip()}")[0] == 235
        smtp.sendmail(USER, ["grace@example.org"], "Subject: hello\r\n\r\nhello\r\n")

    assert [user for user, _ in mail.server.mails] == ["a=d,a@x"]
