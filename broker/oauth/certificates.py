"""Which certificates are trusted at the other end: those of this system, and those of a file beside them.

Called by ``http``. The system's are found where OpenSSL was built to look for them, or where distributions have them.
No variable of the environment is asked: whoever sets one could read every token.
"""

import functools
import re
import ssl
from pathlib import Path

from broker.errors import CannotStart

# Where distributions keep them all in one file, for an OpenSSL that was built elsewhere (python.org, conda, pyenv).
BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)
# How OpenSSL finds a certificate in a directory: by the hash of its subject (openssl-rehash(1)).
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")


@functools.cache
def usual() -> ssl.SSLContext:
    """Read the system's certificates, once: that takes as long as it takes to import half of the stack."""
    return _of_system()


def usual_and(ca_file: Path) -> ssl.SSLContext:
    """Read the system's certificates, and those of a PEM file.

    Raises:
        CannotStart: the file cannot be read, or is none.
    """
    context = _of_system()
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise CannotStart(
            f"The CA file {ca_file} cannot be used: {exc.strerror or exc}.",
            "Give a PEM file with --ca-file or KEYFOB_CA_FILE.",
        ) from exc
    return context


def _of_system() -> ssl.SSLContext:
    # A client's: certificates and the names in them are checked, and TLS 1.2 is the oldest.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = ssl.get_default_verify_paths()
    file, folder = Path(paths.openssl_cafile), Path(paths.openssl_capath)
    found = (file if file.is_file() else None, folder if _is_hashed(folder) else None)
    if found == (None, None):
        found = (next(filter(Path.is_file, BUNDLES), None), None)
    if found != (None, None):
        context.load_verify_locations(*found)
    return context


def _is_hashed(folder: Path) -> bool:
    return folder.is_dir() and any(_HASHED.fullmatch(path.name) for path in folder.iterdir())
