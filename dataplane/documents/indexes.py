"""The indexes of all collections: their definitions, and their entries as documents change.

Everything here is replicated, the entries too, so a copied state brings its indexes along, the
root covers them, and whether a value is unique is decided alike everywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from dataplane.documents.errors import CONFLICT, INVALID, NOT_FOUND, Refusal
from dataplane.documents.index_definitions import (
    LOOKED_AT_MAX,
    Definition,
    check_definition,
    decode_definition,
    definition_body,
    encode_definition,
    roots_of,
)
from dataplane.documents.index_entries import (
    INDEX_ID_BYTES,
    LOOK_COST,
    Entries,
    Shape,
    entry_id,
    expiry_of,
)
from dataplane.documents.partial_reading import META, Read, reader_of
from dataplane.documents.stubs import ColdError
from dataplane.documents.tables import (
    INDEX,
    INDEX_DROPPED,
    INDEX_EXPIRY,
    Batch,
    IndexRow,
    MetaRow,
    decode_index,
    encode_row,
)
from dataplane.documents.types import IndexRecord
from dataplane.documents.values import Json
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.stubs import is_stub

INDEXES_MAX: Final = 16
"""Of one collection."""
DOCUMENT_ENTRIES_MAX: Final = 4_000
"""Of one document in all indexes of its collection."""
REFUSED_COST: Final = LOOKED_AT_MAX * LOOK_COST
"""Whatever it was that could not be indexed, no more was looked at."""
NONE: Final = Entries({}, 0)
TTL_NAME: Final = "_ttl"
"""Of the index that a collection's option `ttl` makes."""
TIER_NAME: Final = "_tier"
"""Of the one that its option `tiering` makes: what falls due in it becomes cold."""
OPTION_NAMES: Final = frozenset({TTL_NAME, TIER_NAME})
PATIENCE_MAX_MS: Final = 60_000
"""What falls due waits so long, or a tenth of its time, for others to go with it."""
BUILDING: Final = "building"
READY: Final = "ready"
FAILING: Final = "failing"
FAILED: Final = "failed"
_NAME_BEHIND: Final = len(INDEX) + 4


class Index:
    """One index of one collection."""

    def __init__(self, collection: str, name: str, row: IndexRow) -> None:
        self.collection = collection
        self.name = name
        self.row = row
        self.definition = decode_definition(row.definition)
        self.shape = Shape(row.id, name, self.definition)
        self.roots = roots_of(self.definition)
        self.needs_body = not self.roots <= set(META)
        """Whether it cannot be told from a stub what a document is in it."""
        self.is_tiering = name == TIER_NAME
        seconds = self.definition.expire_after_s or 0
        self.patience_ms = min(PATIENCE_MAX_MS, seconds * 100) if self.is_tiering else 0

    @property
    def expires(self) -> bool:
        """Whether documents are removed by it."""
        return self.definition.expire_after_s is not None and self.row.state in {BUILDING, READY}

    def covers(self, encoded_id: bytes) -> bool:
        """Say whether a document belongs in it, as far as it is built."""
        if self.row.state == BUILDING:
            return encoded_id <= self.row.place
        return self.row.state == READY


@dataclass(slots=True)
class Edit:
    """What becomes of one index when one document changes."""

    index: Index
    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    multikey: int = 0
    entries: int = 0
    made: int = 0
    """Rows of the document as it will be."""
    size: int = 0
    failure: tuple[str, ...] = ()


class Clash(Refusal):
    """Another document has a value that must be the only one of its kind."""

    def __init__(self, index: Index, other: str) -> None:
        pointer = "/" + index.definition.fields[0][0].replace(".", "/")
        detail = f"index {index.name} is unique, and document {other} has the same value"
        super().__init__(CONFLICT, detail, errors=((pointer, detail),))
        self.other = other


class Saved(NamedTuple):
    """The rows of some indexes, and which had changed, before an attempt."""

    rows: list[tuple[Index, IndexRow]]
    touched: "dict[int, Index]"


type Prepared = list[Edit]
type Rows = dict[bytes, bytes]


