"""The documents as they were at one moment, for reads that take longer than one turn."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain, islice
from typing import Final

from dataplane.documents.collections import Collections
from dataplane.documents.indexes import READY
from dataplane.documents.stubs import cut
from dataplane.documents.tables import HEADER_BYTES
from dataplane.documents.types import IndexRecord
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.stubs import stub_of

MISSING_MAX: Final = 16
"""Segments that are asked for at once."""
_AHEAD_ROWS: Final = 128
_LAST_CHARACTER: Final = b"\xff"
"""Follows whatever UTF-8 begins with."""


class MissingSegmentsError(Exception):
    """Bodies are needed of segments that are not here."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(f"segments {numbers}")
        self.numbers = numbers


class Capture:
    """Reads single documents of its moment until it is released.

    `segments` are where the bodies of cold documents are taken from.

    Whole collections are listed only before the state next changes; the listing may then be used
    for longer.
    """

    def __init__(
        self,
        store: KeyValueStore,
        collections: Collections,
        *,
        cold: AbstractSet[str],
        segments: Mapping[int, bytes],
    ) -> None:
        self._store = store
        self._collections = collections
        self._prefixes = dict(collections.prefixes)
        self._snapshot = store.snapshot()
        self._cold = cold
        """The collections that hold stubs."""
        self._segments = segments
        self.met: dict[int, int] = {}
        """By segment, how often a body was taken from it."""

    def row(self, collection: str, document_id: str) -> bytes | None:
        """Return a document row with its body, or None when it or its collection is absent.

        Raises:
            MissingSegmentsError: The body is in a segment that is not here.
        """
        prefix = self._prefixes.get(collection)
        row = None if prefix is None else self._snapshot.get(prefix + document_id.encode())
        stub = stub_of(row) if row is not None and collection in self._cold else None
        if row is None or stub is None:
            return row
        whole = self._whole(row)
        if whole is None:
            raise MissingSegmentsError([stub.segment])
        return whole

    def rows(
        self,
        collection: str,
        *,
        low: str | None = None,
        high: str | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows with their keys, from id `low` to id `high`, both inclusive.

        Reading them raises `MissingSegmentsError` where a body is in a segment that is not here.
        """
        prefix = self._prefixes.get(collection)
        if prefix is None:
            return iter(())
        first = prefix if low is None else prefix + low.encode()
        # No id holds the character 0, so with it a key comes straight after the id.
        last = prefix + (_LAST_CHARACTER if high is None else high.encode() + b"\0")
        rows = self._store.scan(first, max(first, last), reverse=reverse)
        return self._warmed(rows) if collection in self._cold else rows

    def _warmed(self, rows: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for key, row in rows:
            whole = self._whole(row)
            if whole is None:
                ahead = islice(chain([(key, row)], rows), _AHEAD_ROWS)
                stubs = [stub for _, stored in ahead if (stub := stub_of(stored)) is not None]
                missing = dict.fromkeys([stub.segment for stub in stubs])
                wanted = [number for number in missing if number not in self._segments]
                raise MissingSegmentsError(wanted[:MISSING_MAX])
            yield key, whole

    def _whole(self, row: bytes) -> bytes | None:
        """Return a row with its body, None when that is not here."""
        stub = stub_of(row)
        if stub is None:
            return row
        segment = self._segments.get(stub.segment)
        body = None if segment is None else cut(segment, stub)
        if body is None:
            return None
        self.met[stub.segment] = self.met.get(stub.segment, 0) + 1
        return row[:HEADER_BYTES] + body

    def entries(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return entries of indexes, from `low` to before `high`."""
        return self._store.scan(low, high, reverse=reverse)

    def indexes(self, collection: str) -> list[IndexRecord]:
        """Return the indexes that are ready; only before the state next changes."""
        found = self._collections.indexes.records(collection, self.count(collection))
        return [index for index in found if index.state == READY]

    def count(self, collection: str) -> int:
        """Return how many documents there are; only before the state next changes."""
        row = self._collections.rows.get(collection)
        return 0 if row is None else row.documents

    def key(self, collection: str, document_id: str) -> bytes:
        """Return the key of a document row; the collection is there."""
        return self._prefixes[collection] + document_id.encode()

    def release(self) -> None:
        """Let go of the moment; calling it again does nothing."""
        self._snapshot.release()
