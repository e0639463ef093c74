"""What rate limits leave, over the API: programs tell what they saw, and look at what is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.web.house import House, running

ROUTE = "/v1/accounts/{account}/rate-limits"
ME = {"account": "me"}
SEEN = {
    "status": 200,
    "headers": {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "42", "X-RateLimit-Reset": "60"},
    "method": "GET",
    "path": "/items/7",
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Run a daemon with one account, whose token endpoint tells a limit."""
    settings = PracticeSettings(auto_approve=True, faults=("code:used_up=600",))
    with practice_in_thread(settings) as practice, running(tmp_path) as found:
        found.log_in("me", practice.url)
        yield found


def test_a_program_tells_and_everybody_sees(house: House) -> None:
    """What it saw is what is left; the owner sees Keyfob's own limits too."""
    given = {"name": "job", "grants": [{"account": "me"}]}
    job = house.app(house.owner.ask("POST", "/v1/apps", 201, json=given)["key"])
    with job.http:
        assert job.ask("GET", ROUTE, 200, path=ME) == {"rate_limits": []}
        told = job.ask("POST", ROUTE, 200, path=ME, json=SEEN)
        (limit,) = told["rate_limits"]
        assert (limit["scope"], limit["use"], limit["limit"], limit["remaining"]) == ("default", "api", 100, 42)
        assert (limit["retry_after"], limit["waiting"]) == (0, 0)
        refused = {"status": 429, "headers": {"retry-after": "30"}}
        (limit,) = job.ask("POST", ROUTE, 200, path=ME, json=refused)["rate_limits"]
        assert 30 <= limit["retry_after"] <= 31
        assert job.ask("GET", ROUTE, 403, path={"account": "other"})["code"] == "not_granted"
    api, token = house.owner.ask("GET", ROUTE, 200, path=ME)["rate_limits"]
    assert api["scope"] == limit["scope"]
    assert (token["use"], token["remaining"]) == ("token", 0)
    assert house.owner.ask("GET", ROUTE, 404, path={"account": "other"})["code"] == "unknown_account"


def test_a_logout_does_not_wait(house: House) -> None:
    """The account is forgotten here, and the answer says that the provider could not be asked."""
    (named,) = house.owner.ask("GET", "/v1/providers", 200)["providers"]
    house.ctx.rates.be_silent(named["revocation_endpoint"], house.ctx.steady(), 600)
    done = house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path=ME)
    assert not done["revoked"]
    assert "takes no request for another" in done["detail"]
    house.owner.ask("GET", "/v1/accounts/{account}", 404, path=ME)


def test_what_is_no_answer_is_refused(house: House) -> None:
    """The complaint names the field; headers that say nothing about limits are no mistake."""
    for wrong, named in (
        ({"headers": {}}, "'status' is missing"),
        ({"status": 99, "headers": {}}, "whole number from 100 to 599"),
        ({"status": True, "headers": {}}, "whole number"),
        ({"status": 200, "headers": {"a": 1}}, "object of texts"),
        ({"status": 200, "headers": {}, "body": ""}, "Unknown in the body"),
    ):
        assert named in house.owner.ask("POST", ROUTE, 400, path=ME, json=wrong)["detail"]
    garbage = {"status": 200, "headers": {"X-RateLimit-Remaining": "many", "RateLimit": "\u0000;;", "Server": "x"}}
    shown = house.owner.ask("POST", ROUTE, 200, path=ME, json=garbage)["rate_limits"]
    assert [one["use"] for one in shown] == ["token"]
