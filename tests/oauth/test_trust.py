"""Whose certificates are believed, against what httpx2 believes, and in a process of its own."""

import ssl
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from broker.oauth.trust import system_trust
from tests.loopback import self_signed
from tests.oauth.conftest import AUTHORITY, hashed_name

PLACES = ssl.get_default_verify_paths()
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere httpx2 is asked")
KNOWN = Path(PLACES.openssl_cafile).is_file() and sys.platform == "linux"
# What it believes, and whether httpx2 was needed for that.
ASKED = """
import sys
from broker.oauth.trust import system_trust
print(system_trust().cert_store_stats()["x509"], "httpx2" in sys.modules)
"""


def told(trust: ssl.SSLContext) -> tuple[object, ...]:
    """Return all that decides whether a certificate is believed, but for whom."""
    return trust.verify_mode, trust.verify_flags, trust.check_hostname, trust.options, trust.minimum_version


def asked(**environ: str) -> list[str]:
    """Ask in a process that has only these variables."""
    return subprocess.run(
        [sys.executable, "-c", ASKED], env=environ, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()


def of(file: Path) -> ssl.SSLContext:
    """Return what trusts the certificates of a file."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(file)
    return trust


def believes(trust: ssl.SSLContext, server: Path) -> bool:
    """Shake hands with a server that has that key and certificate, in memory."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(server)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    we = trust.wrap_bio(to_us, to_them, server_hostname="provider.example")
    they = theirs.wrap_bio(to_them, to_us, server_side=True)
    for turn in (we, they, we):
        try:
            turn.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let OpenSSL's place for certificates be ``cert.pem`` and ``certs`` in an empty directory."""
    here = PLACES._replace(openssl_cafile=str(tmp_path / "cert.pem"), openssl_capath=str(tmp_path / "certs"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: here)
    tmp_path.joinpath("certs").mkdir()
    return tmp_path


def test_it_is_what_httpx2_trusts() -> None:
    """It is the library's answer, certificate by certificate, with a part of its memory."""
    trust, theirs = system_trust(), httpx2.create_ssl_context(trust_env=False)
    assert told(trust) == told(theirs)
    whom = set(trust.get_ca_certs(binary_form=True))
    if not whom:  # they are read when they are needed
        for file in Path(PLACES.openssl_capath).glob("*.[0-9]"):
            whom |= set(of(file).get_ca_certs(binary_form=True))
    assert whom == set(theirs.get_ca_certs(binary_form=True))


@ON_LINUX
@pytest.mark.parametrize("file", [True, False])
def test_of_a_whole_directory_only_what_is_needed_is_read(place: Path, certificate: Path, file: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """Who is in it is believed, and nobody else; nothing is read before somebody comes."""
    place.joinpath("certs", hashed_name(AUTHORITY)).symlink_to(certificate)
    if file:
        place.joinpath("cert.pem").write_bytes(certificate.read_bytes())

    trust = system_trust()

    assert trust.cert_store_stats()["x509"] == 0
    assert not believes(trust, self_signed(place / "other.pem", "Somebody else"))
    assert not believes(trust, self_signed(place / "same.pem", AUTHORITY))
    assert believes(trust, certificate)


@ON_LINUX
@pytest.mark.parametrize("way", ["few", "twice", "gone", "other"])
def test_a_directory_that_lacks_some_is_no_place_to_look(place: Path, certificate: Path, way: str) -> None:
    """Where the file has more than OpenSSL finds in the directory, all of the file are believed."""
    others = self_signed(place / "others.pem", "Others")
    place.joinpath("cert.pem").write_bytes(certificate.read_bytes() + others.read_bytes())
    directory = place / "certs"
    if way != "few":
        directory.joinpath(hashed_name(AUTHORITY)).symlink_to(certificate)
    if way == "twice":  # its name of long ago
        directory.joinpath("0123abcd.0").symlink_to(certificate)
    if way == "gone":
        directory.joinpath(hashed_name("Others")).symlink_to(place / "gone.pem")
    if way == "other":
        directory.joinpath("others.pem").symlink_to(others)

    trust = system_trust()

    assert (believes(trust, certificate), believes(trust, others)) == (True, True)


@ON_LINUX
@pytest.mark.parametrize("directory", [True, False])
def test_a_file_without_a_certificate_is_told_of(place: Path, directory: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """It is no reason to believe nobody, silently."""
    place.joinpath("cert.pem").touch()
    if not directory:
        place.joinpath("certs").rmdir()

    with pytest.raises(ssl.SSLError, match="NO_CERTIFICATE"):
        system_trust()


def test_where_the_place_is_not_known_httpx2_is_asked(place: Path) -> None:
    """A Python that was built elsewhere looks for certificates where there are none."""
    place.joinpath("certs").rmdir()
    theirs = httpx2.create_ssl_context(trust_env=False)

    trust = system_trust()

    assert told(trust) == told(theirs)
    assert trust.get_ca_certs(binary_form=True) == theirs.get_ca_certs(binary_form=True)


@pytest.mark.skipif(not KNOWN, reason="OpenSSL does not know here where the system's certificates are")
def test_no_variable_is_believed_and_httpx2_is_not_loaded(tmp_path: Path) -> None:
    """Variables that OpenSSL itself would go by change nothing."""
    nothing = tmp_path / "none.pem"
    nothing.touch()

    usual = asked()

    assert usual[1] == "False"
    assert asked(SSL_CERT_FILE=str(nothing), SSL_CERT_DIR=str(tmp_path)) == usual
