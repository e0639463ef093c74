"""What HTTP on loopback does without: nobody speaks TLS there, and a client that could reads all certificates first.

Given as ``verify`` to the clients of the tests; that costs 20 ms each time.
"""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
