"""A day with Keyfob, from nothing to logged out, with the real command, daemon and provider as processes."""

import re
import signal
import sys
from pathlib import Path

import httpx2

from broker.practice.server import PracticeServer
from tests.e2e.home import START_URL, Home, Running, browser

PROVIDER_URL = r"^http://127\.0\.0\.1:\d+"
SHOW_ENVIRONMENT = "import os, sys; print(os.environ['TOKEN']); print(open('/proc/self/cmdline').read())"
SCOPES = ["openid", "profile", "offline_access"]


def answer_consent(login: Running, provider: str, decision: str) -> httpx2.Response:
    """Open the address that a waiting login shows, fill in the provider's page, and return where that leads."""
    with browser() as person:
        page = person.get(login.says(START_URL))
        ticket = re.search(r'name="ticket" value="([^"]+)"', page.text)
        assert ticket, page.text
        form = {"ticket": ticket[1], "user": "grace", "scope": SCOPES, "decision": decision}
        return person.post(f"{provider}/authorize", data=form)


def accepts(provider: str, token: str) -> bool:
    """Ask the provider whether a token is good."""
    return httpx2.get(f"{provider}/userinfo", headers={"Authorization": f"Bearer {token}"}).is_success


def test_first_login_as_a_person_does_it(home: Home) -> None:
    """serve, practice, login, a consent page in the browser, token: the five steps of a first day."""
    home.serve()
    provider = home.begin("practice", "--port", "0")
    url = provider.says(PROVIDER_URL)

    login = home.begin("login", "--provider", "practice", "--base-url", url, "--no-browser")
    page = answer_consent(login, url, "allow")

    done = login.end()
    assert (done.code, done.out) == (0, ""), done
    assert "Logged in as grace" in done.err
    assert (page.status_code, page.url.query) == (200, b"")
    assert "grace" in page.text
    name = re.search(r"keyfob token (\S+)", done.err)
    assert name, done.err
    assert accepts(url, home.token(name[1]))
    assert provider.end(signal.SIGINT).code == 0


def test_refused_consent(home: Home) -> None:
    """Who says no at the provider is told so in the terminal and in the browser, and nothing is kept."""
    home.serve()
    url = home.begin("practice", "--port", "0").says(PROVIDER_URL)

    login = home.begin("login", "me", "--provider", "practice", "--base-url", url, "--no-browser")
    page = answer_consent(login, url, "deny")

    done = login.end()
    assert (done.code, done.out) == (1, ""), done
    assert "keyfob login me" in done.err
    assert "access_denied" not in page.url.query.decode()
    assert "You are not logged in" in page.text
    assert home.run("accounts", "--json").json() == {"accounts": []}


def test_interrupted_login(home: Home, practice: PracticeServer) -> None:
    """Ctrl-C while the browser is open cancels the login: its address is worth nothing afterwards."""
    home.serve()
    login = home.begin("login", "me", "--provider", "practice", "--base-url", practice.url, "--no-browser")
    start = login.says(START_URL)

    done = login.end(signal.SIGINT)

    assert done.code == 130, done
    assert "nothing was kept" in done.err
    with browser() as person:
        assert person.get(start).status_code == 404
    assert practice.log.all("authorize") == []


def test_every_verb_over_one_login(home: Home, practice: PracticeServer) -> None:
    """token, exec, an app with a key on both doors, refresh, accounts, show, status, logout: all of one login."""
    home.serve()
    home.log_in(practice.url)

    printed = home.run("token", "me")
    token = printed.out.removesuffix("\n")
    assert (printed.code, printed.err) == (0, "")
    assert re.fullmatch(r"practice_at_[\w-]+", token)
    assert home.run("token", "me", "--header").out == f"Authorization: Bearer {token}\n"
    assert home.run("token", "me", "--json").json()["access_token"] == token

    seen, argv = home.run("exec", "me", "--env", "TOKEN", "--", sys.executable, "-c", SHOW_ENVIRONMENT).out.split(
        "\n", 1
    )
    assert seen == token
    assert token not in argv

    key = home.run("app", "add", "job", "--account", "me").out.strip()
    for door in (home.app_port(key), home.door(key)):
        with door:
            assert door.get("/v1/accounts/me/token").json()["access_token"] == token
            assert door.get("/v1/accounts").status_code == 403

    assert home.run("refresh", "me").code == 0
    renewed = home.token()
    assert renewed != token
    assert accepts(practice.url, renewed)

    (account,) = home.run("accounts", "--json").json()["accounts"]
    assert (account["account"], account["state"], account["identity"]["label"]) == ("me", "active", "ada")
    assert home.run("show", "me", "--json").json()["account"] == "me"
    status = home.run("status", "--json").json()
    assert (status["state"], status["accounts"], status["key"]["locked"]) == ("ok", {"active": 1}, False)
    assert status["doors"]["socket"] == str(home.socket)

    assert home.run("logout", "me").code == 0
    assert not accepts(practice.url, renewed)
    assert home.run("accounts", "--json").json() == {"accounts": []}


def test_keyfob_registers_itself_for_a_resource_and_takes_itself_away(home: Home, practice: PracticeServer) -> None:
    """Only the address of a resource is known: server, client and token are found; at the end nothing is left there."""
    home.serve()
    resource = f"{practice.url}/api"
    waiting = home.begin("login", "mcp", "--resource", resource, "--no-browser")
    with browser() as person:
        assert person.get(waiting.says(START_URL)).status_code == 200
    done = waiting.end()
    assert done.code == 0, done

    token = home.token("mcp")
    assert httpx2.get(resource, headers={"Authorization": f"Bearer {token}"}).is_success
    assert [event.resource for event in practice.log.all("code")] == [resource]
    (provider,) = home.run("provider", "list", "--json").json()["providers"]
    assert (provider["issuer"], provider["registration"]) == (practice.url, "rfc7591")
    (client,) = provider["clients"]
    assert practice.log.all("register")[0].client == client

    again = home.run("provider", "discover", provider["name"], "--json")
    assert again.json()["token_endpoint"] == f"{practice.url}/token"
    address = "https://you.example/keyfob.json"
    document = home.run("provider", "client-metadata", provider["name"], "--client-id", address).json()
    assert (document["client_id"], document["redirect_uris"]) == (address, [provider["redirect_uri"]])

    assert home.run("logout", "mcp").code == 0
    removed = home.run("provider", "remove", provider["name"])
    assert (removed.code, f"{client}: Deleted" in removed.err) == (0, True), removed
    assert practice.log.all("registration")[-1].client == client


def test_a_program_elsewhere_needs_an_address_and_a_key_file(home: Home, practice: PracticeServer) -> None:
    """With KEYFOB_URL and a key file the same command works as the app, and gets no further than its grants."""
    home.serve()
    home.log_in(practice.url, "mine")
    home.log_in(practice.url, "other")
    file = Path(home.place / "key")
    file.write_text(home.run("app", "add", "job", "--account", "mine").out)
    app = {"KEYFOB_URL": home.run("status", "--json").json()["doors"]["app"], "KEYFOB_APP_KEY_FILE": str(file)}

    mine, other = home.run("token", "mine", **app), home.run("token", "other", **app)

    assert mine.out == f"{home.token('mine')}\n"
    assert (other.code, other.out) == (4, "")
    assert "KEYFOB_APP_KEY_FILE" in other.err
