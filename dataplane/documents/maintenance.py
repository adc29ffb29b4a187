"""Work that no request asks for, a bounded amount in each batch, before its requests.

Documents that are past their time are removed, indexes are built, and the rows of indexes that
were dropped are removed. In a quiet cluster nodes order `Maintain` while any is left, which makes
the step of its batch a larger one.
"""

from itertools import islice
from typing import Final, NamedTuple

from dataplane.documents.collections import Collections
from dataplane.documents.index_entries import INDEX_ID_BYTES, entry_prefix, expiry_of
from dataplane.documents.indexes import FAILED, FAILING, READY, Index
from dataplane.documents.restoring import Restoring
from dataplane.documents.tables import INDEX_DROPPED, INDEX_EXPIRY, Batch, MetaRow
from dataplane.documents.writing import Writing
from dataplane.storage.ports import KeyValueStore


class Budget(NamedTuple):
    """What one step may do at most."""

    documents: int
    size_bytes: int
    rows: int


STEP: Final = Budget(32, 128 * 1024, 512)
TICK: Final = Budget(512, 1024 * 1024, 8_192)
EXPIRED_BYTES: Final = 4 * 1024 * 1024
"""Of the documents that one step removes; more than of those it builds from, to keep up."""
EXPIRED_ROWS: Final = 8_192
EXPIRED_SPENT_MAX: Final = 8 * 1024 * 1024
BUILT_SPENT_MAX: Final = 12 * 1024 * 1024
"""Of what a batch may change: most of it is for its requests."""


class Maintenance:
    """Does the next step of whatever is to be done."""

    def __init__(
        self,
        store: KeyValueStore,
        meta: MetaRow,
        writing: Writing,
        *,
        collections: Collections,
        restoring: Restoring,
    ) -> None:
        self._store = store
        self._meta = meta
        self._collections = collections
        self._indexes = collections.indexes
        self._writing = writing
        self._restoring = restoring
        self.expired = 0
        """How many documents past their time were removed here since the state was loaded."""

    def is_due(self, now_ms: int) -> bool:
        """Say whether a step would find something to do."""
        if self._restoring.is_active:
            return self._restoring.is_given_up(now_ms)
        indexes = self._indexes
        if indexes.dropped or not indexes.is_finished or self._collections.is_sweeping:
            return True
        return any(at_ms <= now_ms for at_ms in indexes.due.values())

    def step(self, batch: Batch, budget: Budget) -> None:
        """Do a bounded amount of work, what is oldest first."""
        if self._restoring.is_active:
            self._restoring.give_up(batch)
            return
        self._expire(batch, budget)
        if not self._indexes.is_finished:
            self._advance(batch, budget)
        if self._indexes.dropped:
            self._sweep(batch, budget)

    # --- Documents past their time --------------------------------------------------------------

    def _expire(self, batch: Batch, budget: Budget) -> None:
        due, now_ms = self._indexes.due, self._meta.now_ms
        left = Budget(budget.documents, EXPIRED_BYTES, EXPIRED_ROWS)
        for index_id in sorted(due):
            if due[index_id] > now_ms:
                continue
            index = next(index for index in self._indexes.all() if index.row.id == index_id)
            left = self._expire_by(batch, index, left)

    def _expire_by(self, batch: Batch, index: Index, budget: Budget) -> Budget:
        """Remove documents that are past their time by one index; return what is left to do."""
        due, now_ms = self._indexes.due, self._meta.now_ms
        prefix = self._collections.prefixes[index.collection]
        left, size_left, rows_left = budget
        for key, _ in self._store.iterate(index.shape.expiry_prefix):
            # Another index may have removed the document in this very step.
            if key in batch.changes:
                continue
            at_ms, document_id = expiry_of(key)
            is_enough = min(left, size_left, rows_left, EXPIRED_SPENT_MAX - batch.spent) <= 0
            if at_ms > now_ms or is_enough:
                due[index.row.id] = at_ms
                return Budget(left, size_left, rows_left)
            row = batch.get(prefix + document_id.encode())
            assert row is not None, "what expires is there"
            known = len(batch.changes)
            self._writing.remove(batch, (index.collection, document_id), row)
            self.expired += 1
            left -= 1
            size_left -= len(row)
            rows_left -= len(batch.changes) - known
        due.pop(index.row.id, None)
        return Budget(left, size_left, rows_left)

    # --- Building -------------------------------------------------------------------------------

    def _advance(self, batch: Batch, budget: Budget) -> None:
        """Build the oldest of the indexes that are not ready, or clear one that failed."""
        working = self._indexes.unfinished()
        if not working:
            # What was to be done was dropped, or undone with an attempt.
            self._indexes.is_finished = True
            return
        index = min(working, key=lambda known: known.row.id)
        if index.row.state == FAILING:
            prefixes = entry_prefix(index.row.id), index.shape.expiry_prefix
            if self._clear(batch, prefixes, budget.rows):
                index.row.state = FAILED
                self._indexes.touch(index)
        else:
            self._build(batch, index, budget)
        self._indexes.is_finished = not self._indexes.unfinished()

    def _build(self, batch: Batch, index: Index, budget: Budget) -> None:
        prefix = self._collections.prefixes[index.collection]
        left, size_left, rows_left = budget
        row = index.row
        start = prefix + row.place + b"\0" if row.place else prefix
        for key, stored in self._store.iterate(prefix, start=start):
            if left == 0 or min(size_left, rows_left, BUILT_SPENT_MAX - batch.spent) <= 0:
                break
            # Of this batch only expired documents are gone yet, and none is new.
            if key not in batch.changes:
                document_id = key[len(prefix) :].decode()
                edit = self._indexes.build(batch, index, document_id, stored)
                self._indexes.apply(batch, [edit])
                if edit.failure:
                    return
                rows_left -= len(edit.rows)
                row.built += 1
            row.place = key[len(prefix) :]
            left -= 1
            size_left -= len(stored)
        else:
            row.state, row.place = READY, b""
        self._indexes.touch(index)

    # --- Rows of indexes that are gone ----------------------------------------------------------

    def _sweep(self, batch: Batch, budget: Budget) -> None:
        # Not in the order of dropping, which a replica that began anew does not know.
        key = min(self._indexes.dropped)
        index_id = key[len(INDEX_DROPPED) :]
        number = int.from_bytes(index_id, "big")
        assert len(index_id) == INDEX_ID_BYTES
        if self._clear(batch, (entry_prefix(number), INDEX_EXPIRY + index_id), budget.rows):
            batch.delete(key)
            self._indexes.dropped.remove(key)

    def _clear(self, batch: Batch, prefixes: tuple[bytes, ...], rows_max: int) -> bool:
        """Remove rows; say whether none is left."""
        for prefix in prefixes:
            keys = [key for key, _ in islice(self._store.iterate(prefix), rows_max + 1)]
            for key in keys[:rows_max]:
                batch.delete(key)
            if len(keys) > rows_max:
                return False
            rows_max -= len(keys)
        return True
