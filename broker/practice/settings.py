"""What a practice provider is set to.

Made by ``keyfob practice``, ``keyfob demo`` and the tests; read by every module of this room.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.practice.shape import Shape

Rotation = Literal["none", "keep", "rotate", "single-use"]
ROTATIONS: tuple[str, ...] = get_args(Rotation)

PUBLIC_CLIENT = "keyfob"  # the client id of the preset ``practice``
CONFIDENTIAL_CLIENT = "keyfob-machine"  # for client_credentials, introspection and client authentication


@dataclass(frozen=True, slots=True)
class PracticeSettings:
    """How the provider behaves; lifetimes in seconds of its clock.

    Attributes:
        ttl: lifetime of an access token, at least 1.
        rotation: ``none``: no refresh token at all; ``keep``: it never changes; ``rotate``: a new one at each refresh,
            and the old one just stops working; ``single-use``: the same, and reuse of an old one kills the whole
            grant, access tokens too (RFC 9700 4.14.2).
        grace: for so long after it was spent, the newest previous refresh token is answered with the current one.
        grace_rotates: within the grace a spent token brings yet another new one, so that it is answered once only.
        kills_old_access_token: a refresh makes the grant's earlier access tokens invalid at once.
        idle: a refresh token unused for so long dies; None: never.
        absolute: a grant dies after so long, whatever one does; None: never.
        code_ttl: lifetime of an authorization code (RFC 6749 4.1.2 recommends 10 minutes at most).
        device_interval: seconds between two polls of the device flow (RFC 8628 3.2).
        faults: specs as in ``faults``.
        user: the name that the consent page proposes and that ``auto_approve`` logs in.
        auto_approve: redirect at once, without a consent page.
        needs_offline_access: only the scope ``offline_access`` earns a refresh token (OpenID Connect Core 11).
        client_secret_ttl: lifetime of the secret of a client that registers itself; None: it does not end.
        par_ttl: lifetime of a pushed authorization request (RFC 9126 2.2).
        require_par: it takes pushed authorization requests only (RFC 9126 5).
        insists_on_client: the JWT bearer grant wants client authentication beside its assertion (as Keycloak does),
            and no method ``none`` is announced.
        client_secret: of the confidential client; made at start where None.
        shape: how it speaks.
    """

    ttl: float = 600.0
    rotation: Rotation = "rotate"
    grace: float = 0.0
    grace_rotates: bool = False
    kills_old_access_token: bool = False
    idle: float | None = None
    absolute: float | None = None
    code_ttl: float = 60.0
    device_interval: float = 5.0
    faults: tuple[str, ...] = ()
    user: str = "ada"
    auto_approve: bool = False
    needs_offline_access: bool = False
    client_secret_ttl: float | None = None
    par_ttl: int = 60
    require_par: bool = False
    insists_on_client: bool = False
    client_secret: Secret | None = None
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        """Refuse what no provider could be set to.

        Raises:
            InvalidRequest: a lifetime, the rotation or the user name makes no sense.
        """
        if self.rotation not in ROTATIONS:
            raise InvalidRequest(f'There is no rotation "{self.rotation}".', f"Choose one of {', '.join(ROTATIONS)}.")
        if not self.ttl >= 1:  # not `<`: NaN must fail as well
            raise InvalidRequest(f"Access tokens cannot live for {self.ttl:g} s.", "Give a ttl of at least 1 second.")
        if not self.grace >= 0:
            raise InvalidRequest(f"A grace of {self.grace:g} s makes no sense.", "Give 0 or more seconds.")
        if not self.user.strip():
            raise InvalidRequest("The user name is empty.", "Give the name of the person who logs in.")
