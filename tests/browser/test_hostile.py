"""Text of strangers in the real page: what people, providers and programs say is seen, and does nothing.

That nothing runs, nothing is asked for and no box comes up, every window is watched for (``Watch``).
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import PHONE, OpenVisit, Visit

TEXTS = {
    "image": "<img src=x onerror=alert(1)>",
    "script": '"><script>alert(1)</script>',
    "handler": "' onmouseover=alert(1) autofocus onfocus=alert(1) x='",
    "address": "javascript:alert(1)",
    "bidi": "ada\u202egnp.exe\u2066\u200f",
    "long": "x" * 10_000,
}
# Words of a scope have no spaces (RFC 6749 3.3).
SCOPES = ("<img/src=x/onerror=alert(1)>", "<script>alert(1)</script>", "javascript:alert(1)", "y" * 10_000)
# What would act if it were markup, what leads out of the page, and what turns the writing round.
ALIVE = """() => [
  ...[...document.querySelectorAll("body :is(img, script, iframe, object, embed, base, style, link)")]
    .map(it => it.outerHTML),
  ...[...document.querySelectorAll("*")].flatMap(it => [...it.attributes])
    .filter(it => /^on/.test(it.name) || it.name === "style" || /^javascript:/i.test(it.value) && it.name !== "value"
      && it.name !== "data-copy").map(it => `${it.name}=${it.value}`),
  ...(/[\\u202a-\\u202e\\u2066-\\u2069\\u200e\\u200f]/.test(document.documentElement.outerHTML) ? ["bidi"] : []),
]"""


def seen(text: str) -> str:
    """Return the beginning of a text, up to what would turn the writing round: so much has to be seen."""
    return text.partition("\u202e")[0][:40]


def inert(visit: Visit, *texts: str) -> None:
    """Expect that texts are there to be read, that nothing of them acts, and that the page keeps its width."""
    for text in texts:
        expect(visit.page.get_by_role("main")).to_contain_text(seen(text))
    assert visit.page.evaluate(ALIVE) == []
    visit.fits()


def at(room: Room, visit: Visit, path: str, *texts: str) -> None:
    """Go to a page and expect that of it."""
    visit.page.goto(room.url + path)
    expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    inert(visit, *texts)


def test_what_a_person_and_a_provider_say(room: Room, open_visit: OpenVisit) -> None:
    """A name at the provider, scopes, and why a refresh was refused: on each page that shows them."""
    visit = open_visit(PHONE)
    page = visit.page
    room.practice.set_faults([f"code:json={json.dumps({'scope': SCOPES})}"])
    for account, name in TEXTS.items():
        _, start = room.begin_login(account)
        page.goto(start)
        page.get_by_label("Your user name").fill(name)
        page.get_by_role("button", name="Allow").tap()
        expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
        inert(visit, name, *SCOPES)
    at(room, visit, "/ui/", *TEXTS.values())
    visit.inspect("hostile-accounts")
    for account, name in TEXTS.items():
        at(room, visit, f"/ui/accounts/{account}", name, *SCOPES)
    visit.inspect("hostile-account")

    room.practice.revoke_grants()
    for account, why in TEXTS.items():
        said = json.dumps({"error": "invalid_grant", "error_description": f"It says {why}"})
        room.practice.set_faults([f"refresh:answer={said}"])
        assert room.home.run("refresh", account).code != 0
        at(room, visit, f"/ui/accounts/{account}", seen(f"It says {why}").replace('"', "'"))
    at(room, visit, "/ui/")
    visit.inspect("hostile-reasons")
    at(room, visit, "/ui/activity")
    visit.inspect("hostile-activity")


def test_what_programs_say(room: Room, open_visit: OpenVisit) -> None:
    """Names that could act are refused; where a program lies, and what it asks for, is shown as it is."""
    room.log_in("ledger")
    visit = open_visit(PHONE)
    program = room.program("harvester")
    with room.home.door() as owner, room.home.door(program.key) as app, room.home.door("kf_" + "k" * 43) as stranger:
        for text in TEXTS.values():
            assert owner.post("/v1/apps", json={"name": text}).status_code == 400
            assert stranger.post("/v1/pairing", json={"name": text, "grants": []}).status_code == 400
        asked = app.get("/v1/accounts/ledger/token", params={"scope": " ".join(SCOPES[:3])})
    assert asked.status_code == 403, asked.text
    lies_in = room.home.place / '"><script>alert(1)<' / "script> <img src=x onerror=alert(1)>\u202e"
    waiting = pair_from(room, lies_in, "trader")

    at(room, visit, "/ui/apps", "harvester", "trader")
    visit.page.get_by_role("link", name="harvester").first.tap()
    expect(visit.page.get_by_role("heading", level=1)).to_contain_text("harvester asks")
    inert(visit, *SCOPES[:3])
    visit.inspect("hostile-scopes")
    at(room, visit, "/ui/apps")
    visit.page.get_by_role("link", name="trader").first.tap()
    expect(visit.page.get_by_role("heading", level=1)).to_contain_text("trader wants")
    inert(visit, '"><script>alert(1)</script> <img src=x onerror=alert(1)>')
    visit.inspect("hostile-program")
    at(room, visit, "/ui/activity", "harvester")
    waiting.terminate()
    waiting.communicate()


def pair_from(room: Room, folder: Path, name: str) -> subprocess.Popen[str]:
    """Begin ``keyfob pair`` by an interpreter that lies in a folder; return it once it waits for the owner."""
    folder.mkdir(parents=True)
    python = shutil.copy(os.path.realpath(sys.executable), folder / "python")
    at_home = {
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
    }
    waiting = subprocess.Popen(
        [python, "-m", "broker.cli", "pair", name, "--key-file", folder / "key"],
        env=room.home.environ | at_home,
        text=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert waiting.stderr is not None
    said = waiting.stderr.readline()
    assert "The owner of Keyfob has to allow this" in said, said
    return waiting


def test_what_providers_are_called_and_what_addresses_hold(room: Room, open_visit: OpenVisit) -> None:
    """Titles that an owner was talked into, and links that somebody sends with a search in them."""
    with room.home.door() as owner:
        for number, title in enumerate(TEXTS.values()):
            new = {"name": f"p{number}", "preset": "practice", "base_url": room.practice.url, "title": title}
            made = owner.post("/v1/providers", json=new)
            assert made.status_code == 201, made.text
    visit = open_visit(PHONE)
    at(room, visit, "/ui/add", *TEXTS.values())
    visit.inspect("hostile-providers")
    for number, title in enumerate(TEXTS.values()):
        at(room, visit, f"/ui/add/p{number}", title)
    room.log_in("ledger")
    room.program("harvester")
    for text in TEXTS.values():
        word = quote(text[:500], safe="")
        for path in (
            "/ui/?q=",
            "/ui/apps?q=",
            "/ui/add?q=",
            "/ui/activity?q=",
            "/ui/activity?account=",
            "/ui/activity?app=",
        ):
            at(room, visit, path + word)
