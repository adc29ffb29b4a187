"""The rows of the replicated state: their keys, their encodings, and a batch's changes to them.

Keys begin with one letter. Capital letters are replicated and covered by the root; small ones
(see `replicated.py`) are each replica's own.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, override

import msgspec

from dataplane.documents.types import DocumentRecord
from dataplane.storage.ports import KeyValueStore
from dataplane.wire import stubs
from dataplane.wire.membership import Member

META: Final = b"M"
COLLECTION: Final = b"C"
DOCUMENT: Final = b"D"
DROPPED: Final = b"G"
IDEMPOTENCY: Final = b"I"
IDEMPOTENCY_EXPIRY: Final = b"X"
KEY: Final = b"K"
CALLS: Final = b"N"
QUOTA: Final = b"Q"
SESSION: Final = b"S"
SESSION_WINDOW: Final = b"W"
USAGE_WINDOW: Final = b"U"
STORAGE_WINDOW: Final = b"Z"
MEMBERSHIP: Final = b"E"
AWAITED: Final = b"Enext"
RESTORE: Final = b"R"
COMPLIANCE: Final = b"P"
ERASURE: Final = b"V"
AUDIT: Final = b"A"
"""Audit records; `wire.audit.ENDS_KEY` names the row of the ends of their chain."""
INDEX: Final = b"L"
INDEX_ENTRY: Final = b"O"
INDEX_EXPIRY: Final = b"T"
INDEX_DROPPED: Final = b"Y"
TOMBSTONE: Final = b"F"
SEGMENT: Final = b"B"
DEAD: Final = b"Jd"
"""By document and segment: the segment has a body of the document that is not its body any more."""
DEAD_IN: Final = b"Js"
"""The same by segment and document."""

RESTORED: Final = "done"
"""The state of a restore that came to its end."""

BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
"""What the operations of one batch change; the one that goes beyond is the last that is done."""
_KNOWN_BYTES_MAX: Final = 32 * 1024 * 1024
_PREFETCH_ROWS: Final = 64

_HEADER: Final = struct.Struct("<QQQ")
HEADER_BYTES: Final = _HEADER.size
assert HEADER_BYTES == stubs.HEADER_BYTES, "stubs are told behind it"
DOCUMENT_KEY_BYTES: Final = 5
"""Length of what comes before the id in the key of a document row."""
_MISSING: Final = object()


type Changes = dict[bytes, bytes | None]
"""Rows to write; None removes."""

type Change = tuple[str, str, str, int, bytes | None]
"""What happened to a document: what, collection, id, version, and the row unless it is gone."""


class Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Base of the rows encoded as MessagePack arrays."""


class MetaRow(Row):
    """Counters of the whole state, changed by every batch."""

    applied: int = 0
    now_ms: int = 0
    history: bytes = bytes(32)
    bytes: int = 0
    documents: int = 0
    next_collection: int = 1
    version_floor: int = 0
    usage_window_ms: int = 3_600_000
    window_start_ms: int = 0
    next_index: int = 1


class MembershipRow(Row):
    """The members of the epoch, and those of the next once the end of this one is known."""

    cluster_id: bytes = b""
    admin_key: bytes = b""
    epoch: int = 0
    base: int = 0
    members: tuple[Member, ...] = ()
    highest_id: int = 0
    ends_at: int | None = None
    next_members: tuple[Member, ...] = ()
    past_base: int = 0
    past_members: tuple[Member, ...] = ()
    """Of the epoch before: who starts at its very end may have to go back into it."""


class AwaitedRow(Row):
    """Whom an order asked for that waits for cold documents to be moved, and until when it does."""

    members: tuple[int, ...] = ()
    until_ms: int = 0


class CollectionRow(Row):
    """One collection; versions of new documents start above `floor`."""

    id: int
    created_us: int
    updated_us: int
    options: bytes
    floor: int
    version_max: int
    documents: int = 0
    bytes: int = 0


class IndexRow(Row):
    """One index; of its collection the documents up to the id `place` are in it."""

    id: int
    created_us: int
    definition: bytes
    state: str = "building"
    place: bytes = b""
    built: int = 0
    entries: int = 0
    bytes: int = 0
    multikey: int = 0
    """The fields, as bits, in which some document had several values."""
    failure: tuple[str, ...] = ()
    """Why it could not be built, and the ids of the documents that stood in the way."""


class ComplianceRow(Row):
    """The compliance modes that are on, and how often they were changed."""

    modes: tuple[str, ...] = ()
    revision: int = 0


class ErasureRow(Row):
    """An erasure of a person: `record` is the index of its audit record once it is over."""

    subject: bytes
    salt: bytes
    started_ms: int
    removed: tuple[tuple[str, int], ...] = ()
    record: int | None = None
    sequence: int | None = None
    stepped: int = 0
    """The sequence at which it last removed something."""


