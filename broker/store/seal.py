"""How secrets are sealed: three layers of keys, and an AEAD that binds each secret to its row and destination.

Called by ``vault`` and ``store``. The key from outside (KEK) opens the master key in the database; the master key opens
one data key per owner; a data key seals that owner's secrets::

    KEK --HKDF--> wrapping key --opens--> master key --HKDF--> data-wrapping key --opens--> data key --opens--> secret
                                                     ├-HKDF--> MAC key: plain columns that decide where secrets go
                                                     └-HKDF--> audit key: the record of what was done
"""

import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.core.account import Destination
from broker.core.secret import Secret

KEY_BYTES = 32
NONCE_BYTES = 12
# A length tells the kind of a token, sometimes whose: so lengths are rounded up to these steps.
PAD_STEP = 256
LENGTH_BYTES = 4
# The first byte of every blob. It is part of what is authenticated, so nobody can claim another algorithm.
GCM_SIV = 1
GCM = 2


class Broken(Exception):
    """Something sealed did not open: another key, or a changed blob, row or destination."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed secret belongs to; all of it must be the same when it is opened.

    Attributes:
        owner: uuid of the account or client, or id of the login.
        row: the secret row's own uuid.
        kind: ``access_token``, ``refresh_token``, ``client_secret``, ``client_key``, ...
        generation: the owner's token generation that it belongs to.
        destination: where it may be sent.
        client: uuid of the client that it may be sent with.
    """

    owner: str
    row: str
    kind: str
    generation: int
    destination: Destination
    client: str

    def fields(self) -> tuple[str, ...]:
        """Return the parts in their fixed order."""
        there = self.destination
        where = (there.issuer, there.token_endpoint, there.client_id, self.client)
        return (self.owner, self.row, self.kind, str(self.generation), *where)


@dataclass(frozen=True, slots=True)
class Record:
    """The instance record: which database this is, and its wrapped master key.

    Attributes:
        instance_id: tells this database from any other.
        key_id: the fingerprint of the outside key.
        generation: of the master key; it grows when there is a new one.
        master: the master key, wrapped.
        kdf: how the outside key is made of a passphrase, as ``passphrase`` writes it; None where it is not.
    """

    instance_id: str
    key_id: str
    generation: int
    master: bytes
    kdf: dict[str, Any] | None = None


def _canonical(*fields: str) -> bytes:
    """Join fields so that no two different lists give the same bytes: each with its length before it."""
    encoded = [field.encode("utf-8", "surrogatepass") for field in fields]
    return b"".join([len(field).to_bytes(LENGTH_BYTES) + field for field in encoded])


def _derive(key: bytes, info: str, instance_id: str) -> bytes:
    try:
        salt = instance_id.encode()
    except AttributeError as exc:  # SQLite keeps values of any kind in any column
        raise Broken("the name of the database is no text") from exc
    return HKDF(SHA256(), KEY_BYTES, salt=salt, info=info.encode()).derive(key)


def _algorithm() -> int:
    """The best algorithm that the installed OpenSSL has: GCM-SIV (3.2 and later) forgives a repeated nonce."""
    try:
        AESGCMSIV(bytes(KEY_BYTES))
    except UnsupportedAlgorithm:
        return GCM
    return GCM_SIV


def _encrypt(algorithm: int, key: bytes, plain: bytes, *fields: str) -> bytes:
    cipher = AESGCMSIV(key) if algorithm == GCM_SIV else AESGCM(key)
    nonce = os.urandom(NONCE_BYTES)
    return bytes([algorithm]) + nonce + cipher.encrypt(nonce, plain, _canonical(str(algorithm), *fields))


def _decrypt(key: bytes, blob: bytes, *fields: str) -> bytes:
    try:
        algorithm = blob[0]
        if algorithm not in (GCM_SIV, GCM):
            raise Broken("unknown algorithm")
        cipher = AESGCMSIV(key) if algorithm == GCM_SIV else AESGCM(key)
        nonce, sealed = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
        return cipher.decrypt(nonce, sealed, _canonical(str(algorithm), *fields))
    except (InvalidTag, ValueError, IndexError, TypeError) as exc:  # the last three: no blob of ours, if one at all
        raise Broken("it does not open") from exc
    except UnsupportedAlgorithm as exc:
        raise Broken("it was sealed with AES-GCM-SIV, which this OpenSSL does not have") from exc


def _padded(value: Secret) -> bytes:
    # A provider's reply is kept as it came, lone surrogates included.
    text = value.reveal().encode("utf-8", "surrogatepass")
    body = len(text).to_bytes(LENGTH_BYTES) + text
    return body + bytes(-len(body) % PAD_STEP)


def _unpadded(body: bytes) -> Secret:
    length = int.from_bytes(body[:LENGTH_BYTES])
    return Secret(body[LENGTH_BYTES : LENGTH_BYTES + length].decode("utf-8", "surrogatepass"))


def key_id(kek: bytes, instance_id: str) -> str:
    """Return a fingerprint of the outside key that says nothing about it.

    Raises:
        Broken: the database has no name that is one.
    """
    return _derive(kek, "broker/v1/key-id", instance_id)[:8].hex()


# What the wrapped master key is called. The second form says that every row under it has been authenticated from its
# first day on: see ``bindings``.
EARLY, WHOLE = "mk", "mk|v2"


