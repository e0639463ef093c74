"""The numbers for Prometheus: that it can read them, that they are true, and that they name nobody."""

import re
import time
from pathlib import Path
from typing import get_args

import pytest

from broker import __version__
from broker.core.account import State
from broker.practice.server import PracticeServer
from broker.web.metrics import Family, text_of
from tests.store import made
from tests.web.house import House, running

WORK = {"account": "work"}
STATES = {kind.name for kind in get_args(State)}
# Prometheus' text format 0.0.4, as far as Keyfob writes it.
HELP = re.compile(r"# HELP ([a-z_]+) ([^\n]+)")
TYPE = re.compile(r"# TYPE ([a-z_]+) (gauge|counter)")
SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"\})? (\d+(?:\.\d+)?)')


class Numbers:
    """What a monitor reads of one answer: it takes nothing that is not well-formed."""

    def __init__(self, text: str) -> None:
        assert text.endswith("\n")
        self.types: dict[str, str] = {}
        self.values: dict[tuple[str, str], float] = {}
        lines = text.removesuffix("\n").split("\n")
        while lines:
            told, kind = HELP.fullmatch(lines.pop(0)), TYPE.fullmatch(lines.pop(0))
            assert told
            assert kind
            assert told[1] == kind[1]
            assert kind[1] not in self.types, "each name comes once"
            self.types[kind[1]] = kind[2]
            while lines and not lines[0].startswith("#"):
                sample = SAMPLE.fullmatch(lines.pop(0))
                assert sample
                assert sample[1] == kind[1]
                key = (sample[1], sample[3] or "")
                assert key not in self.values
                self.values[key] = float(sample[4])

    def __call__(self, name: str, which: str = "") -> float:
        """Return one number."""
        return self.values[f"keyfob_{name}", which]

    def all_of(self, name: str) -> dict[str, float]:
        """Return the numbers of one name, by their label."""
        return {which: value for (told, which), value in self.values.items() if told == f"keyfob_{name}"}


def numbers(house: House) -> Numbers:
    """Ask for the numbers as the owner."""
    return Numbers(house.owner.ask("GET", "/metrics", 200))


@pytest.fixture
def practised(house: House, practice: PracticeServer) -> House:
    """Return the module's daemon with an account, once."""
    if not house.owner.ask("GET", "/v1/accounts", 200)["accounts"]:
        house.log_in("work", practice.url)
    return house


def test_prometheus_can_read_it(practised: House) -> None:
    """The content type names the format; names, types, help and labels keep to Prometheus' conventions."""
    answer = practised.owner.http.get("/metrics")
    found = Numbers(answer.text)

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    # A name that node_exporter has itself makes it refuse the whole file.
    assert all(name.startswith("keyfob_") for name in found.types)
    counters = {name for name, kind in found.types.items() if kind == "counter"}
    assert counters == {name for name in found.types if name.endswith("_total")}
    assert {name for name, _ in found.values} == set(found.types)
    assert found("build_info", __version__) == 1


def test_a_life_in_numbers(tmp_path: Path, practice: PracticeServer) -> None:
    """Each number moves with what it counts: a login, a refresh, a hand-out, a rejection, a refusal, a dead login."""
    began = time.time()
    with running(tmp_path) as house:
        ask = house.owner.ask
        before = numbers(house)
        assert before.all_of("accounts") == dict.fromkeys(STATES, 0)
        assert set(before.all_of("refreshes_total").values()) == {0}
        assert (before("logins_total", "logged-in"), before("handouts_total"), before("rejections_total")) == (0, 0, 0)
        assert (before("locked"), before("ready")) == (0, 1)

        house.log_in("work", practice.url)
        after = numbers(house)
        assert (after("accounts", "active"), after("logins_total", "logged-in")) == (1, 1)

        ask("POST", "/v1/accounts/{account}/refresh", 200, path=WORK)
        after = numbers(house)
        assert after("refreshes_total", "refreshed") == 1
        assert (after("refreshes_due"), after("refreshes_in_flight"), after("unwritten_answers")) == (0, 0, 0)

        for _ in range(3):
            token = ask("GET", "/v1/accounts/{account}/token", 200, path=WORK)["access_token"]
        ask("POST", "/v1/accounts/{account}/token/rejected", 200, path=WORK, json={"access_token": token})
        after = numbers(house)
        assert (after("rejections_total"), after("refreshes_total", "refreshed")) == (1, 2)
        key = ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
        for given, status in ((key, 403), ("kf_wrong", 401), ("", 401)):
            app = house.app(given)
            with app.http:
                app.ask("GET", "/v1/accounts", status)
        ask("PATCH", "/v1/accounts/{account}", 200, path=WORK, json={"name": "mail"})  # what was counted is written
        after = numbers(house)
        assert after("handouts_total") == 4  # the one in the place of the rejected one, too
        assert after.all_of("refusals_total") == {"refused": 1, "unauthorized": 2}

        practice.revoke_grants()
        ask("POST", "/v1/accounts/{account}/refresh", 409, path={"account": "mail"}, json={"confirm": True})
        after = numbers(house)
        assert (after("refreshes_total", "needs-login"), after("refreshes_total", "refreshed")) == (1, 2)
        assert (after("accounts", "needs-login"), after("accounts", "active")) == (1, 0)

        assert began - 1 <= after("start_time_seconds") <= after("last_look_timestamp_seconds") <= time.time()
        assert after("next_look_timestamp_seconds") >= after("last_look_timestamp_seconds")
        assert after("start_time_seconds") == before("start_time_seconds")


