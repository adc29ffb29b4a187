"""The bytes of the write-ahead log: segment headers, chained records, sync marks."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3

CHAIN_BYTES: Final = 16
CHAIN_START: Final = bytes(CHAIN_BYTES)
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024

KIND_DATA: Final = 1
KIND_MARK: Final = 2

_SEGMENT_MAGIC: Final = b"AEROWAL1"
_SEGMENT: Final = struct.Struct("<8sQ16sI")
_RECORD: Final = struct.Struct("<II16s")
_BODY: Final = struct.Struct("<BQ")
_MARK_MAGIC: Final = b"\xf5aerolith-mark\xa9\x0d"
_MARK: Final = struct.Struct("<16sQQQI")

SEGMENT_HEADER_BYTES: Final = _SEGMENT.size
RECORD_HEADER_BYTES: Final = _RECORD.size


class Record(NamedTuple):
    """One intact record; `end` is the offset behind it."""

    kind: int
    label: int
    payload: bytes
    chain: bytes
    end: int


class Mark(NamedTuple):
    """Says that the log was on disk up to `offset` of `segment` when the mark was written."""

    segment: int
    offset: int
    incarnation: int


def encode_segment_header(number: int, chain: bytes) -> bytes:
    """Encode the header of segment `number`, which continues after `chain`."""
    body = _SEGMENT.pack(_SEGMENT_MAGIC, number, chain, 0)[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def decode_segment_header(data: bytes) -> tuple[int, bytes] | None:
    """Return (number, chain), or None when the header is damaged."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    magic, number, chain, checksum = _SEGMENT.unpack_from(data)
    if magic != _SEGMENT_MAGIC or zlib.crc32(data[: _SEGMENT.size - 4]) != checksum:
        return None
    return int(number), bytes(chain)


def encode_record(chain: bytes, *, kind: int, label: int, payload: bytes) -> tuple[bytes, bytes]:
    """Return (record bytes, new chain)."""
    body = _BODY.pack(kind, label) + payload
    new_chain = blake3(chain + body).digest(CHAIN_BYTES)
    checksum = zlib.crc32(body, zlib.crc32(new_chain))
    return _RECORD.pack(len(body), checksum, new_chain) + body, new_chain


def read_record(data: bytes, offset: int, chain: bytes) -> Record | None:
    """Return the record at `offset`, or None when it is absent, cut or damaged."""
    start = offset + RECORD_HEADER_BYTES
    if start > len(data):
        return None
    length, checksum, stored_chain = _RECORD.unpack_from(data, offset)
    end = start + length
    if length < _BODY.size or length > RECORD_BYTES_MAX or end > len(data):
        return None
    body = data[start:end]
    if zlib.crc32(body, zlib.crc32(stored_chain)) != checksum:
        return None
    if blake3(chain + body).digest(CHAIN_BYTES) != stored_chain:
        return None
    kind, label = _BODY.unpack_from(body)
    return Record(kind, label, body[_BODY.size :], stored_chain, end)


def encode_mark(mark: Mark) -> bytes:
    """Encode a mark so that it can be recognised even where the chain before it is broken."""
    body = _MARK.pack(_MARK_MAGIC, *mark, 0)[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def decode_mark(data: bytes, offset: int = 0) -> Mark | None:
    """Return the mark at `offset`, or None when there is no intact one."""
    if offset + _MARK.size > len(data):
        return None
    magic, segment, position, incarnation, checksum = _MARK.unpack_from(data, offset)
    if magic != _MARK_MAGIC:
        return None
    if zlib.crc32(data[offset : offset + _MARK.size - 4]) != checksum:
        return None
    return Mark(segment, position, incarnation)


def find_marks(data: bytes, offset: int) -> Iterator[Mark]:
    """Yield every intact mark at or behind `offset`, whatever lies between."""
    position = data.find(_MARK_MAGIC, offset)
    while position >= 0:
        mark = decode_mark(data, position)
        if mark is not None:
            yield mark
        position = data.find(_MARK_MAGIC, position + 1)
