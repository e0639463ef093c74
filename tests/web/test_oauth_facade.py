"""``/oauth/token``: whatever can ask an authorization server for a token gets it from Keyfob, and nobody else."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases.limits import FREE_TRIES
from tests.web.facade import ACCESS_TOKEN, EXCHANGE, ID_TOKEN, JWT, ROUTE, Facade
from tests.web.house import House, running
from tests.web.raw import Line, head

FORM = "Content-Type: application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def facade(tmp_path: Path) -> Iterator[Facade]:
    """Run a daemon with the account ``work``, by a clock that is moved on."""
    found = Facade()
    settings = PracticeSettings(ttl=600, auto_approve=True)
    with (
        practice_in_thread(settings, clock=found.clock) as found.practice,
        running(tmp_path, found.clock) as found.house,
    ):
        found.house.log_in("work", found.practice.url)
        yield found


def basic(name: str, key: str) -> str:
    """Return the header line of RFC 6749 2.3.1."""
    return f"Authorization: Basic {base64.b64encode(f'{name}:{key}'.encode()).decode()}"


def sent(line: Line, form: str, *headers: str, target: str = ROUTE) -> Any:  # noqa: ANN401 -- the answer's JSON
    """Send a form as it is written here, and return status and body."""
    body = form.encode("latin-1")
    line.send(head("POST", target, f"Host: {line.host}", f"Content-Length: {len(body)}", *headers) + body)
    answer = line.answer()
    return answer.status, answer.json()


# --- the grant --------------------------------------------------------------------------------------------------------


def test_client_credentials(facade: Facade) -> None:
    """The account's token in OAuth's form, with what remains of its life; a new one once that has ended."""
    key = facade.app("job", "work")
    first = facade.ask(key, 200)
    stored = facade.stored()
    assert first == {
        "access_token": stored["access_token"],
        "token_type": stored["token_type"],
        "expires_in": stored["expires_in"],
        "scope": stored["scope"],
    }

    facade.now += 300
    assert facade.ask(key, 200)["expires_in"] == first["expires_in"] - 300
    facade.now += 600
    second = facade.ask(key, 200)

    assert second["access_token"] != first["access_token"]
    assert second["expires_in"] == 600


def test_ways_to_prove_who_asks(facade: Facade) -> None:
    """Basic, percent-encoded or not, the form, a Bearer header as everywhere, at both doors: all are the app."""
    key = facade.app("job.1", "work")
    escaped = "".join(f"%{ord(c):02x}" for c in key)
    token = facade.stored()["access_token"]
    form = "grant_type=client_credentials"
    for where in (facade.house.app_url, facade.house.socket):
        with Line(where) as line:
            for more, header in (
                ("", basic("job.1", key)),
                ("", basic("job%2E1", escaped)),
                ("&client_id=job.1", basic("job.1", key)),
                (f"&client_id=job.1&client_secret={escaped}", "X: y"),
                (f"&client_id=job.1&client_secret={escaped}%0D%0A", "X: y"),
                ("", f"Authorization: Bearer {key}"),
                ("&client_id=job.1", f"Authorization: bearer  {key}"),
            ):
                status, answer = sent(line, form + more, FORM, header)
                assert (status, answer.get("access_token")) == (200, token), answer


def test_the_owner_needs_no_client(facade: Facade) -> None:
    """Who may use the socket asks without a name or a key; who names a client there has to be that client."""
    with Line(facade.house.socket) as line:
        assert sent(line, "grant_type=client_credentials", FORM)[1]["access_token"] == facade.stored()["access_token"]
        status, refused = sent(line, "grant_type=client_credentials&client_id=owner", FORM)
        assert (status, refused["error"]) == (401, "invalid_client")
        status, refused = sent(line, "grant_type=client_credentials&account=nobody", FORM)
        assert (status, refused["error"], refused["code"]) == (400, "invalid_target", "unknown_account")


WRONG = {
    "nothing": ("", "X: y"),
    "a name alone": ("&client_id=job", "X: y"),
    "a secret alone": ("&client_secret={key}", "X: y"),
    "another name": ("&client_id=other&client_secret={key}", "X: y"),
    "another name, by Basic": ("", "{other}"),
    "no name, by Basic": ("", "{nameless}"),
    "no key, by Basic": ("", "{keyless}"),
    "a wrong key": ("&client_id=job&client_secret={key}x", "X: y"),
    "the name as key": ("&client_id=job&client_secret=job", "X: y"),
    "no base64": ("", "Authorization: Basic {key}!"),
    "no ASCII": ("", "Authorization: Basic \xff\xfe"),
    "no colon": ("", "Authorization: Basic {key}"),
    "two headers": ("", "{right}\r\n{right}"),
    "another scheme": ("", "Authorization: Digest {key}"),
    "a bearer of nothing": ("", "Authorization: Bearer "),
    "a bearer with another name": ("&client_id=other", "Authorization: Bearer {key}"),
}


@pytest.mark.parametrize("door", ["socket", "app"])
@pytest.mark.parametrize("name", WRONG)
def test_whoever_it_is_not(house: House, key: str, door: str, name: str) -> None:
    """A name and a key that are not one app's are nobody's: 401 with the ways there are, at the socket too."""
    more, header = WRONG[name]
    words = {
        "key": key,
        "right": basic("job", key),
        "other": basic("other", key),
        "nameless": basic("", key),
        "keyless": basic("job", ""),
    }
    if (door, name) == ("socket", "nothing"):
        return  # that is the owner
    with Line(house.socket if door == "socket" else house.app_url) as line:
        body = f"grant_type=client_credentials{more.format(**words)}"
        line.send(
            head("POST", ROUTE, f"Host: {line.host}", f"Content-Length: {len(body)}", FORM, header.format(**words))
        )
        line.send(body.encode())
        answer = line.answer()

    # So many come here that some are told to wait.
    assert (answer.status, answer.json()["error"]) in ((401, "invalid_client"), (429, "temporarily_unavailable"))
    assert answer.status != 401 or answer.headers["www-authenticate"].startswith('Basic realm="keyfob"')
    assert key not in answer.text


def test_wrong_keys_are_counted(facade: Facade) -> None:
    """After so many of them further ones wait, in whatever field they came; a right one is answered meanwhile."""
    key = facade.app("job", "work")
    for _ in range(FREE_TRIES // 2):
        facade.ask("kf_wrong", 401)
        facade.post(401, **GRANT, client_id="job", client_secret="kf_wrong")
    exchange = {"grant_type": EXCHANGE, "subject_token_type": JWT}
    facade.post(401, **exchange, subject_token="kf_wrong")

    assert facade.ask("kf_wrong", 429)["retry_after"] == 1
    assert facade.post(429, **exchange, subject_token="kf_wrong")["error"] == "temporarily_unavailable"
    facade.ask(key, 200)


def test_a_client_says_one_thing(facade: Facade) -> None:
    """Who proves itself in two ways, or says two things, is not taken for either (RFC 6749 2.3)."""
    key, other = facade.app("job", "work"), facade.app("other", "work")
    subject = {"grant_type": EXCHANGE, "subject_token_type": JWT, "subject_token": other}
    for form in ({"client_id": "job", "client_secret": key}, {"client_id": "other"}, subject):
        assert facade.ask(key, 400, **form)["error"] == "invalid_request", form
    assert facade.ask(key, 400, where="home", account="work")["error"] == "invalid_request"
    assert facade.ask(key, 200, where="work", account="work")


def test_other_grants(facade: Facade) -> None:
    """There is nothing to exchange a code or a refresh token for, and whoever tries is told what to do."""
    key = facade.app("job", "work")
    for grant in ("refresh_token", "authorization_code", "password", "Client_Credentials"):
        refused = facade.ask(key, 400, grant_type=grant, refresh_token="x", code="x")
        assert refused["error"] == "unsupported_grant_type"
        assert "ask again whenever a token is needed" in refused["error_description"]
    assert facade.ask(key, 400, grant_type="")["error"] == "invalid_request"


# --- token exchange ---------------------------------------------------------------------------------------------------


def test_token_exchange(facade: Facade) -> None:
    """The app key as subject token brings the account's token, or its ID token (RFC 8693)."""
    key = facade.app("job", "work")
    stored = facade.stored()
    for kind in (JWT, ACCESS_TOKEN):
        found = facade.post(200, grant_type=EXCHANGE, subject_token=key, subject_token_type=kind)
        assert (found["access_token"], found["issued_token_type"]) == (stored["access_token"], ACCESS_TOKEN)
        assert found["token_type"] == stored["token_type"]
    asked = {"grant_type": EXCHANGE, "subject_token": key, "subject_token_type": JWT}
    proof = facade.post(200, **asked, requested_token_type=ID_TOKEN, client_id="job")
    owners = facade.house.owner.ask(
        "GET", "/v1/accounts/{account}/token", 200, path={"account": "work"}, params={"id_token": "true"}
    )
    assert (proof["access_token"], proof["issued_token_type"]) == (owners["access_token"], ID_TOKEN)
    assert proof["token_type"] == "N_A"
    assert facade.ask(key, 200, grant_type=EXCHANGE, subject_token=key, subject_token_type=JWT)


