"""The entries of one document in one index, and when it expires.

An entry is a replicated row. Its key is `O`, the id of the index, a part for each field
(`index_keys.py`) and, unless the index is unique, the id of the document; its value is the length
of each part, marked when the part is cut, and in a unique index the id. An index by which documents
expire has a second row for each, `T`, the id of the index, the time and the id of the document.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice, product
from typing import Any, Final, NamedTuple

from dataplane.documents.errors import Refusal, invalid
from dataplane.documents.index_definitions import (
    Definition,
    Looking,
    belongs,
    parse_partial,
    tests_of,
)
from dataplane.documents.index_keys import (
    PART_BYTES,
    Part,
    TooLongError,
    part_of,
    short_part,
)
from dataplane.documents.paths import MISSING, terminals
from dataplane.documents.tables import INDEX_ENTRY, INDEX_EXPIRY
from dataplane.documents.values import Json, escape_pointer

ENTRIES_MAX: Final = 1_000
"""Of one document in one index."""
ENTRY_COST: Final = 256
LOOK_COST: Final = 32
"""Bytes that a batch may change cost about as much time as an entry, or a value looked at."""
INDEX_ID_BYTES: Final = 4
CUT: Final = 0x8000
_LENGTH_BYTES: Final = 2
_DAY_S: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_SECONDS_MAX: Final = 2**40
_DATE: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2})))?"
)


class Entries(NamedTuple):
    """The rows of one document in one index."""

    rows: dict[bytes, bytes]
    multikey: int
    """The fields, as bits, in which the document has several values."""
    cost: int = 0
    """What making them cost, in bytes that a batch may change instead."""
    size: int = 0
    """Bytes of the rows with their keys."""
    expiries: int = 0
    """How many of the rows are not entries, but say when the document expires."""


_NOTHING: Final = Entries({}, 0)
_LENGTHS: Final = [length.to_bytes(_LENGTH_BYTES, "big") for length in range(PART_BYTES + 1)]
"""Of the parts of a key, as its value has them."""


class Shape:
    """How one index makes entries of documents."""

    def __init__(self, index_id: int, name: str, definition: Definition) -> None:
        self.name = name
        self.prefix = entry_prefix(index_id)
        self.expiry_prefix = INDEX_EXPIRY + index_id.to_bytes(INDEX_ID_BYTES, "big")
        self._definition = definition
        self._fields = [
            (tuple(path.split(".")), direction) for path, direction in definition.fields
        ]
        partial = definition.partial
        self._tests = [] if partial is None else tests_of(parse_partial(partial))
        expires_by = definition.fields[0][0] if definition.fields else "_updated"
        self._expiry_path = tuple(expires_by.split("."))
        has_more = self._tests or definition.expire_after_s is not None
        self.is_simple = bool(self._fields) and not has_more
        """Whether most documents have one row, which is made without looking far."""

    def entries(self, document_id: str, document: Json) -> Entries:
        """Return the rows that stand for a document.

        Raises:
            Refusal: `invalid`: the document cannot be in the index.
        """
        if self.is_simple:
            simple = self._simple(document_id, document)
            if simple is not None:
                return simple
        looking = Looking(self.name)
        if not belongs(self._tests, document, looking):
            return Entries({}, 0, looking.done * LOOK_COST)
        rows: dict[bytes, bytes] = {}
        multikey = 0
        found = [self._values(path, document, looking) for path, _ in self._fields]
        is_absent = all(value is MISSING for values in found for value in values)
        if found and not (self._definition.sparse and is_absent):
            rows, multikey = self._rows(document_id, found)
        seconds, at_ms = self._definition.expire_after_s, None
        if seconds is not None:
            at_ms = self._expiry_ms(document, seconds, looking)
            if at_ms is not None:
                rows[self.expiry_prefix + at_ms.to_bytes(8, "big") + document_id.encode()] = b""
        size_bytes = sum(map(len, rows)) + sum(map(len, rows.values()))
        cost = size_bytes + len(rows) * ENTRY_COST + looking.done * LOOK_COST
        expiries = 1 if seconds is not None and at_ms is not None else 0
        return Entries(rows, multikey, cost, size_bytes, expiries)

    def _simple(self, document_id: str, document: Json) -> Entries | None:
        """Return the one row of a document with one short value in each field, None of any other.

        Nearly all documents are so. It is what the long way leads to, in a quarter of the time.
        """
        key, lengths = self.prefix, b""
        is_absent = True
        for path, direction in self._fields:
            value: Any = document
            for name in path:
                if type(value) is not dict:
                    return None
                value = value.get(name, MISSING)
                if value is MISSING:
                    break
            else:
                is_absent = False
            part = short_part(value, direction)
            if part is None:
                return None
            key += part
            lengths += _LENGTHS[len(part)]
        if is_absent and self._definition.sparse:
            return _NOTHING
        own = document_id.encode()
        if self._definition.unique:
            lengths += own
        else:
            key += own
        size_bytes = len(key) + len(lengths)
        return Entries({key: lengths}, 0, size_bytes + ENTRY_COST, size_bytes)

    def _values(self, path: tuple[str, ...], document: Json, looking: Looking) -> list[Any]:
        """Return what the path leads to, one more than may be at most."""
        found = terminals(document.get(path[0], MISSING), path[1:], looking.through, 1)
        return list(islice(found, ENTRIES_MAX + 1))

    def _rows(self, document_id: str, found: list[list[Any]]) -> tuple[dict[bytes, bytes], int]:
        columns: list[list[Part]] = []
        multikey = 0
        for bit, values in enumerate(found):
            parts, is_multiple = self._column(bit, values)
            columns.append(parts)
            if is_multiple and multikey:
                raise self._refusal(bit, "two of the fields hold arrays")
            multikey |= is_multiple << bit
        own = document_id.encode()
        is_unique = self._definition.unique
        rows: dict[bytes, bytes] = {}
        for parts_of_entry in product(*columns):
            key = self.prefix + b"".join([part.data for part in parts_of_entry])
            lengths = pack_lengths(parts_of_entry)
            if is_unique:
                rows[key] = lengths + own
            else:
                rows[key + own] = lengths
        return rows, multikey

    def _column(self, bit: int, values: list[Any]) -> tuple[list[Part], bool]:
        """Return the different parts of one field, and whether it has several values.

        An array stands in the index by itself and by each of its elements.
        """
        _, direction = self._fields[bit]
        exact = self._definition.unique
        parts: dict[Part, None] = {}
        spread = list(islice(_spread(values), ENTRIES_MAX + 1))
        if len(spread) > ENTRIES_MAX:
            raise self._refusal(bit, f"over {ENTRIES_MAX} values in one document")
        try:
            for value in spread:
                parts[part_of(value, direction, exact=exact)] = None
        except TooLongError as error:
            raise self._refusal(bit, "a value is too long for a unique index") from error
        is_multiple = len(parts) > 1 or any(type(value) is list for value in values)
        return list(parts) or [part_of(None, direction)], is_multiple

    def _refusal(self, bit: int, detail: str) -> Refusal:
        pointer = "/" + "/".join(map(escape_pointer, self._fields[bit][0]))
        return invalid(pointer, f"index {self.name}: {detail}")

    def _expiry_ms(self, document: Json, seconds: int, looking: Looking) -> int | None:
        values = islice(_spread(self._values(self._expiry_path, document, looking)), ENTRIES_MAX)
        times = [moment_ms(value) for value in values]
        known = [at_ms for at_ms in times if at_ms is not None]
        return min(known) + seconds * 1000 if known else None


def entry_prefix(index_id: int) -> bytes:
    """Return what the keys of an index's entries begin with."""
    return INDEX_ENTRY + index_id.to_bytes(INDEX_ID_BYTES, "big")


