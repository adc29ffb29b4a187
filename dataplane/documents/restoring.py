"""Filling an empty cluster with the content of a backup, by ordered commands.

Rows come in numbered parts, so that whoever sends them may begin again after any interruption.
They are checked one by one as if their sender lied. Nothing of them is seen, and nobody else
writes, until the last command finds that all of them together have the digest that was announced;
then every replica takes them up behind the same batch. What the cluster is, it stays: members,
keys, limits, counts and sessions are its own.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from blake3 import blake3

from dataplane.consensus.tree import hash_entry, hash_key
from dataplane.documents import tables
from dataplane.documents.accounting import Accounting
from dataplane.documents.collections import COLLECTIONS_MAX, OPTIONS_BYTES_MAX, Collections
from dataplane.documents.commands import OpResult, RestoreBegin, RestoreEnd, RestoreRows
from dataplane.documents.conflicts import check_record
from dataplane.documents.errors import (
    CONFLICT,
    NOT_FOUND,
    RESTORE_MISMATCH,
    Refusal,
    invalid,
)
from dataplane.documents.index_restoring import check_index_row, forget_rows, renew_rows
from dataplane.documents.indexes import INDEXES_MAX
from dataplane.documents.settings import settings_of
from dataplane.documents.tables import (
    COLLECTION,
    DOCUMENT,
    RESTORE,
    RESTORED,
    Batch,
    CollectionRow,
    MetaRow,
    RestoredCollection,
    RestoreRow,
)
from dataplane.documents.types import RestoreRecord
from dataplane.documents.values import (
    SYSTEM_COLLECTIONS,
    check_collection_name,
    check_document,
    check_id,
)
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.backups import CONTENT, is_content

CLEARING: Final = "clearing"
LOADING: Final = "loading"
ID_BYTES: Final = 16
_HASH_BYTES: Final = 32
_CLUSTER_ID_CHARS: Final = 32
_NUMBER_MAX: Final = 2**62
_COLLECTION_ID_MAX: Final = 2**31
"""A number has four bytes: half of all are left for the collections that come later."""
_START: Final = bytes(32)


IDLE_MS: Final = 3_600_000
"""A restore that nobody goes on with for so long is given up."""


class Restoring:
    """The restore under way, if there is one; otherwise the last that came to its end."""

    def __init__(
        self,
        store: KeyValueStore,
        meta: MetaRow,
        collections: Collections,
        accounting: Accounting,
    ) -> None:
        stored = store.get(RESTORE)
        self._row = None if stored is None else tables.decode_restore(stored)
        self._meta, self._collections, self._accounting = meta, collections, accounting
        self.is_over = False
        """Whether this very batch ended one: what is kept in memory must be read again after it."""

    @property
    def is_active(self) -> bool:
        """Whether documents can be neither read nor written."""
        row = self._row
        return row is not None and (row.is_under_way or self.is_over)

    def record(self) -> RestoreRecord | None:
        """Return how far it is, None when there never was one."""
        row = self._row
        if row is None:
            return None
        return RestoreRecord(
            id=row.id,
            state=self._state(row),
            source_cluster=row.source_cluster,
            source_epoch=row.source_epoch,
            source_sequence=row.source_sequence,
            source_root=row.source_root,
            source_at_ms=row.source_at_ms,
            content=row.content,
            rows=row.rows,
            rows_expected=row.rows_expected,
            next=row.next,
            sequence=row.sequence,
            at_ms=row.at_ms,
            ends_ms=row.moved_ms + IDLE_MS if row.is_under_way else None,
        )

    def _state(self, row: RestoreRow) -> str:
        """Clearing ends by itself, with the sweeps of further batches."""
        if row.state == CLEARING and not self._collections.is_sweeping:
            return LOADING
        return row.state

    def _result(self, row: RestoreRow) -> OpResult:
        return OpResult(200, id=row.id.hex(), version=row.next, detail=self._state(row))

    # --- The commands ---------------------------------------------------------------------------

    def begin(self, batch: Batch, operation: RestoreBegin) -> OpResult:
        """Begin, or say how far the restore of this id is.

        Raises:
            Refusal: `conflict` when another one is under way, or the cluster is not empty and its
                content is not to be replaced; `invalid`.
        """
        row = self._row
        if row is not None and row.id == operation.id:
            if row.is_under_way:
                row.moved_ms = self._meta.now_ms
                self._write(batch, row)
            return self._result(row)
        if self.is_active:
            raise Refusal(CONFLICT, "another restore is under way: finish or discard it")
        _check_begin(operation)
        if self._collections.rows and not operation.replace:
            raise Refusal(CONFLICT, "the cluster is not empty")
        self._collections.clear(batch)
        row = RestoreRow(
            id=operation.id,
            state=CLEARING,
            source_cluster=operation.source_cluster,
            source_epoch=operation.source_epoch,
            source_sequence=operation.source_sequence,
            source_root=operation.source_root,
            source_at_ms=operation.source_at_ms,
            content=operation.content,
            rows_expected=operation.rows,
            next_collection=operation.next_collection,
            version_floor=operation.version_floor,
            chains=dict.fromkeys(map(_letter, CONTENT), _START),
            moved_ms=self._meta.now_ms,
        )
        self._write(batch, row)
        return self._result(row)

    def load(self, batch: Batch, operation: RestoreRows) -> OpResult:
        """Take the next part; one that was taken before changes nothing.

        Raises:
            Refusal: Something about it is wrong; nothing of it is taken.
        """
        row = self._under_way(operation.id)
        if operation.number < row.next:
            return self._result(row)
        if self._collections.is_sweeping:
            raise Refusal(CONFLICT, "what was there before is still being cleared away")
        if operation.number != row.next:
            raise Refusal(CONFLICT, f"the next part is {row.next}", version=row.next)
        part = _Part(row)
        part.take(operation.rows)
        self._accounting.check(part.size_bytes)
        for key, value in operation.rows:
            batch.put(key, value)
        self._meta.documents += part.documents
        self._meta.bytes += part.size_bytes
        part.row.moved_ms = self._meta.now_ms
        self._write(batch, part.result())
        return self._result(part.row)

    def finish(self, batch: Batch, operation: RestoreEnd) -> OpResult:
        """Let the cluster have what was loaded, if it is what was announced.

        Raises:
            Refusal: `restore_mismatch`; the restore can only be discarded then.
        """
        row = self._row
        if row is not None and row.id == operation.id and not row.is_under_way:
            return self._result(row)
        row = self._under_way(operation.id)
        digest = content_digest(row.chains)
        if (row.rows, digest) != (row.rows_expected, row.content):
            raise Refusal(RESTORE_MISMATCH, "what was loaded is not what was announced")
        if not all(known.is_whole for known in row.collections.values()):
            raise Refusal(RESTORE_MISMATCH, "a collection has not the documents it counts")
        meta = self._meta
        self._pass_numbers(row)
        meta.next_collection = max(meta.next_collection, row.next_collection)
        meta.version_floor = max(meta.version_floor, row.version_floor)
        renew_rows(batch, meta)
        finished = msgspec.structs.replace(
            row, state=RESTORED, sequence=meta.applied, at_ms=meta.now_ms, collections={}, last={}
        )
        self._write(batch, finished)
        self.is_over = True
        return self._result(finished)

    def discard(self, batch: Batch, restore: bytes) -> OpResult:
        """Give up a restore: the cluster is empty again.

        Raises:
            Refusal: `not_found` when it is not under way.
        """
        row = self._under_way(restore)
        self._pass_numbers(row)
        for name, known in sorted(row.collections.items()):
            self._collections.sweep_later(batch, name, known.id)
            self._meta.documents -= known.documents
            self._meta.bytes -= known.bytes
        forget_rows(batch)
        batch.delete(RESTORE)
        self._row, self.is_over = None, True
        return OpResult(204, id=restore.hex())

    def is_given_up(self, now_ms: int) -> bool:
        """Whether nobody went on with it for too long."""
        row = self._row
        return row is not None and row.is_under_way and row.moved_ms + IDLE_MS <= now_ms

    def give_up(self, batch: Batch) -> None:
        """Let the cluster be empty and of use again after a client that went away."""
        row = self._row
        assert row is not None, "there is something to give up"
        self.discard(batch, row.id)

    def _pass_numbers(self, row: RestoreRow) -> None:
        """Give no new collection the number of one that was loaded, or is swept away."""
        highest = max((known.id for known in row.collections.values()), default=0)
        self._meta.next_collection = max(self._meta.next_collection, highest + 1)

    def _under_way(self, restore: bytes) -> RestoreRow:
        row = self._row
        if row is None or row.id != restore or not row.is_under_way:
            raise Refusal(NOT_FOUND, "no such restore is under way")
        return row

    def _write(self, batch: Batch, row: RestoreRow) -> None:
        batch.put(RESTORE, tables.encode_row(row))
        self._row = row


class _Part:
    """The checks of one part, and how far the restore is after it."""

    def __init__(self, row: RestoreRow) -> None:
        # Copied: a part that is refused must leave no trace.
        self.row = row
        self._collections = {n: msgspec.structs.replace(c) for n, c in row.collections.items()}
        self._by_id = {known.id: known for known in self._collections.values()}
        self._chains, self._last = dict(row.chains), dict(row.last)
        self._count = 0
        self.documents = self.size_bytes = 0

    def take(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Check rows and count them.

        Raises:
            Refusal: `invalid`.
        """
        for key, value in rows:
            if not is_content(key):
                raise invalid("/rows", "a row that a restore does not bring back")
            key_hash, letter = hash_key(key), _letter(key)
            if key_hash <= self._last.get(letter, b""):
                raise invalid("/rows", "the rows are not in order")
            if key[:1] == COLLECTION:
                self._collection(key, value)
            elif key[:1] == DOCUMENT:
                self._document(key, value)
            else:
                self._index(key, value)
            self._last[letter] = key_hash
            entry = hash_entry(key_hash, value)
            self._chains[letter] = blake3(self._chains[letter] + entry).digest()
            self._count += 1

    def _collection(self, key: bytes, value: bytes) -> None:
        try:
            name, row = key[1:].decode(), tables.decode_collection(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise invalid("/rows", "a collection that cannot be read") from error
        if name not in SYSTEM_COLLECTIONS:
            check_collection_name(name)
        if len(self._collections) >= COLLECTIONS_MAX or row.id in self._by_id:
            raise invalid("/rows", "too many collections, or two with one number")
        _check_collection(row)
        if tables.encode_row(row) != value:
            raise invalid("/rows", "a collection that is not encoded as the database does")
        is_system = name in SYSTEM_COLLECTIONS
        known = RestoredCollection(row.id, row.documents, row.bytes, is_system)
        self._collections[name] = self._by_id[row.id] = known

    def _document(self, key: bytes, value: bytes) -> None:
        if len(key) <= tables.DOCUMENT_KEY_BYTES or len(value) <= tables.HEADER_BYTES:
            raise invalid("/rows", "a document that cannot be read")
        known = self._by_id.get(int.from_bytes(key[1 : tables.DOCUMENT_KEY_BYTES], "big"))
        if known is None:
            raise invalid("/rows", "a document of no collection: collections come first")
        try:
            check_id(tables.document_id(key))
        except UnicodeDecodeError as error:
            raise invalid("/rows", "an id that is not text") from error
        version, created_us, updated_us = tables.decode_document_header(value)
        if not (0 < version <= _NUMBER_MAX and max(created_us, updated_us) <= _NUMBER_MAX):
            raise invalid("/rows", "a document with a version or a time out of range")
        body = value[tables.HEADER_BYTES :]
        if check_document(body, reserved=not known.is_system) != body:
            raise invalid("/rows", "a document that is not encoded as the database does")
        if known.is_system:
            check_record(body)
        size_bytes = len(key) - tables.DOCUMENT_KEY_BYTES + len(body)
        known.documents += 1
        known.bytes += size_bytes
        self.documents += 1
        self.size_bytes += size_bytes

    def _index(self, key: bytes, value: bytes) -> None:
        known = self._by_id.get(int.from_bytes(key[1 : tables.DOCUMENT_KEY_BYTES], "big"))
        if known is None or known.is_system:
            raise invalid("/rows", "an index of no collection: collections come first")
        known.indexes += 1
        if known.indexes > INDEXES_MAX:
            raise invalid("/rows", f"a collection with more than {INDEXES_MAX} indexes")
        check_index_row(key[tables.DOCUMENT_KEY_BYTES :], value)

    def result(self) -> RestoreRow:
        """Return the row that says how far the restore is now."""
        self.row = msgspec.structs.replace(
            self.row,
            state=LOADING,
            next=self.row.next + 1,
            rows=self.row.rows + self._count,
            chains=self._chains,
            last=self._last,
            collections=self._collections,
        )
        return self.row


def content_digest(chains: dict[str, bytes]) -> bytes:
    """Return the digest of what was loaded; `client.backups.ContentDigest` is the other side."""
    return blake3(b"".join(chains[_letter(kind)] for kind in CONTENT)).digest()


def _letter(key: bytes) -> str:
    return chr(key[0])


def _check_begin(operation: RestoreBegin) -> None:
    numbers = (
        operation.source_epoch,
        operation.source_sequence,
        operation.source_at_ms,
        operation.rows,
        operation.next_collection,
        operation.version_floor,
    )
    if len(operation.id) != ID_BYTES:
        raise invalid("/id", f"an id has {ID_BYTES} bytes")
    if len(operation.source_cluster) != _CLUSTER_ID_CHARS:
        raise invalid("/source", "not the id of a cluster")
    if {len(operation.source_root), len(operation.content)} != {_HASH_BYTES}:
        raise invalid("/content", f"a digest has {_HASH_BYTES} bytes")
    if not all(0 <= number <= _NUMBER_MAX for number in numbers):
        raise invalid("/source", "a number is out of range")
    if operation.next_collection > _COLLECTION_ID_MAX:
        raise invalid("/source", "a number is out of range")


def _check_collection(row: CollectionRow) -> None:
    numbers = (row.created_us, row.updated_us, row.floor, row.version_max, row.documents, row.bytes)
    if not all(0 <= number <= _NUMBER_MAX for number in numbers):
        raise invalid("/rows", "a collection with a number out of range")
    if not 0 < row.id < _COLLECTION_ID_MAX or len(row.options) > OPTIONS_BYTES_MAX:
        raise invalid("/rows", "a collection with a number or options out of range")
    if check_document(row.options, reserved=False) != row.options:
        raise invalid("/rows", "options that are not encoded as the database does")
    settings_of(row.options)
