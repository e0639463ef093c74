"""The canary: after every flow there is, no secret of it stands anywhere but in the answers that hand it out.

One walk for each form of the log, at level debug, with every mishap on the way that could make somebody print more
than is good. Then everything is looked through: log, files, process, spawned commands, pages, answers, and words.
"""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.types import ASGIApp

from broker.core.secret import Secret
from broker.practice import server
from broker.practice.app import build
from broker.practice.server import practice_in_thread
from broker.practice.settings import CONFIDENTIAL_CLIENT, PUBLIC_CLIENT, PracticeSettings
from broker.practice.state import Practice
from tests.attacks.canary import Canary, forms
from tests.attacks.ground import TOKEN, new_home
from tests.e2e.home import PATIENCE, Home, until
from tests.loopback import NO_TLS
from tests.oauth.loopback import Loopback, http
from tests.web.oidc_client import in_the_clear
from tests.web.raw import Line

PLACES = ["log", "answers", "pages", "said", "cmdline", "environ", "spawned", "backup.db"]
FAILURES = [
    "refresh:status=503*1",
    "refresh:html*1",
    'refresh:body={"error":"server_error","error_description":"practice"}*1',
    "refresh:garbage*1",
    "refresh:gzip*1",
    "refresh:big=300*1",
    "refresh:redirect=http://127.0.0.1:9/*1",
    'refresh:json={"expires_in":"never"}*1',
    "refresh:token_type=DPoP*1",
    "refresh:without=access_token*1",
]


