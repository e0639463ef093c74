"""What `keyfob login` opens in a browser, and what never."""

import sys

import pytest

from broker.cli.browser import open_in_browser, opener, web_address


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x",
        "-new-window",
        "http:relative",
        "https://user@host/",
        "https://host:99999999/",
        "https://host/a b",
        "https://host/$(x)`id`",
        "https://host/'",
        "https://host/\nX",
        "https://host/\u202e",
        "https://[/",
    ],
)
def test_what_is_never_opened(address: str) -> None:
    """Only a plain http or https address reaches the browser's command line."""
    assert web_address(address) is None
    assert not open_in_browser(address, {"BROWSER": "true"})


def test_no_browser_on_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a display nothing is started that would take over the terminal."""
    monkeypatch.setattr(sys, "platform", "linux")

    assert opener({"BROWSER": "no-such-browser"}) is None
