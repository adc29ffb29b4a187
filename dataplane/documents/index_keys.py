"""Values as bytes whose order is the order of the values (`ordering.py`).

Theory of operation. The encoding of a value begins with a byte for its type and is free of
prefixes: no encoding is the beginning of another. So the parts of a key can follow each other, and
turning all bits of a part round turns its order round. A part over `PART_BYTES` is cut: what is
equal up to there has no order, so whoever reads entries in order must take those that share a cut
part as equals, and look at the documents. A unique index cannot do with that, and has the hash of
the whole value behind the cut.
"""

import struct
from typing import Any, Final, NamedTuple

from blake3 import blake3

PART_BYTES: Final = 240
EXACT_BYTES_MAX: Final = 16 * 1024
"""Of the encoding of a value in a unique index."""
_HASH_BYTES: Final = 16

TAG_NULL: Final = 0x10
TAG_NUMBER: Final = 0x20
TAG_STRING: Final = 0x30
TAG_OBJECT: Final = 0x40
TAG_ARRAY: Final = 0x50
TAG_BOOL: Final = 0x60

_END: Final = b"\x00"
_SIGN: Final = 1 << 63
_EXACT_MAX: Final = 2.0**53
_REST_ZERO: Final = 1 << 15
_DOUBLE: Final = struct.Struct(">d")
_WHOLE: Final = struct.Struct(">Q")
_INVERTED: Final = bytes(range(255, -1, -1))
_SHORT: Final = 32
"""A string of so many characters is never cut."""
_STRING: Final = bytes([TAG_STRING])
_NUMBER: Final = bytes([TAG_NUMBER])
_NULL: Final = bytes([TAG_NULL])
_BOOLS: Final = {False: bytes([TAG_BOOL, 0]), True: bytes([TAG_BOOL, 1])}


class Part(NamedTuple):
    """One value of a key; `is_cut`: it stands for other values too."""

    data: bytes
    is_cut: bool


class TooLongError(Exception):
    """A value that a unique index cannot hold."""


def tag_of(value: Any) -> int:
    """Return the first byte of the encoding of a value."""
    kind = type(value)
    if kind is bool:
        return TAG_BOOL
    if kind is int or kind is float:
        return TAG_NUMBER
    if kind is str:
        return TAG_STRING
    if kind is dict:
        return TAG_OBJECT
    return TAG_ARRAY if kind is list else TAG_NULL


def encode_value(value: Any, bytes_max: int = PART_BYTES) -> bytes:
    """Return the encoding of a value, or more than `bytes_max` of its first bytes."""
    into = bytearray([tag_of(value)])
    _append(value, into, bytes_max)
    return bytes(into)


def part_of(value: Any, direction: int, *, exact: bool = False) -> Part:
    """Return a value as a part of a key; `exact` parts are equal only when the values are.

    Raises:
        TooLongError: It is too long to be exact.
    """
    data = encode_value(value, EXACT_BYTES_MAX if exact else PART_BYTES)
    is_cut = len(data) > PART_BYTES
    if is_cut:
        if exact and len(data) > EXACT_BYTES_MAX:
            raise TooLongError
        tail = blake3(data).digest(_HASH_BYTES) if exact else b""
        data = data[:PART_BYTES] + tail
    return Part(data if direction == 1 else data.translate(_INVERTED), is_cut)


def short_part(value: Any, direction: int) -> bytes | None:
    """Return what `part_of` makes of a single short value, None when it is none: that is quicker.

    What is missing counts as null, as it does there.
    """
    kind = type(value)
    if kind is str:
        if len(value) > _SHORT:
            return None
        data: bytes = _STRING + value.encode().replace(b"\x00", b"\x00\xff") + b"\x00\x00"
    elif kind is int or kind is float:
        data = _NUMBER + _number(value)
    elif kind is bool:
        data = _BOOLS[value]
    elif kind is dict or kind is list:
        return None
    else:
        data = _NULL
    return data if direction == 1 else data.translate(_INVERTED)


def inverted(data: bytes) -> bytes:
    """Return bytes in the opposite order."""
    return data.translate(_INVERTED)


def _append(value: Any, into: bytearray, bytes_max: int) -> None:
    """Add what follows the tag."""
    kind = type(value)
    if kind is str:
        into += value[:bytes_max].encode().replace(b"\x00", b"\x00\xff") + b"\x00\x00"
    elif kind is bool:
        into.append(int(value))
    elif kind is int or kind is float:
        into += _number(value)
    elif kind is dict:
        for name in sorted(value):
            if len(into) > bytes_max:
                return
            member = value[name]
            into.append(tag_of(member))
            _append(name, into, bytes_max)
            _append(member, into, bytes_max)
        into += _END
    elif kind is list:
        for item in value:
            if len(into) > bytes_max:
                return
            into.append(tag_of(item))
            _append(item, into, bytes_max)
        into += _END


def _number(value: float) -> bytes:
    """Return a number as the nearest double, and what that leaves of a large integer."""
    nearest = float(value) + 0.0
    (bits,) = _WHOLE.unpack(_DOUBLE.pack(nearest))
    data = _WHOLE.pack(bits ^ (_SIGN | -(bits >> 63) & (_SIGN - 1)))
    if abs(nearest) < _EXACT_MAX:
        return data
    rest = int(value) - int(nearest) if type(value) is int else 0
    return data + (rest + _REST_ZERO).to_bytes(2, "big")
