"""What stands in a document row in the place of a body that lies in a segment.

After the header comes a byte that MessagePack never uses, the segment, the place in it, and the
BLAKE3 of the body: so whoever has a signed root, and a row under it, can check the body too.
"""

import struct
from typing import Final, NamedTuple

from blake3 import blake3

HEADER_BYTES: Final = 24
"""Of a document row: its version and two times come before the body."""
_MARK: Final = 0xC1
_STUB: Final = struct.Struct(">BQII32s")
STUB_BYTES: Final = _STUB.size
"""Of what stands in the place of a body; a body that is no longer stays where it is."""
_NUMBERS: Final = ((0, 8), (8, 12), (12, 16))
_DIGEST_BYTES: Final = 32
_ROW_BYTES: Final = HEADER_BYTES + STUB_BYTES


class Stub(NamedTuple):
    """Where the body of a document is."""

    segment: int
    offset: int
    length: int
    digest: bytes
    """BLAKE3 of the body."""


def is_stub(row: bytes) -> bool:
    """Whether a document row has a stub in the place of its body."""
    return len(row) == _ROW_BYTES and row[HEADER_BYTES] == _MARK


def stub_of(row: bytes) -> Stub | None:
    """Return the stub of a document row, None when its body is there."""
    if not is_stub(row):
        return None
    at = HEADER_BYTES + 1
    numbers = [int.from_bytes(row[at + a : at + b], "big") for a, b in _NUMBERS]
    return Stub(numbers[0], numbers[1], numbers[2], row[-_DIGEST_BYTES:])


def stub_row(row: bytes, stub: Stub) -> bytes:
    """Return a document row with a stub in the place of its body."""
    return row[:HEADER_BYTES] + _STUB.pack(_MARK, *stub)


def fits(stub: Stub, body: bytes) -> bool:
    """Whether this is the body that a stub stands for."""
    return len(body) == stub.length and blake3(body).digest() == stub.digest
