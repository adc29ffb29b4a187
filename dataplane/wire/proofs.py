"""Proofs of what a cluster holds, as they travel, and what replicas sign for them.

A proof stands on its own: with the public keys of the replicas (`TrustAnchor`) anybody can check
that a quorum signed the root of a state in which a document is as shown, or absent. In JSON every
byte string is base64.
"""

from typing import Final, Literal

import msgspec
from blake3 import blake3

KEY_HASH_BYTES: Final = 16
HASH_BYTES: Final = 32
COUNT_BYTES: Final = 8
FAN_OUT: Final = 16
BUCKET_ENTRIES_MAX: Final = 32
SIBLING_BYTES: Final = (FAN_OUT - 1) * (HASH_BYTES + COUNT_BYTES)
LEVELS_MAX: Final = 2 * KEY_HASH_BYTES
EPOCH_CHANGES_MAX: Final = 64
NONCE_BYTES: Final = 32

type Votes = tuple[tuple[int, bytes], ...]
"""(replica, signature) pairs."""


class RowProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the state on its way to the root.

    `row` is the row as stored and hashed, None when it is absent. `bucket` has the sorted entries
    (16 bytes of key hash, 32 bytes of entry hash) of the leaf where the row is or would be, None
    when there is no leaf. `siblings` go from the leaf up to the root: at each level the digests and
    the counts (32 + 8 bytes) of the other fifteen children, in order.
    """

    row: bytes | None
    bucket: bytes | None
    siblings: tuple[bytes, ...]


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quorum's signatures under the root of the state after `sequence`.

    A `checkpoint` is one that the replicas made by themselves, a `seal` one that a reader asked
    for. The two are signed under different names, so that neither passes for the other.
    """

    kind: Literal["checkpoint", "seal"]
    sequence: int
    root: bytes
    votes: Votes


class Validator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A replica that may sign in an epoch; the key is hex of 32 bytes (Ed25519)."""

    id: int
    public_key: str


class EpochChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The end of an epoch: a quorum of its validators names those of the next."""

    epoch: int
    sequence: int
    validators: tuple[Validator, ...]
    votes: Votes


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a document is as shown, or absent, in the state that the certificate is of.

    Rows of documents are named by the number of their collection; `collection_row` proves which
    number the name had, or that there was no such collection: then `document` is None.
    """

    version: int
    cluster_id: str
    epoch: int
    collection: str
    id: str
    collection_row: RowProof
    document: RowProof | None
    certificate: Certificate
    changes: tuple[EpochChange, ...] = ()


class TombstoneProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That an erasure is in the state that the certificate is of: what was erased, and where.

    It shows what the cluster agreed on. That no copy of a destroyed key exists, nothing can show.
    """

    version: int
    cluster_id: str
    epoch: int
    number: int
    tombstone: RowProof
    certificate: Certificate
    changes: tuple[EpochChange, ...] = ()


def _payload(kind: bytes, cluster_id: bytes, numbers: tuple[int, ...], body: bytes) -> bytes:
    head = b"AEROL1|" + kind + b"|" + cluster_id
    return blake3(head + b"".join(number.to_bytes(8, "big") for number in numbers) + body).digest()


def seal_payload(cluster_id: bytes, *, epoch: int, sequence: int, root: bytes) -> bytes:
    """Return what a replica signs to seal the state after `sequence` for a reader."""
    return _payload(b"SEAL", cluster_id, (0, epoch, sequence), root)


def epoch_change_payload(cluster_id: bytes, change: EpochChange) -> bytes:
    """Return what the validators of `change.epoch` sign to hand over to the next."""
    members = b"".join(
        validator.id.to_bytes(8, "big") + bytes.fromhex(validator.public_key)
        for validator in change.validators
    )
    return _payload(b"EPOCH", cluster_id, (0, change.epoch, change.sequence), members)


def identity_payload(cluster_id: bytes, *, replica: int, url: str, nonce: bytes) -> bytes:
    """Return what a replica signs to show that it, and nobody else, answers at `url`."""
    assert len(nonce) == NONCE_BYTES
    return _payload(b"IDENTITY", cluster_id, (0, replica), nonce + url.encode())
