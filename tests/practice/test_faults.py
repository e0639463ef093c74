"""The grammar of faults, and that each kind does over HTTP what its help says."""

from __future__ import annotations

import contextlib
import json
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from joserfc.errors import BadSignatureError

from broker.errors import InvalidRequest
from broker.practice.faults import FaultPlan, help_text, parse_fault
from broker.practice.kinds import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.practice.conftest import Walk


@pytest.mark.parametrize(
    ("spec", "endpoint", "kind", "value", "count", "chance"),
    [
        ("status=503*2", "token", "status", 503, 2, 1.0),
        ("token:html", "token", "html", 200, None, 1.0),
        ("html=502", "token", "html", 502, None, 1.0),
        ("refresh:drop%10", "refresh", "drop", None, None, 0.1),
        ("code:expires_in=0", "code", "expires_in", 0, None, 1.0),
        ("expires_in=3599.9*1", "token", "expires_in", 3599.9, 1, 1.0),
        ("expires_in=soon", "token", "expires_in", "soon", None, 1.0),
        ('json={"a":"b:c*2","d":1}*3', "token", "json", {"a": "b:c*2", "d": 1}, 3, 1.0),
        ("body={}", "token", "body", "{}", None, 1.0),
        ("body=", "token", "body", "", None, 1.0),
        ("answer=2*2%100", "token", "answer", "2*2", None, 1.0),
        ("no_iss", "authorize", "no_iss", None, None, 1.0),
        ("discovery:wrong_iss", "discovery", "wrong_iss", None, None, 1.0),
        ("redirect=https://x.example/a?b=c", "token", "redirect", "https://x.example/a?b=c", None, 1.0),
    ],
)
def test_a_spec_is_read(spec: str, endpoint: str, kind: str, value: object, count: int | None, chance: float) -> None:
    """Endpoint, kind, value, count and probability are found in every combination."""
    fault = parse_fault(spec)
    assert (fault.endpoint, fault.kind.name, fault.value, fault.count) == (endpoint, kind, value, count)
    assert fault.chance == pytest.approx(chance)


@pytest.mark.parametrize(
    ("spec", "bad", "advice"),
    [
        ("explode", '"explode"', "status=N"),
        ("", '""', "status=N"),
        ("nowhere:drop", '"nowhere"', "authorize"),
        ("userinfo:null_refresh_token", '"userinfo"', "happens at: token"),
        ("authorize:form", '"authorize"', "form happens at"),
        ("status", "needs a value", "status=N"),
        ("status=99", '"99"', "status=N"),
        ("status=abc", '"abc"', "status=N"),
        ("delay=-1", '"-1"', "delay=S"),
        ("delay=nan", '"nan"', "delay=S"),
        ("drop=3", '"3"', "status=N"),
        ("json=[]", '"[]"', "json={...}"),
        ("json={", '"{"', "json={...}"),
        ("drop*0", '"*0"', "1 or more"),
        ("drop%0", '"%0"', "%1 to %100"),
        ("drop%101", '"%101"', "%1 to %100"),
        ("drop%1.2.3", '"%1.2.3"', "%1 to %100"),
        ("drop*x", "no readable shape", "status=N"),
    ],
)
def test_a_wrong_spec_names_the_part_and_the_choices(spec: str, bad: str, advice: str) -> None:
    """A parse error is an InvalidRequest that quotes what is wrong and lists what could stand there."""
    with pytest.raises(InvalidRequest) as caught:
        parse_fault(spec)
    assert f'"{spec}"' in caught.value.detail
    assert bad in caught.value.detail
    assert advice in caught.value.hint


def test_help_names_every_kind() -> None:
    """Whoever reads the help finds every kind there is."""
    assert all(kind.usage in help_text() for kind in KINDS.values())


def test_faults_in_the_answers_place_happen_one_after_the_other() -> None:
    """The first due one wins and the next waits for the next request; the other stages come along."""
    plan = FaultPlan(["status=503*2", "html*1", "delay=1*1", "no_id_token*1"], lambda: 0.0)
    names = [[fault.kind.name for fault in plan.take("refresh")] for _ in range(5)]
    assert names == [["status", "delay"], ["status"], ["html"], ["no_id_token"], []]


def test_a_probability_draws() -> None:
    """A percentage happens when the draw is below it."""
    draws = iter([0.05, 0.15, 0.09])
    plan = FaultPlan(["drop%10"], lambda: next(draws))
    assert [len(plan.take("code")) for _ in range(3)] == [1, 0, 1]


