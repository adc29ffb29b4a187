"""What gateways and queries read of the executed state, between two batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from dataplane.documents import tables
from dataplane.documents.accounting import Accounting
from dataplane.documents.archiving import Archiving
from dataplane.documents.audit_view import AuditLog
from dataplane.documents.capture import Capture
from dataplane.documents.changes import Changes
from dataplane.documents.cold import Tier
from dataplane.documents.collections import Collections
from dataplane.documents.compliance import Compliance
from dataplane.documents.erasing import Erasing
from dataplane.documents.keys import Keys
from dataplane.documents.maintenance import Maintenance
from dataplane.documents.memory import Memory
from dataplane.documents.mending import Mending
from dataplane.documents.proving import prove_document, prove_row
from dataplane.documents.rendering import render_text
from dataplane.documents.restoring import Restoring
from dataplane.documents.settings import Settings
from dataplane.documents.tables import (
    HEADER_BYTES,
    RESTORE,
    TOMBSTONE,
    Change,
    MetaRow,
    decode_document_row,
    decode_tombstone,
    tombstone_key,
)
from dataplane.documents.tiering import Tiers
from dataplane.documents.types import (
    CollectionRecord,
    DocumentRecord,
    IndexRecord,
    KeyRecord,
    QuotaRecord,
    RestoreRecord,
    StateStats,
    StorageWindow,
    TombstoneRecord,
    UsageWindow,
)
from dataplane.storage.ports import CacheFigures, KeyValueStore, Snapshot
from dataplane.wire.proofs import RowProof
from dataplane.wire.stubs import is_stub

COLD_TIERS: Final[tuple[Tier, ...]] = ("distributed", "archive")
NO_SEGMENTS: Final[Mapping[int, bytes]] = MappingProxyType({})


class StateView:
    """Reads of one state machine; use it in the thread that applies, between two batches."""

    audit: AuditLog
    maintenance: Maintenance
    """What is left to be done beside requests."""
    tiers: Tiers
    """Where the bodies of cold documents are."""
    archiving: Archiving
    """Which of them leave for the archive, and what is left in it."""
    mending: Mending | None
    """The care for what this replica keeps of them; None when it keeps them whole."""
    compliance: Compliance
    erasing: Erasing

    def __init__(self) -> None:
        self.watchers: list[Callable[[], None]] = []
        """Called after each batch that changed documents, and when the state was replaced."""
        self.memory = Memory()
        """The documents that are asked for, as they are answered."""

    def wake(self) -> None:
        """Tell those who wait for changes."""
        for watcher in self.watchers:
            watcher()

    def replaced(self) -> None:
        """Forget all documents, since another state is there, and tell those who wait."""
        self.memory.clear()
        self.wake()

    def changed(self, changes: Sequence[Change]) -> None:
        """Forget documents that a batch changed, and tell those who wait for changes."""
        if len(self.memory):
            self.memory.changed(changes, self._collections.prefixes)
        self.wake()

    def show(
        self,
        store: KeyValueStore,
        meta: MetaRow,
        parts: tuple[Collections, Keys, Accounting, Changes, Restoring],
    ) -> None:
        """Read from these parts from now on."""
        self._store = store
        self._meta = meta
        self._collections, self._keys, self._accounting, self.changes, self._restoring = parts
        self.session_count = 0
        self._quota: tuple[int, QuotaRecord] | None = None

    def get(self, collection: str, document_id: str) -> DocumentRecord | None:
        """Return a document, or None when it or its collection is absent."""
        stored = self.row(collection, document_id)
        return None if stored is None else decode_document_row(document_id, stored)

    def row(self, collection: str, document_id: str) -> bytes | None:
        """Return a document row as stored, or None when it or its collection is absent."""
        prefix = self._collections.prefixes.get(collection)
        return None if prefix is None else self._store.get(prefix + document_id.encode())

    def key_of(self, collection: str, document_id: str) -> bytes | None:
        """Return the key of a document's row, None where there is no such collection."""
        prefix = self._collections.prefixes.get(collection)
        return None if prefix is None else prefix + document_id.encode()

    def text(self, place: tuple[str, str], row: bytes) -> bytes:
        """Return the JSON of a document by collection and id, and a row that has its body."""
        key = self.key_of(*place)
        # A collection may have been dropped since the row was read.
        return render_text(place[1], row) if key is None else self.text_of(key, row)

    def text_of(self, key: bytes, row: bytes) -> bytes:
        """Return the JSON of a document by the key of its row, and a row that has its body."""
        text = self.memory.find(key, row)
        if text is None:
            text = render_text(tables.document_id(key), row)
            # What is removed must not come back by way of those who read an earlier moment.
            present = self._store.get(key)
            if present is not None and (present == row or _is_stub_of(present, row)):
                self.memory.keep(key, row, text)
        return text

    def row_at(self, key: bytes) -> bytes | None:
        """Return the row of a key, as proofs and backups name rows."""
        return self._store.get(key)

    def prove(self, collection: str, document_id: str) -> tuple[RowProof, RowProof | None]:
        """Return the proofs of a document under the newest root; nothing changed since it."""
        return prove_document(self._store.get, collection, document_id)

    def prove_restore(self) -> RowProof:
        """Return the proof of the row about the last restore, under the newest root."""
        return prove_row(self._store.get, RESTORE)

    def snapshot(self) -> Snapshot:
        """Return all rows as they are now; the tree among them must be folded."""
        return self._store.snapshot()

    def rows(
        self, collection: str, *, start: str | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id as UTF-8, document row) in id order, from `start` inclusive.

        A row is a header of `tables.HEADER_BYTES` and the packed document.
        """
        prefix = self._collections.prefixes.get(collection)
        if prefix is None:
            return
        first = None if start is None else prefix + start.encode()
        skip = len(prefix)
        for key, stored in self._store.iterate(prefix, start=first, reverse=reverse):
            yield key[skip:], stored

    def capture(self, segments: Mapping[int, bytes] = NO_SEGMENTS) -> Capture:
        """Return the documents as they are now, to be read while the state goes on.

        `segments` are those that the bodies of cold documents are taken from.
        """
        numbers = self.tiers.collections
        rows = self._collections.rows.items() if numbers else ()
        cold = frozenset([name for name, row in rows if row.id in numbers])
        return Capture(self._store, self._collections, cold=cold, segments=segments)

    def tombstones(self) -> list[TombstoneRecord]:
        """Return what was erased by destroying keys, oldest first."""
        rows = [decode_tombstone(row) for _, row in self._store.iterate(TOMBSTONE)]
        return [
            TombstoneRecord(
                row.number,
                row.kind,
                row.name,
                row.documents,
                row.bytes,
                row.ordered_at,
                row.erased_at,
                row.at_ms,
            )
            for row in rows
        ]

    def prove_tombstone(self, number: int) -> RowProof:
        """Return the proof of a tombstone under the newest root; nothing changed since it."""
        return prove_row(self._store.get, tombstone_key(number))

    def collection(self, name: str) -> CollectionRecord | None:
        """Return one collection."""
        return next((record for record in self.collections() if record.name == name), None)

    def collections(self) -> list[CollectionRecord]:
        """Return every collection in name order."""
        records, tiers = self._collections.records(), self.tiers
        if not tiers.collections and not len(self.memory):
            return records
        found: list[CollectionRecord] = []
        for record in records:
            number = self._collections.rows[record.name].id
            held, archived = tiers.held(number, "distributed"), tiers.held(number, "archive")
            kept = self.memory.held(tables.document_prefix(number))
            found.append(
                msgspec.structs.replace(record, distributed=held, archived=archived, memory=kept)
            )
        return found

    def tier_totals(self) -> dict[str, tuple[int, int]]:
        """Return how many documents are in each tier below memory, and how many bytes."""
        cold: dict[str, tuple[int, int]] = {name: self.tiers.total(name) for name in COLD_TIERS}
        documents, size_bytes = self._meta.documents, self._meta.bytes
        for elsewhere in cold.values():
            documents -= elsewhere[0]
            size_bytes -= elsewhere[1]
        return {"ssd": (documents, size_bytes), **cold}

    def cached(self) -> CacheFigures:
        """Return what the store keeps in memory of its files."""
        return self._store.cached()

    def collection_name(self, number: int) -> str | None:
        """Return the name of a collection by its number, None when it was dropped."""
        rows = self._collections.rows.items()
        return next((name for name, row in rows if row.id == number), None)

    def collection_numbers(self) -> set[int]:
        """Return the numbers of the collections that there are."""
        return {row.id for row in self._collections.rows.values()}

    def settings(self, name: str) -> Settings:
        """Return what the options of a collection mean."""
        return self._collections.settings(name)

    def indexes(self, collection: str) -> list[IndexRecord]:
        """Return the indexes of a collection in name order."""
        row = self._collections.rows.get(collection)
        return [] if row is None else self._collections.indexes.records(collection, row.documents)

    def key(self, key_id: str) -> KeyRecord | None:
        """Return one API key; a revoked one is absent, an expired one is not."""
        return self._keys.records.get(key_id)

    def keys(self) -> list[KeyRecord]:
        """Return every API key in id order."""
        return [record for _, record in sorted(self._keys.records.items())]

    def rate_elsewhere(self, key: str, node: int, now_ms: int) -> int:
        """Return how often a key asked the other gateways in a second, as they told lately."""
        return self._accounting.rate_elsewhere(key, node, now_ms)

    def quota(self) -> QuotaRecord:
        """Return the limits and what is used of them.

        Every call of a client asks for it; it changes with a batch only.
        """
        applied = self._meta.applied
        if self._quota is None or self._quota[0] != applied:
            self._quota = applied, self._accounting.record()
        return self._quota[1]

    def usage_windows(self, closed_before_ms: int) -> list[UsageWindow]:
        """Return the call counts of windows that ended by the given time and by batch time."""
        return self._accounting.usage_windows(closed_before_ms)

    def storage_windows(self, closed_before_ms: int) -> list[StorageWindow]:
        """Return the bytes stored at the end of windows that ended by the given time."""
        return self._accounting.storage_windows(closed_before_ms)

    @property
    def is_restoring(self) -> bool:
        """Whether documents can be neither read nor written."""
        return self._restoring.is_active

    def restore(self) -> RestoreRecord | None:
        """Return how far the restore under way is, or how the last one ended."""
        return self._restoring.record()

    def stats(self) -> StateStats:
        """Return the totals."""
        meta = self._meta
        return StateStats(
            applied=meta.applied,
            now_ms=meta.now_ms,
            documents=meta.documents,
            bytes=meta.bytes,
            collections=len(self._collections.rows),
            sessions=self.session_count,
        )


def _is_stub_of(present: bytes, row: bytes) -> bool:
    """Say whether a row is the stub of a document that another row has with its body."""
    return is_stub(present) and present[:HEADER_BYTES] == row[:HEADER_BYTES]
