"""What the rows of indexes must be, made anew from the documents in a store."""

import msgspec

from dataplane.documents.commands import (
    Maintain,
    Op,
    OpenSession,
    OpResult,
    Warm,
    decode_result,
    encode_op,
)
from dataplane.documents.commands import session_id as session_of
from dataplane.documents.holding import HOLD
from dataplane.documents.index_definitions import decode_definition, roots_of
from dataplane.documents.index_entries import Shape, expiry_of
from dataplane.documents.partial_reading import reader_of
from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import directory_of
from dataplane.documents.tables import (
    COLLECTION,
    DEAD,
    DEAD_IN,
    DOCUMENT,
    HEADER_BYTES,
    INDEX,
    INDEX_ENTRY,
    INDEX_EXPIRY,
    META,
    SEGMENT,
    IndexRow,
    decode_collection,
    decode_document_header,
    decode_index,
    decode_meta,
    decode_segment,
    key_numbers,
)
from dataplane.documents.types import Genesis
from dataplane.documents.whole_rows import whole_row
from dataplane.storage.engine import MemoryStore
from dataplane.storage.fragments import FRAGMENT, fragment_key, unpack
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.stubs import STUB_BYTES, is_stub, stub_of

CLIENT = b"c" * 32
START_MS = 1_700_000_000_000


class Sent(msgspec.Struct, frozen=True):
    ops: tuple[bytes, ...]
    cseq: int
    ack: int = 0
    client: bytes = CLIENT
    session: bytes = session_of(CLIENT, b"n")


