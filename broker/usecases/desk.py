"""The desk: what programs ask the owner for, as long as nobody has decided. In memory only, and bounded.

Filled and read by ``approvals``. A restart forgets it, and the programs ask again; what was decided for good is in the
store. So a program can fill no disk with its wishes, and nobody who writes the database can put a yes into it.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from broker.challenge import CODE_LENGTH, LETTERS, tidy
from broker.core.approval import Approval, Asker, State, Wanted
from broker.core.policy import AppGrant
from broker.errors import Conflict, TooManyRequests

# A request that nobody repeats is forgotten after a day; one to become an app is somebody standing there.
KEEP = 86_400.0
KEEP_PAIRING = 600.0
# A yes for one token is for the try that comes now, perhaps by hand.
KEEP_ONCE = 3600.0
# After a no that is not for good, the same request is refused without another question for so long.
REST = 600.0
# How many of them wait: of one app, and pairings in all and of one user.
MOST_OF_APP = 10
MOST_PAIRINGS = 8
MOST_PAIRINGS_OF_USER = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request on the desk.

    Attributes:
        approval: as the owner sees it.
        key_hash: of a pairing: of the key that the program made for itself.
        grant: of a yes for one token: what it allows.
        ends: when it is forgotten, in steady seconds.
    """

    approval: Approval
    ends: float
    key_hash: bytes = b""
    grant: AppGrant | None = None


class Desk:
    """Requests by their code.

    Moments come by the wall clock (``now``), for people, and in steady seconds (``steady``), for waits.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}

    def all(self, steady: float) -> list[Waiting]:
        """Return what waits or was decided a short while ago, oldest first."""
        self._waiting = {code: one for code, one in self._waiting.items() if one.ends > steady}
        return list(self._waiting.values())

    def find(self, code: str, steady: float) -> Waiting | None:
        """Return one by its code, however that is typed."""
        self.all(steady)
        return self._waiting.get(tidy(code))

    def file(self, app: str, wanted: Wanted, asker: Asker, now: float, steady: float) -> Waiting | None:
        """Put an app's request on the desk, or count it once more; None where that app has too many there."""
        of_app = [one for one in self.all(steady) if one.approval.kind == "grant" and one.approval.app == app]
        for one in of_app:
            if one.approval.wanted == (wanted,):
                if one.approval.state != "pending":
                    return one
                seen = replace(one.approval, asker=asker, last_asked_at=now, count=one.approval.count + 1)
                return self._put(replace(one, approval=replace(seen, expires_at=now + KEEP), ends=steady + KEEP))
        if len(of_app) >= MOST_OF_APP:
            return None
        approval = Approval(self._code(), "grant", app, (wanted,), asker, now, now, 1, "pending", now + KEEP)
        return self._put(Waiting(approval, steady + KEEP))

    def file_pairing(
        self, key_hash: bytes, code: str, name: str, wanted: Sequence[Wanted], asker: Asker, now: float, steady: float
    ) -> Waiting:
        """Put a program's wish to become an app on the desk, under the code that the program shows.

        Raises:
            TooManyRequests: so many are waiting that the owner could not tell them apart.
            Conflict: another request has that code.
        """
        if self.find(code, steady) is not None:
            raise Conflict("Another request has the same code by chance.", "Make another key, and ask again.")
        self.check_room(asker, steady)
        expires_at = now + KEEP_PAIRING
        approval = Approval(code, "pairing", name, tuple(wanted), asker, now, now, 1, "pending", expires_at)
        return self._put(Waiting(approval, steady + KEEP_PAIRING, key_hash))

    def check_room(self, asker: Asker, steady: float) -> None:
        """Refuse another pairing where so many wait that the owner could not tell them apart.

        Raises:
            TooManyRequests: with when there is room again.
        """
        others = [one for one in self.all(steady) if one.approval.kind == "pairing" and one.approval.state == "pending"]
        of_user = [one for one in others if one.approval.asker is not None and one.approval.asker.uid == asker.uid]
        if len(others) >= MOST_PAIRINGS or len(of_user) >= MOST_PAIRINGS_OF_USER:
            wait = min(one.ends for one in (of_user if len(of_user) >= MOST_PAIRINGS_OF_USER else others)) - steady
            raise TooManyRequests(
                "Too many programs are waiting to be let in.", "The owner sees them: keyfob approvals", retry_after=wait
            )

    def pairing(self, key_hash: bytes, steady: float) -> Waiting | None:
        """Return the request of the program that made this key, or None."""
        return next((one for one in self.all(steady) if one.key_hash and one.key_hash == key_hash), None)

    def once(self, waiting: Waiting, grant: AppGrant, now: float, steady: float) -> Waiting:
        """Say yes to one token."""
        approval = replace(waiting.approval, state="once", expires_at=now + KEEP_ONCE)
        return self._put(replace(waiting, approval=approval, grant=grant, ends=steady + KEEP_ONCE))

    def settle(self, waiting: Waiting, state: State, now: float, steady: float) -> Waiting:
        """Keep for a short while how it ended, for whoever asks again at once."""
        approval = replace(waiting.approval, state=state, expires_at=now + REST)
        return self._put(replace(waiting, approval=approval, grant=None, ends=steady + REST))

    def take(self, app: str, fits: Callable[[AppGrant], bool], steady: float) -> Waiting | None:
        """Take away the yes for one token that fits, so that nobody else gets it; None where there is none."""
        for code, one in list(self._waiting.items()):
            if one.approval.app == app and one.grant is not None and one.ends > steady and fits(one.grant):
                return self._waiting.pop(code)
        return None

    def put_back(self, waiting: Waiting) -> None:
        """Give back a yes that brought no token."""
        self._put(waiting)

    def drop(self, waiting: Waiting) -> None:
        """Forget one."""
        self._waiting.pop(waiting.approval.id, None)

    def forget_app(self, app: str, account: str = "") -> None:
        """Forget what an app asked for: all of it, or of one account what was not allowed once, which stays so."""
        for code, one in list(self._waiting.items()):
            of_app = one.approval.kind == "grant" and one.approval.app == app
            if of_app and (not account or (one.approval.wanted[0].account == account and one.grant is None)):
                del self._waiting[code]

    def rename(self, uuid: str, old: str, new: str) -> None:
        """An account got another name: what was asked and said of it stays with it.

        What waits under the new name is forgotten. It was asked for when that was nobody's, so no answer to it may
        open this account; the program asks again.
        """
        for code, one in list(self._waiting.items()):
            names = {wanted.account for wanted in one.approval.wanted}
            if one.grant is not None and one.grant.uuid == uuid:
                (wanted,) = one.approval.wanted
                approval = replace(one.approval, wanted=(replace(wanted, account=new),))
                self._put(replace(one, approval=approval, grant=replace(one.grant, account=new)))
            elif new in names and one.approval.state in ("pending", "once"):
                del self._waiting[code]
            elif one.grant is None and old in names:
                its = tuple(replace(w, account=new) if w.account == old else w for w in one.approval.wanted)
                self._put(replace(one, approval=replace(one.approval, wanted=its)))

    def _put(self, waiting: Waiting) -> Waiting:
        self._waiting[waiting.approval.id] = waiting
        return waiting

    def _code(self) -> str:
        while (code := tidy("".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH)))) in self._waiting:
            pass
        return code
