"""The question that the client asks a server on TCP before it sends its app key, and what it makes of the answer.

Called by ``client`` on each new connection to a URL. A port is open to every user of the machine: who listens there may
be anybody, so nothing of an answer is believed or passed on before its proof is right.
"""

from __future__ import annotations

import hmac
import json
import os

from broker import challenge
from broker.client_errors import ClientError, Locked, NotAllowed
from broker.client_wire import Reply, quote

STATUS_HINT = "keyfob status, run without KEYFOB_URL, tells where the app port is."
KEY_HINT = "See: keyfob app list"
OK = 200


class Question:
    """One question to one server.

    Args:
        key: the app key; neither it nor its hash is in the question.
        address: where the connection leads to, host and port in numbers.

    Attributes:
        path: path and query to ask.
    """

    def __init__(self, key: str, address: tuple[str, int]) -> None:
        hashed, nonce = challenge.hash_key(key), os.urandom(challenge.NONCE_BYTES)
        self._address = challenge.written(*address)
        self._right = challenge.proof(hashed, nonce, self._address)
        self.path = f"/healthz?key_id={challenge.key_id(hashed)}&nonce={nonce.hex()}&address={quote(self._address)}"

    def judge(self, reply: Reply, where: str) -> ClientError | None:
        """Return None where the answer proves the server, else the error to raise.

        Args:
            reply: the answer.
            where: the server, for people.
        """
        try:
            said = json.loads(reply.body) if reply.status == OK else None
        except (ValueError, RecursionError):
            said = None
        said = said if isinstance(said, dict) else {}
        proof = said.get("proof")
        # In bytes: a text that is not ASCII would be an error to compare_digest.
        if isinstance(proof, str) and hmac.compare_digest(proof.encode(errors="replace"), self._right.encode()):
            return None
        where += "" if self._address in where else f" ({self._address})"  # which of a name's addresses it was
        code = said.get("code") if proof is None else None
        if code == "unauthorized":
            detail = f"The app key is not known at {where}, was replaced, or has expired. It was not sent."
            return NotAllowed(detail, KEY_HINT, code=code)
        if code == "store_unavailable":
            detail = f"The daemon at {where} cannot read its database now to prove itself. The app key was not sent."
            return ClientError(detail, "Look at its disk and its log, then ask again.", code=code)
        if code == "locked":
            detail = f"The daemon at {where} is locked and cannot prove itself. The app key was not sent."
            return Locked(detail, "The owner unlocks it: keyfob unlock", code=code)
        if reply.status == OK and said.get("state") == "ok" and "proof" not in said:
            why = "gave no proof that it is your Keyfob, or is an older one"
            hint = f"After an upgrade, restart the daemon. {STATUS_HINT}"
        else:
            why, hint = "did not prove that it is your Keyfob", f"Look who listens there. {STATUS_HINT}"
        return NotAllowed(f"What answers at {where} {why}. The app key was not sent.", hint, code="server_not_proven")
