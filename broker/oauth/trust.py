"""Whose certificates are believed on the way out: those of the authorities that the system trusts.

Called by ``http``.
"""

import os
import re
import ssl
import sys
from pathlib import Path

# How OpenSSL finds a certificate in a directory: by the hash of its subject (openssl-rehash(1)).
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_CERTIFICATE = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----", re.MULTILINE)


def system_trust() -> ssl.SSLContext:
    """Return what trusts the system's authorities, and none that a variable names (``SSL_CERT_FILE``).

    On Linux, OpenSSL mostly knows where they are. Where it does not, and on other systems, httpx2 does; but it is two
    megabytes for as long as the process lives, and the same certificates. Out of a directory OpenSSL reads the few that
    are needed, when they are needed; all of them are another megabyte.
    """
    places = ssl.get_default_verify_paths()
    file, directory = Path(places.openssl_cafile), Path(places.openssl_capath)
    hashed = _hashed(directory)
    if sys.platform == "linux" and (hashed or file.is_file()):
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        whole = hashed and hashed >= _certificates(file)
        trust.load_verify_locations(None if whole else file, directory if directory.is_dir() else None)
        return trust
    import httpx2  # noqa: PLC0415 -- as said; serve sees that it is there

    return httpx2.create_ssl_context(trust_env=False)


def _certificates(file: Path) -> int:
    """Return how many certificates a file has; 0 where there is none."""
    return len(_CERTIFICATE.findall(file.read_bytes())) if file.is_file() else 0


def _hashed(directory: Path) -> int:
    """Return how many files of a directory OpenSSL finds by itself; some are there under an old hash, too."""
    try:
        with os.scandir(directory) as entries:
            found = [entry.stat() for entry in entries if _HASHED.fullmatch(entry.name) and entry.is_file()]
    except OSError:  # none is there, or none that we may read
        return 0
    return len({(file.st_dev, file.st_ino) for file in found})
