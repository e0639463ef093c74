"""The picture of the README, from the real page: ``cp artifacts/screenshots/readme.png docs/images/accounts.png``."""

from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import Visit

# Account -> what its provider is called, and who is logged in.
SCENE = {
    "music": ("Funkwhale at pod.example", "mara"),
    "work": ("Example Identity", "mara@example.org"),
    "mail": ("Example Mail", "mara@example.net"),
    "code": ("Example Forge", "mara-b"),
}


def test_the_picture_of_the_readme(room: Room, visit: Visit) -> None:
    """Four logins, one of which has ended, an app that uses one, another that asks: what needs a person is on top."""
    with room.home.door() as owner:
        for account, (title, user) in SCENE.items():
            new = {"name": account, "preset": "practice", "base_url": room.practice.url, "title": title}
            assert owner.post("/v1/providers", json=new).status_code == 201
            room.log_in(account, "--provider", account, user=user)
            if account == "music":
                room.practice.revoke_grants()
                assert owner.post("/v1/accounts/music/refresh", json={}).status_code == 409
        git = owner.post("/v1/apps", json={"name": "git", "grants": [{"account": "code"}]}).json()["key"]
    with room.home.app_port(git) as port:
        assert port.get("/v1/accounts/code/token").status_code == 200
    assert room.home.token("work")
    room.program("backup").refused("mail")

    page = visit.page
    expect(page.get_by_text("1 needs you")).to_be_visible()
    expect(page.get_by_text("by git")).to_be_visible()
    expect(page.get_by_role("link", name="Look and answer: backup")).to_be_visible()
    first = page.get_by_role("listitem").first
    expect(first.get_by_role("heading")).to_have_text("music")
    page.set_viewport_size({"width": 1100, "height": 640})
    visit.axe()
    visit.shot("readme")
