"""How a login goes: what a person has to do for it now, and how it ended.

Put behind the browser door by ``browser``. The page looks again at every event, so it needs no clock of its own.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.login import Login
from broker.errors import UnknownLogin
from broker.usecases import login
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts import lines

# Modules of white around a QR code (ISO/IEC 18004): the page may be dark.
QUIET_ZONE: Final = 4


@dataclass(frozen=True, slots=True)
class Qr:
    """An address as a QR code.

    Attributes:
        size: modules in each direction, the white around it included.
        path: the dark ones, as the path of an SVG.
    """

    size: int
    path: str

    @classmethod
    def of(cls, address: str) -> "Qr | None":
        """Draw one; None where the address is too long for any."""
        import segno  # noqa: PLC0415 -- a megabyte that only a device login needs; serve sees that it is there

        try:
            rows = list(segno.make_qr(address, error="l").matrix_iter(border=QUIET_ZONE))
        except segno.DataOverflowError:
            return None
        return cls(len(rows), "".join(_runs(y, bytes(row)) for y, row in enumerate(rows)))


def _runs(y: int, row: bytes) -> str:
    drawn, x = "", 0
    for dark, run in groupby(row):
        length = len(list(run))
        drawn += f"M{x} {y}h{length}v1h-{length}z" if dark else ""
        x += length
    return drawn


@dataclass(frozen=True, slots=True)
class ProgressPart:
    """One login.

    Attributes:
        login: it.
        title: the provider, for people.
        start_url: where it begins in a browser.
        account: what it brought; None where it has brought nothing, or that is gone.
        qr: of a device login: the address to go to.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/progress.html.j2"
    login: Login
    title: str
    start_url: str
    account: Account | None
    qr: Qr | None
    status: int = 200

    @property
    def pastes_address(self) -> bool:
        """Whether the provider sends its answer to an address, which is then pasted, and shows no code."""
        return self.login.redirect_uri.startswith("http")

    @property
    def again(self) -> str:
        """What the form of another such login has to be told."""
        brought = bool(self.login.destination.client_id) and not self.login.client
        said = {"way": self.login.flow, "account": self.login.account, "client": "own" if brought else ""}
        return urlencode({name: value for name, value in said.items() if value})


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/progress/{id}``."""
    Query(request)
    await login.expire(ctx)
    found = await ctx.store.login(request.path_params["id"])
    if found is None:
        raise UnknownLogin(
            "There is no such login: it never was, or ended more than an hour ago.",
            "Your accounts, and what is under way, are on the first page.",
        )
    prompt = found.device if found.state == "pending" else None
    part = ProgressPart(
        login=found,
        title=(await lines.titles_of(ctx, {found.provider}))[found.provider],
        start_url=login.start_url_of(ctx, found),
        account=await ctx.store.account(found.account) if found.state == "done" else None,
        qr=Qr.of(prompt.verification_uri_complete or prompt.verification_uri) if prompt is not None else None,
    )
    return pages.render(part)
