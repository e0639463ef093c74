"""``keyfob proxy-url``: the address for programs, and the base that a person sets."""

import json

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon

DOORS = {"doors": {"app": "http://127.0.0.1:8401"}}
BASE = "https://api.example.org/v1"


def test_the_address_alone_is_printed(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The address is on stdout; where requests go is said beside it, whoever said so."""
    daemon.answers("GET /v1/accounts/work", {"account": "work", "provider": "id", "api_base": None, "resource": None})
    daemon.answers("GET /v1/providers/id", {"api_base": BASE})
    daemon.answers("GET /v1/status", DOORS)

    assert main(["proxy-url", "work"]) == 0
    out, err = capsys.readouterr()
    assert out == "http://127.0.0.1:8401/proxy/work/\n"
    assert BASE in err
    assert main(["proxy-url", "work", "--json"]) == 0
    url = "http://127.0.0.1:8401/proxy/work/"
    assert json.loads(capsys.readouterr().out) == {"account": "work", "url": url, "api_base": BASE}


def test_a_base_is_set(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--api-base is written down first."""
    daemon.answers("PATCH /v1/accounts/work", {"account": "work", "provider": "id", "api_base": BASE, "resource": None})
    daemon.answers("GET /v1/status", DOORS)

    assert main(["proxy-url", "work", "--api-base", BASE]) == 0
    assert daemon.requests[0].body == {"api_base": BASE}
    assert capsys.readouterr().out == "http://127.0.0.1:8401/proxy/work/\n"


def test_no_base_is_known(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that leads nowhere is not printed; what helps is said."""
    daemon.answers("GET /v1/accounts/work", {"account": "work", "provider": "id", "api_base": None, "resource": None})
    daemon.answers("GET /v1/providers/id", {"api_base": ""})
    daemon.answers("GET /v1/status", DOORS)

    assert main(["proxy-url", "work"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "keyfob proxy-url work --api-base" in err
