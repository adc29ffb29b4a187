"""The state machines a run executes: a small map with sessions, or the real document store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import override

import msgspec
from blake3 import blake3
from nacl import bindings

from dataplane.documents.audit_commands import AuditPut
from dataplane.documents.auditing import ROW_RECORDS_MAX
from dataplane.documents.commands import (
    Check,
    CollectionPut,
    Create,
    Delete,
    IndexDrop,
    IndexPut,
    Maintain,
    Op,
    OpenSession,
    Put,
    Reconfigure,
    Transact,
    Update,
    Warm,
    attribute,
    encode_op,
    session_id,
)
from dataplane.documents.membership import with_past
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import Batch, decode_document_header, document_prefix
from dataplane.documents.types import (
    BatchResult,
    Configuration,
    Executor,
    Genesis,
    RequestResult,
    RequestStatus,
    RequestView,
)
from dataplane.storage.engine import MemoryStore
from dataplane.wire.audit import LEVELS
from dataplane.wire.membership import (
    Member,
    NextMembers,
    decode_next,
    encode_next,
    order_payload,
)
from dataplane.wire.stubs import stub_of

WINDOW = 64
ADMIN_SEED = b"the control plane of this world!"
COUNT = b"C"
META = b"M"
SESSION = b"S"
ANSWER = b"W"
EPOCH = b"E"
ORDER = b"members:"
CSEQ_BYTES = 8
ABOUT_STORAGE = 3
STORAGE_TURNS = 16
INDEX_TURNS = 6
"""So many of them are about indexes, the others about what is kept for a while."""
TTL_S = 1
COLD_S = 1
AGED = msgspec.msgpack.encode({"text": "x" * 80})
ACTOR = "key-of-alice"
INDEXES = ("counts", "single", "again")

_encode = msgspec.msgpack.Encoder().encode
_decode_result = msgspec.msgpack.Decoder(tuple[bytes, RequestResult]).decode


class MembersRow(msgspec.Struct, array_like=True):
    """The epoch, its members, and its end once that is known."""

    epoch: int
    base: int
    members: tuple[Member, ...]
    ends_at: int | None = None
    next_members: tuple[Member, ...] = ()
    past_base: int = 0
    past_members: tuple[Member, ...] = ()


@dataclass(slots=True)
class Session:
    """One client session: what it acknowledged and the answers kept for repeats."""

    client: bytes
    low: int = 0
    answers: dict[int, tuple[bytes, RequestResult]] = field(default_factory=dict)


def _answer(
    request: RequestView, sequence: int, status: RequestStatus, results: tuple[bytes, ...] = ()
) -> RequestResult:
    digest = blake3(_encode((status, results))).digest()
    return RequestResult(
        request.client, request.session, request.cseq, sequence, status, results, digest
    )


class MapApplication(Executor):
    """A map of counters; every operation names a key, and its result is the key's new count.

    Counts are read from the rows each time, so that a damaged row shows. An operation that begins
    with `ORDER` changes the members, `tail` batches later.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        members: tuple[Member, ...] = (),
        tail: int = 0,
    ) -> None:
        self._store = MemoryStore() if store is None else store
        self._genesis = members
        self._tail = tail
        self._replicated = ReplicatedStore(self._store, self._load)
        self._load()

    def _load(self) -> None:
        meta = self._store.get(META)
        self._applied, self._now_ms = (
            (0, 0) if meta is None else msgspec.msgpack.decode(meta, type=tuple[int, int])
        )
        row = self._store.get(EPOCH)
        self._members = (
            MembersRow(0, 0, self._genesis)
            if row is None
            else msgspec.msgpack.decode(row, type=MembersRow)
        )
        self._sessions: dict[bytes, Session] = {}
        for key, row in self._store.iterate(SESSION):
            client, low = msgspec.msgpack.decode(row, type=tuple[bytes, int])
            self._sessions[key[1:]] = Session(client, low)
        for key, row in self._store.iterate(ANSWER):
            session, cseq = key[1:-CSEQ_BYTES], int.from_bytes(key[-CSEQ_BYTES:], "big")
            self._sessions[session].answers[cseq] = _decode_result(row)

    def row(self, key: str) -> bytes | None:
        """Return the stored count of a key."""
        return self._store.get(COUNT + key.encode())

    @property
    @override
    def applied(self) -> int:
        return self._applied

    @override
    def apply(
        self, sequence: int, batch_ts_ms: int, requests: Sequence[RequestView]
    ) -> BatchResult:
        assert sequence == self._applied + 1
        self._applied = sequence
        self._now_ms = max(self._now_ms, batch_ts_ms)
        batch = Batch(self._store)
        results = tuple([self._request(batch, request) for request in requests])
        self._advance(batch)
        batch.put(META, _encode((self._applied, self._now_ms)))
        self._replicated.commit(sequence, batch)
        return BatchResult(sequence, results)

    def _request(self, batch: Batch, request: RequestView) -> RequestResult:
        if request.cseq == 0:
            opened = session_id(request.client, request.ops[0])
            if opened not in self._sessions:
                self._sessions[opened] = Session(request.client)
                self._write_session(batch, opened)
            return _answer(request, self._applied, "ok", (opened,))
        session = self._sessions.get(request.session)
        if session is None or session.client != request.client:
            return _answer(request, self._applied, "session_expired")
        refusal = self.repeated(session, request)
        return self._execute(batch, session, request) if refusal is None else refusal

    def _write_session(self, batch: Batch, name: bytes) -> None:
        session = self._sessions[name]
        batch.put(SESSION + name, _encode((session.client, session.low)))

    def repeated(self, session: Session, request: RequestView) -> RequestResult | None:
        """Return the answer of a request that must not take effect (again)."""
        if request.cseq <= session.low:
            return _answer(request, self._applied, "already_applied")
        if request.cseq > session.low + WINDOW:
            return _answer(request, self._applied, "window")
        known = session.answers.get(request.cseq)
        if known is None:
            return None
        ops, result = known
        if ops != _encode(request.ops):
            return _answer(request, self._applied, "cseq_reused")
        return result

    @override
    def recorded(self, request: RequestView) -> RequestResult | None:
        session = self._sessions.get(request.session)
        if session is None or session.client != request.client:
            return None
        if request.cseq == 0:
            return _answer(request, self._applied, "ok", (request.session,))
        ops, result = session.answers.get(request.cseq, (b"", None))
        return result if ops == _encode(request.ops) else None

    def _execute(self, batch: Batch, session: Session, request: RequestView) -> RequestResult:
        results = []
        for key in request.ops:
            if key.startswith(ORDER):
                results.append(self._change_members(batch, decode_next(key[len(ORDER) :])))
                continue
            stored = batch.get(COUNT + key)
            count = b"%d" % (int(stored or b"0") + 1)
            batch.put(COUNT + key, count)
            results.append(count)
        result = _answer(request, self._applied, "ok", tuple(results))
        session.answers[request.cseq] = (_encode(request.ops), result)
        batch.put(
            _answer_key(request.session, request.cseq), _encode(session.answers[request.cseq])
        )
        session.low = max(session.low, min(request.ack, request.cseq - 1))
        for cseq in [cseq for cseq in session.answers if cseq <= session.low]:
            del session.answers[cseq]
            batch.delete(_answer_key(request.session, cseq))
        self._write_session(batch, request.session)
        return result

    def _change_members(self, batch: Batch, following: NextMembers) -> bytes:
        row = self._members
        if row.ends_at is None and following.epoch == row.epoch + 1:
            row.ends_at, row.next_members = self._applied + self._tail, following.members
            batch.put(EPOCH, _encode(row))
        if following.members in (row.members, row.next_members):
            return b"agreed"
        return b"conflict"

    def _advance(self, batch: Batch) -> None:
        row = self._members
        if row.ends_at == self._applied:
            self._members = MembersRow(
                row.epoch + 1,
                self._applied,
                row.next_members,
                past_base=row.base,
                past_members=row.members,
            )
            batch.put(EPOCH, _encode(self._members))

    @property
    @override
    def configuration(self) -> Configuration:
        row = self._members
        known = Configuration(row.epoch, row.base, row.members, row.ends_at, row.next_members)
        return with_past(known, row.past_base, row.past_members)

    @override
    def root(self) -> bytes:
        return self._replicated.root()

    @property
    @override
    def copies(self) -> ReplicatedStore:
        return self._replicated


