"""The form of a new account at one provider: only what this provider needs, by the way that was chosen.

Put behind the browser door by ``browser``. A form without a client to make by hand takes one step; where one has to be
made, its redirect URI has to be known, and so where the provider is comes first.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.core.login import Flow
from broker.errors import InvalidRequest
from broker.providers import catalog, words
from broker.providers.flows import offered
from broker.providers.model import Preset, Provider, ProviderConfig
from broker.providers.rules import Parameter
from broker.usecases import clients, login, providers
from broker.usecases.context import Context
from broker.usecases.providers import NewProvider
from broker.web import pages
from broker.web.body import Query
from broker.web.parts.choose import BY_ADDRESS

# Flow -> what it is called here, and what happens.
WAYS: Final[Mapping[Flow, tuple[str, str]]] = {
    "browser": ("In this browser", "You log in at the provider, in this tab, and come back here."),
    "device": (
        "With a code",
        "You get a short code, and type or scan it on a phone or any other computer.",
    ),
    "paste": (
        "By copy and paste",
        "For a browser on another computer: you log in there, and carry its answer here.",
    ),
    "token": (
        "A token made by hand",
        "You make a token at the provider and paste it here. Nothing can renew it: when it ends, you bring another.",
    ),
    "refresh-token": (
        "A refresh token",
        "You take over the login of another program. It is renewed at once, and from then on only Keyfob may use it.",
    ),
    "client-credentials": (
        "As a program",
        "For an account of a program: it gets tokens as its client, by id and secret, and belongs to no person.",
    ),
}
# What a server may offer of which nothing is known yet; the login tells where it does not.
UNKNOWN: Final[tuple[Flow, ...]] = ("browser", "device", "paste")
# Of these the answer comes to the redirect URI, which the client has to be registered with.
REDIRECTED: Final[tuple[Flow, ...]] = ("browser", "paste")
# In these a person can bring a client of their own where Keyfob would have one.
BY_CLIENT: Final[tuple[Flow, ...]] = ("browser", "paste", "device", "refresh-token")
# How long tokens made by hand are said to live, in days.
LIVES: Final = (7, 30, 60, 90, 180, 365)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a provider is that can be at many places.

    Attributes:
        base: whether its address has to be named, or may be.
        usual: the address where none is named.
        parameters: what else stands in its addresses.
        base_url: the address that was named, or empty.
        values: the parameters that were named.
    """

    base: Literal["", "needed", "optional"] = ""
    usual: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    base_url: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> bool:
        """Whether there is anything to name."""
        return bool(self.base or self.parameters)

    @property
    def named(self) -> bool:
        """Whether it was named."""
        return bool(self.base_url or self.values)

    @property
    def open(self) -> bool:
        """Whether it has to be named yet."""
        needed = self.base == "needed" or any(not one.default for one in self.parameters.values())
        return needed and not self.named


