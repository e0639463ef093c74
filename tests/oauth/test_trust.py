"""Whose certificates are believed, against what httpx2 believes, and in a process of its own."""

import ssl
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from broker.oauth.trust import system_trust

PLACES = ssl.get_default_verify_paths()
KNOWN = Path(PLACES.openssl_cafile).is_file() and sys.platform == "linux"
# What it believes, and whether httpx2 was needed for that.
ASKED = """
import sys
from broker.oauth.trust import system_trust
print(len(system_trust().get_ca_certs()), "httpx2" in sys.modules)
"""


def told(trust: ssl.SSLContext) -> tuple[object, ...]:
    """Return all that decides whether a certificate is believed."""
    whom = sorted(trust.get_ca_certs(binary_form=True))
    return whom, trust.verify_mode, trust.verify_flags, trust.check_hostname, trust.options, trust.minimum_version


def asked(**environ: str) -> list[str]:
    """Ask in a process that has only these variables."""
    return subprocess.run(
        [sys.executable, "-c", ASKED], env=environ, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()


def test_it_is_what_httpx2_trusts() -> None:
    """It is the library's answer, certificate by certificate, with a part of its memory."""
    assert told(system_trust()) == told(httpx2.create_ssl_context(trust_env=False))


def test_where_the_place_is_not_known_httpx2_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python that was built elsewhere looks for certificates where there are none."""
    nowhere = PLACES._replace(openssl_cafile=str(tmp_path / "cert.pem"), openssl_capath=str(tmp_path / "certs"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)

    assert told(system_trust()) == told(httpx2.create_ssl_context(trust_env=False))


@pytest.mark.skipif(not KNOWN, reason="OpenSSL does not know here where the system's certificates are")
def test_no_variable_is_believed_and_httpx2_is_not_loaded(tmp_path: Path) -> None:
    """Variables that OpenSSL itself would go by change nothing."""
    nothing = tmp_path / "none.pem"
    nothing.touch()

    usual = asked()

    assert usual[1] == "False"
    assert asked(SSL_CERT_FILE=str(nothing), SSL_CERT_DIR=str(tmp_path)) == usual