class Machine:
    """A state machine that can be ended and opened again between any two batches."""

    def __init__(
        self,
        store: KeyValueStore | None = None,
        genesis: Genesis | None = None,
        member: int | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self._genesis, self._member = genesis or Genesis(), member
        self.reopen()
        self.now_ms = START_MS
        self.apply(OpenSession(b"n"))

    def apply(self, *ops: Op) -> list[OpResult]:
        number = self.state.applied
        sent = Sent(tuple(map(encode_op, ops)), number, max(0, number - 1))
        answer = self.state.apply(number + 1, self.now_ms, [sent] if ops else []).requests
        return list(map(decode_result, answer[0].results)) if ops else []

    def reopen(self) -> None:
        self.state = StateMachine(self.store, self._genesis, member=self._member)

    def index(self, collection: str = "c", name: str = "i"):
        found = [index for index in self.state.view.indexes(collection) if index.name == name]
        return found[0] if found else None

    def ids(self, collection: str = "c") -> list[str]:
        return [key.decode() for key, _ in self.state.view.rows(collection)]


def settle(machine: Machine) -> None:
    """Execute empty batches until nothing is left to be done."""
    while machine.state.maintenance.is_due(machine.now_ms):
        machine.apply()


def tick(machine: Machine) -> None:
    """Order maintenance, and what it wants, until nothing is left to be done."""
    while machine.state.maintenance.is_due(machine.now_ms):
        machine.apply(Maintain(), *warmings(machine.store, machine.state))


def cold_places(state: StateMachine) -> list[tuple[str, str]]:
    """Return the documents that are cold, by collection and id."""
    return [
        (record.name, key.decode())
        for record in state.view.collections()
        for key, row in state.view.rows(record.name)
        if is_stub(row)
    ]


def warmings(store: KeyValueStore, state: StateMachine) -> list[Warm]:
    """Return what puts back the bodies that maintenance waits for."""
    # What was wanted may be gone since.
    wanted = [place for place in state.maintenance.wanted if state.view.row(*place) is not None]
    return [warming(store, state, *place) for place in wanted]


def warming(
    store: KeyValueStore,
    state: StateMachine,
    collection: str,
    document_id: str,
    *,
    rests: bool = False,
) -> Warm:
    """Return what puts back the body of a document."""
    row = state.view.row(collection, document_id)
    assert row is not None
    body = whole_row(store.get, row)[HEADER_BYTES:]
    return Warm(collection, document_id, decode_document_header(row)[0], body, rests)


def check_segments(store: KeyValueStore) -> None:
    """Compare what segments say of themselves, and whose are kept, with the stubs."""
    living: dict[tuple[int, int], list[int]] = {}
    for key, row in store.iterate(DOCUMENT):
        stub = stub_of(row)
        if stub is not None:
            whole_row(store.get, row)
            place = int.from_bytes(key[1:5], "big"), stub.segment
            counts = living.setdefault(place, [0, 0])
            counts[0] += 1
            counts[1] += stub.length
    described: dict[tuple[int, int], list[int]] = {}
    dead: set[tuple[int, int]] = set()
    for key, packed in store.iterate(SEGMENT):
        row = decode_segment(packed)
        if row.documents:
            described[row.collection, key_numbers(key)[0]] = [row.documents, row.bytes]
        else:
            dead.add((row.collection, key_numbers(key)[0]))
    assert not dead or store.get(HOLD) is not None, "they are kept by a hold alone"
    assert described == living
    kept = {key for key, _ in store.iterate(FRAGMENT)}
    assert kept == {fragment_key(*place) for place in {*living, *dead}}
    check_remains(store)


def check_remains(store: KeyValueStore) -> None:
    """Compare what is noted of old bodies in segments with what segments hold."""
    noted: dict[int, set[bytes]] = {}
    for key, _ in store.iterate(DEAD_IN):
        noted.setdefault(int.from_bytes(key[2:10], "big"), set()).add(key[10:])
    by_document = {key[2:] for key, _ in store.iterate(DEAD)}
    assert by_document == {
        document + b"\0" + number.to_bytes(8, "big")
        for number, documents in noted.items()
        for document in documents
    }
    known = {decode_collection(row).id for _, row in store.iterate(COLLECTION)}
    living = {
        (stub.segment, key[1:]) for key, row in store.iterate(DOCUMENT) if (stub := stub_of(row))
    }
    for key, packed in store.iterate(SEGMENT):
        number, row = key_numbers(key)[0], decode_segment(packed)
        if row.collection not in known:
            continue
        prefix = row.collection.to_bytes(4, "big")
        stored = store.get(fragment_key(row.collection, number))
        segment = unpack(stored or b"", row.size)
        assert segment is not None
        held = {prefix + entry.id.encode() for entry in directory_of(segment)}
        dead = {document for document in held if (number, document) not in living}
        assert noted.get(number, set()) == dead


def check_waiting(store: KeyValueStore, collection: bytes, row: IndexRow) -> dict[bytes, bytes]:
    """Return the rows of what waits to become cold; everything that could is among it, or is."""
    prefix = INDEX_EXPIRY + row.id.to_bytes(4, "big")
    rows = dict(store.iterate(prefix))
    assert (row.entries, row.bytes) == (0, sum(map(len, rows)))
    if row.state == "ready":
        waiting = {expiry_of(key)[1] for key in rows}
        for key, stored in store.iterate(DOCUMENT + collection):
            is_long = len(stored) > HEADER_BYTES + STUB_BYTES
            assert is_stub(stored) or not is_long or key[5:].decode() in waiting
    return rows


def check_rows(store: KeyValueStore) -> None:
    """Compare the entries, counters and totals of a store with what its documents say."""
    names = {decode_collection(row).id: key[1:] for key, row in store.iterate(COLLECTION)}
    expected: dict[bytes, bytes] = {}
    known: set[bytes] = set()
    total = sum(decode_collection(row).bytes for _, row in store.iterate(COLLECTION))
    for key, packed in store.iterate(INDEX):
        assert int.from_bytes(key[1:5], "big") in names
        row = decode_index(packed)
        known.add(row.id.to_bytes(4, "big"))
        total += row.bytes
        if row.state in {"failing", "failed"}:
            assert (row.entries, row.bytes) == (0, 0)
            assert row.failure
            continue
        definition = decode_definition(row.definition)
        shape, read = Shape(row.id, key[5:].decode(), definition), reader_of(roots_of(definition))
        own: dict[bytes, bytes] = {}
        if key[5:] == b"_tier":
            expected |= check_waiting(store, key[1:5], row)
            continue
        for document_key, stored in store.iterate(DOCUMENT + key[1:5]):
            if row.state == "ready" or document_key[5:] <= row.place:
                document_id = document_key[5:].decode()
                whole = whole_row(store.get, stored)
                rows, multikey, *_ = shape.entries(document_id, read(document_id, whole))
                assert not rows.keys() & own.keys(), "unique"
                assert multikey | row.multikey == row.multikey
                own |= rows
        entries = [entry for entry in own if entry.startswith(INDEX_ENTRY)]
        assert (row.entries, row.bytes) == (
            len(entries),
            sum(len(entry) + len(value) for entry, value in own.items()),
        ), (key, row)
        expected |= own
    found = {
        key: value
        for prefix in (INDEX_ENTRY, INDEX_EXPIRY)
        for key, value in store.iterate(prefix)
        if key[1:5] in known
    }
    failing = {
        decode_index(row).id.to_bytes(4, "big")
        for _, row in store.iterate(INDEX)
        if decode_index(row).state == "failing"
    }
    assert {key: value for key, value in found.items() if key[1:5] not in failing} == expected
    stored_meta = store.get(META)
    assert stored_meta is not None
    assert decode_meta(stored_meta).bytes == total


def check_clean(store: KeyValueStore) -> None:
    """Compare like `check_rows`, and see that nothing of dropped indexes is left."""
    check_rows(store)
    ids = {decode_index(row).id.to_bytes(4, "big") for _, row in store.iterate(INDEX)}
    for prefix in (INDEX_ENTRY, INDEX_EXPIRY):
        assert {key[1:5] for key, _ in store.iterate(prefix)} <= ids
