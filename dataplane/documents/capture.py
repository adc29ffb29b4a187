"""The documents as they were at one moment, for reads that take longer than one turn."""

from collections.abc import Iterator
from typing import Final

from dataplane.documents.collections import Collections
from dataplane.documents.indexes import READY
from dataplane.documents.types import IndexRecord
from dataplane.storage.ports import KeyValueStore

_LAST_CHARACTER: Final = b"\xff"
"""Follows whatever UTF-8 begins with."""


class Capture:
    """Reads single documents of its moment until it is released.

    Whole collections are listed only before the state next changes; the listing may then be used
    for longer.
    """

    def __init__(self, store: KeyValueStore, collections: Collections) -> None:
        self._store = store
        self._collections = collections
        self._prefixes = dict(collections.prefixes)
        self._snapshot = store.snapshot()

    def row(self, collection: str, document_id: str) -> bytes | None:
        """Return a document row as stored, or None when it or its collection is absent."""
        prefix = self._prefixes.get(collection)
        return None if prefix is None else self._snapshot.get(prefix + document_id.encode())

    def rows(
        self,
        collection: str,
        *,
        low: str | None = None,
        high: str | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows with their keys, from id `low` to id `high`, both inclusive."""
        prefix = self._prefixes.get(collection)
        if prefix is None:
            return iter(())
        first = prefix if low is None else prefix + low.encode()
        # No id holds the character 0, so with it a key comes straight after the id.
        last = prefix + (_LAST_CHARACTER if high is None else high.encode() + b"\0")
        return self._store.scan(first, max(first, last), reverse=reverse)

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
