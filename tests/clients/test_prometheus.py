"""Prometheus, as it comes: the tokens for its scrapes are Keyfob's, by its ``oauth2`` block or from a token file.

And it takes Keyfob's own numbers.
"""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import PATIENCE, until
from tests.loopback import held_port
from tests.web.facade import Facade
from tests.web.house import running

# Seconds that a token lives: some scrapes of one second each.
TTL = 4
# The same where Keyfob has to renew it before its end without being asked.
KEPT_TTL = 8
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: api
    static_configs: [targets: ["127.0.0.1:{port}"]]
    oauth2:
      client_id: prometheus
      client_secret_file: {key_file}
      token_url: {url}/oauth/token
      endpoint_params: {{audience: work}}
"""
WITH_FILE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: api
    static_configs: [targets: ["127.0.0.1:{port}"]]
    authorization: {{credentials_file: {file}}}
"""


class Metrics:
    """An exporter that wants a bearer token.

    Attributes:
        seen: the good tokens with which somebody came.
        refused: what else somebody came with.
    """

    def __init__(self, practice: PracticeServer) -> None:
        self.seen: set[str] = set()
        self.refused: set[str] = set()
        seen, refused = self.seen, self.refused

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers.get("authorization", "").removeprefix("Bearer ")
                good = practice.worth(token) is not None
                (seen if good else refused).add(token)
                self.send_response(200 if good else 401)
                self.end_headers()
                if good:
                    self.wfile.write(b"up_and_well 1\n")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Answer, in threads."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


@pytest.fixture
def prometheus() -> str:
    """Return the program; where it is not installed the walk is left out, but never in CI."""
    found = shutil.which("prometheus")
    if found is None:
        reason = "There is no prometheus. On Debian: apt install prometheus"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def scraping(program: str, place: Path, config: str) -> Iterator[httpx2.Client]:
    """Run Prometheus and return its own API."""
    (place / "prometheus.yml").write_text(config)
    with held_port() as port:
        address = f"127.0.0.1:{port}"
        flags = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
        with (place / "prometheus.log").open("wb") as log:
            process = subprocess.Popen([program, *flags], cwd=place, env={}, stdout=log, stderr=log)
        try:
            with httpx2.Client(base_url=f"http://{address}", trust_env=False, timeout=PATIENCE) as http:
                yield http
        finally:
            process.terminate()
            process.wait(PATIENCE)


def target(http: httpx2.Client) -> dict[str, Any]:
    """Return what Prometheus says of its target; nothing as long as it does not answer."""
    try:
        found = http.get("/api/v1/targets").raise_for_status().json()["data"]["activeTargets"]
    except httpx2.HTTPError:
        return {}
    return dict(found[0]) if found else {}


def test_scrapes_go_on(tmp_path: Path, prometheus: str) -> None:
    """They outlive several tokens; once the login is dead the target's own error names the command that helps."""
    facade, place = Facade(), tmp_path / "prometheus"
    place.mkdir()
    settings = PracticeSettings(ttl=TTL, auto_approve=True)
    with practice_in_thread(settings) as facade.practice, running(tmp_path) as facade.house:
        facade.house.log_in("work", facade.practice.url)
        facade.house.log_in("home", facade.practice.url)
        (place / "key").write_text(facade.app("prometheus", "work", "home") + "\n")
        metrics = Metrics(facade.practice)
        config = CONFIG.format(port=metrics.port, key_file=place / "key", url=facade.house.app_url)
        with metrics.open(), scraping(prometheus, place, config) as http:
            until("it was scraped with several tokens", lambda: len(metrics.seen) >= 3)
            assert target(http)["health"] == "up"
            facade.practice.revoke_grants()

            until("it is down", lambda: target(http).get("health") == "down")
            until("it says why", lambda: "keyfob login work" in target(http)["lastError"])
            assert "invalid_grant" in target(http)["lastError"]


def test_scrapes_go_on_with_a_token_file(tmp_path: Path, prometheus: str) -> None:
    """The file is read for each scrape, and none is refused; once the login is dead the target names the file."""
    facade, place = Facade(), tmp_path / "prometheus"
    place.mkdir()
    settings = PracticeSettings(ttl=KEPT_TTL, auto_approve=True)
    with practice_in_thread(settings) as facade.practice, running(tmp_path) as facade.house:
        facade.house.log_in("work", facade.practice.url)
        new = {"name": "prometheus", "grants": [{"account": "work", "token_file": "access_token"}]}
        file = facade.house.owner.ask("POST", "/v1/apps", 201, json=new)["grants"][0]["token_file_path"]
        until("the file is there", Path(file).exists)
        metrics = Metrics(facade.practice)
        with metrics.open(), scraping(prometheus, place, WITH_FILE.format(port=metrics.port, file=file)) as http:
            until("it was scraped with several tokens", lambda: len(metrics.seen) >= 3)
            assert target(http)["health"] == "up"
            assert metrics.refused == set()
            facade.practice.revoke_grants()

            until("it says why", lambda: file in target(http).get("lastError", ""))
            assert target(http)["health"] == "down"
            assert not Path(file).exists()


def test_it_takes_the_numbers_of_keyfob_itself(tmp_path: Path, prometheus: str) -> None:
    """Prometheus' own checker reads ``GET /metrics`` and has no wish, before a login and after."""
    promtool = str(Path(prometheus).with_name("promtool"))
    with practice_in_thread(PracticeSettings(auto_approve=True)) as practice, running(tmp_path) as house:
        texts = [house.owner.ask("GET", "/metrics", 200)]
        house.log_in("work", practice.url)
        texts.append(house.owner.ask("GET", "/metrics", 200))

    assert texts[0] != texts[1]
    for text in texts:
        done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
