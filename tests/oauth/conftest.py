"""What the tests of ``broker.oauth`` share: a lying server, a certificate made on the spot, a client."""

import datetime as dt
import hashlib
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.oauth.loopback import Loopback

# The subject of the loopback server's certificate, which is its own authority.
AUTHORITY = "Keyfob tests"


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Yield a raw server on loopback."""
    with Loopback() as running:
        yield running


def self_signed(path: Path, common_name: str) -> Path:
    """Make a self-signed certificate for 127.0.0.1 and provider.example; key and certificate in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("provider.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def hashed_name(common_name: str) -> str:
    """Return the name by which OpenSSL finds the certificate of such a subject in a directory (openssl-rehash(1)).

    It is the beginning of the SHA-1 of the subject, of which each value is in small letters and UTF-8.
    """
    value = common_name.lower().encode()
    attribute = b"\x06\x03\x55\x04\x03\x0c" + bytes([len(value)]) + value
    sequence = b"\x30" + bytes([len(attribute)]) + attribute
    digest = hashlib.sha1(b"\x31" + bytes([len(sequence)]) + sequence, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}.0"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the certificate of the loopback server."""
    return self_signed(tmp_path_factory.mktemp("tls") / "both.pem", AUTHORITY)


@pytest.fixture(scope="session")
def tls(certificate: Path) -> ssl.SSLContext:
    """Return a server's TLS context with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
