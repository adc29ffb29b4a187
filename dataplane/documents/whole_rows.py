"""Document rows with their bodies, for a state machine of nobody, which keeps whole segments."""

from collections.abc import Callable

from dataplane.documents.stubs import cut
from dataplane.documents.tables import HEADER_BYTES, SEGMENT, decode_segment, number_key
from dataplane.storage.fragments import fragment_key, unpack
from dataplane.wire.stubs import stub_of

type Read = Callable[[bytes], bytes | None]


class MissingBodyError(Exception):
    """A body is not where its stub says."""


def whole_row(read: Read, row: bytes) -> bytes:
    """Return a document row with its body; `read` reads rows of the same moment.

    Raises:
        MissingBodyError: It is not here, or it is not what it was.
    """
    stub = stub_of(row)
    if stub is None:
        return row
    stored = read(number_key(SEGMENT, stub.segment))
    if stored is None:
        raise MissingBodyError(f"there is no segment {stub.segment}")
    described = decode_segment(stored)
    packed = read(fragment_key(described.collection, stub.segment))
    segment = None if packed is None else unpack(packed, described.size)
    body = None if segment is None else cut(segment, stub)
    if body is None:
        raise MissingBodyError(f"segment {stub.segment} is not here or damaged")
    return row[:HEADER_BYTES] + body
