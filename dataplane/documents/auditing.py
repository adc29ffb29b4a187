"""The audit chain: what was done is written down with the batch that does it, and under its root.

Theory of operation: the records of a batch go into one row (or a few), which begins with the hash
of the record before it. The row of the chain's ends has the hash of the last record, and that of
the one before the first that is kept, so that the part that is kept proves itself when older
records were forgotten. A batch of which nothing is recorded changes no row here.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from dataplane.documents import audited
from dataplane.documents.audit_commands import AuditPut, ReportAudit
from dataplane.documents.audited import REPORTED_ALWAYS, VERSIONED, Place, accounts_of
from dataplane.documents.commands import (
    Op,
    OpResult,
)
from dataplane.documents.errors import AUDIT_FULL, Refusal, invalid
from dataplane.documents.membership import Membership
from dataplane.documents.tables import AUDIT, Batch, MetaRow, number_key
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.audit import (
    ENDS_KEY,
    FORENSIC,
    LEVELS,
    AuditEnds,
    AuditRecord,
    decode_ends,
    encode_ends,
    hash_record,
)

ROW_RECORDS_MAX: Final = 256
EVENTS_MAX: Final = 1_000
FORGOTTEN_ROWS_PER_BATCH: Final = 16
RECORDS_LIMIT: Final = 20_000_000
RETENTION_LIMIT_MS: Final = 20 * 366 * 86_400_000
RETENTION_LEAST_MS: Final = 3_600_000
FULL_DETAIL: Final = f"{RECORDS_LIMIT} audit records may not be forgotten yet"
_TEXT_MAX: Final = 1_024
_COUNT_MAX: Final = 2**40


type Digests = dict[Place, bytes | None]
"""Of documents, None for one that is not there."""


class AuditRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Records that follow each other; `previous` is the hash of the one before the first."""

    previous: bytes
    records: tuple[AuditRecord, ...]

    def hashes(self) -> list[bytes]:
        """Return the hash of each record."""
        found: list[bytes] = []
        last = self.previous
        for record in self.records:
            last = hash_record(last, record)
            found.append(last)
        return found


encode_audit = msgspec.msgpack.Encoder().encode
decode_audit = msgspec.msgpack.Decoder(AuditRow).decode


