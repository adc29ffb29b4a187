"""The collection table: counts, options, and dropping without stopping the cluster."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from dataplane.documents.archive_rows import salt_key
from dataplane.documents.commands import CollectionDrop, CollectionPut
from dataplane.documents.conflicts import SHREDDABLE_OPTION, is_shreddable
from dataplane.documents.errors import INVALID, NOT_FOUND, Refusal, invalid
from dataplane.documents.index_definitions import Definition
from dataplane.documents.indexes import TIER_NAME, TTL_NAME, Indexes, Saved
from dataplane.documents.settings import Settings, settings_of
from dataplane.documents.stubs import thaw
from dataplane.documents.tables import (
    COLLECTION,
    DROPPED,
    RESTORE,
    TOMBSTONE,
    Batch,
    CollectionRow,
    MetaRow,
    TombstoneRow,
    decode_collection,
    decode_restore,
    decode_tombstone,
    document_prefix,
    encode_row,
    tombstone_key,
)
from dataplane.documents.types import CollectionRecord
from dataplane.documents.values import (
    SYSTEM_COLLECTIONS,
    check_collection_name,
    check_document,
)
from dataplane.storage.fragments import fragment_prefix
from dataplane.storage.ports import KeyValueStore

COLLECTIONS_MAX: Final = 1_000
OPTIONS_BYTES_MAX: Final = 64 * 1024
DROPS_PER_BATCH: Final = 1_024
DROP_BYTES_PER_BATCH: Final = 4 * 1024 * 1024
"""What is removed is read: the journal keeps it for a while."""
TOMBSTONES_MAX: Final = 10_000
NO_OPTIONS: Final = b"\x80"


class Savepoint(NamedTuple):
    """What an attempt may have to give back."""

    rows: dict[str, CollectionRow | None]
    touched: set[str]
    counts: tuple[int, int, int]
    indexes: Saved


class Collections:
    """All collections of the state, kept in memory and written when a batch touched them."""

    def __init__(self, store: KeyValueStore, meta: MetaRow) -> None:
        self._store = store
        self._meta = meta
        self.rows = _rows_of(store)
        self.prefixes: dict[str, bytes] = {
            name: document_prefix(row.id) for name, row in self.rows.items()
        }
        self._dropped = dict(store.iterate(DROPPED))
        self._touched: set[str] = set()
        names = {row.id: name for name, row in self.rows.items()}
        self.indexes = Indexes(store, meta, names)
        self._tombstone_count = sum(1 for _ in store.iterate(TOMBSTONE))
        shreddable = [row.id for row in self.rows.values() if is_shreddable(row.options)]
        shreddable += [_number_of(key) for key, tombstone in self._dropped.items() if tombstone]
        self.classes = {prefix for number in shreddable for prefix in _classes_of(number)}
        """Where documents and fragments are, or still lie, that have a key of their own.

        And what archive keys are made of, of collections that are there.
        """
        self.classes.update(
            [salt_key(row.id) for row in self.rows.values() if is_shreddable(row.options)]
        )
        self.revision = 0
        """Another whenever the options of any collection are."""

    def touch(self, name: str, now_us: int) -> CollectionRow:
        """Return a collection that is about to change, creating it when it is new.

        Raises:
            Refusal: The name is not allowed or there are too many collections.
        """
        row = self.rows.get(name)
        if row is None:
            if name not in SYSTEM_COLLECTIONS:
                check_collection_name(name)
            if len(self.rows) >= COLLECTIONS_MAX:
                raise Refusal(INVALID, f"a cluster holds at most {COLLECTIONS_MAX} collections")
            floor = self._meta.version_floor
            row = CollectionRow(
                id=self._meta.next_collection,
                created_us=now_us,
                updated_us=now_us,
                options=NO_OPTIONS,
                floor=floor,
                version_max=floor,
            )
            self._meta.next_collection += 1
            self.rows[name] = row
            self.prefixes[name] = document_prefix(row.id)
        self._touched.add(name)
        return row

    def put(self, batch: Batch, operation: CollectionPut, now_us: int) -> bool:
        """Create a collection or replace its options; say whether it is new.

        Raises:
            Refusal: The name or the options are not allowed.
        """
        if len(operation.options) > OPTIONS_BYTES_MAX:
            raise invalid("/", f"options are over {OPTIONS_BYTES_MAX} bytes")
        options = check_document(operation.options, reserved=False)
        settings = settings_of(options)
        check_collection_name(operation.name)
        new = operation.name not in self.rows
        self._check_class(operation.name, options)
        self.indexes.check_room(operation.name, (settings.ttl_s, settings.cold_after_s))
        row = self.touch(operation.name, now_us)
        self._expire_after(batch, (operation.name, TTL_NAME), settings.ttl_s)
        self._expire_after(batch, (operation.name, TIER_NAME), settings.cold_after_s)
        if is_shreddable(options):
            self.classes.update((*_classes_of(row.id), salt_key(row.id)))
        self.revision += 1
        row.options = options
        row.updated_us = now_us
        return new

    def _expire_after(self, batch: Batch, place: tuple[str, str], seconds: int | None) -> None:
        """Let documents expire, or leave, so long after they were last written, or no more."""
        wanted = None if seconds is None else Definition((), expire_after_s=seconds)
        known = self.indexes.find(*place)
        if known is not None and known.definition != wanted:
            self.indexes.drop(batch, *place)
        if wanted is not None:
            self.create_index(*place, wanted)

    def create_index(self, collection: str, name: str, asked: Definition) -> bool:
        """Make an index; say whether it is new.

        Raises:
            Refusal: `not_found`, `conflict`, `invalid`.
        """
        row = self.rows.get(collection)
        if row is None or collection in SYSTEM_COLLECTIONS:
            raise Refusal(NOT_FOUND, "no such collection")
        return self.indexes.create((collection, row.id, name), asked)

    def _check_class(self, name: str, options: bytes) -> None:
        """Refuse to change under which key the documents of a collection are."""
        row = self.rows.get(name)
        wanted = is_shreddable(options)
        if row is not None and is_shreddable(row.options) != wanted:
            raise invalid(f"/{SHREDDABLE_OPTION}", "is chosen when the collection is made")
        if row is None and wanted and self._tombstone_count >= TOMBSTONES_MAX:
            raise invalid(f"/{SHREDDABLE_OPTION}", f"a cluster keeps {TOMBSTONES_MAX} tombstones")

    def erase_cluster(self, batch: Batch, subject: str) -> int:
        """Note that the whole cluster is to be erased; return the number of the tombstone.

        Raises:
            Refusal: There are too many tombstones.
        """
        if self._tombstone_count >= TOMBSTONES_MAX:
            raise invalid("/", f"a cluster keeps {TOMBSTONES_MAX} tombstones")
        meta = self._meta
        number, meta.next_collection = meta.next_collection, meta.next_collection + 1
        row = TombstoneRow(
            "cluster", subject, number, meta.documents, meta.bytes, meta.applied, 0, meta.now_ms
        )
        batch.put(tombstone_key(number), encode_row(row))
        self._tombstone_count += 1
        return number

    def drop(self, batch: Batch, operation: CollectionDrop) -> int:
        """Forget a collection at once and queue its documents; return the bytes it held.

        Raises:
            Refusal: There is no such collection.
        """
        if operation.name in SYSTEM_COLLECTIONS:
            raise invalid("/collection", "this collection belongs to the cluster")
        row = self.rows.pop(operation.name, None)
        if row is None:
            raise Refusal(NOT_FOUND, "no such collection")
        del self.prefixes[operation.name]
        self.indexes.drop_all(batch, operation.name)
        self._touched.discard(operation.name)
        self._meta.documents -= row.documents
        self._meta.version_floor = max(self._meta.version_floor, row.version_max)
        self.sweep_later(batch, operation.name, row.id, self._note(operation.name, row))
        return row.bytes

    def clear(self, batch: Batch) -> None:
        """Forget every collection, those of the cluster too, and queue all documents."""
        for name, row in sorted(self.rows.items()):
            self.indexes.drop_all(batch, name)
            self._meta.documents -= row.documents
            self._meta.bytes -= row.bytes
            self._meta.version_floor = max(self._meta.version_floor, row.version_max)
            self.sweep_later(batch, name, row.id, self._note(name, row))
        self.rows.clear()
        self.prefixes.clear()
        self._touched.clear()

    def sweep_later(self, batch: Batch, name: str, number: int, note: bytes = b"") -> None:
        """Remove a collection's row, and queue its documents; `note` becomes their tombstone."""
        batch.delete(COLLECTION + name.encode())
        self.revision += 1
        if salt_key(number) in self.classes:
            # What is in the archive cannot be read any more from here on, whoever has copies.
            batch.delete(salt_key(number))
            self.classes.remove(salt_key(number))
        key = DROPPED + number.to_bytes(4, "big")
        batch.put(key, note)
        self._dropped[key] = note

    def _note(self, name: str, row: CollectionRow) -> bytes:
        """Return what is to be told of a collection that has a key of its own, else nothing."""
        if not is_shreddable(row.options):
            return b""
        meta, counts = self._meta, (row.documents, row.bytes)
        return encode_row(
            TombstoneRow("collection", name, row.id, *counts, meta.applied, 0, meta.now_ms)
        )

    @property
    def is_sweeping(self) -> bool:
        """Whether documents of dropped collections are still there."""
        return bool(self._dropped)

    def savepoint(self, names: Iterable[str]) -> Savepoint:
        """Return how everything stands that documents of these collections may change."""
        meta = self._meta
        found = {name: self.rows.get(name) for name in names}
        rows = {name: row and msgspec.structs.replace(row) for name, row in found.items()}
        counts = meta.bytes, meta.documents, meta.next_collection
        return Savepoint(rows, set(self._touched), counts, self.indexes.save(rows))

    def restore(self, savepoint: Savepoint) -> None:
        """Let everything stand as it stood."""
        self._meta.bytes, self._meta.documents, self._meta.next_collection = savepoint.counts
        self._touched = savepoint.touched
        self.indexes.restore(savepoint.indexes)
        for name, row in savepoint.rows.items():
            if row is not None:
                self.rows[name] = row
            elif self.rows.pop(name, None) is not None:
                del self.prefixes[name]

    def settings(self, name: str) -> Settings:
        """Return what the options of a collection mean, those of none for one that is not there."""
        row = self.rows.get(name)
        return settings_of(NO_OPTIONS if row is None else row.options)

    def sweep(self, batch: Batch) -> None:
        """Remove some documents of dropped collections. Called at the start of every batch."""
        budget, size_left = DROPS_PER_BATCH, DROP_BYTES_PER_BATCH
        while self._dropped and budget > 0:
            # Not in the order of dropping, which a replica that began anew does not know.
            dropped = min(self._dropped)
            prefix = document_prefix(_number_of(dropped))
            finished = True
            for key, row in self._store.iterate(prefix):
                if budget == 0 or size_left <= 0:
                    finished = False
                    break
                batch.delete(key)
                thaw(batch, b"", row)
                budget -= 1
                size_left -= len(row)
            if not finished:
                return
            batch.delete(dropped)
            self._erased(batch, self._dropped.pop(dropped))

    def _erased(self, batch: Batch, note: bytes) -> None:
        """Write the tombstone of a collection whose last document just went."""
        if not note:
            return
        row = decode_tombstone(note)
        meta = self._meta
        row.erased_at, row.at_ms = meta.applied, meta.now_ms
        self.classes.difference_update(_classes_of(row.number))
        if batch.get(tombstone_key(row.number)) is not None:
            # A restore brought the number back: what it stood for before stays proven.
            row.number, meta.next_collection = meta.next_collection, meta.next_collection + 1
        batch.put(tombstone_key(row.number), encode_row(row))
        self._tombstone_count += 1

    def write(self, batch: Batch) -> None:
        """Put the rows that this batch touched."""
        for name in sorted(self._touched):
            batch.put(COLLECTION + name.encode(), encode_row(self.rows[name]))
        self._touched.clear()
        self.indexes.write(batch)

    def records(self) -> list[CollectionRecord]:
        """Return every collection in name order."""
        return [
            CollectionRecord(
                name, row.documents, row.created_us, row.updated_us, row.options, row.bytes
            )
            for name, row in sorted(self.rows.items())
        ]


def _rows_of(store: KeyValueStore) -> dict[str, CollectionRow]:
    """Return the collections; there are none before the restore under way has come to its end.

    A replica that begins anew meanwhile must know no more than those that go on.
    """
    restore = store.get(RESTORE)
    if restore is not None and decode_restore(restore).is_under_way:
        return {}
    rows = store.iterate(COLLECTION)
    return {key[1:].decode(): decode_collection(row) for key, row in rows}


def _number_of(dropped: bytes) -> int:
    return int.from_bytes(dropped[len(DROPPED) :], "big")


def _classes_of(number: int) -> tuple[bytes, bytes]:
    return document_prefix(number), fragment_prefix(number)
