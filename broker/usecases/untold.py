"""What became of a request and is not written down yet: the store failed just then, or something broke.

Part of ``Flights``; ``refresh`` writes it down before it sends anything else for that account.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.account import Account
from broker.core.login import Client
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.oauth import wire

if TYPE_CHECKING:
    from broker.usecases.context import Moment


BROKEN = wire.Lost("something broke before it was kept")


@dataclass(frozen=True, slots=True)
class Untold:
    """A request and its outcome.

    Attributes:
        account: as it was when the intent had been noted.
        client: as whom it was sent.
        proof: what was sent with it to prove that.
        sent: when.
        wish: what the token was to carry; None for the account's own.
        outcome: what came in the place of a token. Until that is known, or a token is on the disk, the answer is lost.
    """

    account: Account
    client: Client
    proof: Secret | None
    sent: "Moment"
    wish: Wish | None
    outcome: wire.NoToken = BROKEN