def test_exchanges_that_make_no_sense(facade: Facade) -> None:
    """What is missing, or of no type that is known here, is named; a name that is not the key's is nobody's."""
    key = facade.app("job", "work")
    whole = {"grant_type": EXCHANGE, "subject_token": key, "subject_token_type": JWT}
    for change in (
        {"subject_token": ""},
        {"subject_token_type": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": key},
    ):
        refused = facade.post(400, **whole | change)
        assert refused["error"] == "invalid_request", change
        assert key not in str(refused)
    assert facade.post(401, **whole | {"client_id": "other"})["error"] == "invalid_client"


# --- the form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "grant_type=client_credentials&grant_type=client_credentials",
        "grant_type=client_credentials&scope=read&scope=write",
        "grant_type=client_credentials&account=work&account=home",
        "grant_type=client_credentials&account=wo%00rk",
        "grant_type=client_credentials&account=%ff",
        "grant_type=client_credentials&account=\xff",
        "grant_type=client_credentials&min_ttl=soon",
        "grant_type=client_credentials&min_ttl=1e3",
        "&".join(["grant_type=client_credentials", *(f"x{i}=y" for i in range(64))]),
        f"grant_type=client_credentials&x={'y' * 130 * 1024}",
        '{"grant_type": "client_credentials"}',
        "",
    ],
    ids=range(12),
)
def test_what_is_no_form(house: House, key: str, form: str) -> None:
    """A field that comes twice, holds what no name holds, or cannot be read is refused in OAuth's own words."""
    with Line(house.app_url) as line:
        status, refused = sent(line, form, FORM, basic("job", key))

    assert (status, refused["error"], refused["code"]) == (400, "invalid_request", "invalid_request")


