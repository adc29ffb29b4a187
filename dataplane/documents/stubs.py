"""Documents whose bodies lie in a segment: what stands in their place, and what a segment holds.

The root covers stubs, so it binds the bodies too.

A segment begins with a directory of what it holds, so that its documents are found without a scan.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from dataplane.documents.commands import OpResult, encode_result
from dataplane.documents.errors import NOT_READY, STATUS
from dataplane.documents.tables import HEADER_BYTES, Batch
from dataplane.wire.stubs import Stub, fits, is_stub, stub_of

_LENGTH_BYTES: Final = 4


COLD_RESULT: Final = OpResult(
    STATUS[NOT_READY], NOT_READY, detail="a document lies in another tier: fetch it and try again"
)
COLD: Final = encode_result(COLD_RESULT)
"""The result of an operation that needs a body that is in a segment; nothing was done.

Its gateway fetches the body, has it put back (`Warm`), and orders the operation again.
"""


class Entry(NamedTuple):
    """A document in the directory of a segment."""

    id: str
    length: int


class ColdError(Exception):
    """The body of a document is needed here and lies in a segment; nothing was changed.

    No `Refusal`: what is refused was decided, and this is to be tried again.
    """


_encode_directory = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_directory = msgspec.msgpack.Decoder(list[tuple[str, int]]).decode


def body_of(row: bytes) -> bytes:
    """Return the body of a document row.

    Raises:
        ColdError: It is not there.
    """
    if is_stub(row):
        raise ColdError
    return row[HEADER_BYTES:]


def body_bytes(row: bytes) -> int:
    """Return how long the body of a document is, wherever it is."""
    stub = stub_of(row)
    return len(row) - HEADER_BYTES if stub is None else stub.length


def body_digest(row: bytes) -> bytes:
    """Return the BLAKE3 of the body of a document, wherever it is."""
    stub = stub_of(row)
    return blake3(row[HEADER_BYTES:]).digest() if stub is None else stub.digest


def thaw(batch: Batch, key: bytes, row: bytes) -> None:
    """Note that a row goes, so that a segment holds a living document less if it is a stub.

    `key` is that of the row, empty when its whole collection goes.
    """
    stub = stub_of(row)
    if stub is not None:
        batch.thawed.append((stub.segment, stub.length, key))


def build_segment(number: int, documents: Sequence[tuple[str, bytes]]) -> tuple[bytes, list[Stub]]:
    """Return the bytes of a segment that holds these bodies by ids, and their stubs in order."""
    directory = _encode_directory([(name, len(body)) for name, body in documents])
    parts = [len(directory).to_bytes(_LENGTH_BYTES, "big"), directory]
    offset = _LENGTH_BYTES + len(directory)
    stubs: list[Stub] = []
    for _, body in documents:
        stubs.append(Stub(number, offset, len(body), blake3(body).digest()))
        parts.append(body)
        offset += len(body)
    return b"".join(parts), stubs


def directory_of(segment: bytes) -> list[Entry]:
    """Return what a segment, checked against its digest, holds."""
    end = _LENGTH_BYTES + int.from_bytes(segment[:_LENGTH_BYTES], "big")
    return [Entry(*entry) for entry in _decode_directory(segment[_LENGTH_BYTES:end])]


def cut(segment: bytes, stub: Stub) -> bytes | None:
    """Return the body that a stub stands for, None when the segment does not hold it."""
    body = segment[stub.offset : stub.offset + stub.length]
    return body if fits(stub, body) else None
