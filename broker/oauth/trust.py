"""Whose certificates are believed on the way out: those of the authorities that the system trusts.

Called by ``http``.
"""

import ssl
import sys
from pathlib import Path


def system_trust() -> ssl.SSLContext:
    """Return what trusts the system's authorities, and none that a variable names (``SSL_CERT_FILE``).

    On Linux, OpenSSL mostly knows where they are. Where it does not, and on other systems, httpx2 does; but it is two
    megabytes for as long as the process lives, and the same certificates.
    """
    places = ssl.get_default_verify_paths()
    file, directory = Path(places.openssl_cafile), Path(places.openssl_capath)
    if sys.platform == "linux" and file.is_file():
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.load_verify_locations(file, directory if directory.is_dir() else None)
        return trust
    import httpx2  # noqa: PLC0415 -- as said; serve sees that it is there

    return httpx2.create_ssl_context(trust_env=False)