def test_a_fault_stays_at_its_endpoint(start: Callable[..., Walk]) -> None:
    """A fault of refresh leaves the login alone, and the log tells which request it hit."""
    walk = start("refresh:status=503*1")
    tokens = walk.login()
    assert walk.refresh(tokens["refresh_token"]).status_code == 503
    assert walk.refresh(tokens["refresh_token"]).status_code == 200
    events = walk.server.log.all("refresh")
    assert [(event.result, event.faults) for event in events] == [
        ("not processed", ("refresh:status=503*1",)),
        ("ok", ()),
    ]
    assert events[0].refresh_token == events[1].refresh_token


def at_refresh(start: Callable[..., Walk], spec: str) -> tuple[Walk, dict[str, Any], httpx2.Response]:
    """Log in without and refresh with a fault."""
    walk = start(f"refresh:{spec}*1")
    tokens = walk.login()
    return walk, tokens, walk.refresh(tokens["refresh_token"])


@pytest.mark.parametrize(
    ("spec", "status", "content_type", "body"),
    [
        ("status=503", 503, "text/plain; charset=utf-8", b"practice fault: status 503\n"),
        ("html", 200, "text/html; charset=utf-8", b"<!doctype html>"),
        ("html=500", 500, "text/html; charset=utf-8", b"<!doctype html>"),
        ("empty", 204, "", b""),
        ("body={}", 200, "application/json", b"{}"),
        ("error=invalid_grant", 400, "application/json", b'{"error": "invalid_grant"'),
        ("invalid_client", 401, "application/json", b'{"error": "invalid_client"'),
        ("throttle=7", 429, "application/json", b'{"detail"'),
        ("redirect=http://127.0.0.1:9/elsewhere", 307, "", b""),
    ],
)
def test_a_fault_in_the_answers_place_spends_nothing(
    start: Callable[..., Walk], spec: str, status: int, content_type: str, body: bytes
) -> None:
    """The answer is the fault's own, and the refresh token still works afterwards."""
    walk, tokens, answer = at_refresh(start, spec)
    assert (answer.status_code, answer.headers.get("content-type", "")) == (status, content_type)
    assert answer.content.startswith(body)
    assert walk.refresh(tokens["refresh_token"]).status_code == 200


def test_throttle_says_when_in_both_forms(start: Callable[..., Walk]) -> None:
    """Retry-After comes as seconds or as a date by the provider's clock (RFC 9110 10.2.3)."""
    _, _, answer = at_refresh(start, "throttle=7")
    assert answer.headers["retry-after"] == "7"
    walk, _, answer = at_refresh(start, "throttle_date=60")
    assert parsedate_to_datetime(answer.headers["retry-after"]).timestamp() == walk.clock.now + 60


def test_used_up_says_so_and_carries_the_request_out(start: Callable[..., Walk]) -> None:
    """The token is given, and the headers tell that it was the last one for a while."""
    _, _, answer = at_refresh(start, "used_up=90")
    assert answer.json()["access_token"]
    assert (answer.headers["x-ratelimit-remaining"], answer.headers["x-ratelimit-reset"]) == ("0", "90")


def test_redirect_names_its_target(start: Callable[..., Walk]) -> None:
    """A client that follows would carry its refresh token to the Location."""
    _, _, answer = at_refresh(start, "redirect=http://127.0.0.1:9/elsewhere")
    assert answer.headers["location"] == "http://127.0.0.1:9/elsewhere"


@pytest.mark.parametrize(("spec", "afterwards", "result"), [("refuse", 200, "not processed"), ("drop", 400, "ok")])
def test_refuse_spends_nothing_and_drop_does(
    start: Callable[..., Walk], spec: str, afterwards: int, result: str
) -> None:
    """Both close the connection without a byte; only drop has carried the refresh out before."""
    walk = start(f"refresh:{spec}*1", rotation="single-use")
    tokens = walk.login()
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
        walk.refresh(tokens["refresh_token"])
    assert walk.server.log.all("refresh")[0].result == result
    assert walk.refresh(tokens["refresh_token"]).status_code == afterwards


def test_cut_closes_in_the_middle(start: Callable[..., Walk]) -> None:
    """The head promises a length, half of it comes, and the refresh token is spent."""
    walk = start("refresh:cut*1")
    tokens = walk.login()
    with pytest.raises(httpx2.RemoteProtocolError, match="complete message body"):
        walk.refresh(tokens["refresh_token"])
    assert walk.refresh(tokens["refresh_token"]).status_code == 400