class Walk:
    """Everything in which a secret has a part, done with a daemon of its own."""

    def __init__(self, canary: Canary, home: Home, practice: server.PracticeServer, owner: httpx2.Client) -> None:
        self.canary, self.home, self.practice, self.owner = canary, home, practice, owner
        self.app_url = owner.get("/v1/status").json()["doors"]["app"]
        self.browser_url = owner.get("/v1/status").json()["doors"]["browser"]
        self.token_file = home.runtime / "tokens/job/me"

    def person(self) -> httpx2.Client:
        """Return a browser whose every page is noted."""

        def saw(response: httpx2.Response) -> None:
            response.read()
            if str(response.request.url).startswith(self.browser_url):
                # A cookie, and the way to the provider, are what the browser has to have.
                head = {k: v for k, v in response.headers.items() if k not in ("set-cookie", "location")}
                self.canary.saw("pages", f"{response.status_code} {head}\n{response.text}")
            for name, value in response.cookies.items():
                self.canary.add(f"cookie {name[:9]}", value)

        hooks = {"response": [saw]}
        return httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE, follow_redirects=True, event_hooks=hooks)

    def log_in(self, account: str, **more: object) -> None:
        """Log in as a person, all the way to the result page, and once more with the spent address."""
        new = {"account": account, "provider": "practice", "base_url": self.practice.url, "client_id": PUBLIC_CLIENT}
        begun = self.owner.post("/v1/logins", json=new | more).json()
        with self.person() as browser:
            arrived = browser.get(begun["start_url"]).history[-1].request.url
            browser.get(arrived)
            browser.get(begun["start_url"])
        with self.person() as stranger:
            stranger.get(arrived)
            stranger.get(begun["start_url"])
        self.owner.get(f"/v1/logins/{begun['id']}")

    def fail_at_logging_in(self) -> None:
        """Log in with a wrong client secret, with an ID token that is wrong, and with answers that are no answers."""
        wrong = f"wrong-client-secret-{secrets.token_urlsafe(24)}"
        self.log_in("x", client_id=CONFIDENTIAL_CLIENT, client_secret=wrong)
        for fault in (
            "code:bad_signature*1",
            "code:wrong_nonce*1",
            "code:html*1",
            "code:cut*1",
            "authorize:wrong_iss*1",
        ):
            self.practice.set_faults([fault])
            self.log_in("x")
        self.practice.set_faults([])

    def paste(self) -> None:
        """Log in by pasting, with a wrong address first."""
        new = {"account": "pasted", "provider": "practice", "base_url": self.practice.url, "client_id": PUBLIC_CLIENT}
        with self.home.door() as quiet:  # its answer is meant to hold the address with the state in it
            begun = quiet.post("/v1/logins", json=new | {"flow": "paste"}).json()
        with httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as browser:
            arrived = browser.get(begun["authorization_url"]).headers["location"]
        code = parse_qs(urlsplit(arrived).query)["code"][0]
        finish = f"/v1/logins/{begun['id']}/finish"
        self.owner.post(finish, json={"url": arrived.replace("state=", "state=x")})
        self.owner.post(finish, json={"code": code, "nonsense": code})
        self.owner.post(finish, json={"url": arrived})
        self.owner.post(finish, json={"url": arrived})

    def device(self) -> None:
        """Begin a login on another device, and give it up."""
        new = {"provider": "practice", "base_url": self.practice.url, "client_id": PUBLIC_CLIENT, "flow": "device"}
        begun = self.owner.post("/v1/logins", json=new).json()
        with self.person() as browser:
            browser.get(begun["start_url"])
        self.owner.delete(f"/v1/logins/{begun['id']}")

    def refresh(self) -> None:
        """Refresh well and badly, and ask for less."""
        for fault in FAILURES:
            self.practice.set_faults([fault])
            self.owner.post("/v1/accounts/me/refresh", json={"confirm": True})
            self.owner.get(TOKEN)
        self.practice.set_faults([])
        self.owner.post("/v1/accounts/me/refresh", json={"confirm": True})
        self.owner.get(TOKEN, params={"scope": "openid"})
        self.owner.get(TOKEN, params={"min_ttl": "100000"})
        self.owner.get("/v1/accounts/me")

    def echo(self) -> None:
        """Have a provider repeat in its error what it was sent."""
        brought = f"brought-token-{secrets.token_urlsafe(24)}"
        self.canary.add("brought refresh token", brought)
        with Loopback() as echo:
            said = {"error": "invalid_request", "error_description": f"what is {brought}?", "error_uri": brought}
            echo.default = http("400 Bad", said)
            new = {"name": "echo", "token_endpoint": f"{echo.url}/t", "authorization_endpoint": f"{echo.url}/a"}
            self.owner.post("/v1/providers", json=new | {"client_id": "x"})
            login = {"provider": "echo", "account": "e", "flow": "refresh-token", "refresh_token": brought}
            self.owner.post("/v1/logins", json=login | {"client_id": "x"})
            echo.default = http("200 OK", {"access_token": brought, "token_type": brought})
            self.owner.post("/v1/logins", json=login | {"client_id": "x"})

    def noted(self) -> httpx2.Client:
        """Return a program at the app port whose every answer is noted."""
        hooks = {"response": [self.canary.saw_answer]}
        return httpx2.Client(base_url=self.app_url, trust_env=False, verify=NO_TLS, event_hooks=hooks, timeout=PATIENCE)

    def apps(self) -> None:
        """Use keys as they are meant, and put them and tokens where they do not belong."""
        self.owner.post("/v1/apps", json={"name": "job", "grants": [{"account": "me", "token_file": "access_token"}]})
        until("its token file is there", self.token_file.exists)
        key = self.owner.post("/v1/apps/job/rotate").json()["key"]
        with self.noted() as app:
            headers = {"Authorization": f"Bearer {key}"}
            token = app.get(TOKEN, headers=headers).json()["access_token"]
            app.post(f"{TOKEN}/rejected", headers=headers, json={"access_token": token})
            app.post(f"{TOKEN}/rejected", headers=headers, json={"access_token": 17, token: key})
            app.post(f"{TOKEN}/rejected", headers=headers, content=f'{{"access_token":"{token}",')
            for query in (f"scope={token}", f"resource=https://{token}/", f"{token}=1"):
                app.get(f"{TOKEN}?{query}", headers=headers)
            self.owner.get(f"{TOKEN}?scope={token}")
            app.get(f"/v1/accounts/{token}/token", headers=headers)
            app.post(f"/v1/accounts/{token}/token/rejected", headers=headers, json={"access_token": token})
            until("that is in the record", lambda: "was not granted account" in self.owner.get("/v1/audit").text)
            app.get(f"/v1/apps/{token}", headers=headers)
            app.get(f"/v1/accounts/{token}", headers=headers)
            app.get(TOKEN, headers={"Authorization": f"Bearer {key}x"})
            app.get(TOKEN, headers={"Authorization": f"Basic {key}"})
            app.get(TOKEN, headers=headers | {"Cookie": f"key={key}"})

    def clouds(self) -> None:
        """Ask with a key in the address, as the programs of a cloud do; and with everything wrong on the way."""
        made = {"name": "machine", "grants": [{"account": "me"}], "capability": True}
        former = self.owner.post("/v1/apps", json=made).json()["key"]
        key = self.owner.post("/v1/apps/machine/rotate", json={"capability": True}).json()["key"]
        token = self.owner.get(TOKEN).json()["access_token"]
        accounts = "computeMetadata/v1/instance/service-accounts"
        ends = ("", "/", f"/{accounts}/default/", f"/{accounts}/default/token", f"/{accounts}/{token}/token", "/x")
        imds = "metadata/identity/oauth2/token"
        headers = {"Metadata-Flavor": "Google", "Metadata": "true", "X-IDENTITY-HEADER": key}
        with self.noted() as app:
            for used in (key, former, f"{key}x", f"{key}%0A", f"{key}%2F"):
                for path in (*(f"/google/{used}{end}" for end in ends), f"/imds/{used}/{imds}", f"/imds/{used}"):
                    for more in (headers, {}, headers | {"Origin": "null"}, headers | {"Host": "evil.example"}):
                        app.get(path, headers=more)
                    app.get(f"{path}?scopes={token}&resource={token}&client_id={token}&audience={key}", headers=headers)
                    app.post(path, headers=headers)
                    self.owner.get(path, headers=headers)
            app.get(f"/azure/token?resource={key}", headers=headers)
            app.get(TOKEN, headers={"Authorization": f"Bearer {key}"})
            self.practice.set_faults(["refresh:status=503"])
            self.owner.post("/v1/accounts/me/refresh")
            app.get(f"/google/{key}/{accounts}/default/token", headers=headers)
            self.practice.set_faults([])
        until("that is in the record", lambda: "is one for an address" in self.owner.get("/v1/audit").text)

    def agent(self) -> None:
        """Get a token as a client of oidc-agent does, and put it where it does not belong."""
        where = str(self.home.runtime / "oidc.sock")
        request = {"request": "access_token", "account": "me"}
        token = in_the_clear(where, request)["access_token"]
        for name in ("request", "account", "scope", "audience", "application_hint", token):
            in_the_clear(where, request | {name: token})
        in_the_clear(where, request | {"account": "", "issuer": token})
        for sent in (f'{{"account":"{token}"]}}', f"{token}{token}"):
            with Line(where) as line:
                line.send(sent.encode())
                assert b"failure" in line.end()

    def lock(self, passphrase: str) -> None:
        """Lock, guess, unlock, and make new keys."""
        self.owner.post("/v1/lock")
        self.owner.get(TOKEN)
        guess = f"guessed passphrase {secrets.token_urlsafe(12)}"
        self.canary.add("guess", guess)
        assert self.owner.post("/v1/unlock", json={"passphrase": guess}).status_code == 423
        self.owner.post("/v1/unlock", json={"passphrase": guess, "more": guess})

        def unlocked() -> bool:
            return self.owner.post("/v1/unlock", json={"passphrase": passphrase}).status_code == 200

        until("it is unlocked", unlocked)

    def command_line(self) -> None:
        """Get a token at a terminal, for a command, and for a command that looks at itself."""
        assert self.home.token()
        look = (
            f"tr '\\0' '\\n' </proc/$$/cmdline; env | grep -v ^ACCESS_TOKEN=; tr '\\0' '\\n' </proc/{self.pid}/cmdline"
        )
        done = self.home.run("exec", "me", "--", "sh", "-c", look)
        assert done.code == 0
        self.canary.saw("spawned", done.out)
        self.home.run("logout", "pasted")
        self.home.run("token", "nobody")
        self.home.run("audit", "--json")
        assert self.home.run("backup", str(self.home.place / "backup.db")).code == 0

    pid = 0


