"""Everything that one running practice provider knows.

Made by ``server``; handed to every endpoint inside a ``wire.Call``.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.core.secret import Secret
from broker.practice.assertions import Judge
from broker.practice.clients import ClientBook
from broker.practice.events import Event, EventLog
from broker.practice.faults import FaultPlan
from broker.practice.grants import Grant, GrantBook
from broker.practice.settings import PracticeSettings
from broker.practice.tokens import Signer


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked authorization request (RFC 6749 4.1.1) that waits for a person.

    Attributes:
        client_id: who asks.
        redirect_uri: where the answer goes.
        state: comes back unchanged; None where none was sent.
        scopes: asked for.
        challenge: S256 code challenge.
        nonce: for the ID token.
        login_hint: proposed user name.
        resource: what the token is for (RFC 8707), or empty.
        expires_at: epoch seconds after which the page is too old.
    """

    client_id: str
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    challenge: str
    nonce: str
    login_hint: str
    resource: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Pushed:
    """A pushed authorization request (RFC 9126) that waits for the browser.

    Attributes:
        client_id: who pushed it.
        fields: its parameters.
        expires_at: epoch seconds.
    """

    client_id: str
    fields: Mapping[str, str]
    expires_at: float


@dataclass(slots=True)
class Device:
    """A device authorization (RFC 8628 3.2) in progress.

    Attributes:
        client_id: who asks.
        scopes: asked for.
        expires_at: epoch seconds.
        interval: seconds between polls; grows with every ``slow_down``.
        polled_at: last poll.
        grant: what a person allowed; None before.
        denied: a person said no.
        user_code: what the person types.
    """

    client_id: str
    scopes: tuple[str, ...]
    expires_at: float
    interval: float
    polled_at: float = 0.0
    grant: Grant | None = None
    denied: bool = False
    user_code: str = ""


class Practice:
    """The state of one provider.

    Args:
        settings: how it behaves.
        clock: epoch seconds.
        chance: draws 0 to below 1, for faults with a probability.
    """

    def __init__(self, settings: PracticeSettings, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self.settings = settings
        self.clock = clock
        self.issuer = ""  # known when the port is: see listens_at
        self.log = EventLog()
        self.faults = FaultPlan(settings.faults, chance)
        self.clients = ClientBook(settings.client_secret or Secret(secrets.token_urlsafe(24)), Judge(clock), clock)
        self.grants = GrantBook(settings, clock)
        self.signer = Signer()
        self.asked: dict[str, Asked] = {}
        self.pushed: dict[str, Pushed] = {}
        self.devices: dict[str, Device] = {}
        self.stopping = asyncio.Event()

    def listens_at(self, url: str) -> None:
        """Be known under this address from now on."""
        self.issuer = url
        # RFC 7523 3 knows the token endpoint as well; the issuer is what later advice leaves (security.md R20).
        self.clients.judge.audiences = (url, f"{url}/token")

    def revoke_grants(self) -> int:
        """Kill every grant, as a provider does that has lost its database; return how many were alive."""
        count = self.grants.revoke_all()
        self.log.add(Event(self.clock(), "revoke_grants", "ok"))
        return count

    def set_faults(self, specs: list[str]) -> None:
        """Put other faults in force; held answers go out.

        Raises:
            InvalidRequest: a spec cannot be read; nothing is changed.
        """
        self.faults.replace(specs)
        self.log.add(Event(self.clock(), "faults", "ok", faults=tuple(specs)))

    async def pause(self, seconds: float) -> None:
        """Wait in real time, or until the provider stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