def test_delay_is_late_but_whole(start: Callable[..., Walk]) -> None:
    """A client with less patience than the delay gives up; a patient one gets the true answer."""
    walk = start("refresh:delay=0.05*2", rotation="keep")
    tokens = walk.login()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "keyfob"}
    with pytest.raises(httpx2.ReadTimeout):
        walk.http.post("/token", data=form, timeout=0.01)
    assert "access_token" in walk.refresh(tokens["refresh_token"]).json()
    assert len(walk.server.log.all("refresh", "ok")) == 2


def test_hold_waits_until_the_faults_change(start: Callable[..., Walk]) -> None:
    """A held answer goes out when other faults are set, so that a test needs no sleep to look in between."""
    walk = start("hold", rotation="keep")
    code = walk.come_back()["code"]
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(walk.exchange, code)
        assert walk.server.log.wait_for("code")[0].result == "ok"
        with pytest.raises(TimeoutError):
            asking.result(0.05)
        walk.server.set_faults([])
        assert asking.result(5).status_code == 200


def test_drip_sends_byte_by_byte(start: Callable[..., Walk]) -> None:
    """A dripping answer arrives in single bytes and is the true one in the end."""
    walk = start("userinfo:drip=0")
    tokens = walk.login()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    with walk.http.stream("GET", "/userinfo", headers=headers) as answer:
        assert int(answer.headers["content-length"]) > 1
        body = b"".join(answer.iter_raw())
    assert json.loads(body)["preferred_username"] == "ada"
    walk.server.set_faults(["userinfo:drip=30"])
    with pytest.raises(httpx2.ReadTimeout):
        walk.http.get("/userinfo", headers=headers, timeout=0.03)


@pytest.mark.parametrize(
    ("spec", "content_type", "check"),
    [
        ("garbage", "application/json", lambda body: b"\xff\xfe" in body),
        ("answer=[1]", "application/json", lambda body: body == b"[1]"),
        ("form", "application/x-www-form-urlencoded", lambda body: body.startswith(b"access_token=practice_at_")),
        ("big=300", "application/json", lambda body: len(body) > 300 * 1024 and b"access_token" in body),
    ],
)
def test_a_spoiled_answer_has_spent_the_refresh_token(
    start: Callable[..., Walk], spec: str, content_type: str, check: Callable[[bytes], bool]
) -> None:
    """The status is 200, the body is spoiled, and the old refresh token is gone."""
    walk, tokens, answer = at_refresh(start, spec)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert check(answer.content)
    assert walk.refresh(tokens["refresh_token"]).status_code == 400


def test_gzip_comes_unasked(start: Callable[..., Walk]) -> None:
    """The body is compressed although the request accepts identity only."""
    walk = start("gzip")
    answer = walk.http.post("/token", data={}, headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        ("no_refresh_token", "refresh_token", "absent"),
        ("empty_refresh_token", "refresh_token", ""),
        ("null_refresh_token", "refresh_token", None),
        ("no_id_token", "id_token", "absent"),
        ("without=scope", "scope", "absent"),
        ("expires_in=0", "expires_in", 0),
        ("expires_in=3599.9", "expires_in", 3599.9),
        ('expires_in="3600"', "expires_in", "3600"),
        ("expires_in=abc", "expires_in", "abc"),
        ("token_type=DPoP", "token_type", "DPoP"),
        ('json={"access_token": 7}', "access_token", 7),
    ],
)
def test_a_field_is_spoiled(start: Callable[..., Walk], spec: str, field: str, value: object) -> None:
    """One field of the token answer is as the fault says, the others are true."""
    _, tokens, answer = at_refresh(start, spec)
    spoiled = answer.json()
    assert spoiled.get(field, "absent") == value
    assert {name for name in tokens if name != field} == {name for name in spoiled if name != field}


def test_expires_in_may_be_no_json_at_all(start: Callable[..., Walk]) -> None:
    """NaN goes over the wire, as some servers send it."""
    _, _, answer = at_refresh(start, "expires_in=NaN")
    assert '"expires_in": NaN' in answer.text


