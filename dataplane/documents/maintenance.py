"""Work that no request asks for, a bounded amount in each batch, before its requests.

Documents that are past their time are removed, indexes are built, and the rows of indexes that
were dropped are removed. In a quiet cluster nodes order `Maintain` while any is left, which makes
the step of its batch a larger one.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from dataplane.documents.archiving import Archiving
from dataplane.documents.audited import Place
from dataplane.documents.collections import Collections
from dataplane.documents.index_entries import INDEX_ID_BYTES, entry_prefix, expiry_of
from dataplane.documents.indexes import BUILDING, FAILED, FAILING, READY, Index
from dataplane.documents.restoring import Restoring
from dataplane.documents.stubs import ColdError
from dataplane.documents.tables import (
    HEADER_BYTES,
    INDEX_DROPPED,
    INDEX_EXPIRY,
    Batch,
    MetaRow,
    decode_document_header,
)
from dataplane.documents.tiering import Tiers
from dataplane.documents.writing import Writing
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.stubs import STUB_BYTES, is_stub, stub_row


class Budget(NamedTuple):
    """What one step may do at most."""

    documents: int
    size_bytes: int
    rows: int


STEP: Final = Budget(32, 128 * 1024, 512)
TICK: Final = Budget(512, 1024 * 1024, 1_024)
EXPIRED_BYTES: Final = 4 * 1024 * 1024
"""Of the documents that one step removes; more than of those it builds from, to keep up."""
EXPIRED_ROWS: Final = 8_192
EXPIRED_SPENT_MAX: Final = 8 * 1024 * 1024
SEALED_DOCUMENTS: Final = 256
SEALED_BYTES: Final = 1024 * 1024
"""Of one segment, which one document may exceed."""
SEALED_ROWS: Final = 1_024
WANTED_MAX: Final = 64
TURNS: Final = 0x9E3779B1
"""Of the batches, spread over all numbers: 2**32 over the golden ratio."""
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
        tiers: Tiers,
        archiving: Archiving,
    ) -> None:
        self._store = store
        self._meta = meta
        self._collections = collections
        self._indexes = collections.indexes
        self._writing = writing
        self._restoring = restoring
        self._tiers = tiers
        self._archiving = archiving
        self.wanted: dict[Place, None] = {}
        """Cold documents without whose bodies work stands still: advice to those who warm."""
        self.expired = 0
        """How many documents past their time were removed here since the state was loaded."""
        self.sealed = 0
        """How many documents became cold here since then."""

    def is_due(self, now_ms: int) -> bool:
        """Say whether a step would find something to do."""
        if self._restoring.is_active:
            return self._restoring.is_given_up(now_ms)
        indexes = self._indexes
        if indexes.dropped or not indexes.is_finished:
            return True
        if self._collections.is_sweeping or self._tiers.is_sweeping:
            return True
        if self._archiving.is_due(now_ms) or self._tiers.holds.is_over(now_ms):
            return True
        waits, is_lasting = indexes.patience_ms, self._tiers.placement.is_lasting
        # What is to become cold waits for a change of members that its segment would hold up.
        return any(
            at_ms + waits.get(number, 0) <= now_ms and (number not in waits or is_lasting(now_ms))
            for number, at_ms in indexes.due.items()
        )

    @property
    def is_stuck(self) -> bool:
        """Whether bodies must be fetched before a step finds anything to do, as far as is known."""
        return bool(self.wanted)

    def step(self, batch: Batch, budget: Budget) -> None:
        """Do a bounded amount of work."""
        if self._restoring.is_active:
            self._restoring.give_up(batch)
            return
        self.wanted.clear()
        self._expire(batch, budget)
        if self._tiers.holds.is_over(self._meta.now_ms):
            self._tiers.release(batch)
        if budget is TICK:
            self._seal(batch)
            self._archiving.step(batch)
        if not self._indexes.is_finished:
            self._advance(batch, budget)
        if self._indexes.dropped:
            self._sweep(batch, budget)

    # --- Documents past their time --------------------------------------------------------------

    def _expire(self, batch: Batch, budget: Budget) -> None:
        due, now_ms = self._indexes.due, self._meta.now_ms
        left = Budget(budget.documents, EXPIRED_BYTES, EXPIRED_ROWS)
        indexes = [index for index in self._indexes.all() if not index.is_tiering]
        for index in self._in_turn(indexes):
            if due.get(index.row.id, now_ms + 1) <= now_ms:
                left = self._expire_by(batch, index, left)

    def _in_turn(self, indexes: Iterable[Index]) -> list[Index]:
        """Return indexes with another one first in each batch, as all replicas have it.

        Work that stands still, or never ends, must not keep what is behind it from its turn. All
        are in the turns, also those without work: what is known to be due may differ.
        """
        ordered = sorted(indexes, key=lambda index: index.row.id)
        # Steps may fall on every second batch, say: the factor keeps them from meeting the same.
        first = (self._meta.applied * TURNS >> 16) % max(1, len(ordered))
        return ordered[first:] + ordered[:first]

    def _expire_by(self, batch: Batch, index: Index, budget: Budget) -> Budget:
        """Remove documents that are past their time by one index; return what is left to do."""
        due, now_ms = self._indexes.due, self._meta.now_ms
        prefix = self._collections.prefixes[index.collection]
        left, size_left, rows_left = budget
        first_ms: int | None = None
        for key, _ in self._store.iterate(index.shape.expiry_prefix):
            # Another index may have removed the document in this very step.
            if key in batch.changes:
                continue
            at_ms, document_id = expiry_of(key)
            is_enough = min(left, size_left, rows_left, EXPIRED_SPENT_MAX - batch.spent) <= 0
            if at_ms > now_ms or is_enough:
                due[index.row.id] = at_ms if first_ms is None else first_ms
                return Budget(left, size_left, rows_left)
            row = batch.get(prefix + document_id.encode())
            assert row is not None, "what expires is there"
            known = len(batch.changes)
            left -= 1
            if not self._is_removed(batch, (index.collection, document_id), row):
                first_ms = at_ms if first_ms is None else first_ms
                continue
            size_left -= len(row)
            rows_left -= len(batch.changes) - known
        if first_ms is None:
            due.pop(index.row.id, None)
        else:
            due[index.row.id] = first_ms
        return Budget(left, size_left, rows_left)

    def _is_removed(self, batch: Batch, place: Place, row: bytes) -> bool:
        """Remove a document; say whether its indexes could be told what it was in them."""
        try:
            self._writing.remove(batch, place, row)
        except ColdError:
            self._want(place)
            return False
        self.expired += 1
        return True

    def _want(self, place: Place) -> None:
        if len(self.wanted) < WANTED_MAX:
            self.wanted[place] = None

    # --- Documents that leave for another tier --------------------------------------------------

    def _seal(self, batch: Batch) -> None:
        """Make a segment of one collection of what was not touched for its time."""
        if not self._tiers.placement.is_lasting(self._meta.now_ms):
            return
        due = self._indexes.due
        # A build takes what changed before it in this batch for gone, and may need bodies.
        building = {
            index.collection for index in self._indexes.unfinished() if index.row.state == BUILDING
        }
        for index in self._in_turn(index for index in self._indexes.all() if index.is_tiering):
            if index.collection in building or index.row.id not in due:
                continue
            if due[index.row.id] + index.patience_ms > self._meta.now_ms:
                continue
            if self._is_sealed(batch, index):
                return

    def _is_sealed(self, batch: Batch, index: Index) -> bool:
        """Seal what is due by one index; say whether there was work, and there may be more."""
        chosen, keys, next_ms = self._ripe(batch, index)
        if next_ms is None:
            self._indexes.due.pop(index.row.id, None)
        else:
            self._indexes.due[index.row.id] = next_ms
        if not keys:
            return False
        self._indexes.await_no_tier(batch, index, keys)
        if chosen:
            prefix = self._collections.prefixes[index.collection]
            number = self._collections.rows[index.collection].id
            bodies = [(name, row[HEADER_BYTES:]) for name, row in chosen]
            stubs = self._tiers.seal(batch, number, bodies)
            for (name, row), stub in zip(chosen, stubs, strict=True):
                batch.put(prefix + name.encode(), stub_row(row, stub))
            self.sealed += len(chosen)
        return True

    def _ripe(
        self, batch: Batch, index: Index
    ) -> tuple[list[tuple[str, bytes]], list[bytes], int | None]:
        """Return the documents that leave, the rows that are done with, and when the next is due.

        A row whose document is newer, gone or cold already is done with too.
        """
        prefix = self._collections.prefixes[index.collection]
        wait_ms = 1000 * (index.definition.expire_after_s or 0)
        chosen: list[tuple[str, bytes]] = []
        keys: list[bytes] = []
        size_left = SEALED_BYTES
        patience_ms = index.patience_ms
        for key, _ in self._store.iterate(index.shape.expiry_prefix):
            if key in batch.changes:
                continue
            at_ms, name = expiry_of(key)
            # The oldest decides whether to begin, and takes along whatever is due.
            if at_ms + patience_ms > self._meta.now_ms or len(keys) == SEALED_ROWS:
                return chosen, keys, at_ms
            row = batch.get(prefix + name.encode())
            if row is None or is_stub(row):
                keys.append(key)
                continue
            is_newer = decode_document_header(row)[2] // 1000 + wait_ms > at_ms
            if not is_newer and len(row) > HEADER_BYTES + STUB_BYTES:
                if chosen and (size_left < len(row) or len(chosen) == SEALED_DOCUMENTS):
                    return chosen, keys, at_ms
                chosen.append((name, row))
                size_left -= len(row)
            keys.append(key)
            patience_ms = 0
        return chosen, keys, None

    # --- Building -------------------------------------------------------------------------------

    def _advance(self, batch: Batch, budget: Budget) -> None:
        """Build indexes of one collection that are not ready, or clear one that failed."""
        working = self._indexes.unfinished()
        if not working:
            # What was to be done was dropped, or undone with an attempt.
            self._indexes.is_finished = True
            return
        chosen = self._in_turn(working)[0]
        if chosen.row.state == FAILING:
            prefixes = entry_prefix(chosen.row.id), chosen.shape.expiry_prefix
            if self._clear(batch, prefixes, budget.rows):
                chosen.row.state = FAILED
                self._indexes.touch(chosen)
        else:
            name = chosen.collection
            building = [index for index in self._indexes.of[name] if index.row.state == BUILDING]
            self._build(batch, building, budget)
        self._indexes.is_finished = not self._indexes.unfinished()

    def _build(self, batch: Batch, building: list[Index], budget: Budget) -> None:
        """Go on with those indexes of a collection that are furthest back, until they meet others.

        So indexes that were made one after the other go through most documents together.
        """
        name = building[0].collection
        prefix = self._collections.prefixes[name]
        first, *others = sorted({index.row.place for index in building})
        group = [index for index in building if index.row.place == first]
        place: bytes | None = first
        left, size_left, rows_left = budget
        built = 0
        start = prefix + first + b"\0" if first else prefix
        for key, stored in self._store.iterate(prefix, start=start):
            if left == 0 or min(size_left, rows_left, BUILT_SPENT_MAX - batch.spent) <= 0:
                break
            encoded_id = key[len(prefix) :]
            if others and encoded_id > others[0]:
                place = others[0]
                break
            # Of this batch only expired documents are gone yet, and none is new.
            if key not in batch.changes:
                try:
                    rows_left -= self._indexes.build(batch, group, encoded_id.decode(), stored)
                except ColdError:
                    self._want_from(name, key)
                    break
                if not group:
                    return
                built += 1
            place = encoded_id
            left -= 1
            size_left -= len(stored)
        else:
            place = None
        for index in group:
            index.row.built += built
            index.row.state, index.row.place = (READY, b"") if place is None else (BUILDING, place)
            self._indexes.touch(index)

    def _want_from(self, collection: str, start: bytes) -> None:
        """List the next cold documents that a build comes to."""
        prefix = self._collections.prefixes[collection]
        rows = islice(self._store.iterate(prefix, start=start), WANTED_MAX)
        for key, stored in rows:
            if is_stub(stored):
                self._want((collection, key[len(prefix) :].decode()))

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
