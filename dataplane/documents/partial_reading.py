"""Decoding only some top-level fields of stored documents."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, TypedDict

import msgspec

from dataplane.documents.rendering import timestamp
from dataplane.documents.tables import HEADER_BYTES, decode_document_header
from dataplane.documents.values import Json

META: Final = ("_id", "_version", "_created", "_updated")
SHAPES_MAX: Final = 256

type Read = Callable[[str, bytes], Json]
"""Document id and stored row -> the fields that are there."""


@lru_cache(SHAPES_MAX)
def partial_decoder(names: tuple[str, ...]) -> Callable[[bytes], Json]:
    """Return the decoder of some members of a packed document."""
    # A typed dict decodes to a plain one, of the named members only.
    make: Any = TypedDict
    shape = make("shape", dict.fromkeys(names, Any), total=False)
    decode: Callable[[bytes], Json] = msgspec.msgpack.Decoder(shape).decode
    return decode


def reader_of(names: Iterable[str]) -> Read:
    """Return a function that reads these fields of a stored document."""
    own = tuple(sorted(set(names) - set(META)))
    decode = partial_decoder(own) if own else lambda _body: {}
    if not set(names) & set(META):
        return lambda _document_id, row: decode(row[HEADER_BYTES:])

    def read(document_id: str, row: bytes) -> Json:
        version, created_us, updated_us = decode_document_header(row)
        meta = {
            "_id": document_id,
            "_version": version,
            "_created": timestamp(created_us),
            "_updated": timestamp(updated_us),
        }
        return meta | decode(row[HEADER_BYTES:])

    return read
