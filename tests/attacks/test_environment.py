"""A hostile environment: variables that libraries read by themselves, each set to do harm, all at the same time.

Whoever sets variables for the daemon could change what starts it, so this is no wall against them. It is one against
a profile that is meant for other programs: no proxy, certificate, log of keys or credential file is taken from it.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import socket as Socket  # noqa: N812 -- a type, named as one

import httpx2
import pytest

from tests.attacks.ground import Ground, new_ground, trap, visited
from tests.e2e.home import PATIENCE, Home
from tests.loopback import NO_TLS
from tests.oauth.conftest import AUTHORITY, certificate, hashed_name, tls
from tests.oauth.loopback import Loopback, http

__all__ = ["certificate", "tls"]  # fixtures: a certificate of an authority that the environment names, and its server

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
CREDENTIALS = "canary-of-netrc"


@dataclass(frozen=True)
class Hostile:
    """The environment, and what would show that it was obeyed."""

    environ: dict[str, str]
    proxy: Socket
    keylog: Path
    ground: Ground


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Hostile]:
    """Run a daemon in it."""
    place = tmp_path_factory.mktemp("hostile")
    netrc, keylog = place / "netrc", place / "keylog"
    netrc.write_text(f"default login evil password {CREDENTIALS}\n")
    netrc.chmod(0o600)
    (place / "openssl.cnf").write_text("openssl_conf = evil\n[evil]\nssl_conf = none\n")
    place.joinpath(hashed_name(AUTHORITY)).write_bytes(certificate.read_bytes())
    with trap() as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environ = (
            dict.fromkeys(PROXIES, url)
            | dict.fromkeys(BUNDLES, str(certificate))
            | {
                "NO_PROXY": "",
                "SSL_CERT_DIR": str(place),
                "SSLKEYLOGFILE": str(keylog),
                "NETRC": str(netrc),
                "AUTHLIB_INSECURE_TRANSPORT": "1",
                "OAUTHLIB_INSECURE_TRANSPORT": "1",
                "OAUTHLIB_RELAX_TOKEN_SCOPE": "1",
                "PYTHONHTTPSVERIFY": "0",
                "FORWARDED_ALLOW_IPS": "*",
                "UVICORN_HOST": "0.0.0.0",  # noqa: S104 -- what must not be obeyed
                "UVICORN_PORT": "1",
                "WEB_CONCURRENCY": "4",
                "HOST": "0.0.0.0",  # noqa: S104 -- as above
                "PORT": "1",
                "DATABASE_URL": f"sqlite:///{place}/evil.db",
                "LISTEN_FDS": "3",
                "LISTEN_PID": "1",
                "LISTEN_FDNAMES": "app:app-port:browser",
                "NOTIFY_SOCKET": str(place / "nobody"),
                "WATCHDOG_USEC": "1",
                "CREDENTIALS_DIRECTORY": str(place),
                "SQLITE_TMPDIR": "/nonexistent",
                "TMPDIR": "/nonexistent",
                "PYTHONASYNCIODEBUG": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LD_LIBRARY_PATH": "/nonexistent",
                "XDG_CONFIG_HOME": str(place),
                "XDG_STATE_HOME": str(place),
                "BROWSER": f"touch {place}/browsed",
                "PAGER": f"touch {place}/paged",
            }
        )
        with new_ground("--log", "debug", environ=environ) as ground:
            yield Hostile(environ, proxy, keylog, ground)
        # The login, a refresh and whatever the tests did: none of it went through the proxy.
        assert not visited(proxy)
        assert {each.name for each in place.iterdir()} == {"netrc", "openssl.cnf", hashed_name(AUTHORITY)}


def test_no_proxy_is_asked(hostile: Hostile) -> None:
    """A login and a refresh went their own way: a proxy of the environment would have had code, secret and token."""
    assert hostile.ground.post("/v1/accounts/me/refresh").status_code == 200
    assert not visited(hostile.proxy)


def test_no_credentials_are_added(hostile: Hostile) -> None:
    """A .netrc has something for every host; no request to a provider carries it."""
    with Loopback() as server:
        server.default = http("404 Not Found")
        hostile.ground.post("/v1/providers", json={"name": "x", "issuer": server.url})

        assert server.requests
        for request in server.requests:
            assert b"\r\nauthorization:" not in request.lower()


@pytest.mark.parametrize("name", [*BUNDLES, "SSL_CERT_DIR"])
def test_no_authority_is_trusted(hostile: Hostile, tls: ssl.SSLContext, name: str) -> None:
    """A certificate that only an authority of the environment vouches for is refused, and nothing is sent."""
    assert hostile.environ[name]
    with Loopback(tls) as server:
        server.default = http("404 Not Found")

        answer = hostile.ground.post("/v1/providers", json={"name": "x", "issuer": server.url})

        assert answer.status_code in (400, 503)
        assert "certificate" in answer.json()["detail"]
        assert not server.requests


def test_the_setting_trusts_one(home: Home, certificate: Path, tls: ssl.SSLContext) -> None:
    """The refusals above are none of everything: an authority that a person names in the settings is trusted."""
    home.serve("--ca-file", str(certificate))
    with Loopback(tls) as server, home.door() as owner:
        server.default = http("404 Not Found")
        owner.post("/v1/providers", json={"name": "x", "issuer": server.url})

        assert server.requests


def test_no_session_key_is_written(hostile: Hostile, tls: ssl.SSLContext) -> None:
    """Python can write the keys of every connection into a file, with which whoever recorded it reads it all."""
    with Loopback(tls) as server:
        hostile.ground.post("/v1/providers", json={"name": "x", "issuer": server.url})

    assert not hostile.keylog.exists()


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded"])
def test_no_proxy_header_is_believed(hostile: Hostile, name: str) -> None:
    """FORWARDED_ALLOW_IPS makes uvicorn believe whoever comes; here nobody is."""
    url = hostile.ground.browser_url
    answer = httpx2.get(f"{url}/ui/", headers={name: "https"}, trust_env=False, verify=NO_TLS, timeout=PATIENCE)
    again = httpx2.get(f"{url}/ui/", trust_env=False, verify=NO_TLS, timeout=PATIENCE)

    assert answer.content == again.content


def test_it_listens_where_it_should(hostile: Hostile) -> None:
    """HOST, PORT and the sockets of somebody else's unit move no door."""
    assert hostile.ground.app_url.startswith("http://127.0.0.1:")
    for path in ("tcp", "tcp6"):
        lines = Path(f"/proc/net/{path}").read_text().splitlines()[1:]
        ports = {f"{hostile.ground.port(door):04X}" for door in ("app", "browser")}
        listening = {line.split()[1] for line in lines if line.split()[3] == "0A"}
        everywhere = {
            address for address in listening if address.rpartition(":")[2] in ports and not address.strip("0:")
        }
        assert not everywhere


def test_spawned_commands_do_not_see_ours(home: Home) -> None:
    """A program that the daemon starts cannot speak for it to the service manager."""
    seen = home.place / "seen"
    script = home.place / "key.sh"
    script.write_text(f'#!/bin/sh\nenv > {seen}\nprintf "%064d" 0\n')
    script.chmod(0o700)
    environ = {
        "NOTIFY_SOCKET": str(home.place / "n"),
        "WATCHDOG_USEC": "60000000",
        "LISTEN_FDS": "3",
        "LISTEN_PID": "1",
    }

    home.serve(KEYFOB_KEY_SOURCE="command", KEYFOB_KEY_COMMAND=str(script), **environ)

    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert "PATH" in names
    assert "NOTIFY_SOCKET" not in names
