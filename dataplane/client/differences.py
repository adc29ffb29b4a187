"""What a restore would add, change and remove: two states compared row by row, as they are read.

Both come in the order of the hashes of their keys, so that one pass over both tells, in little
memory. The later state can be one that was fetched as an increment of the earlier one: then the
nodes sent only what differs, and the rest of it is read from the earlier file.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from blake3 import blake3

from dataplane.client.backups import whole_rows
from dataplane.client.errors import BackupError
from dataplane.wire.backups import COLLECTION, AnyRecord, Row, Rows
from dataplane.wire.proofs import KEY_HASH_BYTES

DOCUMENT: Final = b"D"
NUMBER_END: Final = 5
"""Where the number of the collection ends in the key of a document's row."""
COLLECTIONS_MAX: Final = 10_000
_decode_row: Final = msgspec.msgpack.Decoder(list[Any]).decode

type _Hashed = tuple[bytes, bytes, bytes]


class Difference(msgspec.Struct):
    """What bringing the first state back would do to the documents of one collection."""

    collection: str
    now: int = 0
    then: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0


def differences(then: Iterator[AnyRecord], now: Iterator[AnyRecord]) -> list[Difference]:
    """Compare a state with that of now; return collections in the order of their names.

    A collection that was dropped and made again is another one to the nodes: its documents are
    removed and added.

    Raises:
        BackupError: `malformed`.
    """
    sides = _Side(then), _Side(now)
    old, new = sides[0].next(), sides[1].next()
    counts: dict[bytes, list[int]] = {}
    while old is not None or new is not None:
        is_old = old is not None and (new is None or old[0] <= new[0])
        is_new = new is not None and (old is None or new[0] <= old[0])
        key = (old if is_old else new)[1]  # type: ignore[index]  # One of them is there.
        found = counts.setdefault(key[1:NUMBER_END], [0] * 5)
        if len(counts) > 2 * COLLECTIONS_MAX:
            raise BackupError("malformed", "more collections than there can be")
        found[0] += is_new
        found[1] += is_old
        if is_old and is_new:
            found[3] += old != new
        else:
            found[2 if is_old else 4] += 1
        old = sides[0].next() if is_old else old
        new = sides[1].next() if is_new else new
    return _named(counts, sides[0].names, sides[1].names)


class _Side:
    """The rows of documents of one state, and what its collections are called."""

    def __init__(self, records: Iterator[AnyRecord]) -> None:
        self.names: dict[bytes, str] = {}
        self._rows = self._documents(records)

    def next(self) -> _Hashed | None:
        """Return the next row with the hash of its key, None behind the last."""
        return next(self._rows, None)

    def _documents(self, records: Iterator[AnyRecord]) -> Iterator[_Hashed]:
        for record in records:
            for row in whole_rows(record) if isinstance(record, Rows) else ():
                if row[0].startswith(DOCUMENT):
                    yield blake3(row[0]).digest(KEY_HASH_BYTES), *row
                elif row[0].startswith(COLLECTION):
                    self._name(row)

    def _name(self, row: Row) -> None:
        try:
            number = int(_decode_row(row[1])[0]).to_bytes(NUMBER_END - 1, "big")
            name = row[0][1:].decode()
        except (msgspec.MsgspecError, ValueError, TypeError, IndexError, OverflowError) as error:
            raise BackupError("malformed", "the row of a collection cannot be read") from error
        if len(self.names) >= COLLECTIONS_MAX:
            raise BackupError("malformed", "more collections than there can be")
        self.names[number] = name


def _named(
    counts: dict[bytes, list[int]], then: dict[bytes, str], now: dict[bytes, str]
) -> list[Difference]:
    found = {name: Difference(name) for name in sorted({*then.values(), *now.values()})}
    for number, (now_count, then_count, added, changed, removed) in counts.items():
        # Rows without a name are of a dropped collection, and about to be cleared away.
        if number in now:
            row = found[now[number]]
            row.now += now_count
            row.removed += removed if number in then else now_count
        if number in then:
            row = found[then[number]]
            row.then += then_count
            row.added += added if number in now else then_count
            row.changed += changed if number in now else 0
    return list(found.values())
