"""Adding an account on the owner's page: where that can be, and a form with only what is needed there."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.practice.server import PracticeServer
from tests.web.desktop import Desktop
from tests.web.owner import Form, Owner

SHELLS = ("/ui/add", "/ui/add/github", "/ui/progress/x")


def names(html: str) -> list[str]:
    """Return the providers that can be chosen, in order."""
    return re.findall(r'<li data-key="([^"]+)"', html)


def test_a_program_s_client_makes_no_provider_ready(desktop: Desktop, owner: Owner, practice: PracticeServer) -> None:
    """What the list says and what the form asks for are the same: a person needs a client of their own there."""
    new = {"name": "robots", "issuer": practice.url, "title": "Robots"}
    assert desktop.house.owner.ask("POST", "/v1/providers", 201, json=new)
    login = {"provider": "robots", "account": "robot", "flow": "client-credentials", "client_id": "keyfob-machine"}
    login["client_secret"] = practice.client_secret.reveal()
    assert desktop.house.owner.ask("POST", "/v1/logins", 201, json=login)["state"] == "done"

    listed = owner.part("add?q=robots")

    assert '<span class="good">ready</span>' not in listed
    assert "robots" in listed


# --- who may look -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHELLS)
def test_nobody_looks_without_a_session(desktop: Desktop, owner: Owner, path: str) -> None:
    """The page is the same for everybody, and its part is for the owner alone."""
    del owner  # who is signed in, in this browser, but does not show it here
    shell = desktop.browser.get(desktop.house.browser_url + path)
    part = desktop.send("GET", path.replace("/ui/", "/ui/parts/"))

    assert shell.status_code == 200
    assert "Sign in to see this" in shell.text
    assert part.status_code == 401


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_every_preset_can_be_chosen(owner: Owner) -> None:
    """All are listed with what they take; the one for tries comes last, and says so."""
    html = owner.part("add")
    presets = {one["name"] for one in owner.house.owner.ask("GET", "/v1/presets", 200)["presets"]}

    assert set(names(html)) >= presets - {"generic"}
    assert names(html)[-1] == "practice"
    assert html.count("for tries") >= 1
    for words in ("nothing needed", "client needed", "at an address of yours, registers Keyfob itself", "Any other"):
        assert words in html


def test_a_search_narrows_what_can_be_chosen(owner: Owner) -> None:
    """By name, title or need; where nothing fits, the address is left."""
    assert names(owner.part("add?q=GITHUB")) == ["github", "github-app"]
    assert "funkwhale" in names(owner.part("add?q=registers itself"))
    none = owner.part("add?q=zzzz")
    assert names(none) == []
    assert "show all" in none
    assert 'name="provider"' in none


def test_a_provider_that_is_set_up_comes_first(owner: Owner, practice: PracticeServer) -> None:
    """Under its own title, ready, and without its address being asked again."""
    owner.house.log_in("first", practice.url)
    host = urlsplit(practice.url).netloc

    html = owner.part("add")

    first = names(html)[0]
    assert first == f"practice-{host.replace('.', '-').replace(':', '-')}"
    assert f"Practice server at {host}" in html
    form = Form(owner.part(f"add/{first}"))
    assert set(form.fields) == {"provider", "flow", "account", "scope"}


# --- only what is needed ----------------------------------------------------------------------------------------------

EVERYWHERE = {"provider", "flow", "account", "scope"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("lichess", set()),
        ("lichess?client=own", {"client_id"}),
        ("lichess?way=token", {"access_token", "expires_at"}),
        ("github", {"client_id", "client_secret"}),
        ("github?way=token", {"access_token", "expires_at"}),
        ("spotify?way=refresh-token", {"client_id", "client_secret", "refresh_token"}),
        ("funkwhale", {"base_url", "private"}),
        ("funkwhale?way=token", {"base_url", "private", "access_token", "expires_at"}),
        ("nextcloud?base_url=https://cloud.example.org", {"base_url", "private", "client_id", "client_secret"}),
        ("gitlab", {"client_id", "client_secret"}),
        ("gitlab?way=token", {"base_url", "private", "access_token", "expires_at"}),
        ("microsoft?way=device", {"parameters.tenant", "client_id", "client_secret"}),
        ("zoho?param-dc=eu", {"parameters.dc", "client_id", "client_secret"}),
        ("google?way=device", {"client_id", "client_secret"}),
        ("mastodon?way=client-credentials", {"base_url", "private", "client_id", "client_secret"}),
        ("practice", {"base_url", "private"}),
        ("generic?way=device", {"private"}),
    ],
)
def test_a_form_asks_for_what_its_provider_and_way_need(owner: Owner, path: str, fields: set[str]) -> None:
    """And for nothing else."""
    assert set(Form(owner.part(f"add/{path}")).fields) == fields | EVERYWHERE


def test_what_is_secret_is_not_shown_while_it_is_typed(owner: Owner) -> None:
    """Client secrets, tokens and refresh tokens are password fields, and no browser fills them in."""
    for path in ("github", "github?way=token", "spotify?way=refresh-token"):
        fields = Form(owner.part(f"add/{path}")).fields
        for name in {"client_secret", "access_token", "refresh_token"} & set(fields):
            assert (fields[name]["type"], fields[name]["autocomplete"]) == ("password", "off")


def test_where_a_client_is_made_comes_before_what_it_is_registered_with(owner: Owner) -> None:
    """The redirect URI has the provider's place in it, so nothing else is asked before that is known."""
    html = owner.part("add/nextcloud")

    assert Form(html).fields == {}
    assert 'name="base_url"' in html
    assert 'data-method="GET"' in html
    assert "redirect URI: " not in html