@pytest.mark.parametrize(
    ("spec", "claim"),
    [
        ("wrong_iss", "iss"),
        ("wrong_sub", "sub"),
        ("wrong_aud", "aud"),
        ("wrong_nonce", "nonce"),
        ("no_nonce", "nonce"),
        ("wrong_at_hash", "at_hash"),
        ("expired_id_token", "exp"),
    ],
)
def test_a_claim_is_spoiled_under_a_good_signature(start: Callable[..., Walk], spec: str, claim: str) -> None:
    """The ID token verifies, and only what the fault names is wrong."""
    walk = start(f"{spec}*1")
    spoiled, honest = walk.id_token(walk.login()), walk.id_token(walk.login())
    moving = {"at_hash"} | ({"iat"} if spec == "expired_id_token" else set())
    moving |= {"preferred_username", "name"} if spec == "wrong_sub" else set()
    assert spoiled.get(claim) != honest[claim]
    unlike = {name for name in honest if spoiled.get(name) != honest[name]}
    assert unlike <= moving | {claim}
    if spec == "expired_id_token":
        assert spoiled["exp"] < walk.clock.now


def test_alg_none_and_a_foreign_key(start: Callable[..., Walk]) -> None:
    """An unsigned ID token says so in its head; a foreign signature does not verify."""
    walk = start("alg_none*1", "bad_signature*1")
    unsigned = walk.login()["id_token"]
    head, _, signature = unsigned.split(".")
    assert json.loads(urlsafe_b64decode(head + "=="))["alg"] == "none"
    assert signature == ""
    walk.server.set_faults(["bad_signature"])
    with pytest.raises(BadSignatureError):
        walk.id_token(walk.login())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("deny", {"error": "access_denied"}),
        ("deny=server_error", {"error": "server_error"}),
        ("no_iss", {"iss": None}),
        ("wrong_state", {"state": "a-foreign-state"}),
        ("no_state", {"state": None}),
        ('authorize:json={"extra":"1"}', {"extra": "1"}),
        ("authorize:without=code", {"code": None}),
    ],
)
def test_a_redirect_is_spoiled(start: Callable[..., Walk], spec: str, expected: dict[str, str | None]) -> None:
    """The browser comes back with what the fault says, once."""
    walk = start(f"{spec}*1")
    back = walk.come_back()
    assert {name: back.get(name) for name in expected} == expected
    assert walk.login()["access_token"]


def test_a_redirect_can_name_a_foreign_issuer(start: Callable[..., Walk]) -> None:
    """wrong_iss at authorize is what a mix-up attack looks like (RFC 9207)."""
    walk = start("authorize:wrong_iss")
    assert walk.come_back()["iss"] not in ("", walk.server.url)


def test_a_consent_page_does_not_use_up_a_redirects_fault(start: Callable[..., Walk]) -> None:
    """A counted fault of the redirect waits until the person has decided."""
    walk = start("deny*1", auto_approve=False)
    assert walk.authorize().status_code == 200
    assert walk.come_back(auto_approve="1")["error"] == "access_denied"


def test_other_endpoints_have_faults_too(start: Callable[..., Walk]) -> None:
    """Metadata, keys, userinfo, revocation, registration and introspection can be spoiled as well."""
    walk = start(
        "discovery:wrong_iss*1", "oauth_metadata:without=token_endpoint", "jwks:status=500", "userinfo:wrong_sub*1",
        "revoke:status=503", "register:error=invalid_client_metadata", "introspect:html", "authorize:status=502*1",
    )  # fmt: skip
    assert walk.http.get("/.well-known/openid-configuration").json()["issuer"] != walk.server.url
    assert "token_endpoint" not in walk.http.get("/.well-known/oauth-authorization-server").json()
    assert walk.http.get("/jwks").status_code == 500
    assert walk.authorize().status_code == 502
    tokens = walk.login()
    subjects = [walk.userinfo(tokens["access_token"]).json()["sub"] for _ in range(2)]
    assert subjects[0] != subjects[1]
    assert walk.http.post("/revoke", data={}).status_code == 503
    assert walk.http.post("/register", json={}).json()["error"] == "invalid_client_metadata"
    assert "text/html" in walk.http.post("/introspect", data={}).headers["content-type"]


SAMPLES = {"N": "503", "S": "0", "KIB": "1", "{...}": '{"a":1}', "URL": "http://127.0.0.1:9/"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_can_be_carried_out(start: Callable[..., Walk], kind: Kind) -> None:
    """No kind is a name only: each one happens where its help says, is logged, and the next login is whole."""
    value = f"={SAMPLES.get(kind.value, 'x')}" if kind.value else ""
    spec = f"{kind.name}{value}*1"
    walk = start(*([] if kind.name == "hold" else [spec]))
    back = walk.come_back()
    with contextlib.suppress(httpx2.RemoteProtocolError):
        walk.exchange(back.get("code", "none"))
    if kind.name != "hold":  # it has a test of its own, in two threads
        assert [event.faults for event in walk.server.log.all() if event.faults] == [(spec,)]
    assert walk.login()["access_token"]