@contextlib.contextmanager
def walked(form: str) -> Iterator[Canary]:
    """Do all of it, and note what can be seen afterwards."""
    canary = Canary()
    secret, passphrase = f"client-secret-{secrets.token_urlsafe(24)}", f"pass phrase {secrets.token_urlsafe(12)}"
    canary.add("client secret", secret)
    canary.add("passphrase", passphrase)

    def tapped(practice: Practice) -> ASGIApp:
        return canary.tap.before(build(practice))

    with pytest.MonkeyPatch.context() as patch, new_home() as home:
        patch.setattr(server, "build", tapped)
        settings = PracticeSettings(auto_approve=True, client_secret=Secret(secret), rotation="keep")
        notify = home.place / "notify.sh"
        notify.write_text(f"#!/bin/sh\n{{ env; cat; tr '\\0' '\\n' </proc/$$/cmdline; }} >>{home.place}/notified\n")
        notify.chmod(0o700)
        environ = {"KEYFOB_KEY_SOURCE": "passphrase", "KEYFOB_NOTIFY_COMMAND": str(notify)}
        with practice_in_thread(settings) as practice:
            daemon = home.serve("--log", "debug", "--log-format", form, **environ)
            with home.door() as owner:
                owner.event_hooks = {"response": [canary.saw_answer]}
                owner.post("/v1/unlock", json={"passphrase": passphrase}).raise_for_status()
                walk = Walk(canary, home, practice, owner)
                walk.pid = daemon.pid
                walk.log_in("me", client_id=CONFIDENTIAL_CLIENT, client_secret=secret)
                walk.log_in("dies")
                walk.fail_at_logging_in()
                walk.paste()
                walk.device()
                walk.refresh()
                walk.echo()
                walk.apps()
                walk.clouds()
                walk.agent()
                walk.lock(passphrase)
                walk.command_line()
                practice.revoke_grants()
                owner.post("/v1/accounts/dies/refresh", json={"confirm": True})
                until("somebody was told", (home.place / "notified").exists)
                for path in (
                    "/v1/accounts",
                    "/v1/audit",
                    "/v1/apps",
                    "/v1/providers",
                    "/v1/status",
                    "/metrics",
                    "/openapi.yaml",
                ):
                    owner.get(path)
                owner.delete("/v1/accounts/me")
                until("the token file is gone", lambda: not walk.token_file.exists())
            for name in ("cmdline", "environ"):
                canary.saw(name, Path(f"/proc/{daemon.pid}/{name}").read_bytes())
            daemon.kill()  # so that the write-ahead log and the journal are left as they are
            canary.saw("log", daemon.log)
        canary.saw("said", home.said_to_people)
        for file in sorted(home.place.rglob("*")):
            if file.is_file():
                canary.saw("spawned" if file.name == "notified" else file.name, file.read_bytes())
        yield canary


