"""The page about providers is what the data and the checks of preset files say."""

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any

import pytest

from broker.cli.providers import ways
from broker.providers import catalog, model, rules, shape, words
from broker.web import render
from tests.test_docs import ROOT, rows, section, text_of

TABLES: dict[str, Any] = {
    "endpoints": rules.Endpoints,
    "redirect": rules.Redirect,
    "registration": rules.Registration,
    "token": rules.TokenRequest,
    "reply": rules.ReplyRules,
    "refresh": rules.RefreshPolicy,
    "revocation": rules.RevocationRules,
    "device": rules.DeviceRules,
    "identity": rules.IdentityRules,
    "throttle": rules.ThrottleRules,
}


def told(default: object) -> str:
    """Return how the page writes a default."""
    if default in (None, "", (), {}):
        return "-"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return " ".join(default)
    return "space" if default == " " else f"{default:g}" if isinstance(default, float) else str(default)


def default_of(field: Field[Any]) -> object:
    """Return the default of a field."""
    make: Callable[[], object] | Any = field.default_factory
    return field.default if field.default is not MISSING else make() if make is not MISSING else None


def test_the_table_of_presets() -> None:
    """Every preset with what a login names, how one logs in, and how much is not verified; and no other."""
    expected = {}
    for name, preset in catalog.presets().items():
        described = catalog.described(preset)
        names = ["`--base-url`"] if preset.needs_base_url else []
        names += [f"`--param {key}=`" for key, one in preset.parameters.items() if not one.default]
        names += [f"`--base-url`, else {preset.base_url}"] if preset.base_url else []
        names += [f"`--param {key}=`, else {one.default}" for key, one in preset.parameters.items() if one.default]
        endless = described.grants and "refresh_token" not in described.grants
        expected[name] = [
            preset.title,
            (", ".join(names) or "-").strip("`"),
            ways(render.preset(preset)),
            words.client_secret(described),
            "none" if endless else described.refresh.rotation,
            str(len(preset.unverified)),
        ]
    assert {row[0]: row[1:] for row in rows(section("providers.md", "Presets"))} == expected


def test_the_readme_counts_them() -> None:
    """The number in the README is the number of files, ours aside."""
    counted = re.findall(r"\[(\d+) providers that it knows\]", text_of(ROOT / "README.md"))
    assert counted == [str(len(catalog.presets().keys() - {"generic", "practice"}))]


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_a_table(table: str) -> None:
    """Key, kind of value and default are those of the check and of the dimension."""
    kinds = {key.partition(".")[2]: what for key, what in shape.keys().items() if key.startswith(f"{table}.")}
    defaults = {field.name: told(default_of(field)) for field in fields(TABLES[table])}
    found = rows(section("providers.md", f"Table {table}"))
    assert [row[:3] for row in found] == [[key, kind, defaults[key]] for key, kind in kinds.items()]
    assert all(row[3] for row in found)


def test_every_other_key() -> None:
    """What stands at the top of a file, about itself or about the provider, and the tables whose keys are anybody's."""
    defaults = {field.name: told(default_of(field)) for field in fields(model.Provider)}
    expected = {
        key: (what, defaults.get(key, "-")) for key, what in shape.keys().items() if key.partition(".")[0] not in TABLES
    }
    found = {}
    for part in ("About the file", "About the provider"):
        for key, what, default, meaning in rows(section("providers.md", part)):
            dotted = re.sub(r"[`\[\] ]+", ".", f"`{key}`").strip(".")
            found[dotted] = (what, default)
            assert meaning
    assert found == expected
