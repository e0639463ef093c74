"""Logging in on the owner's page: every way to its end, and what is said on the way."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx2

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import CONFIDENTIAL_CLIENT, PracticeSettings
from broker.web.text import clean
from tests.loopback import NO_TLS
from tests.web.desktop import Desktop
from tests.web.owner import Form, Owner
from tests.web.walk import new_browser


def test_a_code_and_an_address_of_a_login_are_for_the_owner_alone(
    desktop: Desktop, owner: Owner, practice: PracticeServer
) -> None:
    """Who knows a login's id and is not signed in learns neither its user code nor where it goes on."""
    for way in ("device", "paste"):
        begun = owner.begin(f"add/practice?way={way}", base_url=practice.url, account=f"own-{way}")
        kept = begun.get("user_code") or begun["authorization_url"]

        refused = desktop.send("GET", f"/ui/parts/progress/{begun['id']}")

        assert refused.status_code == 401
        assert kept not in refused.text
        assert clean(kept).replace("&", "&amp;") in owner.part(f"progress/{begun['id']}")


def test_three_clicks_lead_to_a_provider_that_needs_nothing(owner: Owner) -> None:
    """Choose a provider, choose it, log in: no field is required, and what is there is enough."""
    assert 'href="/ui/add"' in owner.part("overview")
    assert 'href="/ui/add/lichess"' in owner.part("add")
    form = Form(owner.part("add/lichess"))

    begun = owner.send(form)

    assert not [name for name, field in form.fields.items() if "required" in field]
    assert (form.then, begun["state"], begun["flow"]) == ("login", "pending", "browser")
    assert begun["start_url"].startswith(owner.house.browser_url)


def test_a_login_in_this_browser_leads_back_to_the_owners_page(owner: Owner, practice: PracticeServer) -> None:
    """Its last page, which may be at another name of this machine, links the account at the owner's own origin."""
    begun = owner.begin("add/practice", base_url=practice.url, account="browsed", scope="openid profile")
    assert "has not answered yet" in owner.part(f"progress/{begun['id']}")

    with httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS) as browser:
        last = browser.get(begun["start_url"])

    assert f'href="{owner.house.browser_url}/ui/accounts/browsed"' in last.text
    done = owner.part(f"progress/{begun['id']}")
    assert 'href="/ui/accounts/browsed"' in done
    assert "You are logged in" in done
    assert "profile" in done


def test_a_login_with_a_code_shows_what_a_person_needs(owner: Owner, practice: PracticeServer) -> None:
    """The code, to be copied; where it goes, also as a picture with a name; and a way out, which ends it."""
    begun = owner.begin("add/practice?way=device", base_url=practice.url, account="phone")

    html = owner.part(f"progress/{begun['id']}")

    assert f'data-copy="{begun["user_code"]}"' in html
    assert f'href="{begun["verification_uri"]}" target="_blank" rel="noopener noreferrer"' in html
    assert re.search(r'<svg class="qr" [^>]*role="img" aria-label="QR code', html)
    assert f'action="/ui/v1/logins/{begun["id"]}" data-method="DELETE"' in html

    owner.house.owner.ask("DELETE", "/v1/logins/{id}", 204, path={"id": begun["id"]})
    over = owner.part(f"progress/{begun['id']}")
    assert begun["user_code"] not in over
    assert "The login was cancelled." in over
    assert f'href="/ui/add/{begun["provider"]}?way=device&amp;account=phone"' in over


def test_a_login_by_paste_is_finished_on_the_page(owner: Owner, practice: PracticeServer) -> None:
    """A wrong address is refused with what the right one looks like, and the right one finishes it."""
    begun = owner.begin("add/practice?way=paste", base_url=practice.url, account="pasted")
    with new_browser() as elsewhere:
        answer = elsewhere.get(begun["authorization_url"]).headers["location"]
    form = Form(owner.part(f"progress/{begun['id']}"))

    wrong = owner.send(form, 400, url="https://elsewhere.example/?code=x&state=y")
    done = owner.send(form, 200, url=answer)

    assert begun["redirect_uri"] in wrong["detail"]
    assert (done["state"], form.then) == ("done", "/ui/progress/{id}")
    assert 'href="/ui/accounts/pasted"' in owner.part(f"progress/{done['id']}")


def test_a_refresh_token_and_a_program_need_no_browser(owner: Owner, practice: PracticeServer) -> None:
    """Both are done at once; what the provider refuses is told in the form."""
    secret = practice.client_secret.reveal()
    form = Form(owner.part("add/practice?way=client-credentials"))
    form.values |= {"base_url": practice.url, "account": "robot", "client_id": CONFIDENTIAL_CLIENT}

    refused = owner.send(form, 400, client_secret="wrong")
    done = owner.send(form, 201, client_secret=secret)
    spent = owner.begin(
        "add/practice?way=refresh-token", 400, base_url=practice.url, refresh_token="spent", account="taken-over"
    )

    assert "Check its id, its secret" in refused["detail"]
    assert done["state"] == "done"
    assert "It is spent or over" in spent["detail"]


def test_an_address_is_enough_where_a_server_tells_of_itself(owner: Owner, practice: PracticeServer) -> None:
    """Keyfob finds out where it listens, registers itself there, and begins the login."""
    begun = owner.send(Form(owner.part("add")), provider=practice.url)

    assert (begun["state"], begun["flow"]) == ("pending", "browser")
    known = owner.house.owner.ask("GET", "/v1/providers/{provider}", 200, path={"provider": begun["provider"]})
    assert known["issuer"] == practice.url
    assert known["clients"]


def test_a_wrong_place_is_told_with_what_to_do(owner: Owner) -> None:
    """Nobody there, and nobody who knows OAuth: both say what to look at."""
    nobody = owner.send(Form(owner.part("add")), 503, provider="http://127.0.0.1:1")
    another = owner.send(Form(owner.part("add")), 400, provider=f"{owner.house.browser_url}")
    inside = owner.begin("add/funkwhale", 400, base_url="https://192.168.1.2")

    assert "Check the address" in nobody["detail"]
    assert "Check the issuer URL" in another["detail"]
    assert "private network" in inside["detail"]


def test_a_login_that_failed_is_begun_again_with_its_own_client(owner: Owner) -> None:
    """A client that came with a login is kept when that succeeds only, so the form asks for it again."""
    with (
        practice_in_thread(PracticeSettings(auto_approve=True)) as another,
        httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS) as browser,
    ):
        path = f"add/practice?client=own&base_url={another.url}"
        begun = owner.begin(path, client_id=CONFIDENTIAL_CLIENT, account="mistyped")
        last = browser.get(begun["start_url"])

    assert f'href="{owner.house.browser_url}/ui/progress/{begun["id"]}"' in last.text
    again = re.search(r'href="/ui/(add/[^"]+)"', owner.part(f"progress/{begun['id']}"))
    assert again is not None
    path = again[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(path).query) == {"way": ["browser"], "account": ["mistyped"], "client": ["own"]}
    form = Form(owner.part(path))
    assert form.fields["account"]["value"] == "mistyped"
    assert "client_id" in form.fields


def test_a_login_that_nobody_finished_says_so(desktop: Desktop, owner: Owner) -> None:
    """When its time is over, whether or not a tick has seen that."""
    begun = owner.begin("add/lichess", account="forgotten")
    desktop.now += 601

    html = owner.part(f"progress/{begun['id']}")

    assert "Nobody finished this login in time" in html
    assert "Begin again" in html