@pytest.fixture(scope="module", params=["text", "json"])
def canary(request: pytest.FixtureRequest) -> Iterator[Canary]:
    """Walk once with each form of the log."""
    with walked(request.param) as found:
        yield found


def test_the_walk_went_everywhere(canary: Canary) -> None:
    """Every kind of secret was there to be found, and every place holds what it should, so nothing passes unseen."""
    assert {kind for kind, values in canary.secrets.items() if not values} <= {
        "registration_access_token",
        "client_secret",
    }
    assert {*PLACES, "keyfob.db", "keyfob.db-wal", "keyfob.db.fence", "keyfob.db.answers"} <= set(canary.places)
    assert b"/callback/{provider}" in canary.places["log"]
    assert CONFIDENTIAL_CLIENT.encode() in canary.places["keyfob.db"] + canary.places["keyfob.db-wal"]
    assert b"KEYFOB_ACCOUNT=dies" in canary.places["spawned"]
    assert b"423" in canary.places["answers"]


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_there(canary: Canary, place: str) -> None:
    """Not as it is, and not encoded."""
    assert canary.found_in(place) == []


def test_no_secret_is_in_a_file(canary: Canary) -> None:
    """Nor in any file that is left: database, log of it, fence, journal, locks, the socket's directory."""
    assert {place: found for place in canary.places if (found := canary.found_in(place))} == {}


@pytest.mark.parametrize("form", forms("x"))
@pytest.mark.parametrize("kind", ["refresh_token", "code_verifier", "app key", "passphrase", "client secret"])
def test_one_that_is_planted_is_found(canary: Canary, kind: str, form: str) -> None:
    """The search can find: a secret that is put into the log, in whatever form, is told by its kind."""
    value = min(canary.secrets[kind])
    before = canary.places["log"]
    canary.places["log"] = before + b"2026-01-01 INFO " + forms(value)[form] + b"\n"
    try:
        assert any(told.startswith(f"{kind},") for told in canary.found_in("log"))
    finally:
        canary.places["log"] = before
