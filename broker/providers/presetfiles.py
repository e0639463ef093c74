"""Preset files, read strictly: a slip is told with its file, its line and what was probably meant.

Called by ``catalog``, once per directory and process.
"""

import codecs
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from broker.core import toml
from broker.core.trust import distrust
from broker.errors import CannotStart, InvalidRequest
from broker.providers.model import Preset
from broker.providers.rules import Parameter
from broker.providers.shape import Misshapen, check_shape, line_of
from broker.providers.urls import split

# The name stands in URLs and in the redirect path.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# Members of a preset file that describe the file; the others describe the provider.
_ABOUT = frozenset({"needs_base_url", "base_url", "parameters", "unverified", "notes", "sources"})
TEMPLATE: Final = re.compile(r"\{([a-z_]+)\}")
# What tomllib says of the place at which it stopped.
_PLACE = re.compile(r"\(at line (\d+), column \d+\)")
MEND = "Mend it or move it away."


@lru_cache(maxsize=8)
def read(directory: Path, *, own: bool = False) -> Mapping[str, Preset]:
    """Read a directory of preset files; one that does not exist holds none.

    A preset decides where codes, secrets and tokens go: a person's ``own`` has to be the person's alone to write.

    Raises:
        CannotStart: a file cannot be read, or holds a key or value that means nothing; file and key are named.
    """
    found = {}
    if own and directory.is_dir():
        _check_trust(directory)
    for path in _files(directory):
        try:
            if own:
                _check_trust(path)
            text = _text(path)
            data = toml.loads(text)
            if not data:
                raise CannotStart(f"The preset file {path} is empty.", MEND)
            check_shape(data, file=True)
            _check_templates(data)
            _check_urls(data)
        except Misshapen as exc:
            line = line_of(text, exc.table, exc.key)
            where = f"{path}, line {line}," if line else str(path)
            raise CannotStart(f"The preset file {where} cannot be used: {exc}", MEND) from exc
        except toml.NotToml as exc:
            raise CannotStart(f"The preset file {path} cannot be used: {exc}{_there(text, exc)}", MEND) from exc
        except OSError as exc:
            why = "it leads to nothing" if path.is_symlink() and not path.exists() else str(exc.strerror).lower()
            raise CannotStart(f"The preset file {path} cannot be read: {why}.", MEND) from exc
        found[path.stem] = Preset(
            name=path.stem,
            title=data.get("title", path.stem),
            data={key: value for key, value in data.items() if key not in _ABOUT},
            needs_base_url=data.get("needs_base_url", False),
            base_url=data.get("base_url", ""),
            parameters={name: Parameter(**tuples(about)) for name, about in data.get("parameters", {}).items()},
            unverified=tuple(data.get("unverified", ())),
            notes=tuple(data.get("notes", ())),
            sources=tuple(data.get("sources", ())),
        )
    return found


def _files(directory: Path) -> Iterator[Path]:
    """Yield the preset files of a directory; what is one but for its name is not passed over in silence."""
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.suffix.lower() != ".toml" or path.name.startswith("."):
            continue
        if path.suffix != ".toml" or not NAME.fullmatch(path.stem):
            raise CannotStart(
                f"The preset file {path} has a name that no provider can have.",
                "Use lower-case letters, digits and dashes, and .toml at the end.",
            )
        yield path


def _text(path: Path) -> str:
    """Return what a file says; some editors put a mark of three bytes before it."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe must not hold the start for ever
        raise CannotStart(f"The preset file {path} is not a regular file.", "Name another, or remove it.")
    with path.open("rb") as file:
        raw = file.read(len(codecs.BOM_UTF8) + toml.MOST_BYTES + 1)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise CannotStart(
            f"The preset file {path}, line {line}, cannot be used: it is not text in UTF-8.", "Save it as UTF-8."
        ) from exc


def _there(text: str, exc: toml.NotToml) -> str:
    """Return the line at which the parser stopped: of a key that is there twice, it says the place and not which."""
    place = _PLACE.search(str(exc))
    lines = text.splitlines()
    at = int(place[1]) - 1 if place else len(lines)
    # The parser looks at the end of a line, which is the beginning of the next one.
    return f": {lines[at].strip()[:80]}" if at < len(lines) and lines[at].strip() else ""


def _check_trust(path: Path) -> None:
    status = path.stat()
    why, mend = distrust(status.st_uid, status.st_mode, os.getuid())
    if why:
        raise CannotStart(f"{path}, which holds presets, {why}.", f"{mend} {path}")


def _addresses(data: Mapping[str, Any], *names: str) -> list[tuple[str, str, str]]:
    """Return table, key and text of each address in a preset file, the named ones at its top among them."""
    places = [("", key, data[key]) for key in names if key in data]
    places += [("endpoints", key, url) for key, url in data.get("endpoints", {}).items()]
    return places + ([("identity", "url", data["identity"]["url"])] if data.get("identity", {}).get("url") else [])


def _check_templates(data: Mapping[str, Any]) -> None:
    """See that every template in an address is one that will be filled.

    Raises:
        Misshapen: naming the key.
    """
    parameters = data.get("parameters", {})
    known = {*parameters, *(("base_url",) if data.get("needs_base_url") or data.get("base_url") else ())}
    for table, key, text in _addresses(data, "issuer", "api_base", "register_url", "static_token_url"):
        for name in TEMPLATE.findall(text):
            if name not in known and (key, name) != ("revocation", "client_id"):
                where = f"{table}.{key}" if table else key
                raise Misshapen(f"'{where}' holds {{{name}}}, and nothing says what that is.", table, key)


def _check_urls(data: Mapping[str, Any]) -> None:
    """See that every address to which something secret goes can be one, whatever is filled in.

    Raises:
        Misshapen: naming the key.
    """
    base, other = "https://any.test", "any"
    for table, key, text in _addresses(data, "issuer", "api_base"):
        where = f"{table}.{key}" if table else key
        try:
            if text:
                split(TEMPLATE.sub(lambda found: base if found[1] == "base_url" else other, text), what=where)
        except InvalidRequest as exc:
            raise Misshapen(f"{exc.detail} {exc.hint}", table, key) from exc


def tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of a preset file with tuples for lists, as the frozen rules hold them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