def test_what_a_form_may_hold(facade: Facade) -> None:
    """Fields that nobody knows are ignored, and empty ones left out (RFC 6749 3.2); JSON and addresses are not read."""
    key = facade.app("job", "work")
    with Line(facade.house.app_url) as line:
        form = "grant_type=client_credentials&scope=&audience&state=x&nonce=%F0%9F%94%91"
        assert sent(line, form, basic("job", key))[0] == 200
        assert sent(line, form, f"{FORM}; charset=UTF-8", basic("job", key))[0] == 200
        status, refused = sent(line, '{"grant_type":"client_credentials"}', "Content-Type: application/json")
        assert (status, refused["error"], "not as JSON" in refused["error_description"]) == (
            400, "invalid_request", True,
        )  # fmt: skip
        for target in (f"{ROUTE}?client_id=job&client_secret={key}", f"{ROUTE}?access_token={key}"):
            status, refused = sent(line, form, FORM, target=target)
            assert (status, refused["error"], key in str(refused)) == (400, "invalid_request", False)


# --- metadata ---------------------------------------------------------------------------------------------------------


def test_libraries_configure_themselves(facade: Facade) -> None:
    """The metadata needs no key, names the door as it was called, and the endpoint in it answers."""
    key = facade.app("job", "work")
    path = "/.well-known/oauth-authorization-server"
    local = facade.house.app_url.replace("127.0.0.1", "LOCALHOST")
    for url in (facade.house.app_url, local):
        with (door := facade.house.app("")).http:
            door.http.base_url = url
            found = door.ask("GET", path, 200)
            assert found["issuer"] == url.lower()
            assert found["token_endpoint"] == f"{url.lower()}{ROUTE}"
            answer = door.http.post(found["token_endpoint"], data=GRANT, auth=("job", key))
            assert answer.json()["access_token"]
    found = facade.house.owner.ask("GET", path, 200)
    assert found["token_endpoint"] == f"http://localhost{ROUTE}"
    assert facade.house.owner.ask("POST", ROUTE, 200, data={"grant_type": found["grant_types_supported"][0]})
    assert not {"authorization_endpoint", "revocation_endpoint", "jwks_uri"} & found.keys()
    with (door := facade.house.app(key)).http:
        for missing in ("/.well-known/openid-configuration", f"{path}/", "/oauth/revoke"):
            assert door.http.get(missing).status_code == 404


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_nobodys_requests_are_no_use(tmp_path: Path, practice: PracticeServer) -> None:
    """Whoever asks without a key does not keep Keyfob from locking itself for lack of use."""
    now = time.time()
    with running(tmp_path, lambda: now, lock_after_idle="5") as house:
        house.log_in("work", practice.url)
        made = {"name": "job", "grants": [{"account": "work"}]}
        key = house.owner.ask("POST", "/v1/apps", 201, json=made)["key"]
        with (nobody := house.app("")).http:
            for _ in range(6):
                now += 60
                status = nobody.http.post(ROUTE, data=GRANT).status_code
                assert status == 401
            locked = nobody.ask("POST", ROUTE, 423, data=GRANT, auth=("job", key))
    assert (locked["error"], locked["code"]) == ("temporarily_unavailable", "locked")
    assert "The owner sees why" in locked["error_description"]


