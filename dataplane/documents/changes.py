"""What recent batches did to documents, one row a batch: where change feeds read from.

The rows are each replica's own (`c`, and `d` for where they begin), written with the batch, and
bounded in bytes and in age of batch time. What a row says follows from the batches alone, so it is
the same everywhere; where the rows begin is not: a node that copied a state has none of before.
Bodies are held as they were stored, so nothing is encoded a second time.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from dataplane.documents.tables import Batch, Change, key_numbers, number_key
from dataplane.storage.ports import KeyValueStore

KEEP_BYTES: Final = 128 * 1024 * 1024
KEEP_MS: Final = 24 * 3_600_000
ROW_BYTES: Final = 4 * 1024 * 1024
"""What a batch changed beyond this goes into further rows; a transaction is not split."""
SWEEP_ROWS: Final = 64
ERASED: Final = "erase"
"""What happened to a document of a person who was erased; feeds call it a delete."""
COPIED, FORGOTTEN, RESTORED = "copied", "forgotten", "restored"
"""Why the rows begin where they do: with a state of others, by their bounds, with a restore."""
WALKED_MAX: Final = 256
_MARKS: Final = 64
_SEQUENCE_BYTES: Final = 8
_ROW: Final = b"c"
_FLOOR: Final = b"d"


class ChangeRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Changes of one batch, `first` the position of the first of them in the batch."""

    at_ms: int
    total_bytes: int
    """Of all rows before this one, since the first."""
    changes: tuple[Change, ...]
    groups: tuple[tuple[int, int], ...] = ()
    """(position, count) of the changes of each transaction."""


class PlacedRow(NamedTuple):
    """A row, and the batch and position at which it begins."""

    sequence: int
    first: int
    row: ChangeRow


class Mark(NamedTuple):
    """A place up to which rows may be forgotten."""

    sequence: int
    total_bytes: int
    at_ms: int


_encode: Final = msgspec.msgpack.Encoder().encode
decode_change_row: Final = msgspec.msgpack.Decoder(ChangeRow).decode


class Walked(NamedTuple):
    """From a sequence back to a place no row ends the history of a document."""

    newest: int
    place: tuple[int, int]