@dataclass(frozen=True, slots=True)
class AddPart:
    """The form.

    Attributes:
        name: of the preset or configured provider, as the address says it.
        provider: it; what has to be named yet stands in braces.
        about: what its preset says of itself.
        place: where it is.
        by_address: it is whatever the person names by an address.
        ways: the flows that this page can begin there.
        way: the one that was chosen.
        needs_client: a client has to be made by hand for it.
        own_client: the person wants to bring one, needed or not.
        redirect_uri: what that client has to be registered with; empty where the answer does not come that way.
        account: the name to suggest.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/add.html.j2"
    told: ClassVar[Mapping[Flow, tuple[str, str]]] = WAYS
    lives: ClassVar[tuple[int, ...]] = LIVES
    name: str
    provider: Provider
    about: Preset
    place: Place
    by_address: bool
    ways: tuple[Flow, ...]
    way: Flow
    needs_client: bool
    own_client: bool
    redirect_uri: str
    account: str
    status: int = 200

    @property
    def commands(self) -> tuple[str, ...]:
        """What begins the others, in a terminal."""
        where = f"--provider {shlex.quote(self.name)}"
        if self.place.base == "needed":
            where += f" --base-url {shlex.quote(self.place.base_url) if self.place.base_url else 'URL'}"
        lines = {
            "jwt-bearer": f"keyfob login NAME {where} --flow jwt-bearer --client-id ID",
            "token-exchange": "keyfob login NAME --from ACCOUNT",
        }
        return tuple(line for flow, line in lines.items() if flow in offered(self.provider))

    @property
    def client(self) -> bool:
        """Whether it asks for a client."""
        return self.needs_client or self.own_client

    @property
    def may_bring(self) -> bool:
        """Whether Keyfob has a client, or makes one, and a person can bring another."""
        return not self.client and not self.by_address and self.way in BY_CLIENT

    @property
    def place_first(self) -> bool:
        """Whether nothing more can be said before it is known where the provider is."""
        return self.client and self.way in REDIRECTED and self.place.open

    @property
    def place_apart(self) -> bool:
        """Whether the redirect URI that is shown depends on where the provider is."""
        return self.client and self.way in REDIRECTED and self.place.asked

    @property
    def secret(self) -> words.ClientSecret:
        """Whether such a client has a secret."""
        return "needed" if self.way == "client-credentials" else words.client_secret(self.provider)

    @property
    def rules(self) -> list[str]:
        """What is particular about this provider."""
        return [text for _, text in words.rules(self.provider)]

    def address(self, *, way: str, client: str = "", here: bool = True) -> str:
        """Return this page's address with another way, with a client of one's own, or for another place."""
        place = {"base_url": self.place.base_url}
        place |= {f"param-{name}": value for name, value in self.place.values.items()}
        said = {"way": way, "client": client, "account": self.account, **(place if here else {})}
        query = urlencode({name: value for name, value in said.items() if value})
        return f"/ui/add/{quote(self.name, safe='')}{'?' if query else ''}{query}"


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/add/{preset}``."""
    name = request.path_params["preset"]
    configured = await ctx.store.provider(name)
    source = catalog.presets(ctx.presets_dir).get(name)
    if source is None and configured is None:
        catalog.preset(name, ctx.presets_dir, beside=[one.name for one in await ctx.store.providers()])
    parameters = source.parameters if source is not None else {}
    query = Query(request, "way", "client", "account", "base_url", *(f"param-{one}" for one in parameters))
    place = _place(source, configured, query)
    about = source if configured is None and source is not None else await providers.background(ctx, name)
    by_address = name == BY_ADDRESS and configured is None
    if by_address or (place.open and configured is None):
        provider = catalog.described(about)
    else:
        provider = await providers.foreseen(
            ctx, NewProvider(preset=name, base_url=place.base_url, parameters=place.values)
        )
    ways = UNKNOWN if by_address else ways_of(provider)
    way = _way(provider, ways, query.text("way"))
    needs_client = not by_address and await clients.is_needed(ctx, provider, way)
    part = AddPart(
        name=name,
        provider=provider,
        about=about,
        place=place,
        by_address=by_address,
        ways=ways,
        way=way,
        needs_client=needs_client,
        own_client=query.text("client") == "own" and way in BY_CLIENT and not by_address,
        redirect_uri=_redirect_uri(ctx, provider, way),
        account=query.text("account") or "",
    )
    return pages.render(part)


def ways_of(provider: Provider) -> tuple[Flow, ...]:
    """Return the flows that a provider offers and this page can begin, those of a person first."""
    known = offered(provider)
    return tuple(flow for flow in WAYS if flow in known)


def _place(source: Preset | None, configured: ProviderConfig | None, query: Query) -> Place:
    if source is None:
        return Place()
    values = {name: (query.text(f"param-{name}") or "").strip() for name in source.parameters}
    # A provider of the preset's own name is where a login goes that names no place.
    chosen = configured.overrides.get("values", {}) if configured is not None else {}
    usual = configured.base_url if configured is not None and configured.base_url else source.base_url
    return Place(
        base="optional" if usual else "needed" if source.needs_base_url else "",
        usual=usual,
        parameters={
            name: replace(one, default=chosen.get(name, one.default)) for name, one in source.parameters.items()
        },
        base_url=(query.text("base_url") or "").strip(),
        values={name: value for name, value in values.items() if value},
    )


def _way(provider: Provider, ways: tuple[Flow, ...], wanted: str | None) -> Flow:
    """Return the flow that was chosen, else the best that this page can begin.

    Raises:
        InvalidRequest: the provider does not offer it, or offers none that a page could begin.
    """
    if wanted and wanted not in ways:
        raise InvalidRequest(
            f"{provider.title} offers no login by '{wanted[:50]}'.", f"Choose one of: {', '.join(ways)}."
        )
    if not ways:
        raise InvalidRequest(
            f"{provider.title} offers no login that this page can begin.",
            f"In a terminal: keyfob provider show {provider.name}",
        )
    return next((way for way in ways if way == wanted), ways[0])


def _redirect_uri(ctx: Context, provider: Provider, way: Flow) -> str:
    if way not in REDIRECTED:
        return ""
    return (way == "paste" and provider.redirect.out_of_band) or login.redirect_uri(ctx, provider)