class TombstoneRow(Row):
    """What was erased by destroying its key; in the queue of dropped collections, what will be."""

    kind: str
    name: str
    number: int
    documents: int
    bytes: int
    ordered_at: int
    """The sequence at which the erasure was ordered."""
    erased_at: int
    """The sequence at which the key was destroyed; 0 before, and for whole clusters."""
    at_ms: int
    """The agreed time of the last of the two."""


class SegmentRow(Row):
    """Where the bodies of cold documents are; see `cold.SegmentRecord`."""

    collection: int
    epoch: int
    members: tuple[int, ...]
    k: int
    size: int
    digest: bytes
    fragments: tuple[bytes, ...]
    sealed: int
    """How many bytes of bodies it was made of; `bytes` are those that still live."""
    documents: int
    bytes: int
    tier: str = "distributed"
    erased_at: int = 0
    """The sequence at which it was found to have a body of what a person was erased from."""
    sealed_ms: int = 0
    is_leaving: bool = False
    attested: tuple[int, ...] = ()


class KeyRow(Row):
    """One API key."""

    hash: bytes
    name: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...]
    expires_ms: int | None
    created_us: int
    requests_per_s: int | None = None
    kind: str = "key"


class QuotaRow(Row):
    """The limits in force."""

    calls_limit: int | None = None
    storage_limit_bytes: int | None = None
    period_start_ms: int | None = None
    period_end_ms: int | None = None
    requests_per_s: int | None = None


class SessionRow(Row):
    """One client session; requests up to `low` are done with."""

    client: bytes
    low: int
    last_ms: int


class RestoredCollection(Row):
    """A collection of a restore, and what of it is loaded."""

    id: int
    documents_expected: int
    bytes_expected: int
    is_system: bool
    documents: int = 0
    bytes: int = 0
    indexes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it has what it counts."""
        counted = (self.documents_expected, self.bytes_expected)
        return (self.documents, self.bytes) == counted


class RestoreRow(Row):
    """A restore under way, or the last that was finished; `next` is the number of the next part.

    `chains` and `last` go by the letters of rows: the digest so far, and the last hash of a key.
    """

    id: bytes
    state: str
    source_cluster: str
    source_epoch: int
    source_sequence: int
    source_root: bytes
    source_at_ms: int
    content: bytes
    rows_expected: int
    next_collection: int
    version_floor: int
    chains: dict[str, bytes]
    rows: int = 0
    next: int = 0
    sequence: int = 0
    at_ms: int = 0
    last: dict[str, bytes] = {}
    collections: dict[str, RestoredCollection] = {}
    moved_ms: int = 0
    """When it was begun, asked for or went on, in batch time."""

    @property
    def is_under_way(self) -> bool:
        """Whether what is loaded is nobody's yet."""
        return self.state != RESTORED


class WindowRow(Row):
    """One executed request that its client may still repeat; `results` is None when too long."""

    sequence: int
    ops_digest: bytes
    digest: bytes
    results: tuple[bytes, ...] | None


class IdempotencyRow(Row):
    """The first outcome under an idempotency key."""

    at_ms: int
    op_digest: bytes
    result: bytes


class Batch:
    """What one batch reads and changes, in front of the store, written at once at the end.

    What it may change is bounded: `spent` is the bytes of documents as they were and as they
    become, of results that are kept, and of what indexes or refused writes had to look at. All
    replicas count alike.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self.store = store
        self.spent = 0
        self._known: Changes = {}
        self._known_bytes = 0
        self.changes: Changes = {}
        self.own: Changes = {}
        """Rows of this replica alone, written in the same write."""
        self.documents: list[Change] = []
        """What happened to documents, in order."""
        self.groups: list[tuple[int, int]] = []
        """(position, count) of the changes of each transaction."""
        self.thawed: list[tuple[int, int, bytes]] = []
        """(segment, length, key of the document unless its collection is dropped) of each body
        that lives in its segment no more."""
        self.erased: list[bytes] = []
        """Keys of the documents that a person was erased from."""
        self.warmed = 0
        """How many of them were put back."""

    def spend(self, size_bytes: int) -> None:
        """Count what was changed, or looked at to change it."""
        self.spent += size_bytes

    @property
    def is_full(self) -> bool:
        """Whether the operations so far changed all that one batch may; it stays so."""
        return self.spent > BATCH_BYTES_MAX

    def prefetch(self, keys: Iterable[bytes]) -> None:
        """Read many rows in few calls of the store, as far as there is room to hold them."""
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _PREFETCH_ROWS):
            if self._known_bytes > _KNOWN_BYTES_MAX:
                return
            part = wanted[start : start + _PREFETCH_ROWS]
            rows = self.store.get_many(part)
            self._known.update(zip(part, rows, strict=True))
            self._known_bytes += sum([len(row) for row in rows if row])

    def get(self, key: bytes) -> bytes | None:
        """Return the row as this batch left it so far."""
        value: object = self.changes.get(key, _MISSING)
        if value is _MISSING:
            value = self._known.get(key, _MISSING)
        if value is _MISSING:
            value = self.store.get(key)
            if self._known_bytes <= _KNOWN_BYTES_MAX:
                self._known[key] = value
                self._known_bytes += len(value or b"")
        assert value is None or isinstance(value, bytes)
        return value

    def lacks(self, keys: Iterable[bytes]) -> None:
        """Say of rows that are about to be put that they are not there: nobody has to look."""
        for key in keys:
            if key not in self.changes:
                self._known.setdefault(key, None)

    def before(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the changed rows as they were before this batch."""
        known = self._known
        missing = [key for key in self.changes if key not in known]
        for start in range(0, len(missing), _PREFETCH_ROWS):
            part = missing[start : start + _PREFETCH_ROWS]
            yield from zip(part, self.store.get_many(part), strict=True)
        for key in self.changes:
            if key in known:
                yield key, known[key]

    def put(self, key: bytes, value: bytes) -> None:
        """Change a row."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a row."""
        self.changes[key] = None