ENTRY_PREFIX_BYTES: Final = len(entry_prefix(0))


def _spread(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield value
        if type(value) is list:
            yield from value


def pack_lengths(parts: Iterable[Part]) -> bytes:
    """Return the lengths of the parts of a key."""
    lengths = [len(part.data) | (CUT if part.is_cut else 0) for part in parts]
    return b"".join([length.to_bytes(_LENGTH_BYTES, "big") for length in lengths])


def entry_id(key: bytes, value: bytes, fields: int, *, is_unique: bool) -> bytes:
    """Return the id of the document that an entry stands for."""
    if is_unique:
        return value[_LENGTH_BYTES * fields :]
    return key[entry_end(value, fields) :]


def entry_end(value: bytes, fields: int, *, ordered: bool = False) -> int:
    """Return where the first parts of a key end; `ordered`: only those that have an order."""
    end = ENTRY_PREFIX_BYTES
    for at in range(0, _LENGTH_BYTES * fields, _LENGTH_BYTES):
        length = int.from_bytes(value[at : at + _LENGTH_BYTES], "big")
        if ordered and length & CUT:
            return end + PART_BYTES
        end += length & ~CUT
    return end


def expiry_of(key: bytes) -> tuple[int, str]:
    """Return the time and the document in the key of an expiry row."""
    at = len(INDEX_EXPIRY) + INDEX_ID_BYTES
    return int.from_bytes(key[at : at + 8], "big"), key[at + 8 :].decode()


def moment_ms(value: Any) -> int | None:
    """Return milliseconds since 1970 of a date: seconds as a number, or RFC 3339; else None."""
    if isinstance(value, str):
        return _text_ms(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value * 1000) if 0 <= value <= _SECONDS_MAX else None


def _text_ms(text: str) -> int | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups("0")
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    # A leap second, or an hour that is none, is no date to delete anything by.
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59 or int(minutes) > 59:
        return None
    shift = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    at_ms = (days * _DAY_S + seconds - shift) * 1000 + int((fraction + "00")[:3])
    return at_ms if at_ms >= 0 else None
