"""Decoding only the fields of a stored row that a query names."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from dataplane.documents.partial_reading import META, partial_decoder
from dataplane.documents.paths import MISSING
from dataplane.documents.rendering import render_document, timestamp
from dataplane.documents.tables import (
    HEADER_BYTES,
    decode_document_header,
    decode_document_row,
    document_id,
)
from dataplane.documents.values import unpack_document
from dataplane.query.compiler import SHAPES_MAX, Code
from dataplane.query.types import Document

_UNFIT: Final = re.compile(r'[\\"\x00-\x1f]')


class RowShape:
    """The top-level fields that a query names, decoded into attributes of a row.

    In the text of a query that works on rows, `key` and `stored` are the key and the stored row,
    and `row` is what `decode_text` makes of it.
    """

    def __init__(self, code: Code, names: Iterable[str]) -> None:
        self._code = code
        # Numbered as they are met, so that the text does not depend on how names sort.
        self._attributes: dict[str, str] = {}
        # A name that cannot be a member of a struct is looked up in the whole document.
        self._is_whole = any(_UNFIT.search(name) for name in names)

    def root(self, name: str) -> str:
        """Return the expression that reads a field."""
        if name == "_id":
            return "document_id(key)"
        if name == "_version":
            return "decode_document_header(stored)[0]"
        if name in META:
            index = META.index(name) - 1
            return f"{self._code.bind(timestamp)}(decode_document_header(stored)[{index}])"
        if self._is_whole:
            return self._code.member("row")(name)
        return f"row.{self._attributes.setdefault(name, f'f{len(self._attributes)}')}"

    def decode_text(self) -> str:
        """Return the expression of the row, once all that reads from it is written."""
        if self._is_whole:
            return f"{self._code.bind(unpack_document)}(stored[HEADER:])"
        if not self._attributes:
            return "None"
        return f"{self._code.bind(_decoder(tuple(self._attributes)))}(stored[HEADER:])"


def document_reader(names: Iterable[str] | None) -> Callable[[bytes, bytes], Document]:
    """Return a function of key and stored row that makes a document with some fields, or all."""
    if names is None:
        return lambda key, stored: render_document(decode_document_row(document_id(key), stored))
    own = tuple(sorted(set(names) - set(META)))
    decode = partial_decoder(own) if own else lambda _body: {}
    meta = [(name, _META_READERS[name]) for name in META if name in set(names)]
    if not meta:
        return lambda _key, stored: decode(stored[HEADER_BYTES:])

    def read(key: bytes, stored: bytes) -> Document:
        document = {name: value(key, stored) for name, value in meta}
        return document | decode(stored[HEADER_BYTES:])

    return read


_META_READERS: Final[dict[str, Callable[[bytes, bytes], Any]]] = {
    "_id": lambda key, _stored: document_id(key),
    "_version": lambda _key, stored: decode_document_header(stored)[0],
    "_created": lambda _key, stored: timestamp(decode_document_header(stored)[1]),
    "_updated": lambda _key, stored: timestamp(decode_document_header(stored)[2]),
}


@lru_cache(SHAPES_MAX)
def _decoder(names: tuple[str, ...]) -> Callable[[bytes], Any]:
    """Return the decoder of a set of fields; making one costs half a millisecond."""
    attributes = [f"f{index}" for index in range(len(names))]
    fields = [(attribute, Any, MISSING) for attribute in attributes]
    rename = dict(zip(attributes, names, strict=True))
    shape = msgspec.defstruct("Row", fields, rename=rename, gc=False)
    return msgspec.msgpack.Decoder(shape).decode
