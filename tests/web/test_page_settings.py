"""Settings and health on the owner's page: what stands there, backups, and the doctor's findings."""

import asyncio
from pathlib import Path

from broker.core.finding import Finding
from broker.usecases.checkup import Checkup
from tests.web.desktop import Desktop
from tests.web.owner import Owner


def test_it_tells_where_keyfob_is_and_how(owner: Owner) -> None:
    """Doors, key, lock and work; and what nobody has looked at is not called well."""
    shown = owner.part("settings")

    for words in (
        owner.house.socket,
        owner.house.app_url,
        owner.house.browser_url,
        "/oidc.sock",
        "file",
        "never",
        "All is well",
    ):
        assert words in shown
    assert "keyfob doctor" in shown
    assert "There is none that Keyfob knows of." in shown


def test_two_backups_in_one_second_are_two(desktop: Desktop, owner: Owner) -> None:
    """Each click makes a copy for its owner alone, tells where it is, and that is the last one from then on."""
    del owner  # its browser is used
    session = desktop.session()
    made = []
    for _ in range(2):
        answer = desktop.send("POST", "/ui/v1/backup", session, json={})
        assert answer.status_code == 201, answer.text
        made.append(Path(answer.json()["file"]))
        desktop.now += 0.25

    assert len(set(made)) == 2
    assert {file.stat().st_mode & 0o777 for file in made} == {0o600}
    assert "is not" in answer.json()["detail"]
    assert desktop.send("POST", "/ui/v1/backup", session, json={"file": "x"}).status_code == 400


def test_the_doctor_looks_twice_a_minute_at_the_most() -> None:
    """The page is drawn at every event, and files do not change as often; a clock that was set does not stop it."""

    async def live() -> None:
        looks: list[int] = []

        def look() -> list[Finding]:
            looks.append(len(looks))
            return [Finding("disk", "ok", f"look {len(looks)}")]

        checkup = Checkup(look)
        said = [(await checkup.findings(now))[0].detail for now in (100.0, 129.0, 131.0, 40.0)]
        assert said == ["look 1", "look 1", "look 2", "look 3"]

    asyncio.run(live())
