"""Sealing of long data in parts, under a key of its own: AES-256-GCM, in order, whole.

A stream is a head (format and salt), then parts of `PART_BYTES` with a tag each. Salt and context
derive the key of the one stream, so the nonces (a counter and the mark of the last part) are under
a key that nothing else uses. No part can be changed, moved, repeated or left out unseen.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PART_BYTES: Final = 256 * 1024
_MAGIC: Final = b"AERPORT1"
_SALT_BYTES: Final = 32
_TAG_BYTES: Final = 16
_COUNTER_BYTES: Final = 11
_HEAD_BYTES: Final = len(_MAGIC) + _SALT_BYTES


class SealedStreamDamaged(Exception):  # noqa: N818 - reads as what is wrong
    """The stream was changed or cut, or is of another key or context."""


def seal_stream(key: bytes, chunks: Iterable[bytes], context: bytes) -> Iterator[bytes]:
    """Seal chunks of any size; `context` says what this is, and must be the same to open it."""
    salt = secrets.token_bytes(_SALT_BYTES)
    cipher = _cipher(key, salt, context)
    yield _MAGIC + salt
    for number, (part, is_last) in enumerate(_parts(chunks, PART_BYTES)):
        yield cipher.encrypt(_nonce(number, is_last=is_last), part, context)


def open_stream(key: bytes, chunks: Iterable[bytes], context: bytes) -> Iterator[bytes]:
    """Open what `seal_stream` made; what is yielded is authentic, and all when this ends.

    Raises:
        SealedStreamDamaged: nothing after this point can be believed.
    """
    head, rest = _split_head(chunks)
    if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
        raise SealedStreamDamaged("this is no sealed stream")
    cipher = _cipher(key, head[len(_MAGIC) :], context)
    for number, (part, is_last) in enumerate(_parts(rest, PART_BYTES + _TAG_BYTES)):
        try:
            yield cipher.decrypt(_nonce(number, is_last=is_last), part, context)
        except InvalidTag as error:
            detail = f"part {number} is changed, cut or of another key"
            raise SealedStreamDamaged(detail) from error


def _split_head(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    source = iter(chunks)
    head = b""
    while len(head) < _HEAD_BYTES:
        chunk = next(source, None)
        if chunk is None:
            break
        head += chunk
    return head[:_HEAD_BYTES], chain((head[_HEAD_BYTES:],), source)


def _cipher(key: bytes, salt: bytes, context: bytes) -> AESGCM:
    derived = hashlib.blake2b(
        salt + context, digest_size=32, key=key, person=b"aerolith-stream"
    ).digest()
    return AESGCM(derived)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_COUNTER_BYTES, "big") + (b"\x01" if is_last else b"\x00")


def _parts(chunks: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Cut into parts of one size; the last may be shorter, or empty when there is nothing."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        start = 0
        while len(waiting) - start > size:
            yield bytes(waiting[start : start + size]), False
            start += size
        del waiting[:start]
    yield bytes(waiting), True
