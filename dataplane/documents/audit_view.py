"""Reading the audit chain: by index, sequence or time, a page at a time, with hashes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dataplane.documents import audited
from dataplane.documents.auditing import AuditRow, decode_audit
from dataplane.documents.proving import prove_row
from dataplane.documents.tables import AUDIT, number_key
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.audit import ENDS_KEY, FORENSIC, AuditEnds, AuditRecord
from dataplane.wire.proofs import RowProof

EXAMINED_MAX: Final = 8_192
"""Records that one page looks at, so that a rare thing does not hold the node up."""


@dataclass(frozen=True, slots=True)
class AuditQuestion:
    """Which records are wanted; None is all. `since` and `from` are included, `until` is not."""

    limit: int
    after: int | None = None
    """The index of the record where the page before ended."""
    since_ms: int | None = None
    until_ms: int | None = None
    from_sequence: int | None = None
    to_sequence: int | None = None
    action: str | None = None
    """An action, or the first part of one as far as its dot: `key` has `key.put` too."""
    actor: str | None = None
    collection: str | None = None
    is_newest_first: bool = False
    up_to: int | None = None
    """The index of the last record of interest."""

    @property
    def is_filtered(self) -> bool:
        """Whether records between others are left out."""
        return any(wanted is not None for wanted in (self.action, self.actor, self.collection))

    def fits(self, record: AuditRecord) -> bool:
        """Return whether a record in the range is wanted."""
        action = self.action
        is_action = action is None or record.action == action
        is_action = is_action or record.action.startswith(f"{action}.")
        return (
            is_action
            and self.actor in {None, record.actor}
            and self.collection in {None, record.collection}
        )


@dataclass(frozen=True, slots=True)
class Linked:
    """A record with its hash and that of the record before."""

    record: AuditRecord
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records, and the index to go on after; None when there are no more."""

    records: list[Linked]
    next: int | None


class AuditLog:
    """The chain of one state, between two batches."""

    def __init__(self, store: KeyValueStore, ends: AuditEnds) -> None:
        self._store = store
        self.ends = ends

    @property
    def watched_names(self) -> frozenset[bytes]:
        """Names of the operations that are recorded now."""
        return audited.watched_names(self.ends.level)

    @property
    def is_forensic(self) -> bool:
        """Whether reads are recorded."""
        return self.ends.level == FORENSIC

    def prove(self) -> RowProof:
        """Return the proof of the ends under the newest root; nothing changed since it."""
        return prove_row(self._store.get, ENDS_KEY)

    def page(self, question: AuditQuestion) -> AuditPage:
        """Return the records that fit, oldest first unless asked otherwise."""
        low, high = self._range(question)
        found: list[Linked] = []
        for examined, linked in enumerate(self._walk(low, high, question)):
            if examined == EXAMINED_MAX or len(found) == question.limit:
                step = 1 if question.is_newest_first else -1
                return AuditPage(found, linked.record.index + step)
            if question.fits(linked.record):
                found.append(linked)
        return AuditPage(found, None)

    def at(self, sequence: int) -> Iterator[AuditRecord]:
        """Yield what was recorded with one batch."""
        low = self._first(lambda record: record.sequence >= sequence)
        for row in self._rows(low, self.ends.last):
            for record in row.records[max(0, low - row.records[0].index) :]:
                if record.sequence != sequence:
                    return
                yield record

    def _range(self, question: AuditQuestion) -> tuple[int, int]:
        """Return the first and the last index that the question is about."""
        ends = self.ends
        low, high = ends.first, ends.last
        after = question.after
        if question.up_to is not None:
            high = min(high, question.up_to)
        if after is not None and question.is_newest_first:
            high = min(high, after - 1)
        elif after is not None:
            low = max(low, after + 1)
        # Times and sequences rise with the index, so each bound is one place in the chain.
        since, until = question.since_ms, question.until_ms
        if since is not None:
            low = max(low, self._first(lambda record: record.at_ms >= since))
        if until is not None:
            high = min(high, self._first(lambda record: record.at_ms >= until) - 1)
        start, end = question.from_sequence, question.to_sequence
        if start is not None:
            low = max(low, self._first(lambda record: record.sequence >= start))
        if end is not None:
            high = min(high, self._first(lambda record: record.sequence > end) - 1)
        return low, high

    def _first(self, is_reached: Callable[[AuditRecord], bool]) -> int:
        """Return the index of the first record for which it is so, or the one after the last."""
        low, high = self.ends.first, self.ends.last + 1
        while low < high:
            middle = (low + high) // 2
            row = self._row_with(middle)
            if row is None:
                return high
            if is_reached(row.records[middle - row.records[0].index]):
                high = middle
            else:
                low = middle + 1
        return low

    def _row_with(self, index: int) -> AuditRow | None:
        """Return the row that holds a record."""
        key = number_key(AUDIT, index)
        for _, value in self._store.iterate(AUDIT, start=key, reverse=True):
            row = decode_audit(value)
            return row if row.records[-1].index >= index else None
        return None

    def _walk(self, low: int, high: int, question: AuditQuestion) -> Iterator[Linked]:
        for row in self._rows(low, high, reverse=question.is_newest_first):
            linked = [item for item in _linked(row) if low <= item.record.index <= high]
            yield from reversed(linked) if question.is_newest_first else linked

    def _rows(self, low: int, high: int, *, reverse: bool = False) -> Iterator[AuditRow]:
        """Yield the rows that hold some records, and others beside them."""
        row = self._row_with(low) if low <= high else None
        if row is None:
            return
        start = number_key(AUDIT, row.records[0].index)
        for _, value in self._store.scan(start, number_key(AUDIT, high + 1), reverse=reverse):
            yield decode_audit(value)


def _linked(row: AuditRow) -> list[Linked]:
    hashes = row.hashes()
    before = [row.previous, *hashes[:-1]]
    return [Linked(*item) for item in zip(row.records, before, hashes, strict=True)]
