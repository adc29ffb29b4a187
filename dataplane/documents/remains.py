"""Bodies that still lie in segments though they are of no document any more, found by document.

A body that was changed, put back or deleted stays in its segment until that is made anew. Whoever
erases a person must know in which segments such bodies of a document are, and a segment says only
to who has it what it holds: so each is noted twice, by its document and by its segment. What is
noted of segments that are no more is removed a bounded amount in each batch.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from dataplane.documents.tables import (
    DEAD_IN,
    DOCUMENT,
    SEGMENT,
    Batch,
    dead_prefix,
    number_key,
)
from dataplane.storage.ports import KeyValueStore

SWEPT_MAX: Final = 1_024
"""Bodies that one batch forgets."""
_NUMBER_BYTES: Final = 8
_NUMBER_END: Final = len(DEAD_IN) + _NUMBER_BYTES


class Remains:
    """What is noted in one store."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._gone = {number for number in self._noted() if not self._is_there(number)}
        """Segments that are no more, of which something is still noted."""

    def _noted(self) -> Iterable[int]:
        """Yield the segments of which something is noted, by one look each."""
        after = 0
        while True:
            found = next(self._store.iterate(DEAD_IN, start=number_key(DEAD_IN, after)), None)
            if found is None:
                return
            number = int.from_bytes(found[0][len(DEAD_IN) : _NUMBER_END], "big")
            yield number
            after = number + 1

    def _is_there(self, number: int) -> bool:
        return self._store.get(number_key(SEGMENT, number)) is not None

    @property
    def is_sweeping(self) -> bool:
        """Whether something is noted of segments that are no more."""
        return bool(self._gone)

    def add(self, batch: Batch, number: int, keys: Iterable[bytes]) -> None:
        """Note that a segment has bodies that documents with these keys do not have any more."""
        segment = number.to_bytes(_NUMBER_BYTES, "big")
        for key in keys:
            batch.put(dead_prefix(key) + segment, b"")
            batch.put(DEAD_IN + segment + key[len(DOCUMENT) :], b"")

    def forget(self, number: int) -> None:
        """Learn that a segment is no more."""
        self._gone.add(number)

    def segments_of(self, batch: Batch, keys: Iterable[bytes]) -> Iterator[int]:
        """Yield the segments that have bodies of documents, as the store and a batch say."""
        fresh: dict[bytes, list[int]] = {}
        for number, _, key in batch.thawed:
            fresh.setdefault(key, []).append(number)
        for key in keys:
            prefix = dead_prefix(key)
            stored = [found for found, _ in self._store.iterate(prefix)]
            numbers = [int.from_bytes(found[len(prefix) :], "big") for found in stored]
            for number in sorted({*numbers, *fresh.get(key, ())}):
                if batch.get(number_key(SEGMENT, number)) is not None:
                    yield number

    def sweep(self, batch: Batch) -> None:
        """Remove some of what is noted of segments that are no more."""
        left = SWEPT_MAX
        while self._gone and left > 0:
            # In no order that a replica which began anew does not know.
            number = min(self._gone)
            prefix = number_key(DEAD_IN, number)
            found = [key for key, _ in islice(self._store.iterate(prefix), left + 1)]
            for key in found[:left]:
                batch.delete(key)
                batch.delete(dead_prefix(DOCUMENT + key[_NUMBER_END:]) + prefix[len(DEAD_IN) :])
            if len(found) > left:
                return
            left -= len(found)
            self._gone.discard(number)
