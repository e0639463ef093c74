"""What people see of presets and providers: a list to search, and everything about one of them."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from broker.cli.main import main

from .conftest import Show
from .scripted_daemon import ScriptedDaemon

ABOUT: dict[str, Any] = {
    "flows": ["browser", "paste", "token"],
    "unverified": ["scopes", "redirect", "endpoints.revocation", "refresh"],
    "notes": ["Untick 'Confidential' there."],
    "sources": ["forge.example: its page"],
    "register_url": "https://forge.example/apps",
    "static_token_url": "https://forge.example/tokens",
}
FORGE: dict[str, Any] = {
    **ABOUT,
    "name": "forge",
    "title": "Forge",
    "needs_base_url": False,
    "parameters": [{"name": "dc", "what": "the place", "default": "eu", "choices": ["eu", "us"]}],
}
POD: dict[str, Any] = {
    **ABOUT,
    "name": "pod",
    "title": "Pod of a very long name that fits no line of a terminal, whatever else stands in it",
    "needs_base_url": True,
    "parameters": [],
    "flows": ["browser", "paste", "device", "client-credentials"],
    "unverified": [],
    "notes": [],
}
IN_FULL: dict[str, Any] = {
    **FORGE,
    "authorization_endpoint": "https://forge.example/authorize",
    "token_endpoint": "https://forge.example/token",
    "revocation_endpoint": "https://forge.example/revoke",
    "static_token_url": "https://forge.example/tokens",
    "scope": ["read", "write"],
    "client_secret": "needed",
    "rules": [
        {"key": "pkce", "text": "Logins are bound by PKCE."},
        {"key": "refresh.rotation", "text": "A refresh\x1b[2J leaves the refresh token as it is."},
    ],
    "redirect_uri": "http://127.0.0.1:8400/callback/forge",
}


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal is as wide as terminals are."""
    monkeypatch.setenv("COLUMNS", "80")


def test_presets_are_searched(daemon: ScriptedDaemon, screen: Show) -> None:
    """By name, title and notes; the table says how one logs in, what has to be named, and how much is unverified."""
    daemon.answers("GET /v1/presets", {"presets": [FORGE, POD]})

    lines = screen("provider", "presets", "unTICK") + screen("provider", "presets", "long name")

    assert lines[:2] == ["PRESET  TITLE  LOG IN WITH    NEEDS  UNSURE", "forge   Forge  browser token  -      4"]
    assert lines[3].endswith("…  browser device  --base-url  0")
    assert json.loads("".join(screen("provider", "presets", "pod", "--json"))) == {"presets": [POD]}


def test_presets_fit_a_terminal(daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a title is cut where the line would not hold it; nothing else is."""
    daemon.answers("GET /v1/presets", {"presets": [FORGE, POD]})
    monkeypatch.setenv("NO_COLOR", "1")
    ours, theirs = pty.openpty()

    argv = [sys.executable, "-m", "broker.cli", "provider", "presets"]
    with subprocess.Popen(argv, stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)  # so that what is read comes to an end with the command
        seen = b""
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 1024):
                seen += piece
        assert process.wait(timeout=10) == 0
    os.close(ours)

    lines = seen.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("pod     Pod of a very long")
    assert lines[2].endswith("…  browser device  --base-url  0")


def test_a_search_that_finds_nothing_offers_a_name(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name, and the way that always works."""
    daemon.answers("GET /v1/presets", {"presets": [FORGE, POD]})

    assert main(["provider", "presets", "frge"]) == 0

    told = capsys.readouterr()
    assert told.out == ""
    assert "Did you mean 'forge'?" in told.err
    assert "keyfob login --provider ISSUER-URL" in told.err


def test_a_preset_is_shown_in_full(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses, rules, where and how to register, notes and sources; what is not verified is marked in its place."""
    daemon.refuses("GET /v1/providers/forge", 404, "unknown_provider", "No provider is called 'forge'.")
    daemon.answers("GET /v1/presets/forge", IN_FULL)

    assert main(["provider", "show", "forge"]) == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines() == [
        "Forge: preset 'forge', not set up yet",
        "log in          keyfob login --provider forge",
        "ways to log in  browser, paste, token",
        "scopes          read write (not verified)",
        "--param dc=...  the place: eu, us (if you name none: eu)",
        "",
        "Addresses",
        "  authorization  https://forge.example/authorize",
        "  token          https://forge.example/token",
        "  revocation     https://forge.example/revoke (not verified)",
        "  token by hand  https://forge.example/tokens",
        "",
        "What it does",
        "  - Logins are bound by PKCE.",
        "  - A refresh·[2J leaves the refresh token as it is. (not verified)",
        "",
        "To register a client by hand",
        "  where         https://forge.example/apps",
        "  redirect URI  http://127.0.0.1:8400/callback/forge (not verified)",
        "  then          keyfob login --provider forge --client-id ID",
        "                --client-secret-file FILE",
        "",
        "Good to know",
        "  - Untick 'Confidential' there.",
        "",
        "Sources",
        "  - forge.example: its page",
        "",
        "NOT VERIFIED with the provider, and so perhaps wrong",
        "  scopes, redirect, endpoints.revocation, refresh",
    ]


def test_a_preset_of_many_places_says_how_its_redirect_uri_is_learnt(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the instance is named nobody knows the address; the login that names it tells."""
    parameters = [{"name": "tenant", "what": "the organisation", "default": "", "choices": []}]
    daemon.refuses("GET /v1/providers/pod", 404, "unknown_provider", "No provider is called 'pod'.")
    daemon.answers("GET /v1/presets/pod", {**IN_FULL, **POD, "parameters": parameters, "redirect_uri": ""})

    assert main(["provider", "show", "pod"]) == 0

    words = " ".join(capsys.readouterr().out.split())
    begin = "keyfob login --provider pod --base-url URL --param tenant=VALUE"
    assert f"redirect URI run this, and it is told: {begin}" in words
    assert f"then {begin} --client-id ID" in words
    assert "NOT VERIFIED" not in words


def test_a_configured_provider_comes_first(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider that is set up is shown with its clients, and as JSON with everything."""
    mine = {**IN_FULL, "name": "work", "preset": "forge", "clients": ["abc"], "issuer": "https://forge.example"}
    del mine["parameters"], mine["needs_base_url"]
    daemon.answers("GET /v1/providers/work", mine)

    assert main(["provider", "show", "work"]) == 0
    assert main(["provider", "show", "work", "--json"]) == 0

    text, _, rest = capsys.readouterr().out.partition("{")
    assert text.startswith("Forge: provider 'work', set up here\n")
    assert {"follows preset  forge", "clients         abc", "issuer          https://forge.example"} <= set(
        text.splitlines()
    )
    assert json.loads("{" + rest) == mine


def test_an_unknown_name_is_told_with_near_ones(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon knows which names are near; and what is no answer about a name is not taken for one."""
    daemon.refuses("GET /v1/providers/frge", 404, "unknown_provider", "No provider is called 'frge'.")
    daemon.refuses("GET /v1/presets/frge", 404, "unknown_provider", "There is no preset. Did you mean forge?")
    daemon.refuses("GET /v1/providers/forge", 503, "store_unavailable", "The disk is full.")

    assert main(["provider", "show", "frge"]) == 1
    assert "Did you mean forge?" in capsys.readouterr().err
    assert main(["provider", "show", "forge"]) == 1
    assert "The disk is full." in capsys.readouterr().err
