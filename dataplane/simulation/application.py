"""The state machines a run executes: a small map with sessions, or the real document store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import override

import msgspec
from blake3 import blake3

from dataplane.documents.commands import Create, OpenSession, Update, encode_op, session_id
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import DOCUMENT, Batch
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

WINDOW = 64
COUNT = b"C"
META = b"M"
SESSION = b"S"
ANSWER = b"W"
CSEQ_BYTES = 8

_encode = msgspec.msgpack.Encoder().encode
_decode_result = msgspec.msgpack.Decoder(tuple[bytes, RequestResult]).decode


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

    Counts are read from the rows each time, so that a damaged row shows.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = MemoryStore() if store is None else store
        self._replicated = ReplicatedStore(self._store, self._load)
        self._load()

    def _load(self) -> None:
        meta = self._store.get(META)
        self._applied, self._now_ms = (
            (0, 0) if meta is None else msgspec.msgpack.decode(meta, type=tuple[int, int])
        )
        self._sessions: dict[bytes, Session] = {}
        for key, row in self._store.iterate(SESSION):
            client, low = msgspec.msgpack.decode(row, type=tuple[bytes, int])
            self._sessions[key[1:]] = Session(client, low)
        for key, row in self._store.iterate(ANSWER):
            session, cseq = key[1:-CSEQ_BYTES], int.from_bytes(key[-CSEQ_BYTES:], "big")
            self._sessions[session].answers[cseq] = _decode_result(row)

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
        batch.put(META, _encode((self._applied, self._now_ms)))
        self._replicated.commit(sequence, batch.changes, batch.before())
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

    def _execute(self, batch: Batch, session: Session, request: RequestView) -> RequestResult:
        results = []
        for key in request.ops:
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

    @property
    @override
    def configuration(self) -> Configuration:
        return Configuration(0, 0, ())

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

    def __init__(self, application: str) -> None:
        self._documents = application == "documents"

    @property
    def flippable(self) -> bytes:
        """The prefix of rows that no batch writes unread: damage to others may mend itself."""
        return DOCUMENT if self._documents else COUNT

    def executor(self, store: MemoryStore) -> Executor:
        """Return the application over what the store holds; an empty one gets its first state."""
        return StateMachine(store, Genesis()) if self._documents else MapApplication(store)

    def opening(self, nonce: bytes) -> bytes:
        """Return the operation that opens a session."""
        return encode_op(OpenSession(nonce)) if self._documents else nonce

    def operation(self, key: int) -> bytes:
        """Return an operation on one of a few keys."""
        if not self._documents:
            return b"key-%d" % key
        if key % 3:
            increment = msgspec.msgpack.encode({"$inc": {"count": 1}})
            return encode_op(Update("things", f"id-{key % 4}", increment))
        document = msgspec.msgpack.encode({"count": 0})
        return encode_op(Create("things", f"id-{key % 4}", document))