class Attempt(Batch):
    """Changes in front of a batch that become part of it, or never were."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.store)
        self._batch = batch

    @override
    def prefetch(self, keys: Iterable[bytes]) -> None:
        self._batch.prefetch(keys)

    @override
    def get(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self._batch.get(key)

    @override
    def lacks(self, keys: Iterable[bytes]) -> None:
        self._batch.lacks([key for key in keys if key not in self.changes])

    @override
    def spend(self, size_bytes: int) -> None:
        """Count for the batch as well: what was undone was work all the same."""
        self.spent += size_bytes
        self._batch.spent += size_bytes

    def keep(self) -> None:
        """Make the changes those of the batch; of documents they form a group."""
        batch = self._batch
        batch.changes |= self.changes
        batch.own |= self.own
        if self.documents:
            batch.groups.append((len(batch.documents), len(self.documents)))
            batch.documents += self.documents
        batch.thawed += self.thawed
        batch.erased += self.erased
        batch.warmed += self.warmed


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
decode_meta = msgspec.msgpack.Decoder(MetaRow).decode
decode_membership = msgspec.msgpack.Decoder(MembershipRow).decode
decode_awaited = msgspec.msgpack.Decoder(AwaitedRow).decode
decode_compliance = msgspec.msgpack.Decoder(ComplianceRow).decode
decode_erasure = msgspec.msgpack.Decoder(ErasureRow).decode
decode_collection = msgspec.msgpack.Decoder(CollectionRow).decode
decode_index = msgspec.msgpack.Decoder(IndexRow).decode
decode_tombstone = msgspec.msgpack.Decoder(TombstoneRow).decode
decode_segment = msgspec.msgpack.Decoder(SegmentRow).decode
decode_key = msgspec.msgpack.Decoder(KeyRow).decode
decode_quota = msgspec.msgpack.Decoder(QuotaRow).decode
decode_session = msgspec.msgpack.Decoder(SessionRow).decode
decode_window = msgspec.msgpack.Decoder(WindowRow).decode
decode_restore = msgspec.msgpack.Decoder(RestoreRow).decode
decode_idempotency = msgspec.msgpack.Decoder(IdempotencyRow).decode


def encode_row(row: Row) -> bytes:
    """Encode a row."""
    return _encode(row)


def document_prefix(collection: int) -> bytes:
    """Return the prefix of a collection's documents; ids follow as UTF-8."""
    return DOCUMENT + collection.to_bytes(4, "big")


def document_id(key: bytes) -> str:
    """Return the id in the key of a document row."""
    return key[DOCUMENT_KEY_BYTES:].decode()


def encode_document_row(version: int, created_us: int, updated_us: int, body: bytes) -> bytes:
    """Encode a document row."""
    return _HEADER.pack(version, created_us, updated_us) + body


def decode_document_header(row: bytes) -> tuple[int, int, int]:
    """Return (version, created_us, updated_us)."""
    version, created_us, updated_us = _HEADER.unpack_from(row)
    return int(version), int(created_us), int(updated_us)


def decode_document_row(document_id: str, row: bytes) -> DocumentRecord:
    """Decode a document row."""
    version, created_us, updated_us = _HEADER.unpack_from(row)
    return DocumentRecord(document_id, version, created_us, updated_us, row[HEADER_BYTES:])


def tombstone_key(number: int) -> bytes:
    """Return the key of a tombstone."""
    return TOMBSTONE + number.to_bytes(4, "big")


def dead_prefix(key: bytes) -> bytes:
    """Return what the keys begin with that say where old bodies of a document are, by its key."""
    # No id holds the character 0.
    return DEAD + key[len(DOCUMENT) :] + b"\0"


def number_key(prefix: bytes, *numbers: int) -> bytes:
    """Return a key that sorts by the numbers."""
    return prefix + b"".join([number.to_bytes(8, "big") for number in numbers])


def key_numbers(key: bytes) -> tuple[int, ...]:
    """Return the numbers of a `number_key`."""
    return tuple(int.from_bytes(key[at : at + 8], "big") for at in range(1, len(key), 8))
