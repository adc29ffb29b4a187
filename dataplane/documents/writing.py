"""Puts and removes document rows, with all that follows from each: counts, versions, changes."""

from collections.abc import Callable
from typing import Any

from dataplane.documents import tables
from dataplane.documents.accounting import Accounting
from dataplane.documents.changes import ERASED
from dataplane.documents.collections import Collections
from dataplane.documents.commands import OpResult
from dataplane.documents.errors import Refusal
from dataplane.documents.stubs import body_bytes, thaw
from dataplane.documents.tables import Batch, CollectionRow, MetaRow

type Handler = Callable[[Batch, Any], OpResult]


def counted(key_of: Callable[[Any], bytes | None], handler: Handler) -> Handler:
    """Return a handler that counts the row a refused write looked at: it was work all the same."""

    def run(batch: Batch, operation: Any) -> OpResult:
        try:
            return handler(batch, operation)
        except Refusal:
            key = key_of(operation)
            batch.spend(len((None if key is None else batch.get(key)) or b""))
            raise

    return run


class Writing:
    """The one place where documents change."""

    def __init__(self, meta: MetaRow, collections: Collections, accounting: Accounting) -> None:
        self._meta = meta
        self._collections = collections
        self._accounting = accounting
        self._indexes = collections.indexes

    def insert(self, batch: Batch, place: tuple[str, str], body: bytes) -> OpResult:
        """Put a document that is not there.

        Raises:
            Refusal: It does not fit the schema, or there is no room for it or its collection.
        """
        name, document_id = place
        settings = self._collections.settings(name)
        if settings.schema is not None:
            settings.check(body)
        encoded_id = document_id.encode()
        size = len(encoded_id) + len(body)
        self._accounting.check(size)
        now = self._meta.now_ms * 1000
        collection = self._collections.touch(name, now)
        version = collection.floor + 1
        row = tables.encode_document_row(version, now, now, body)
        if name in self._indexes.of:
            self._index(batch, place, (None, row), size)
        collection.version_max = max(collection.version_max, version)
        self._count(collection, documents=1, size=size)
        batch.spend(len(row))
        batch.put(self._collections.prefixes[name] + encoded_id, row)
        batch.documents.append(("insert", name, document_id, version, row))
        return OpResult(201, None, document_id, version, now, now)

    def replace(
        self, batch: Batch, place: tuple[str, str], old: bytes, body: bytes, *, change: str
    ) -> OpResult:
        """Put a document in the place of the row that is there, by a "replace" or an "update".

        The result of an update carries the document: its sender does not know it.

        Raises:
            Refusal: It does not fit the schema, or there is no room for it.
            ColdError: The old body is needed, and is not there.
        """
        name, document_id = place
        settings = self._collections.settings(name)
        if settings.schema is not None:
            settings.check(body, old)
        size = len(body) - body_bytes(old)
        self._accounting.check(size)
        now = self._meta.now_ms * 1000
        collection = self._collections.touch(name, now)
        old_version, created_us, _ = tables.decode_document_header(old)
        version = old_version + 1
        row = tables.encode_document_row(version, created_us, now, body)
        if name in self._indexes.of:
            self._index(batch, place, (old, row), size)
        collection.version_max = max(collection.version_max, version)
        self._count(collection, documents=0, size=size)
        key = self._collections.prefixes[name] + document_id.encode()
        thaw(batch, key, old)
        batch.spend(len(old) + len(row))
        batch.put(key, row)
        batch.documents.append((change, name, document_id, version, row))
        document = body if change == "update" else None
        return OpResult(200, None, document_id, version, created_us, now, document)

    def remove(
        self, batch: Batch, place: tuple[str, str], old: bytes, *, change: str = "delete"
    ) -> None:
        """Remove the row that is there, by a "delete" or because a person is erased.

        Raises:
            ColdError: Its body is needed, and is not there.
        """
        name, document_id = place
        collection = self._collections.touch(name, self._meta.now_ms * 1000)
        if name in self._indexes.of:
            self._index(batch, place, (old, None), 0)
        version = tables.decode_document_header(old)[0]
        # The next life of this id, or of any other, starts above: an ETag is never seen twice.
        collection.floor = max(collection.floor, version)
        encoded_id = document_id.encode()
        self._count(collection, documents=-1, size=-len(encoded_id) - body_bytes(old))
        key = self._collections.prefixes[name] + encoded_id
        thaw(batch, key, old)
        batch.spend(len(old))
        batch.delete(key)
        if change == ERASED:
            batch.erased.append(key)
        batch.documents.append((change, name, document_id, version, None))

    def warm(
        self, batch: Batch, place: tuple[str, str], old: bytes, body: bytes, *, rests: bool
    ) -> None:
        """Put a body back in the place of its stub; as a document nothing has changed.

        `rests`: nobody asked for the document, so it may go again as soon as others go.
        """
        name, document_id = place
        row = old[: tables.HEADER_BYTES] + body
        key = self._collections.prefixes[name] + document_id.encode()
        thaw(batch, key, old)
        batch.warmed += 1
        batch.spend(len(old) + len(row))
        batch.put(key, row)
        updated_us = tables.decode_document_header(old)[2]
        since_ms = updated_us // 1000 if rests else self._meta.now_ms
        self._indexes.await_tier(batch, place, since_ms)

    def drop(self, batch: Batch, name: str, held_bytes: int) -> None:
        """Note that a collection was dropped with all it held."""
        self._meta.bytes -= held_bytes
        batch.documents.append(("drop", name, "", 0, None))

    def _index(
        self,
        batch: Batch,
        place: tuple[str, str],
        change: tuple[bytes | None, bytes | None],
        size: int,
    ) -> None:
        """Change the indexes of a document that grows by `size`, before anything else changes.

        Raises:
            Refusal: A value must be unique and is not, cannot be indexed, or there is no room.
        """
        edits = self._indexes.prepare(batch, place, *change)
        self._accounting.check(size + sum([edit.size for edit in edits]))
        self._indexes.apply(batch, edits)

    def _count(self, collection: CollectionRow, *, documents: int, size: int) -> None:
        collection.updated_us = self._meta.now_ms * 1000
        collection.documents += documents
        collection.bytes += size
        self._meta.documents += documents
        self._meta.bytes += size
