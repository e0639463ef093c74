"""Which certificates are trusted: the system's, wherever it has them, and nobody's who sets a variable."""

import asyncio
import ssl
from pathlib import Path

import pytest

from broker.oauth import certificates
from broker.oauth.http import Http, NotSent
from tests.oauth.loopback import Loopback, http


@pytest.fixture(autouse=True)
def _read_anew() -> None:
    certificates.usual.cache_clear()


def get(url: str) -> bytes:
    """Ask with the usual trust."""
    return asyncio.run(Http(deadline=5).send("GET", url, private=False)).body


def paths(file: object, folder: object) -> ssl.DefaultVerifyPaths:
    """Return where an OpenSSL was built to look."""
    return ssl.DefaultVerifyPaths("", "", "SSL_CERT_FILE", str(file), "SSL_CERT_DIR", str(folder))


def test_no_variable_adds_a_certificate(
    monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, certificate: Path
) -> None:
    """Whoever sets SSL_CERT_FILE or SSL_CERT_DIR for the daemon does not get between it and a provider."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificate.parent))
    with Loopback(tls, http("200 OK", {})) as server, pytest.raises(NotSent, match="certificate of 127"):
        get(server.url)


@pytest.mark.parametrize("where", ["file", "folder", "bundle"])
def test_the_systems_certificates_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: ssl.SSLContext, certificate: Path, where: str
) -> None:
    """In the file or the directory that OpenSSL knows; else, where distributions have them all in one file."""
    folder = tmp_path / "certs"
    folder.mkdir()
    if where == "folder":
        hashed = "b318cbd4.0"  # of the subject "CN = Keyfob tests"
        folder.joinpath(hashed).write_bytes(certificate.read_bytes())
    known = paths(certificate if where == "file" else tmp_path / "none.pem", folder)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)
    monkeypatch.setattr(certificates, "BUNDLES", (certificate,) if where == "bundle" else ())
    with Loopback(tls, http("200 OK", {"a": 1})) as server:
        assert get(server.url) == b'{"a": 1}'


def test_a_system_without_certificates_trusts_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    """Where there are none, no connection comes about; nothing is sent unproven."""
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths(tmp_path / "none.pem", tmp_path))
    monkeypatch.setattr(certificates, "BUNDLES", ())
    with Loopback(tls, http("200 OK", {})) as server, pytest.raises(NotSent, match="certificate of 127"):
        get(server.url)
