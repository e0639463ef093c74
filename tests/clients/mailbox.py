"""A mailbox at ``post``: IMAP with XOAUTH2, one empty folder, and nothing that a server need not have."""

from tests.clients.post import Conversation

CAPABILITY = "* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2"
EMPTY = ["* FLAGS ()", "* 0 EXISTS", "* 0 RECENT", "* OK [UIDVALIDITY 1] valid", "* OK [UIDNEXT 1] next"]
# Where mbsync keeps what it reads from the store "far", below an account of its own.
NEAR = """
MaildirStore near
Path mail/
Inbox mail/inbox

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
SyncState *
"""
# What is said before the tagged OK.
UNTAGGED = {
    "CAPABILITY": [CAPABILITY],
    "LIST": ['* LIST () "/" INBOX'],
    "SELECT": EMPTY,
    "LOGOUT": ["* BYE bye"],
}


class Imap(Conversation):
    """The conversation of who reads mail."""

    def handle(self) -> None:
        """Lead it to its end."""
        self.say("* OK mailbox")
        user = ""
        while line := self.hear():
            tag, verb, *rest = line.split()
            if verb == "AUTHENTICATE":
                user = self.post.who(*rest)
                self.say(f"{tag} OK welcome" if user else f"{tag} NO the token is not accepted")
            elif user or verb in ("CAPABILITY", "LOGOUT"):
                self.say(*UNTAGGED.get(verb, []), f"{tag} OK done")
            else:
                self.say(f"{tag} NO log in first")
            if verb == "LOGOUT":
                return
