"""Erasing a person: ordered steps that remove documents, and a row that says how far it is.

A step names documents; every replica looks itself whether they name the person, by a salted hash,
so that the name itself is not in the log and a step removes nothing else. The end is recorded in
the audit log with that hash and what was removed.
"""

from typing import Any, Final

from dataplane.documents import tables
from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.audited import detail_of
from dataplane.documents.auditing import Audit
from dataplane.documents.changes import ERASED
from dataplane.documents.collections import Collections
from dataplane.documents.commands import (
    OpResult,
)
from dataplane.documents.conflicts import CONFLICTS
from dataplane.documents.errors import CONFLICT, NOT_FOUND, NOT_READY, TOO_LARGE, Refusal, invalid
from dataplane.documents.stubs import body_of
from dataplane.documents.subjects import SALT_BYTES, names, subject_field
from dataplane.documents.tables import ERASURE, Batch, ErasureRow, MetaRow
from dataplane.documents.tiering import Tiers
from dataplane.documents.values import SYSTEM_COLLECTIONS, unpack_document
from dataplane.documents.writing import Writing

ERASURES_MAX: Final = 1_000
STEP_IDS_MAX: Final = 500
STEP_BYTES_MAX: Final = 24 * 1024 * 1024
"""Of the documents that one step looks at."""
_ID_BYTES: Final = 16
_HASH_BYTES: Final = 32
_SIDES: Final = ("mine", "theirs", "base")


