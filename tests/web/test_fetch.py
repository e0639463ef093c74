"""A program in JavaScript is no browser, though its ``fetch`` has the same name."""

from pathlib import Path

from tests.web.house import running


def test_a_program_that_fetches_is_answered(tmp_path: Path) -> None:
    """Node's own fetch sends Sec-Fetch-Mode with every request, and no other header of a browser's."""
    with running(tmp_path) as house:
        key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
        with (app := house.app(key)).http:
            headers = {"Sec-Fetch-Mode": "cors", "Accept": "*/*", "Accept-Language": "*"}
            app.ask("GET", "/v1/apps/{app}", 200, path={"app": "job"}, headers=headers)
            app.ask(
                "GET", "/v1/apps/{app}", 403, path={"app": "job"}, headers=headers | {"Sec-Fetch-Site": "cross-site"}
            )