class Indexes:
    """All indexes, kept in memory and written when a batch touched them."""

    def __init__(self, store: KeyValueStore, meta: MetaRow, names: dict[int, str]) -> None:
        """Take up the indexes; `names` are those of the collections by id."""
        self._store = store
        self._meta = meta
        self.of: dict[str, list[Index]] = {}
        self._readers: dict[str, Read] = {}
        self._patience_ms: dict[int, int] = {}
        self._ids: dict[str, int] = {name: number for number, name in names.items()}
        # Rows of a restore under way are of no collection yet.
        for key, stored in store.iterate(INDEX) if names else ():
            collection = names[int.from_bytes(key[1:_NAME_BEHIND], "big")]
            self._keep(Index(collection, key[_NAME_BEHIND:].decode(), decode_index(stored)))
        self.dropped = [key for key, _ in store.iterate(INDEX_DROPPED)]
        self.is_finished = not self.unfinished()
        """Whether there is nothing to build or to clear away."""
        self.due: dict[int, int] = {}
        """Index id -> a time before which nothing in it expires."""
        for index in self.all():
            rows = store.iterate(index.shape.expiry_prefix) if index.expires else ()
            for key, _ in rows:
                self.due[index.row.id] = expiry_of(key)[0]
                break
        self._touched: dict[int, Index] = {}

    @property
    def patience_ms(self) -> dict[int, int]:
        """How long what is due in an index waits for others, unless that is no time."""
        return self._patience_ms

    def all(self) -> Iterator[Index]:
        """Yield every index in the order of collections and of making."""
        for name in sorted(self.of):
            yield from self.of[name]

    def unfinished(self) -> list[Index]:
        """Return what is to be built, or cleared away because it cannot be."""
        return [index for index in self.all() if index.row.state in {BUILDING, FAILING}]

    def find(self, collection: str, name: str) -> Index | None:
        """Return one index."""
        return next((index for index in self.of.get(collection, ()) if index.name == name), None)

    def records(self, collection: str, documents: int) -> list[IndexRecord]:
        """Return the indexes of a collection of so many documents, in name order."""
        found = sorted(self.of.get(collection, ()), key=lambda index: index.name)
        return [_record(index, documents) for index in found]

    # --- Making and dropping --------------------------------------------------------------------

    def create(self, place: tuple[str, int, str], asked: Definition) -> bool:
        """Make an index of a collection with this id; say whether it is new.

        Raises:
            Refusal: `conflict`: there is another of this name; `invalid`.
        """
        collection, collection_id, name = place
        if name not in OPTION_NAMES:
            check_definition(asked)
        definition = encode_definition(asked)
        known = self.find(collection, name)
        if known is not None:
            if known.row.definition == definition:
                return False
            raise Refusal(CONFLICT, f"there is another index {name}: drop it first")
        if len(self.of.get(collection, ())) >= INDEXES_MAX:
            raise Refusal(INVALID, f"a collection has at most {INDEXES_MAX} indexes")
        row = IndexRow(self._meta.next_index, self._meta.now_ms * 1000, definition)
        self._meta.next_index += 1
        index = Index(collection, name, row)
        self._ids[collection] = collection_id
        self._keep(index)
        self.touch(index)
        self.is_finished = False
        return True

    def check_room(self, collection: str, options: Iterable[int | None]) -> None:
        """Refuse options of a collection whose indexes it would have too many of.

        Raises:
            Refusal: `invalid`; one after the other, the first would be made and the last refused.
        """
        asked = sum([seconds is not None for seconds in options])
        own = [index for index in self.of.get(collection, ()) if index.name not in OPTION_NAMES]
        if asked and len(own) + asked > INDEXES_MAX:
            detail = (
                f"a collection has at most {INDEXES_MAX} indexes, and these options need {asked}"
            )
            raise Refusal(INVALID, detail)

    def drop(self, batch: Batch, collection: str, name: str) -> None:
        """Forget an index at once and queue its rows.

        Raises:
            Refusal: There is no such index.
        """
        index = self.find(collection, name)
        if index is None:
            raise Refusal(NOT_FOUND, "no such index")
        self.of[collection].remove(index)
        self._readers.pop(collection, None)
        if not self.of[collection]:
            del self.of[collection]
        self._touched.pop(index.row.id, None)
        self.due.pop(index.row.id, None)
        self._patience_ms.pop(index.row.id, None)
        self._meta.bytes -= index.row.bytes
        batch.delete(self._key(index))
        key = INDEX_DROPPED + index.row.id.to_bytes(INDEX_ID_BYTES, "big")
        batch.put(key, b"")
        self.dropped.append(key)

    def drop_all(self, batch: Batch, collection: str) -> None:
        """Drop every index of a collection."""
        for index in list(self.of.get(collection, ())):
            self.drop(batch, collection, index.name)

    def fail(self, index: Index, failure: tuple[str, ...]) -> None:
        """Give up building; its rows are removed little by little."""
        row = index.row
        self._meta.bytes -= row.bytes
        row.state, row.failure = FAILING, failure
        row.entries = row.bytes = row.multikey = 0
        self.due.pop(row.id, None)
        self.is_finished = False
        self.touch(index)

    def touch(self, index: Index) -> None:
        """Note that the row of an index is to be written."""
        self._touched[index.row.id] = index

    # --- As documents change --------------------------------------------------------------------

    def prepare(
        self, batch: Batch, place: tuple[str, str], old: bytes | None, new: bytes | None
    ) -> Prepared:
        """Return what becomes of the indexes when a document row is put or removed.

        Raises:
            Refusal: `conflict`: a unique index has the value; `invalid`: no index could hold it.
            ColdError: What it is in some index only its body tells, which is not there.
        """
        collection, document_id = place
        encoded = document_id.encode()
        indexes = [index for index in self.of[collection] if index.covers(encoded)]
        if not indexes:
            return []
        before = None if old is None else self._read(indexes, document_id, old)
        after = None if new is None else self._read(indexes, document_id, new)
        edits: Prepared = []
        held = 0
        for index in indexes:
            known = NONE if before is None else index.shape.entries(document_id, before)
            batch.spend(known.cost)
            held += len(known.rows)
            edits.append(self._edit(batch, index, document_id, (known.rows, after)))
        # An index that was built later may have gone beyond it: only to add to that is refused.
        if sum([edit.made for edit in edits]) > max(DOCUMENT_ENTRIES_MAX, held):
            detail = f"over {DOCUMENT_ENTRIES_MAX} entries of one document in all indexes"
            raise Refusal(INVALID, detail, errors=(("", detail),))
        return edits

    def build(self, batch: Batch, indexes: list[Index], document_id: str, row: bytes) -> int:
        """Add a document to indexes of its collection in which it is not; return how many rows.

        Those that it makes fail are taken off the list.

        Raises:
            ColdError: Its body tells what it is in them, which is not there.
        """
        takers = [index for index in indexes if not index.is_tiering] if is_stub(row) else indexes
        if not takers:
            return 0
        document = self._read(takers, document_id, row)
        edits = [self._edit(batch, index, document_id, ({}, document)) for index in takers]
        self.apply(batch, edits)
        for edit in edits:
            if edit.failure:
                indexes.remove(edit.index)
        return sum([len(edit.rows) for edit in edits])

    def _read(self, indexes: list[Index], document_id: str, row: bytes) -> Json:
        """Return what these indexes of one collection look at in a document."""
        if not is_stub(row):
            return self._reader(indexes[0].collection)(document_id, row)
        if any(index.needs_body for index in indexes):
            raise ColdError
        return _read_header(document_id, row)

    def _edit(
        self, batch: Batch, index: Index, document_id: str, change: tuple[Rows, Json | None]
    ) -> Edit:
        """Return how an index gets from the rows of a document to those of what it will be."""
        before, document = change
        after = NONE
        try:
            if document is not None:
                after = index.shape.entries(document_id, document)
                batch.spend(after.cost)
                if index.definition.unique:
                    _check_unique(batch, index, document_id, after.rows)
        except Refusal as refusal:
            if not isinstance(refusal, Clash):
                batch.spend(REFUSED_COST)
            # While an index is built nothing is promised of it, and no write refused for it.
            if index.row.state != BUILDING:
                raise
            others = (refusal.other,) if isinstance(refusal, Clash) else ()
            return Edit(
                index,
                made=len(after.rows),
                failure=(refusal.detail, document_id, *others),
            )
        made = len(after.rows)
        multikey = after.multikey & ~index.row.multikey
        if index.is_tiering:
            # A stub has no row, and one that came back has the row of another time.
            rows = before | after.rows
            before = {key: row for key, row in rows.items() if batch.get(key) is not None}
        elif not before:
            # An entry is of one document alone, so none of these is there.
            batch.lacks(after.rows)
            entries = made - after.expiries
            return Edit(index, dict(after.rows), multikey, entries, made, after.size)
        edit = Edit(index, {}, multikey, made=made)
        edit.rows |= {key: None for key in before if key not in after.rows}
        edit.rows |= {key: row for key, row in after.rows.items() if key not in before}
        self._weigh(edit, before)
        return edit

    @staticmethod
    def _weigh(edit: Edit, before: Rows) -> None:
        for key, row in edit.rows.items():
            is_expiry = key.startswith(INDEX_EXPIRY)
            size = len(key) + len(before[key] if row is None else row)
            sign = -1 if row is None else 1
            edit.size += sign * size
            edit.entries += 0 if is_expiry else sign

    def apply(self, batch: Batch, prepared: Prepared) -> None:
        """Do what was prepared."""
        for edit in prepared:
            index = edit.index
            if edit.failure:
                self.fail(index, edit.failure)
                continue
            if not edit.rows and not edit.multikey:
                continue
            batch.changes |= edit.rows
            row = index.row
            row.entries += edit.entries
            row.bytes += edit.size
            row.multikey |= edit.multikey
            self._meta.bytes += edit.size
            self.touch(index)
            if index.expires:
                self._note_expiry(index, edit)

    def _note_expiry(self, index: Index, edit: Edit) -> None:
        for key, row in edit.rows.items():
            if row is not None and key.startswith(INDEX_EXPIRY):
                at_ms = expiry_of(key)[0]
                self.due[index.row.id] = min(at_ms, self.due.get(index.row.id, at_ms))

    # --- Tiers ----------------------------------------------------------------------------------

    def await_tier(self, batch: Batch, place: tuple[str, str], since_ms: int) -> None:
        """Let a document that came back leave again when its time from `since_ms` on is over."""
        collection, document_id = place
        index = self.find(collection, TIER_NAME)
        if index is None or not index.covers(document_id.encode()):
            return
        at_ms = max(self._meta.now_ms, since_ms + 1000 * (index.definition.expire_after_s or 0))
        key = index.shape.expiry_prefix + at_ms.to_bytes(8, "big") + document_id.encode()
        if batch.get(key) is None:
            self.apply(batch, [Edit(index, {key: b""}, size=len(key))])

    def await_no_tier(self, batch: Batch, index: Index, keys: Iterable[bytes]) -> None:
        """Remove the rows of what left, or did not have to."""
        rows: dict[bytes, bytes | None] = dict.fromkeys(keys)
        self.apply(batch, [Edit(index, rows, size=-sum(map(len, rows)))])

    # --- Beside batches -------------------------------------------------------------------------

    def save(self, collections: Iterable[str]) -> Saved:
        """Return how the indexes of some collections stand."""
        rows = [
            (index, msgspec.structs.replace(index.row))
            for name in collections
            for index in self.of.get(name, ())
        ]
        return Saved(rows, dict(self._touched))

    def restore(self, saved: Saved) -> None:
        """Let them stand as they stood."""
        for index, row in saved.rows:
            index.row = row
            if index.expires:
                self.due[row.id] = 0  # Whether anything is due is found out by looking.
        self._touched = saved.touched

    def write(self, batch: Batch) -> None:
        """Put the rows that this batch touched."""
        for _, index in sorted(self._touched.items()):
            batch.put(self._key(index), encode_row(index.row))
        self._touched.clear()

    def _keep(self, index: Index) -> None:
        self.of.setdefault(index.collection, []).append(index)
        self.of[index.collection].sort(key=lambda known: known.row.id)
        if index.is_tiering:
            self._patience_ms[index.row.id] = index.patience_ms
        self._readers.pop(index.collection, None)

    def _reader(self, collection: str) -> Read:
        reader = self._readers.get(collection)
        if reader is None:
            names = {name for index in self.of[collection] for name in index.roots}
            reader = self._readers[collection] = reader_of(names)
        return reader

    def _key(self, index: Index) -> bytes:
        return INDEX + self._ids[index.collection].to_bytes(4, "big") + index.name.encode()


_read_header: Final = reader_of(META)


def _check_unique(batch: Batch, index: Index, document_id: str, rows: Rows) -> None:
    fields = len(index.definition.fields)
    for key in rows:
        known = batch.get(key)
        if known is not None:
            other = entry_id(key, known, fields, is_unique=True).decode()
            if other != document_id:
                raise Clash(index, other)


def _record(index: Index, documents: int) -> IndexRecord:
    row, definition = index.row, index.definition
    return IndexRecord(
        id=row.id,
        name=index.name,
        fields=definition.fields,
        unique=definition.unique,
        sparse=definition.sparse,
        partial=definition.partial,
        body=definition_body(definition),
        state=FAILED if row.state == FAILING else row.state,
        built=row.built,
        documents=documents,
        entries=row.entries,
        bytes=row.bytes,
        multikey=row.multikey,
        failure=row.failure,
        created_us=row.created_us,
    )
