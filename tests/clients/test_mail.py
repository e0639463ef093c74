"""Mail is sent with tokens: by the real msmtp, and with what ``keyfob sasl`` prints."""

import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Program
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
    mail.room.outlive(mail.server.mails[0][1])

    second = mail.send(msmtp, mechanism)

    assert second.code == 0, second
    assert [user for user, _, _ in mail.server.mails] == [USER, USER]
    assert mail.server.mails[0][1] != mail.server.mails[1][1]
    assert mail.server.refused == []


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

    assert [user for user, _, _ in mail.server.mails] == ["a=d,a@x"]