def test_an_app_that_asks_too_fast(tmp_path: Path, practice: PracticeServer) -> None:
    """The facade is no way around an app's rate, in whatever field the key comes."""
    now = time.time()
    with running(tmp_path, lambda: now, app_rate="2", app_burst="3") as house:
        house.log_in("work", practice.url)
        made = {"name": "job", "grants": [{"account": "work"}]}
        key = house.owner.ask("POST", "/v1/apps", 201, json=made)["key"]
        with (door := house.app("")).http:
            for _ in range(3):
                door.ask("POST", ROUTE, 200, data=GRANT, auth=("job", key))
            refused = door.ask("POST", ROUTE, 429, data={**GRANT, "client_id": "job", "client_secret": key})
            assert (refused["error"], refused["retry_after"]) == ("temporarily_unavailable", 1)
            now += 0.5
            door.ask("POST", ROUTE, 200, data=GRANT, auth=("job", key))


def test_pages_and_odd_hosts(facade: Facade) -> None:
    """What guards every path guards this one, and says so in OAuth's form; another method is told the right one."""
    key = facade.app("job", "work")
    with Line(facade.house.app_url) as line:
        for header, status, error in (
            ("Origin: http://evil.example", 403, "unauthorized_client"),
            ("Cookie: a=b", 403, "unauthorized_client"),
            ("Sec-Fetch-Site: same-origin", 403, "unauthorized_client"),
        ):
            found, refused = sent(line, "grant_type=client_credentials", FORM, basic("job", key), header)
            assert (found, refused["error"]) == (status, error)
        answer = line.ask("POST", ROUTE, basic("job", key), host="evil.example")
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
        answer = line.ask("GET", ROUTE, basic("job", key))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_the_record(tmp_path: Path, practice: PracticeServer) -> None:
    """Who was turned away, and what was handed out, is in the audit as for any other request."""
    facade = Facade()
    with running(tmp_path) as facade.house:
        facade.house.log_in("work", practice.url)
        key = facade.app("job", "work")
        facade.ask(key, 200)
        facade.ask(key, 400, account="home")
        facade.ask("kf_wrong", 401)
        facade.post(401, **GRANT)
    with running(tmp_path) as house:  # what is counted is written down at the stop
        entries = house.owner.ask("GET", "/v1/audit", 200)["entries"]

    counted = {(one["action"], one["account"], one["app"]): one["count"] for one in entries if one["count"]}
    assert counted == {("handout", "work", "job"): 1, ("refused", None, "job"): 1, ("unauthorized", None, None): 2}
