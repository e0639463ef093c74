"""Who gets the bare token, and who gets JSON, by what they say that they accept."""

import pytest

from broker.practice.server import PracticeServer
from broker.web.accept import prefers_text
from tests.web.desktop import Desktop

TEXT = [
    "text/plain",
    "TEXT/PLAIN",
    " Text/Plain ; Charset=UTF-8",
    "text/plain;q=0.1",
    "text/plain; Q=0.9, application/json; q=0.8",
    "application/json;q=0.5, text/plain",
    "text/plain, application/json;q=0",
    "text/plain, */*",
    "text/html, text/plain;q=0.7, */*;q=0.7",
    "text/*",
    "text/*;q=0.5, */*;q=0.1",
    "text/plain;q=0.001,",
    "text/plain;q=much",
    "text/plain;q=2",
    "text/plain;q=0, text/plain",
]
NOT = [
    "",
    "*/*",
    "application/json",
    "text/plain, application/json",
    "application/json, text/plain, */*",
    "Text/Plain, Application/JSON",
    "text/plain;q=0.5, application/json",
    "text/plain;q=0",
    "text/plain;q=0.000, */*",
    "text/plain;q=0.2, */*",
    "text/html",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/plainer",
    "x-text/plain",
    "text/*, text/plain;q=0",
    'application/json;note="text/plain"',
    ",;=,;q=,text/;",
]


@pytest.mark.parametrize(
    ("accept", "text"), [*((accept, True) for accept in TEXT), *((accept, False) for accept in NOT)]
)
def test_what_is_preferred(accept: str, *, text: bool) -> None:
    """By media type in any case, weight, and how exactly it is named; JSON where both are as good."""
    assert prefers_text(accept) == text


def test_the_door_answers_as_it_is_asked(desktop: Desktop, practice: PracticeServer) -> None:
    """The first time and while the answer stands, in one header or in two; a refusal stays a problem document."""
    desktop.house.log_in("work", practice.url)
    http = desktop.house.owner.http

    def kind(*accepts: str, account: str = "work") -> str:
        headers = [("Accept", accept) for accept in accepts]
        answer = http.get(f"/v1/accounts/{account}/token", headers=headers)
        return str(answer.headers["content-type"].partition(";")[0])

    for _ in range(3):
        assert kind("TEXT/PLAIN") == kind("text/plain;q=0.9, application/json;q=0.1") == "text/plain"
        assert kind("application/json;q=0.1", "text/plain") == "text/plain"
        assert kind("*/*") == kind() == kind("text/plain", "application/json") == "application/json"
        assert kind("TEXT/PLAIN", account="nobody") == "application/problem+json"
