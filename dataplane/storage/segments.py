"""The two formats of a log segment: as it is, and sealed.

A sealed segment keeps the chain of the plain one, but inside what is sealed: the hash of a record
would let anybody check a guess of its content. So a segment can be sealed anew without touching
those that follow. Marks stand beside the sealed copy of themselves, in the clear: they hold three
numbers, and must be found behind damage.
"""

import struct
from typing import Final, Protocol, override

from blake3 import blake3

from dataplane.storage.errors import UnknownKeyError
from dataplane.storage.ports import Cipher, Ciphers, number_of
from dataplane.storage.records import (
    CHAIN_BYTES,
    KIND_MARK,
    RECORD_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Record,
    decode_segment_header,
    encode_record,
    encode_segment_header,
    read_record,
)

_MAGIC: Final = b"AEROWAL2"
_HEAD: Final = struct.Struct("<8sQI")
_FRAME: Final = struct.Struct("<IB")
_BODY: Final = struct.Struct("<BQ")
HEADER_BYTES_MAX: Final = 256
"""No header is longer: a longer file without a sound one has lost what follows."""


class SegmentFormat(Protocol):
    """How the bytes of one segment are written and read."""

    header: bytes

    def encode(
        self, chain: bytes, *, kind: int, label: int, payload: bytes, offset: int
    ) -> tuple[bytes, bytes]:
        """Return the bytes of a record that will stand at `offset`, and the new chain."""
        ...

    def read(self, data: bytes, offset: int, chain: bytes) -> Record | None:
        """Return the record at `offset`, None when it is absent, cut or damaged."""
        ...

    def is_current(self, ciphers: Ciphers | None) -> bool:
        """Whether what is written now is to be written so."""
        ...


class PlainFormat(SegmentFormat):
    """Records as they are."""

    def __init__(self, number: int, chain: bytes) -> None:
        self.header = encode_segment_header(number, chain)

    @override
    def encode(
        self, chain: bytes, *, kind: int, label: int, payload: bytes, offset: int
    ) -> tuple[bytes, bytes]:
        return encode_record(chain, kind=kind, label=label, payload=payload)

    @override
    def read(self, data: bytes, offset: int, chain: bytes) -> Record | None:
        return read_record(data, offset, chain)

    @override
    def is_current(self, ciphers: Ciphers | None) -> bool:
        return ciphers is None


class SealedFormat(SegmentFormat):
    """Records sealed with one cipher, each bound to its segment and its offset."""

    def __init__(self, number: int, cipher: Cipher, header: bytes) -> None:
        self.header = header
        self._cipher = cipher
        self._place = b"log" + number.to_bytes(8, "big")

    @override
    def encode(
        self, chain: bytes, *, kind: int, label: int, payload: bytes, offset: int
    ) -> tuple[bytes, bytes]:
        body = _BODY.pack(kind, label) + payload
        chain = blake3(chain + body).digest(CHAIN_BYTES)
        clear = payload if kind == KIND_MARK else b""
        sealed = self._cipher.seal(chain + body, self._at(offset, clear))
        return _FRAME.pack(len(clear) + len(sealed), len(clear)) + clear + sealed, chain

    @override
    def read(self, data: bytes, offset: int, chain: bytes) -> Record | None:
        start = offset + _FRAME.size
        if start > len(data):
            return None
        length, clear_length = _FRAME.unpack_from(data, offset)
        end = start + length
        if not clear_length <= length <= RECORD_BYTES_MAX or end > len(data):
            return None
        clear = data[start : start + clear_length]
        plain = self._cipher.open(data[start + clear_length : end], self._at(offset, clear))
        if plain is None or len(plain) < CHAIN_BYTES + _BODY.size:
            return None
        stored_chain, body = plain[:CHAIN_BYTES], plain[CHAIN_BYTES:]
        if blake3(chain + body).digest(CHAIN_BYTES) != stored_chain:
            return None
        kind, label = _BODY.unpack_from(body)
        return Record(kind, label, body[_BODY.size :], stored_chain, end)

    @override
    def is_current(self, ciphers: Ciphers | None) -> bool:
        return ciphers is not None and ciphers.current is self._cipher

    def _at(self, offset: int, clear: bytes) -> bytes:
        return self._place + offset.to_bytes(8, "big") + clear


def new_format(number: int, chain: bytes, ciphers: Ciphers | None) -> SegmentFormat:
    """Return the format of a segment that is written now."""
    if ciphers is None:
        return PlainFormat(number, chain)
    cipher = ciphers.current
    sealed = cipher.seal(chain, _head_place(number))
    return SealedFormat(number, cipher, _HEAD.pack(_MAGIC, number, len(sealed)) + sealed)


def read_format(data: bytes, ciphers: Ciphers | None) -> tuple[SegmentFormat, int, bytes] | None:
    """Return format, number and first chain of a segment, None when its header is damaged.

    Raises:
        UnknownKeyError: It is sealed, and not under a key of `ciphers`.
    """
    if not data.startswith(_MAGIC):
        plain = decode_segment_header(data)
        return None if plain is None else (PlainFormat(*plain), *plain)
    if len(data) < _HEAD.size:
        return None
    _, number, length = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    if not 0 < length < HEADER_BYTES_MAX or end > len(data):
        return None
    sealed = data[_HEAD.size : end]
    cipher = None if ciphers is None else ciphers.of(number_of(sealed))
    if cipher is None:
        raise UnknownKeyError(f"segment {number} of the log is under key {number_of(sealed)}")
    chain = cipher.open(sealed, _head_place(number))
    if chain is None or len(chain) != CHAIN_BYTES:
        return None
    return SealedFormat(number, cipher, data[:end]), number, chain


def _head_place(number: int) -> bytes:
    return b"loghead" + number.to_bytes(8, "big")


assert SEGMENT_HEADER_BYTES < HEADER_BYTES_MAX