class Erasing:
    """The erasures of one state."""

    def __init__(
        self,
        meta: MetaRow,
        *,
        collections: Collections,
        writing: Writing,
        audit: Audit,
        tiers: Tiers,
    ) -> None:
        self._meta = meta
        self._collections = collections
        self._writing = writing
        self._audit = audit
        self._tiers = tiers
        self.rows: dict[bytes, ErasureRow] = {
            key[1:]: tables.decode_erasure(row) for key, row in audit.store.iterate(ERASURE)
        }

    def begin(self, batch: Batch, operation: EraseBegin) -> OpResult:
        """Begin an erasure; the same again changes nothing.

        Raises:
            Refusal: `invalid` or `conflict`.
        """
        sizes = (len(operation.id), len(operation.subject), len(operation.salt))
        if sizes != (_ID_BYTES, _HASH_BYTES, SALT_BYTES):
            raise invalid("/erasure", "not the id, hash and salt of an erasure")
        known = self.rows.get(operation.id)
        if known is not None:
            if (known.subject, known.salt) != (operation.subject, operation.salt):
                raise Refusal(CONFLICT, "the erasure is of somebody else")
            return OpResult(200, id=operation.id.hex())
        if len(self.rows) >= ERASURES_MAX:
            self._forget_oldest(batch)
        row = ErasureRow(operation.subject, operation.salt, self._meta.now_ms)
        self._write(batch, operation.id, row)
        return OpResult(201, id=operation.id.hex())

    def _forget_oldest(self, batch: Batch) -> None:
        over = [(row.started_ms, key) for key, row in self.rows.items() if row.record is not None]
        if not over:
            raise invalid("/erasure", f"{ERASURES_MAX} erasures are not over yet")
        _, oldest = min(over)
        del self.rows[oldest]
        batch.delete(ERASURE + oldest)

    def step(self, batch: Batch, operation: EraseStep) -> OpResult:
        """Remove those of the named documents that name the person.

        Raises:
            Refusal: `invalid`, `not_found`, `conflict` or `too_large`.
            ColdError: A document is not there to be looked at.
        """
        row = self._open(operation.id)
        name = operation.collection
        if len(operation.ids) > STEP_IDS_MAX:
            raise invalid("/ids", f"at most {STEP_IDS_MAX}")
        removed = 0
        for document_id, stored in self._named(batch, name, operation.ids):
            if self._names(name, stored, row):
                self._writing.remove(batch, (name, document_id), stored, change=ERASED)
                removed += 1
            else:
                batch.spend(len(stored))
        if removed:
            # Of other names nothing is kept: whoever sends steps could send any.
            counts = dict(row.removed)
            counts[name] = counts.get(name, 0) + removed
            row.removed = tuple(sorted(counts.items()))
            row.stepped = self._meta.applied
            self._write(batch, operation.id, row)
        return OpResult(200, id=operation.id.hex(), version=removed)

    def _named(self, batch: Batch, name: str, ids: tuple[str, ...]) -> list[tuple[str, bytes]]:
        """Return the documents that a step names, before any of them is removed."""
        prefix = self._collections.prefixes.get(name)
        found: list[tuple[str, bytes]] = []
        size_bytes = 0
        for document_id in dict.fromkeys(ids):
            stored = None if prefix is None else batch.get(prefix + document_id.encode())
            if stored is not None:
                body_of(stored)  # It says whether it is about the person: look before any goes.
                found.append((document_id, stored))
                size_bytes += len(stored)
            if size_bytes > STEP_BYTES_MAX:
                raise Refusal(TOO_LARGE, f"a step looks at {STEP_BYTES_MAX} bytes at most")
        return found

    def _names(self, collection: str, stored: bytes, row: ErasureRow) -> bool:
        document = unpack_document(body_of(stored))
        if collection == CONFLICTS:
            field = self.field_of(document["collection"])
            sides: list[Any] = [document.get(side) for side in _SIDES]
            return field is not None and any(names(s, field, row.salt, row.subject) for s in sides)
        field = self.field_of(collection)
        return field is not None and names(document, field, row.salt, row.subject)

    def field_of(self, collection: str) -> str | None:
        """Return the field of a collection that names persons."""
        row = self._collections.rows.get(collection)
        return None if row is None else subject_field(row.options)

    def fields(self) -> dict[str, str]:
        """Return the field that names persons, of each collection that has one."""
        wanted = sorted(set(self._collections.rows) - SYSTEM_COLLECTIONS)
        found = {name: self.field_of(name) for name in wanted}
        return {name: field for name, field in found.items() if field is not None}

    def end(self, batch: Batch, operation: EraseEnd) -> OpResult:
        """Close an erasure; the result names the record of it in the audit log.

        Raises:
            Refusal: `not_found`, `conflict`, or `not_ready`: what was removed still lies in a
                segment.
        """
        row = self._open(operation.id)
        # Where what this very batch removed lies is not known before its end.
        is_early = row.stepped == self._meta.applied and self._tiers.is_used
        if is_early or self.holding(operation.id):
            raise Refusal(NOT_READY, "segments hold what was removed; they are being made anew")
        row.record, row.sequence = self._audit.next_index, self._meta.applied
        self._write(batch, operation.id, row)
        facts = {"subject": row.subject.hex(), "salt": row.salt.hex(), "removed": dict(row.removed)}
        # Names of collections may be many: who has the receipt can tell them by their digest.
        return OpResult(200, None, operation.id.hex(), row.record, detail=detail_of(facts))

    def holding(self, erasure: bytes) -> list[int]:
        """Return the segments that still hold what an erasure removed, or another before it did.

        Also when they are no more, and their objects in the archive are not seen gone yet.
        """
        row, tiers = self.rows.get(erasure), self._tiers
        if row is None or not row.stepped:
            return []
        return [*tiers.holding(row.stepped), *tiers.left_holding(row.stepped)]

    def _open(self, erasure: bytes) -> ErasureRow:
        row = self.rows.get(erasure)
        if row is None:
            raise Refusal(NOT_FOUND, "no such erasure")
        if row.record is not None:
            raise Refusal(CONFLICT, "the erasure is over")
        return row

    def _write(self, batch: Batch, erasure: bytes, row: ErasureRow) -> None:
        self.rows[erasure] = row
        batch.put(ERASURE + erasure, tables.encode_row(row))
