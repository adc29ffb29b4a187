"""Decoding only the fields of a stored row that a query names."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from dataplane.documents.rendering import timestamp
from dataplane.documents.values import unpack_document
from dataplane.query.compiler import SHAPES_MAX, Code
from dataplane.query.values import MISSING

_UNFIT: Final = re.compile(r'[\\"\x00-\x1f]')
META: Final = ("_id", "_version", "_created", "_updated")


class RowShape:
    """The top-level fields that a query names, decoded into attributes of a row.

    In the text of a query that works on rows, `key` and `stored` are the key and the stored row,
    and `row` is what `decode_text` makes of it.
    """

    def __init__(self, code: Code, names: Iterable[str]) -> None:
        self._code = code
        self._own = tuple(sorted(set(names) - set(META)))
        self._attributes = {name: f"f{index}" for index, name in enumerate(self._own)}
        # A name that cannot be a member of a struct is looked up in the whole document.
        self._is_whole = any(_UNFIT.search(name) for name in self._own)
        self.decode_text = "None"
        if self._own:
            decode = unpack_document if self._is_whole else _decoder(self._own)
            self.decode_text = f"{code.bind(decode)}(stored[HEADER:])"

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
        return f"row.{self._attributes[name]}"


@lru_cache(SHAPES_MAX)
def _decoder(names: tuple[str, ...]) -> Callable[[bytes], Any]:
    """Return the decoder of a set of fields; making one costs half a millisecond."""
    attributes = [f"f{index}" for index in range(len(names))]
    fields = [(attribute, Any, MISSING) for attribute in attributes]
    rename = dict(zip(attributes, names, strict=True))
    shape = msgspec.defstruct("Row", fields, rename=rename, gc=False)
    return msgspec.msgpack.Decoder(shape).decode
