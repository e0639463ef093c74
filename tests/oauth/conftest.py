"""What the tests of ``broker.oauth`` share: a lying server, a certificate made on the spot, a client."""

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback import self_signed
from tests.oauth.loopback import Loopback

# The subject of the loopback server's certificate, which is its own authority.
AUTHORITY = "Keyfob tests"


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Yield a raw server on loopback."""
    with Loopback() as running:
        yield running


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