def _answer_key(session: bytes, cseq: int) -> bytes:
    return ANSWER + session + cseq.to_bytes(CSEQ_BYTES, "big")


class Workload:
    """Makes applications, and the operations that fit them."""

    def __init__(
        self, application: str, *, cluster_id: bytes, members: tuple[Member, ...], tail: int
    ) -> None:
        self._documents = application == "documents"
        self._cluster_id = cluster_id
        self._members = members
        self._tail = tail
        self._turn = 0

    @property
    def flippable(self) -> bytes:
        """The prefix of rows that no batch writes unread: damage to others may mend itself."""
        if not self._documents:
            return COUNT
        # Those of "things", which is always made first: a put in "others" reads nothing.
        return document_prefix(1)

    def executor(self, store: MemoryStore, member: int | None = None) -> Executor:
        """Return the application over what the store holds; an empty one gets its first state.

        Of segments it keeps the fragments of `member`, or all of them when it is nobody's.
        """
        if not self._documents:
            return MapApplication(store, members=self._members, tail=self._tail)
        admin_key, _ = bindings.crypto_sign_seed_keypair(ADMIN_SEED)
        genesis = Genesis(cluster_id=self._cluster_id, members=self._members, admin_key=admin_key)
        return StateMachine(store, genesis, member=member)

    def place(self, key: int) -> tuple[str, str]:
        """Return where an operation on a key writes: (collection, document id)."""
        return ("things", f"id-{key % 4}") if self._documents else ("map", f"key-{key}")

    def row(self, executor: Executor, place: tuple[str, str]) -> bytes | None:
        """Return what an application holds at a place."""
        if isinstance(executor, StateMachine):
            return executor.view.row(*place)
        assert isinstance(executor, MapApplication)
        return executor.row(place[1])

    def order(self, epoch: int, members: tuple[Member, ...]) -> bytes:
        """Return the control plane's operation that makes these the members of an epoch."""
        order = encode_next(NextMembers(epoch, members))
        if not self._documents:
            return ORDER + order
        _, secret_key = bindings.crypto_sign_seed_keypair(ADMIN_SEED)
        payload = order_payload(self._cluster_id, order)
        signature = bindings.crypto_sign(payload, secret_key)[: bindings.crypto_sign_BYTES]
        return encode_op(Reconfigure(order, signature))

    def warming(self, executors: Sequence[Executor]) -> bytes | None:
        """Return what puts back a document for which a change of members waits, None without one.

        What it is need not be read: all that become cold here are the same.
        """
        views = [executor.view for executor in executors if isinstance(executor, StateMachine)]
        for view in views:
            waits = view.tiers.placement.waiting
            numbers = {record.number for record in view.tiers.misplaced()} if waits else set()
            for key, row in view.rows("aging") if numbers else ():
                stub = stub_of(row)
                if stub is not None and stub.segment in numbers:
                    version = decode_document_header(row)[0]
                    return encode_op(Warm("aging", key.decode(), version, AGED, rests=True))
        return None

    def opening(self, nonce: bytes) -> bytes:
        """Return the operation that opens a session."""
        return encode_op(OpenSession(nonce)) if self._documents else nonce

    def operation(self, key: int) -> bytes:
        """Return an operation on one of a few keys."""
        if not self._documents:
            return b"key-%d" % key
        if key == ABOUT_STORAGE:
            self._turn += 1
            if self._turn % STORAGE_TURNS > INDEX_TURNS:
                return self._about_keeping(self._turn % STORAGE_TURNS)
            return encode_op(self._about_indexes())
        place = self.place(key)
        update = Update(*place, msgspec.msgpack.encode({"$inc": {"count": 1}}))
        document = msgspec.msgpack.encode({"count": 0})
        if key % 5 == 4:
            # Fails as a whole as long as there is no such thing.
            put = Put("others", place[1], document)
            return encode_op(Transact((put, Check(*place, exists=True), update)))
        return encode_op(update if key % 3 else Create(*place, document))

    def _about_indexes(self) -> Op:
        """Return in turn what makes documents and indexes of them, and what removes both."""
        place = "things", INDEXES[self._turn % len(INDEXES)]
        match self._turn % 6:
            case 1:
                return IndexPut(*place, (("count", -1),), unique=place[1] == "single")
            case 2:
                return IndexPut("things", "old", (("_updated", 1), ("count", 1)))
            case 4:
                return Maintain()
            case 5:
                return IndexDrop(*place)
            case _:
                document = msgspec.msgpack.encode({"count": 0})
                return Create("things", f"id-{self._turn % 4}", document)

    def _about_keeping(self, turn: int) -> bytes:
        """Return in turn what makes documents that expire soon, and what the audit log records."""
        short = msgspec.msgpack.encode({"n": self._turn})
        match turn:
            case 7:
                options = msgspec.msgpack.encode({"ttl": TTL_S})
                return encode_op(CollectionPut("short", options))
            case 8:
                level = LEVELS[1 + self._turn % 2]
                return attribute(encode_op(AuditPut(level, records_max=ROW_RECORDS_MAX)), ACTOR)
            case 9:
                options = msgspec.msgpack.encode({"tiering": {"cold_after_s": COLD_S}})
                return encode_op(CollectionPut("aging", options))
            case 10 | 11:
                place = "aging", f"id-{self._turn % 6}"
                return encode_op(Put(*place, AGED) if self._turn % 5 else Delete(*place))
            case 12:
                return encode_op(Maintain())
            case _:
                put = encode_op(Put("short", f"id-{self._turn % 8}", short))
                return attribute(put, ACTOR) if turn % 2 else put
