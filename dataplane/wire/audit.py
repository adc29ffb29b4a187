"""The audit chain as it is stored and as it travels: records, the row of its ends, the proof.

Each record's hash covers the record and the hash of the one before, so that whoever knows the
hash of the last knows all of them. The row of the ends is part of the replicated state: every
checkpoint signs it.
"""

from typing import Final

import msgspec
from blake3 import blake3

from dataplane.wire.proofs import Certificate, EpochChange, RowProof

LEVELS: Final = ("basic", "full", "forensic")
"""What is recorded, each more than the one before; there is no level without records."""
BASIC, FULL, FORENSIC = LEVELS
START: Final = bytes(32)
"""What the first record of a cluster says of the one before it."""
ENDS_KEY: Final = b"H"
"""The key of the row of the chain's ends."""
_DAY_MS: Final = 86_400_000


class AuditRecord(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """One thing that was done, or refused.

    `index` counts the records of the cluster from 1; `sequence` and `position` say where in the
    agreed log it stands; `at_ms` is the agreed time there. `actor` is the id of the API key, None
    when the gateway named none, and `node` the member whose gateway vouches for that. `before` and
    `after` are digests of the document. `count` is above 1 for equal things reported as one.
    """

    index: int
    sequence: int
    position: int
    at_ms: int
    node: int | None
    actor: str | None
    action: str
    collection: str | None
    id: str | None
    status: int
    code: str | None
    version: int | None
    before: bytes | None = None
    after: bytes | None = None
    count: int = 1
    detail: str | None = None


class AuditEnds(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where the kept chain begins and ends, and what is recorded and kept.

    `first` is the index of the first kept record and `start` the hash of the one before it; `last`
    is the index of the newest record and `head` its hash.
    """

    level: str = LEVELS[0]
    retention_ms: int = 365 * _DAY_MS
    records_max: int = 1_000_000
    first: int = 1
    start: bytes = START
    last: int = 0
    head: bytes = START


class AuditProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That the ends of a cluster's audit chain are as the row shows, by a quorum's signatures."""

    version: int
    cluster_id: str
    epoch: int
    ends: RowProof
    certificate: Certificate
    changes: tuple[EpochChange, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_ends_decoder = msgspec.msgpack.Decoder(AuditEnds)


def hash_record(previous: bytes, record: AuditRecord) -> bytes:
    """Return the hash of a record that follows the one with the hash `previous`."""
    return blake3(b"AEROL1|AUDIT|" + previous + _encoder.encode(record)).digest()


def encode_ends(ends: AuditEnds) -> bytes:
    """Return the row of the chain's ends."""
    return _encoder.encode(ends)


def decode_ends(row: bytes) -> AuditEnds:
    """Return the ends in a row.

    Raises:
        msgspec.MsgspecError: The row is none.
    """
    return _ends_decoder.decode(row)
