"""A backup as it travels and as it is kept: the rows of a state under a root that a quorum signed.

A file is `MAGIC` and then one zstd frame of records, each four bytes of length and MessagePack. The
first record is the `Head`, the last is `End`. Between them come the leaves of the state's tree in
the order of their paths: a `Leaf` says where it is and how many rows it has, and `Rows` bring them.
An incremental backup has `Same` in the place of every subtree that its reader holds already.

Whoever reads it hashes rows to leaves and leaves to the root, and compares that with the root in
the head and the signatures there: nothing else of the file has to be trusted.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.proofs import Certificate, EpochChange, RowProof
from dataplane.wire.stubs import HEADER_BYTES, fits, stub_of

MAGIC: Final = b"AEROLITH-BACKUP1"
MEDIA_TYPE: Final = "application/vnd.aerolith.backup"
FORMAT: Final = 1
RECORD_BYTES_MAX: Final = 8 * 1024 * 1024
ROWS_BYTES: Final = 128 * 1024
"""About so much of rows goes into one record; a longer row is a record by itself."""
KNOWN_BYTES: Final = 16
"""So much of a digest names a subtree that the reader holds."""
KNOWN_MAX: Final = 500_000
LENGTH_BYTES: Final = 4
DOCUMENT: Final = b"D"

type Row = tuple[bytes, bytes]


class Record(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=True
):
    """Base of the records; the tag is the class name."""


class Head(Record, frozen=True):
    """Which state it is, and who signed for it; `at_ms` is the agreed time of its last batch."""

    format: int
    cluster_id: str
    epoch: int
    certificate: Certificate
    changes: tuple[EpochChange, ...]
    at_ms: int


class Leaf(Record, frozen=True):
    """The beginning of a leaf, and how many rows it has."""

    path: str
    entries: int


class Rows(Record, frozen=True):
    """Some rows of the leaf that began last, in the order of the hashes of their keys.

    `bodies` are those of the cold documents among them, in the order of these.
    """

    rows: tuple[Row, ...]
    bodies: tuple[bytes, ...] = ()

    def whole(self) -> Iterator[Row]:
        """Yield the rows, those of cold documents with their bodies, as a restore brings them.

        Raises:
            MalformedMessageError: A body is missing, or is not the one that its stub stands for.
        """
        bodies = iter(self.bodies)
        for key, value in self.rows:
            stub = stub_of(value) if key.startswith(DOCUMENT) else None
            if stub is None:
                yield key, value
                continue
            body = next(bodies, None)
            if body is None or not fits(stub, body):
                raise MalformedMessageError("the body of a cold document is missing or another")
            yield key, value[:HEADER_BYTES] + body
        if next(bodies, None) is not None:
            raise MalformedMessageError("a body of no document")


class Same(Record, frozen=True):
    """A subtree that the reader named as known, with the number of rows in it."""

    path: str
    digest: bytes
    entries: int


class End(Record, frozen=True):
    """The end: how many rows and subtrees came before."""

    rows: int
    same: int


type AnyRecord = Head | Leaf | Rows | Same | End

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)


def encode_records(records: Iterable[AnyRecord]) -> bytes:
    """Return records with their lengths, not compressed."""
    parts: list[bytes] = []
    for record in records:
        data = _encoder.encode(record)
        assert len(data) <= RECORD_BYTES_MAX, "a record is bounded"
        parts += (len(data).to_bytes(LENGTH_BYTES, "big"), data)
    return b"".join(parts)


def decode_record(data: bytes) -> AnyRecord:
    """Return the record in `data`, which is without its length.

    Raises:
        MalformedMessageError: The bytes are not one.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from error


# --- Restoring ------------------------------------------------------------------------------------

COLLECTION: Final = b"C"
CONTENT: Final = (COLLECTION, b"D", b"L")
"""What the keys of rows begin with that a restore brings back: collections, documents, indexes.

Of indexes only what they are: their entries are made anew.
Everything else belongs to the cluster it is of: sessions, members, limits, counts, API keys.
"""


def is_content(key: bytes) -> bool:
    """Whether a restore brings the row back."""
    return key[:1] in CONTENT


class SourceState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which state a backup is of, and who signed it."""

    cluster_id: str
    epoch: int
    certificate: Certificate
    at_ms: int
    changes: tuple[EpochChange, ...] = ()


class RestoreProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The row in which a cluster keeps what was restored into it, under a root a quorum signed."""

    version: int
    cluster_id: str
    epoch: int
    row: RowProof
    certificate: Certificate
    changes: tuple[EpochChange, ...] = ()


class RestoreCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a cluster holds the content of another one's signed state.

    Whoever has the backup finds `content` (hex) as the digest of its rows under the root that the
    nodes of the one cluster signed; the nodes of the other signed that they loaded just that.
    """

    version: int
    source: SourceState
    content: str
    proof: RestoreProof
