"""Decoding only the fields that a query names."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from dataplane.documents.rendering import timestamp
from dataplane.documents.tables import HEADER_BYTES, decode_document_header
from dataplane.query.operators import MISSING

SHAPES_MAX: Final = 256
META: Final = ("_id", "_version", "_created", "_updated")


class RowReader:
    """Decodes the top-level fields `names` of a stored row into attributes."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = {name: f"f{index}" for index, name in enumerate(names)}
        fields = [(attribute, Any, MISSING) for attribute in self._names.values()]
        rename = {attribute: name for name, attribute in self._names.items()}
        shape = msgspec.defstruct("Row", fields, rename=rename, gc=False)
        self._decode: Callable[[Any], Any] = msgspec.msgpack.Decoder(shape).decode
        self._meta = [name for name in META if name in self._names]

    def access(self, name: str) -> Callable[[Any], Any]:
        """Return a function that reads one of the fields from a decoded row."""
        return attrgetter(self._names[name])

    def read(self, key: bytes, stored: bytes) -> Any:
        """Decode a row; `key` is the id as UTF-8."""
        row = self._decode(memoryview(stored)[HEADER_BYTES:])
        if self._meta:
            self._set_meta(row, key, stored)
        return row

    def _set_meta(self, row: Any, key: bytes, stored: bytes) -> None:
        version, created_us, updated_us = decode_document_header(stored)
        for name in self._meta:
            value: str | int
            match name:
                case "_id":
                    value = key.decode()
                case "_version":
                    value = version
                case "_created":
                    value = timestamp(created_us)
                case _:
                    value = timestamp(updated_us)
            setattr(row, self._names[name], value)


@lru_cache(SHAPES_MAX)
def _reader(names: tuple[str, ...]) -> RowReader:
    return RowReader(names)


def reader_for(names: Iterable[str]) -> RowReader:
    """Return the reader of a set of fields; making one costs half a millisecond, so it is kept."""
    return _reader(tuple(sorted(names)))