def test_a_refresh_that_fails_counts(tmp_path: Path, practice: PracticeServer) -> None:
    """A passing failure is one, and the account is among those that are tried again."""
    with running(tmp_path) as house:
        house.log_in("work", practice.url)
        practice.set_faults(["refresh:status=503"])
        try:
            house.owner.ask("POST", "/v1/accounts/{account}/refresh", 503, path=WORK)
        finally:
            practice.set_faults([])

        found = numbers(house)

    assert found("refreshes_total", "refresh-failed") == found("accounts", "refreshing-failed") == 1


def test_it_answers_while_locked(practised: House) -> None:
    """A monitor learns that Keyfob is locked, and how many accounts wait for the unlock; and that it is open again."""
    practised.owner.ask("POST", "/v1/lock", 200)
    locked = numbers(practised)
    practised.owner.ask("POST", "/v1/unlock", 200)
    opened = numbers(practised)

    assert (locked("locked"), locked("ready"), locked("accounts", "active")) == (1, 0, 1)
    assert (opened("locked"), opened("ready")) == (0, 1)


def test_what_cannot_be_read_is_left_out(tmp_path: Path, practice: PracticeServer) -> None:
    """A database that does not answer makes no account vanish: there is no number, and Keyfob is not ready."""
    with running(tmp_path, state_dir=str(tmp_path / "there/state")) as house:
        house.log_in("work", practice.url)
        made.behind(tmp_path / "there", "ALTER TABLE account RENAME TO gone")
        found = numbers(house)
        made.behind(tmp_path / "there", "ALTER TABLE gone RENAME TO account")

    assert found("ready") == 0
    assert found.all_of("accounts") == found.all_of("refreshes_due") == {}
    assert found("logins_total", "logged-in") == 1


def test_it_is_for_the_owner_only(practised: House, key: str) -> None:
    """An app is refused at either door, and at the port without a key everybody."""
    app, nobody = practised.app(key), practised.app("")
    with app.http, nobody.http:
        assert app.ask("GET", "/metrics", 403)["code"] == "not_granted"
        assert nobody.ask("GET", "/metrics", 401)["code"] == "unauthorized"
    shown = {"authorization": f"Bearer {key}"}
    assert practised.owner.ask("GET", "/metrics", 403, headers=shown)["code"] == "not_granted"


@pytest.mark.parametrize("params", [{"name[]": "keyfob_locked"}, {"format": "json"}])
def test_unknown_parameters_are_refused(practised: House, params: dict[str, str]) -> None:
    """Whoever asks for a part, or for another form, is told that there is none."""
    assert practised.owner.ask("GET", "/metrics", 400, params=params)["code"] == "invalid_request"


def test_nobody_is_named(tmp_path: Path, practice: PracticeServer) -> None:
    """Neither accounts nor apps, people, providers, keys or tokens are in it, nor does it grow with them."""
    with running(tmp_path) as house:
        ask = house.owner.ask
        lines = ask("GET", "/metrics", 200).count("\n")
        for name in ("ada-lovelace", "charles.babbage"):
            house.log_in(name, practice.url)
        grants = [{"account": "ada-lovelace"}]
        key = ask("POST", "/v1/apps", 201, json={"name": "engine", "grants": grants})["key"]
        app = house.app(key)
        with app.http:
            there = {"account": "ada-lovelace"}
            token = app.ask("GET", "/v1/accounts/{account}/token", 200, path=there)["access_token"]
            app.ask("GET", "/v1/accounts/{account}/token", 403, path={"account": "charles.babbage"})
        shown = ask("GET", "/v1/accounts/{account}", 200, path=there)

        text = ask("GET", "/metrics", 200)

    person = shown["identity"]
    named = {"lovelace", "babbage", "engine", "practice", key, token, person["label"], person["subject"]}
    assert all(named)
    assert {word for word in named if word in text} == set()
    assert text.count("\n") == lines


def test_a_monitor_keeps_nothing_open(tmp_path: Path, practice: PracticeServer) -> None:
    """However often a monitor asks, Keyfob locks after its idle time; and the answer says so."""
    now = time.time()
    with running(tmp_path, lambda: now, lock_after_idle="5") as house:
        house.log_in("work", practice.url)
        now += 299.0
        assert numbers(house)("locked") == 0
        now += 1.0
        assert numbers(house)("locked") == 1


def test_values_of_labels_and_help_are_escaped() -> None:
    """Quotes, backslashes and line feeds cannot end a value or a line (text format 0.0.4, "Text format details")."""
    odd = Family("keyfob_odd", "gauge", 'a "b" \\ c\nd', "which", {'a"b\\c\nd': 1})

    text = text_of([odd, Family("keyfob_none", "gauge", "None.", "which", {})])

    assert text.split("\n") == [
        '# HELP keyfob_odd a "b" \\\\ c\\nd',
        "# TYPE keyfob_odd gauge",
        'keyfob_odd{which="a\\"b\\\\c\\nd"} 1',
        "",
    ]
    assert Numbers(text).values == {("keyfob_odd", 'a\\"b\\\\c\\nd'): 1}
