"""Long data sealed in parts: a part cannot be changed, moved, repeated or left out unseen.

A stream is a head (8 bytes of format, 32 of salt), then parts of `PART_BYTES`, each with a tag; the
last one is marked as the last, so that a cut is noticed. Salt and context derive the key of the one
stream, so the nonces (a counter and the mark) are under a key that nothing else uses.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dataplane.security.aead import KEY_BYTES, TAG_BYTES, derive
from dataplane.security.errors import SealedStreamError

PART_BYTES: Final = 64 * 1024
_MAGIC: Final = b"AEROSEA1"
_SALT_BYTES: Final = 32
_COUNTER_BYTES: Final = 11
HEAD_BYTES: Final = len(_MAGIC) + _SALT_BYTES


def seal_stream(key: bytes, chunks: Iterable[bytes], context: bytes) -> Iterator[bytes]:
    """Seal chunks of any size; `context` says what this is, and must be the same to open it."""
    salt = os.urandom(_SALT_BYTES)
    cipher = _cipher(key, salt, context)
    yield _MAGIC + salt
    for number, (part, is_last) in enumerate(_parts(chunks, PART_BYTES)):
        yield cipher.encrypt(_nonce(number, is_last=is_last), part, context)


def open_stream(key: bytes, chunks: Iterable[bytes], context: bytes) -> Iterator[bytes]:
    """Open what `seal_stream` made, in chunks of any size; nothing unauthentic is yielded.

    What is yielded before the end is authentic but may not be all: use it when this ends.

    Raises:
        SealedStreamError: It was changed or cut, or is of another key or context.
    """
    head, rest = _split_head(chunks)
    if len(head) < HEAD_BYTES or not head.startswith(_MAGIC):
        raise SealedStreamError("this is no sealed stream")
    cipher = _cipher(key, head[len(_MAGIC) :], context)
    for number, (part, is_last) in enumerate(_parts(rest, PART_BYTES + TAG_BYTES)):
        try:
            yield cipher.decrypt(_nonce(number, is_last=is_last), part, context)
        except InvalidTag as error:
            detail = f"part {number} is changed, cut or of another key"
            raise SealedStreamError(detail) from error


def _split_head(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    source = iter(chunks)
    head = bytearray()
    while len(head) < HEAD_BYTES:
        chunk = next(source, None)
        if chunk is None:
            break
        head += chunk
    return bytes(head[:HEAD_BYTES]), chain((bytes(head[HEAD_BYTES:]),), source)


def _cipher(key: bytes, salt: bytes, context: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise SealedStreamError("the key of a stream has 32 bytes")
    return AESGCM(derive(key, b"stream|" + salt + context))


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