class Audit:
    """The chain of one state: settings and ends in memory, records in the store."""

    def __init__(self, store: KeyValueStore, meta: MetaRow, membership: Membership) -> None:
        self.store = store
        self._meta = meta
        self._membership = membership
        stored = store.get(ENDS_KEY)
        self.ends = AuditEnds() if stored is None else decode_ends(stored)
        self.keep_least_ms = 0
        """Younger records are never forgotten, however many there are."""
        self.actor: str | None = None
        self.client = b""
        self._pending: list[AuditRecord] = []
        self._is_changed = stored is None
        self._oldest_ms = self._row_end_ms()
        self.watched = audited.watched(self.ends.level)

    @property
    def is_forensic(self) -> bool:
        """Whether reads, and what documents were before and after, are recorded."""
        return self.ends.level == FORENSIC

    def put(self, operation: AuditPut) -> None:
        """Change what is recorded and how long it is kept.

        Raises:
            Refusal: `invalid`.
        """
        level, retention_ms = operation.level, operation.retention_ms
        records_max = operation.records_max
        if level is not None and level not in LEVELS:
            raise invalid("/level", f"one of {', '.join(LEVELS)}")
        if retention_ms is not None and not (
            RETENTION_LEAST_MS <= retention_ms <= RETENTION_LIMIT_MS
        ):
            raise invalid("/retention_ms", f"{RETENTION_LEAST_MS} to {RETENTION_LIMIT_MS}")
        if records_max is not None and not ROW_RECORDS_MAX <= records_max <= RECORDS_LIMIT:
            raise invalid("/records_max", f"{ROW_RECORDS_MAX} to {RECORDS_LIMIT}")
        ends = self.ends
        ends.level = ends.level if level is None else level
        ends.retention_ms = ends.retention_ms if retention_ms is None else retention_ms
        ends.records_max = ends.records_max if records_max is None else records_max
        self.watched = audited.watched(ends.level)
        self._is_changed = True

    def has_room(self, operation: Op) -> bool:
        """Whether an operation can be written down; what makes room always can."""
        kept = self.ends.last + len(self._pending) - self.ends.first + 1
        return kept < RECORDS_LIMIT or isinstance(operation, AuditPut)

    def note(self, operation: Op, result: OpResult, before: Digests, after: Digests) -> None:
        """Write down an operation that the level records, with digests of its documents."""
        for what, outcome, place in accounts_of(operation, result, is_forensic=self.is_forensic):
            self._append(
                actor=self.actor,
                action=what.action,
                collection=what.collection,
                id=what.id,
                status=outcome.status,
                code=outcome.code,
                # Other results use the field for numbers of their own.
                version=outcome.version if what.action.startswith(VERSIONED) else None,
                before=None if place is None else before.get(place),
                after=None if place is None else after.get(place),
                count=1,
                detail=what.detail,
            )

    def report(self, operation: ReportAudit) -> None:
        """Write down what a gateway saw.

        Reads count at level `forensic` only: the level may have changed since they were seen.

        Raises:
            Refusal: The report is out of bounds.
        """
        if len(operation.events) > EVENTS_MAX:
            raise invalid("/events", f"at most {EVENTS_MAX}")
        for event in operation.events:
            texts = (event.actor, event.action, event.collection, event.id)
            if any(text is not None and len(text) > audited.NAME_CHARS_MAX for text in texts):
                raise invalid("/events", "a name is too long")
            if len(event.detail or "") > _TEXT_MAX or len(event.code or "") > _TEXT_MAX:
                raise invalid("/events", "a detail is too long")
            numbers = (event.status, event.count, event.version or 0)
            if any(not 0 <= number <= _COUNT_MAX for number in numbers):
                raise invalid("/events", "a number is out of range")
        if not self.has_room(operation):
            raise Refusal(AUDIT_FULL, FULL_DETAIL)
        for event in operation.events:
            is_order = event.status >= 400 or event.action in REPORTED_ALWAYS
            if self.is_forensic or is_order:
                self._append(
                    actor=event.actor,
                    action=event.action,
                    collection=event.collection,
                    id=event.id,
                    status=event.status,
                    code=event.code,
                    version=event.version,
                    before=None,
                    after=None,
                    count=event.count,
                    detail=event.detail,
                )

    def _append(
        self,
        *,
        actor: str | None,
        action: str,
        collection: str | None,
        id: str | None,  # noqa: A002 - the name of the field
        status: int,
        code: str | None,
        version: int | None,
        before: bytes | None,
        after: bytes | None,
        count: int,
        detail: str | None,
    ) -> None:
        position = len(self._pending)
        record = AuditRecord(
            index=self.ends.last + 1 + position,
            sequence=self._meta.applied,
            position=position,
            at_ms=self._meta.now_ms,
            node=self._membership.gateway_of(self.client),
            actor=actor,
            action=action,
            collection=collection,
            id=id,
            status=status,
            code=code,
            version=version,
            before=before,
            after=after,
            count=count,
            detail=detail,
        )
        self._pending.append(record)

    @property
    def next_index(self) -> int:
        """The index that the next record will have."""
        return self.ends.last + len(self._pending) + 1

    def write(self, batch: Batch) -> None:
        """Put what this batch recorded, and the ends when they moved."""
        ends = self.ends
        for start in range(0, len(self._pending), ROW_RECORDS_MAX):
            row = AuditRow(ends.head, tuple(self._pending[start : start + ROW_RECORDS_MAX]))
            batch.put(number_key(AUDIT, row.records[0].index), encode_audit(row))
            ends.head = row.hashes()[-1]
            ends.last = row.records[-1].index
            self._is_changed = True
        if self._pending and self._oldest_ms is None:
            self._oldest_ms = self._meta.now_ms
        self._pending.clear()
        if self._is_changed:
            batch.put(ENDS_KEY, encode_ends(ends))
            self._is_changed = False

    def sweep(self, batch: Batch) -> None:
        """Forget some records that need not be kept. Called at the start of every batch."""
        if not self._is_over(self._oldest_ms):
            return
        rows = islice(self.store.iterate(AUDIT), FORGOTTEN_ROWS_PER_BATCH + 1)
        for gone, (key, value) in enumerate(rows):
            row = decode_audit(value)
            self._oldest_ms = row.records[-1].at_ms
            if gone == FORGOTTEN_ROWS_PER_BATCH or not self._is_over(self._oldest_ms):
                break
            batch.delete(key)
            self.ends.first, self.ends.start = row.records[-1].index + 1, row.hashes()[-1]
        else:
            self._oldest_ms = None
        self._is_changed = True

    def _is_over(self, row_end_ms: int | None) -> bool:
        """Whether the oldest row, whose last record is of that time, can go."""
        if row_end_ms is None:
            return False
        ends, age_ms = self.ends, self._meta.now_ms - row_end_ms
        is_surplus = ends.last - ends.first + 1 > ends.records_max
        return age_ms > ends.retention_ms or (is_surplus and age_ms > self.keep_least_ms)

    def _row_end_ms(self) -> int | None:
        """Return the time of the last record of the oldest row."""
        rows: Iterable[tuple[bytes, bytes]] = self.store.iterate(AUDIT)
        for _, value in rows:
            return decode_audit(value).records[-1].at_ms
        return None
