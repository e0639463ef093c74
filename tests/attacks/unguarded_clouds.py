"""Builds without one guard of the clouds' endpoints each, and the attacks that have to succeed on them.

Part of ``unguarded``.
"""

from tests.mutants.mutants import Mutant

KEYS = "tests/attacks/test_keys.py"

CLOUDS = (
    Mutant(
        "a key for an address is none elsewhere",
        "broker/web/callers.py",
        "    if challenge.is_capability(key) != capability:\n",
        "    if capability and not challenge.is_capability(key):\n",
        f"{KEYS}::test_a_key_for_an_address_opens_nothing_else",
    ),
    Mutant(
        "an ordinary key is none in an address",
        "broker/web/callers.py",
        "    if challenge.is_capability(key) != capability:\n",
        "    if challenge.is_capability(key) and not capability:\n",
        f"{KEYS}::test_an_ordinary_key_opens_no_address[nothing]",
    ),
    Mutant(
        "a metadata server is asked on purpose",
        "broker/web/emulate/asked.py",
        "    if [one.strip().lower() for one in request.headers.getlist(header)] != [value.lower()]:\n",
        "    if not header or not value:\n",
        f"{KEYS}::test_a_server_that_is_led_to_an_address[headers0]",
    ),
    Mutant(
        "a metadata server is asked by nobody in between",
        "broker/web/emulate/asked.py",
        "    if PASSED_ON in request.headers:\n",
        "    if not PASSED_ON:\n",
        f"{KEYS}::test_a_server_that_is_led_to_an_address[headers2]",
    ),
)
