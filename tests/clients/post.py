"""A mail server that lets in by XOAUTH2 and OAUTHBEARER, over TLS; here its SMTP, in ``mailbox`` its IMAP."""

import base64
import binascii
import contextlib
import json
import socketserver
import ssl
from collections.abc import Callable, Iterator
from typing import ClassVar

from tests.clients.serving import serving

# What Google's and Microsoft's servers answer to a token that they do not know, before the final 535.
CHALLENGE = {"status": "401", "schemes": "bearer"}


class Post:
    """The server.

    Attributes:
        port: where it is.
        logins: user and token of each that succeeded.
        mails: user and text of each mail that was accepted.
        refused: the initial responses that were not.
    """

    def __init__(self, is_good: Callable[[str], bool]) -> None:
        self.is_good = is_good
        self.port = 0
        self.logins: list[tuple[str, str]] = []
        self.mails: list[tuple[str, str]] = []
        self.refused: list[str] = []

    def who(self, mechanism: str, response: str) -> str:
        """Return the user of an initial response, if it is exactly one and the token is good now; else nothing."""
        try:
            told = base64.b64decode(response, validate=True).decode().split("\x01")
        except (binascii.Error, UnicodeDecodeError):
            told = []
        match mechanism, told:
            case "XOAUTH2", [user, bearer, "", ""] if user.startswith("user="):
                name = user.removeprefix("user=")
            case "OAUTHBEARER", [header, *_, bearer, "", ""] if header.startswith("n,a=") and header.endswith(","):
                name = header[4:-1].replace("=2C", ",").replace("=3D", "=")
            case _:
                name, bearer = "", ""
        scheme, _, token = bearer.partition(" ")
        if name and scheme == "auth=Bearer" and self.is_good(token):
            self.logins.append((name, token))
            return name
        self.refused.append(response)
        return ""


class Conversation(socketserver.StreamRequestHandler):
    """What a client and the server say to each other."""

    post: ClassVar[Post]

    def say(self, *lines: str) -> None:
        """Send lines."""
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        """Wait for a line."""
        return self.rfile.readline().decode().strip()


class Smtp(Conversation):
    """The conversation of who sends mail."""

    def handle(self) -> None:
        """Lead it to its end."""
        user = ""
        self.say("220 post ESMTP")
        while line := self.hear():
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO":
                    self.say("250-post", "250-AUTH XOAUTH2 OAUTHBEARER", "250 8BITMIME")
                case "AUTH":
                    mechanism, _, response = rest.partition(" ")
                    user = self._log_in(mechanism.upper(), response)
                case "MAIL" | "RCPT":
                    self.say("250 ok" if user else "530 log in first")
                case "DATA":
                    self.say("354 go on")
                    text = b"".join(iter(self.rfile.readline, b".\r\n")).decode()
                    self.post.mails.append((user, text))
                    self.say("250 taken")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("502 unknown")

    def _log_in(self, mechanism: str, response: str) -> str:
        if not response:
            self.say("334 ")
            response = self.hear()
        found = self.post.who(mechanism, response)
        if not found:
            self.say(f"334 {base64.b64encode(json.dumps(CHALLENGE).encode()).decode()}")
            self.hear()
            self.say("535 5.7.8 the token is not accepted")
        else:
            self.say("235 welcome")
        return found


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, handler: type[Conversation]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)


@contextlib.contextmanager
def post(
    context: ssl.SSLContext, is_good: Callable[[str], bool], conversation: type[Conversation] = Smtp
) -> Iterator[Post]:
    """Serve on a free port."""
    served = Post(is_good)
    server = _Server(context, type("Handler", (conversation,), {"post": served}))
    served.port = server.server_address[1]
    with serving(server):
        yield served