class Changes:
    """The rows of one store."""

    def __init__(
        self,
        store: KeyValueStore,
        applied: int,
        *,
        keep_bytes: int = KEEP_BYTES,
        keep_ms: int = KEEP_MS,
    ) -> None:
        self._store = store
        self._keep_bytes, self._keep_ms = keep_bytes, keep_ms
        stored = store.get(_FLOOR)
        self.floor, self.floor_reason = _floor(stored, applied)
        """Everything that happened after this sequence is here; why no more is."""
        self._is_floor_stored = stored is not None
        self._is_sweeping, self._sweep_from = True, _ROW
        self._total = self._floor_total = 0
        self._marks: deque[Mark] = deque()
        self._newest: Mark | None = None
        self.walked: OrderedDict[tuple[str, str], Walked] = OrderedDict()
        """Of documents whose histories were read last: where the next page need not look again."""
        self._load()

    def _load(self) -> None:
        """Find where rows can be cut, by looking at a few."""
        start = number_key(_ROW, self.floor + 1, 0)
        first = next(self._rows(start), None)
        if first is None:
            return
        key, last = next(self._store.iterate(_ROW, reverse=True))
        self._floor_total = first.row.total_bytes
        row = decode_change_row(last)
        self._total = row.total_bytes + len(last)
        self._newest = Mark(key_numbers(key)[0], self._total, row.at_ms)
        span = key_numbers(key)[0] - first.sequence
        for step in range(1, _MARKS):
            sequence = first.sequence + span * step // _MARKS
            found = next(self._rows(number_key(_ROW, sequence, 0)))
            if not self._marks or self._marks[-1].sequence < found.sequence - 1:
                mark = Mark(found.sequence - 1, found.row.total_bytes, found.row.at_ms)
                self._marks.append(mark)

    @property
    def held_bytes(self) -> int:
        """What the rows take that may be read."""
        return self._total - self._floor_total

    def record(self, batch: Batch, sequence: int, at_ms: int) -> None:
        """Add the rows of a batch to its writes, and forget what is too old or too much."""
        if batch.documents:
            for first, count in _parts(batch):
                self._add(batch, (sequence, first, count), at_ms)
        if not self._is_floor_stored:
            self._store_floor(batch)
        if self._newest is not None:
            self._forget(batch, at_ms, self._newest)
        if self._is_sweeping:
            self._sweep(batch)

    def break_off(self, batch: Batch, sequence: int) -> None:
        """Let no reader go on from before this batch: what it changed is not told one by one."""
        self.floor, self._floor_total = sequence, self._total
        self.floor_reason = RESTORED
        self._marks.clear()
        self._newest = None
        self._store_floor(batch)
        self._is_sweeping = True

    def _store_floor(self, batch: Batch) -> None:
        batch.own[_FLOOR] = number_key(b"", self.floor) + self.floor_reason.encode()
        self._is_floor_stored = True

    def _add(self, batch: Batch, place: tuple[int, int, int], at_ms: int) -> None:
        sequence, first, count = place
        end = first + count
        groups = [group for group in batch.groups if first <= group[0] < end]
        row = _encode((at_ms, self._total, batch.documents[first:end], groups))
        batch.own[number_key(_ROW, sequence, first)] = row
        self._total += len(row)
        self._newest = Mark(sequence, self._total, at_ms)
        last = self._marks[-1] if self._marks else Mark(0, self._floor_total, 0)
        enough = (self._total - last.total_bytes) * _MARKS >= self._keep_bytes
        if enough or (at_ms - last.at_ms) * _MARKS >= self._keep_ms:
            self._marks.append(self._newest)

    def _forget(self, batch: Batch, at_ms: int, newest: Mark) -> None:
        """Move the floor up; the rows below are removed little by little."""
        floor, horizon = self.floor, at_ms - self._keep_ms
        if newest.at_ms < horizon:
            # Nothing was written for so long that nothing is left to tell.
            self._marks = deque([newest])
            self._newest = None
        while self._marks and (
            self.held_bytes > self._keep_bytes or self._marks[0].at_ms < horizon
        ):
            self.floor, self._floor_total, _ = self._marks.popleft()
        if self.floor != floor:
            self.floor_reason = FORGOTTEN
            self._store_floor(batch)
            self._is_sweeping = True

    def _sweep(self, batch: Batch) -> None:
        """Remove some rows below the floor: more bytes than the batch adds."""
        end = number_key(_ROW, self.floor + 1, 0)
        budget = ROW_BYTES + sum([len(row or b"") for row in batch.own.values()])
        rows = islice(self._store.iterate(_ROW, start=self._sweep_from), SWEEP_ROWS)
        for key, row in list(rows):
            if key >= end or budget <= 0:
                self._is_sweeping = key < end
                return
            batch.own[key] = None
            self._sweep_from = key
            budget -= len(row)

    def read(self, sequence: int, position: int | None, *, bytes_max: int) -> list[PlacedRow]:
        """Return rows behind a place, at least one if there is one.

        Without a position the place is behind the whole of a batch.
        """
        known = number_key(_ROW, sequence, 0)
        start = number_key(_ROW, sequence + 1, 0) if position is None else known
        found: list[PlacedRow] = []
        size_bytes = 0
        for key, stored in self._store.iterate(_ROW, start=start):
            size_bytes += len(stored)
            if found and size_bytes > bytes_max:
                break
            placed = _placed(key, stored)
            is_known = position is not None and placed.sequence == sequence
            if not (is_known and placed.first + len(placed.row.changes) <= (position or 0) + 1):
                found.append(placed)
        return found

    def back(self, sequence: int, position: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (sequence, first position, row as stored) from before a place on, newest first.

        The row that holds the place comes too. Use it before the state next changes.
        """
        start = number_key(_ROW, sequence, position)
        for key, stored in self._store.iterate(_ROW, start=start, reverse=True):
            at, first = key_numbers(key)
            if at <= self.floor:
                return
            yield at, first, stored

    def note_walk(self, names: tuple[str, str], walked: Walked) -> None:
        """Remember how far the history of a document was looked at without finding its end."""
        self.walked[names] = walked
        self.walked.move_to_end(names)
        while len(self.walked) > WALKED_MAX:
            self.walked.popitem(last=False)

    def _rows(self, start: bytes) -> Iterator[PlacedRow]:
        return (_placed(*entry) for entry in self._store.iterate(_ROW, start=start))


def _floor(stored: bytes | None, applied: int) -> tuple[int, str]:
    """Return where the rows begin and why; a node without this row knows no more than its state."""
    if stored is None:
        return applied, COPIED
    reason = stored[_SEQUENCE_BYTES:].decode()
    return int.from_bytes(stored[:_SEQUENCE_BYTES], "big"), reason


def _placed(key: bytes, stored: bytes) -> PlacedRow:
    sequence, first = key_numbers(key)
    return PlacedRow(sequence, first, decode_change_row(stored))


def _parts(batch: Batch) -> list[tuple[int, int]]:
    """Return (first, count) of the rows that a batch needs: one, unless it changed very much."""
    changes = batch.documents
    if len(changes) == 1 or sum([len(change[4] or b"") for change in changes]) <= ROW_BYTES:
        return [(0, len(changes))]
    inside = {
        position for first, count in batch.groups for position in range(first + 1, first + count)
    }
    parts: list[tuple[int, int]] = []
    first = size_bytes = 0
    for position, change in enumerate(changes):
        size_bytes += len(change[4] or b"")
        if size_bytes > ROW_BYTES and position > first and position not in inside:
            parts.append((first, position - first))
            first, size_bytes = position, len(change[4] or b"")
    return [*parts, (first, len(changes) - first)]
