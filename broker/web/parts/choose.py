"""Where a new account may log in: what is set up already, every provider that is known, and any other by its address.

Put behind the browser door by ``browser``.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.core.login import PROGRAMS
from broker.errors import KeyfobError
from broker.providers import catalog
from broker.providers.model import Preset, ProviderConfig
from broker.providers.urls import host_of
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts.paging import fits

# It describes whatever has no preset of its own, and is chosen by naming an address.
BY_ADDRESS: Final = "generic"
# It is run by who tries Keyfob out, and holds nothing that anybody needs.
FOR_TRIALS: Final = "practice"


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider to choose.

    Attributes:
        name: of the configured provider, or of the preset.
        title: for people.
        need: what a login there takes, in a word or two.
        ready: nothing has to be made or named first.
        trial: it is for tries only.
    """

    name: str
    title: str
    need: str
    ready: bool = False
    trial: bool = False


@dataclass(frozen=True, slots=True)
class ChoosePart:
    """All of them.

    Attributes:
        query: what was searched.
        known: those that are set up.
        presets: the others.
        total: how many there are without a search.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/choose.html.j2"
    query: str
    known: tuple[Choice, ...]
    presets: tuple[Choice, ...]
    total: int
    status: int = 200


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/add``."""
    wanted = (Query(request, "q").text("q") or "").strip()
    configs = await ctx.store.providers()
    taken = {config.name for config in configs} | {BY_ADDRESS}
    known = [await _configured(ctx, config) for config in configs]
    sources = [source for name, source in catalog.presets(ctx.presets_dir).items() if name not in taken]
    others = sorted((_preset(source) for source in sources), key=lambda one: (one.trial, one.title.casefold()))
    part = ChoosePart(
        query=wanted,
        known=tuple(one for one in known if _fits(one, wanted)),
        presets=tuple(one for one in others if _fits(one, wanted)),
        total=len(known) + len(others),
    )
    return pages.render(part)


async def _configured(ctx: Context, config: ProviderConfig) -> Choice:
    try:
        provider = catalog.resolve(config, ctx.presets_dir)
    except KeyfobError as exc:  # its preset was taken away, or its row changed: it is listed all the same, with that
        return Choice(config.name, config.name, exc.detail)
    trial = config.preset == FOR_TRIALS
    if provider.client_id or any(one.origin != PROGRAMS for one in await ctx.store.clients(config.name)):
        return Choice(config.name, provider.title, "ready", ready=True, trial=trial)
    need = "registers Keyfob itself" if provider.registration is not None else "client needed"
    return Choice(config.name, provider.title, need, trial=trial)


def _preset(source: Preset) -> Choice:
    described = catalog.described(source)
    words = []
    if source.needs_base_url:
        words.append("at an address of yours")
    elif source.base_url:
        words.append(f"{host_of(source.base_url)}, or your own")
    words += [f"its {name}" for name, one in source.parameters.items() if not one.default]
    ready = not words or bool(source.base_url)
    if described.registration is not None:
        words.append("registers Keyfob itself")
    elif not described.client_id:
        words.append("client or token needed" if described.static_token_url else "client needed")
        ready = False
    return Choice(
        source.name, source.title, ", ".join(words) or "nothing needed", ready, trial=source.name == FOR_TRIALS
    )


def _fits(one: Choice, wanted: str) -> bool:
    return fits(wanted, (one.name, one.title, one.need))