@pytest.mark.parametrize(
    ("query", "login"),
    [
        ("github", {"provider": "github"}),
        ("microsoft", {"provider": "microsoft"}),
        ("gitlab", {"provider": "gitlab"}),
        ("gitlab?base_url=https://Git.Example.org/", {"provider": "gitlab", "base_url": "https://Git.Example.org/"}),
        ("zoho?param-dc=eu", {"provider": "zoho", "parameters": {"dc": "eu"}}),
        (
            "nextcloud?base_url=https://cloud.example.org",
            {"provider": "nextcloud", "base_url": "https://cloud.example.org"},
        ),
    ],
)
def test_the_redirect_uri_is_the_one_that_the_login_will_have(owner: Owner, query: str, login: dict[str, Any]) -> None:
    """What a client is registered with is, to the letter, what Keyfob comes with; before and after it is set up."""
    before = owner.part(f"add/{query}")
    told = owner.house.owner.ask("POST", "/v1/logins", 400, json=login)
    after = owner.part(f"add/{query}")

    for html in (before, after):
        assert f'data-copy="{told["redirect_uri"]}"' in html
        assert f'href="{told["register_url"]}" target="_blank" rel="noopener noreferrer"' in html


def test_a_client_that_is_kept_is_not_asked_for_again(owner: Owner) -> None:
    """Neither by the provider's own name, nor where another way would take the same client."""
    owner.house.owner.ask(
        "POST", "/v1/providers", 201, json={"preset": "dropbox", "client_id": "kept", "client_secret": "s"}
    )

    for path in ("dropbox", "dropbox?way=paste", "dropbox?way=refresh-token"):
        assert "client_id" not in Form(owner.part(f"add/{path}")).fields
    assert "client_id" in Form(owner.part("add/dropbox?client=own")).fields


def test_a_provider_of_its_presets_name_is_where_a_login_goes(owner: Owner) -> None:
    """Its address is not needed any more, and another one is still possible."""
    address = "https://gitea.example.org"
    owner.house.owner.ask("POST", "/v1/providers", 201, json={"name": "gitea", "preset": "gitea", "base_url": address})

    html = owner.part("add/gitea")

    assert "Gitea at gitea.example.org" in html
    assert f"It is not at {address}" in html
    assert f'data-copy="{owner.house.browser_url}/callback/gitea"' in html
    assert "/callback/gitea-other-example" in owner.part("add/gitea?base_url=https://other.example")


def test_other_ways_for_programs_are_told_as_commands(owner: Owner) -> None:
    """What this page does not begin stands there as it is typed in a terminal."""
    html = re.sub("<[^>]+>", "", owner.part("add/practice?base_url=http://127.0.0.1:1"))

    assert (
        "keyfob login NAME --provider practice --base-url http://127.0.0.1:1 --flow jwt-bearer --client-id ID" in html
    )
    assert "keyfob login NAME --from ACCOUNT" in html


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("add/githb", 404, "Did you mean github"),
        ("add/github?way=carrier-pigeon", 400, "Choose one of: browser"),
        ("add/gitlab?base_url=ftp://git.example.org", 400, "https://"),
        ("add/zoho?param-dc=moon", 400, "Choose one of com"),
        ("add/github?colour=red", 400, "colour"),
        ("progress/unknown", 404, "no such login"),
    ],
)
def test_what_cannot_be_shown_says_why(owner: Owner, path: str, status: int, words: str) -> None:
    """With what to do about it."""
    assert words in owner.part(path, status)
