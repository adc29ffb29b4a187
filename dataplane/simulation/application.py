"""The state machines a run executes: a small map with sessions, or the real document store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import override

import msgspec
from blake3 import blake3

from dataplane.documents.commands import Create, OpenSession, Update, encode_op, session_id
from dataplane.documents.state import StateMachine
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


@dataclass(slots=True)
class Session:
    """One client session: what it acknowledged and the answers kept for repeats."""

    client: bytes
    low: int = 0
    answers: dict[int, tuple[bytes, RequestResult]] = field(default_factory=dict)


def _answer(
    request: RequestView, sequence: int, status: RequestStatus, results: tuple[bytes, ...] = ()
) -> RequestResult:
    digest = blake3(msgspec.msgpack.encode((status, results))).digest()
    return RequestResult(
        request.client, request.session, request.cseq, sequence, status, results, digest
    )


class MapApplication(Executor):
    """A map of counters; every operation names a key, and its result is the key's new count."""

    def __init__(self) -> None:
        self._applied = 0
        self._now_ms = 0
        self._counts: dict[bytes, int] = {}
        self._sessions: dict[bytes, Session] = {}

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
        return BatchResult(sequence, tuple(self._request(request) for request in requests))

    def _request(self, request: RequestView) -> RequestResult:
        if request.cseq == 0:
            opened = session_id(request.client, request.ops[0])
            self._sessions.setdefault(opened, Session(request.client))
            return _answer(request, self._applied, "ok", (opened,))
        session = self._sessions.get(request.session)
        if session is None or session.client != request.client:
            return _answer(request, self._applied, "session_expired")
        refusal = self.repeated(session, request)
        return self._execute(session, request) if refusal is None else refusal

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
        if ops != msgspec.msgpack.encode(request.ops):
            return _answer(request, self._applied, "cseq_reused")
        return result

    def _execute(self, session: Session, request: RequestView) -> RequestResult:
        results = []
        for key in request.ops:
            self._counts[key] = self._counts.get(key, 0) + 1
            results.append(b"%d" % self._counts[key])
        result = _answer(request, self._applied, "ok", tuple(results))
        session.answers[request.cseq] = (msgspec.msgpack.encode(request.ops), result)
        session.low = max(session.low, min(request.ack, request.cseq - 1))
        for cseq in [cseq for cseq in session.answers if cseq <= session.low]:
            del session.answers[cseq]
        return result

    @property
    @override
    def configuration(self) -> Configuration:
        return Configuration(0, 0, ())

    @override
    def root(self) -> bytes:
        sessions = [
            (name, session.client, session.low, sorted(session.answers.items()))
            for name, session in sorted(self._sessions.items())
        ]
        state = (self._applied, self._now_ms, sorted(self._counts.items()), sessions)
        return blake3(msgspec.msgpack.encode(state)).digest()


class Workload:
    """Makes applications, and the operations that fit them."""

    def __init__(self, application: str) -> None:
        self._documents = application == "documents"

    def executor(self) -> Executor:
        """Return an application in its first state."""
        return StateMachine(MemoryStore(), Genesis()) if self._documents else MapApplication()

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
