"""A certificate for 127.0.0.1: some clients send no token without TLS."""

import ssl
import subprocess
from pathlib import Path

REQUEST = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
SUBJECT = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")


def certified(openssl: str, place: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a key and its certificate in a directory; return the certificate's file, and what a server wraps with."""
    certificate, key = place / "tls.crt", place / "tls.key"
    command: list[str | Path] = [openssl, *REQUEST, *SUBJECT, "-out", certificate, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
