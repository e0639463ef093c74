"""What tests need of loopback: clients without TLS, and ports that stay what they are.

Used by the tests of several rooms.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator

# Nobody speaks TLS there, and a client that could reads all certificates first: 20 ms each time. For ``verify``.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """Hold a port where nobody listens, so that connections are refused, for the length of the block.

    A program that sets SO_REUSEADDR, as servers do, may listen there meanwhile; the kernel gives it to nobody else. One
    that was only found free and let go is taken sooner or later by a connection of another test.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port