def new_record(kek: bytes, kdf: dict[str, Any] | None = None, before: Record | None = None) -> Record:
    """Make a fresh master key, wrapped under ``kek``: of a new instance, or the next one of the instance ``before``."""
    instance_id = os.urandom(16).hex() if before is None else before.instance_id
    generation = 1 if before is None else before.generation + 1
    wrapping = _derive(kek, "broker/v1/wrap", instance_id)
    wrapped = _encrypt(GCM, wrapping, os.urandom(KEY_BYTES), WHOLE, instance_id, str(generation))
    return Record(instance_id, key_id(kek, instance_id), generation, wrapped, kdf)


def is_key_of(kek: bytes, record: Record) -> bool:
    """Whether ``kek`` is the outside key that the record was wrapped under."""
    return hmac.compare_digest(key_id(kek, record.instance_id), record.key_id)


def open_record(kek: bytes, record: Record) -> "Sealer":
    """Open the master key.

    Raises:
        Broken: ``kek`` is another key, or the record was changed.
    """
    wrapping = _derive(kek, "broker/v1/wrap", record.instance_id)
    parts = (record.instance_id, str(record.generation))
    try:
        return Sealer(record.instance_id, _decrypt(wrapping, record.master, WHOLE, *parts))
    except Broken:
        return Sealer(record.instance_id, _decrypt(wrapping, record.master, EARLY, *parts), early=True)


class Stamp:
    """A key that seals the audit: the one of the present master key, or one of a master key from before.

    Attributes:
        audit_key: that key.
    """

    def __init__(self, instance_id: str, audit: bytes) -> None:
        self._instance = instance_id
        self.audit_key = audit

    def audit_mac(self, *fields: str) -> bytes:
        """Return the HMAC-SHA256 that proves a part of the audit, under a key that is for nothing else."""
        return hmac.digest(self.audit_key, _canonical(self._instance, *fields), "sha256")


class Sealer(Stamp):
    """An opened master key: seals and opens secrets.

    Attributes:
        early: the key is from before schema 0008, and no rotation has made another since: there may have been rows
            under it that nothing authenticates.
    """

    def __init__(self, instance_id: str, master: bytes, *, early: bool = False) -> None:
        super().__init__(instance_id, _derive(master, "broker/v1/audit", instance_id))
        self.early = early
        self._wrapping = _derive(master, "broker/v1/data", instance_id)
        self._mac = _derive(master, "broker/v1/mac", instance_id)
        self._journal = _derive(master, "broker/v1/journal", instance_id)
        self._algorithm = _algorithm()

    def new_data_key(self, owner: str, generation: int) -> bytes:
        """Return a fresh data key for ``owner``, wrapped."""
        return _encrypt(GCM, self._wrapping, os.urandom(KEY_BYTES), "dek", self._instance, owner, str(generation))

    def _data_key(self, owner: str, generation: int, wrapped: bytes) -> bytes:
        return _decrypt(self._wrapping, wrapped, "dek", self._instance, owner, str(generation))

    def seal(self, value: Secret, binding: Binding, key_generation: int, wrapped: bytes) -> bytes:
        """Seal ``value`` under the owner's data key, bound to ``binding``."""
        (sealed,) = self.seal_all(binding.owner, [(value, binding)], key_generation, wrapped)
        return sealed

    def seal_all(
        self, owner: str, values: Iterable[tuple[Secret, Binding]], key_generation: int, wrapped: bytes
    ) -> list[bytes]:
        """Seal several values of one owner so; its data key is opened once."""
        key = self._data_key(owner, key_generation, wrapped)
        return [
            _encrypt(self._algorithm, key, _padded(value), "tok|v1", self._instance, *binding.fields())
            for value, binding in values
        ]

    def open(self, blob: bytes, binding: Binding, key_generation: int, wrapped: bytes) -> Secret:
        """Open what :meth:`seal` made.

        Raises:
            Broken: the blob, its row, its data key or its destination is not what it was.
        """
        key = self._data_key(binding.owner, key_generation, wrapped)
        return _unpadded(_decrypt(key, blob, "tok|v1", self._instance, *binding.fields()))

    def seal_entry(self, value: Secret, line: str) -> bytes:
        """Seal an entry of the emergency journal, for the database that calls itself ``line``: no row is asked."""
        return _encrypt(self._algorithm, self._journal, _padded(value), "jrn|v1", self._instance, line)

    def open_entry(self, blob: bytes, line: str) -> Secret:
        """Open what :meth:`seal_entry` made.

        Raises:
            Broken: it was cut off or changed, or is another database's.
        """
        return _unpadded(_decrypt(self._journal, blob, "jrn|v1", self._instance, line))

    def mac(self, *fields: str) -> bytes:
        """Return the HMAC-SHA256 that proves that plain columns are as Keyfob wrote them."""
        return hmac.digest(self._mac, _canonical(self._instance, *fields), "sha256")

    def wrap_stamp(self, former: Stamp, until: int) -> bytes:
        """Wrap the key that sealed the audit up to entry ``until``, so that its seals can be checked later."""
        return _encrypt(GCM, self._wrapping, former.audit_key, "aud", self._instance, str(until))

    def open_stamp(self, wrapped: bytes, until: int) -> Stamp:
        """Open what :meth:`wrap_stamp` made.

        Raises:
            Broken: it was changed, or belongs to other entries.
        """
        return Stamp(self._instance, _decrypt(self._wrapping, wrapped, "aud", self._instance, str(until)))
