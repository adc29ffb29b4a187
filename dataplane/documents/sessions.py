"""Client sessions: each request takes effect at most once, however often it is ordered."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
from blake3 import blake3

from dataplane.documents.commands import SESSION_ID_BYTES, OpenSession, session_id
from dataplane.documents.tables import (
    SESSION,
    SESSION_WINDOW,
    Batch,
    SessionRow,
    WindowRow,
    decode_session,
    decode_window,
    encode_row,
)
from dataplane.documents.types import RequestResult, RequestStatus, RequestView
from dataplane.storage.ports import KeyValueStore

WINDOW: Final = 64
IDLE_MS: Final = 24 * 3_600_000
SESSIONS_MAX: Final = 10_000
EXPIRED_PER_BATCH: Final = 4
"""Sessions forgotten at once: each may have a full window of results."""
RESULT_BYTES_MAX: Final = 64 * 1024


def answer(
    request: RequestView, sequence: int, status: RequestStatus, results: tuple[bytes, ...] = ()
) -> RequestResult:
    """Build the answer to a request with its digest."""
    digest = blake3(msgspec.msgpack.encode((status, results))).digest()
    return RequestResult(
        request.client, request.session, request.cseq, sequence, status, results, digest
    )


class Sessions:
    """The session table; all sessions are in memory, their windows in the store."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        rows = [(key[1:], decode_session(row)) for key, row in store.iterate(SESSION)]
        rows.sort(key=lambda item: (item[1].last_ms, item[0]))
        self._rows: OrderedDict[bytes, SessionRow] = OrderedDict(rows)
        self._cseqs: dict[bytes, set[int]] = {session: set() for session in self._rows}
        for key, _ in store.iterate(SESSION_WINDOW):
            self._cseqs[key[1 : 1 + SESSION_ID_BYTES]].add(int.from_bytes(key[-8:], "big"))

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, batch: Batch, now_ms: int, client: bytes, operation: OpenSession) -> bytes:
        """Open a session, or find it again by its nonce; return its id."""
        session = session_id(client, operation.nonce)
        if session not in self._rows:
            while len(self._rows) >= SESSIONS_MAX:
                self._forget(batch, self._oldest())
            self._rows[session] = SessionRow(client=client, low=0, last_ms=now_ms)
            self._cseqs[session] = set()
        self._touch(batch, session, now_ms)
        return session

    def expire(self, batch: Batch, now_ms: int) -> None:
        """Forget sessions idle for `IDLE_MS`, some a batch. Called before its requests."""
        for _ in range(min(len(self._rows), EXPIRED_PER_BATCH)):
            # The table is kept in order of last use, so none is idle for longer than the first.
            if next(iter(self._rows.values())).last_ms + IDLE_MS > now_ms:
                return
            self._forget(batch, self._oldest())

    def check(
        self, batch: Batch, sequence: int, request: RequestView
    ) -> RequestResult | SessionRow:
        """Return the session of a request to execute, or the answer to one not to execute."""
        row = self._rows.get(request.session)
        if row is None or row.client != request.client:
            return answer(request, sequence, "session_expired")
        if request.cseq <= row.low:
            return answer(request, sequence, "already_applied")
        if request.cseq > row.low + WINDOW:
            return answer(request, sequence, "window")
        if request.cseq not in self._cseqs[request.session]:
            return row
        stored = batch.get(_window_key(request.session, request.cseq))
        assert stored is not None, "a known request has its row"
        return _repeated(request, stored) or answer(request, sequence, "cseq_reused")

    def is_of(self, request: RequestView) -> bool:
        """Whether the session of a request is open, and its client's."""
        row = self._rows.get(request.session)
        return row is not None and row.client == request.client

    def recorded(self, request: RequestView) -> RequestResult | None:
        """Return the kept answer of a request that took effect, without executing anything."""
        if not self.is_of(request) or request.cseq not in self._cseqs[request.session]:
            return None
        stored = self._store.get(_window_key(request.session, request.cseq))
        assert stored is not None, "a known request has its row"
        return _repeated(request, stored)

    def done(
        self, batch: Batch, now_ms: int, request: RequestView, result: RequestResult | None
    ) -> None:
        """Note an executed request and forget those its client acknowledged.

        `result` is None for a request that only read: it takes no place in the window, and a
        repetition reads again.
        """
        session, cseq = request.session, request.cseq
        if result is not None:
            long = sum(map(len, result.results)) > RESULT_BYTES_MAX
            row = WindowRow(
                sequence=result.sequence,
                ops_digest=ops_digest(request.ops),
                digest=result.digest,
                results=None if long else result.results,
            )
            batch.put(_window_key(session, cseq), encode_row(row))
            self._cseqs[session].add(cseq)
        low = max(self._rows[session].low, min(request.ack, cseq - 1))
        self._rows[session].low = low
        kept = self._cseqs[session]
        for old in [old for old in kept if old <= low]:
            kept.discard(old)
            batch.delete(_window_key(session, old))
        assert len(kept) <= WINDOW, "the window is bounded"
        self._touch(batch, session, now_ms)

    def _touch(self, batch: Batch, session: bytes, now_ms: int) -> None:
        row = self._rows[session]
        assert row.last_ms <= now_ms, "batch time never falls"
        row.last_ms = now_ms
        self._rows.move_to_end(session)
        batch.put(SESSION + session, encode_row(row))

    def _oldest(self) -> bytes:
        # Not simply the first: two of the same age must fall in the same order after a restart.
        return min(self._rows, key=lambda session: (self._rows[session].last_ms, session))

    def _forget(self, batch: Batch, session: bytes) -> None:
        del self._rows[session]
        for cseq in self._cseqs.pop(session):
            batch.delete(_window_key(session, cseq))
        batch.delete(SESSION + session)


def ops_digest(ops: Sequence[bytes]) -> bytes:
    """Digest the operations of a request, boundaries included."""
    return blake3(msgspec.msgpack.encode(ops)).digest(16)


def _repeated(request: RequestView, stored: bytes) -> RequestResult | None:
    """Return the answer in a row of the window, None when it is that of another request."""
    window = decode_window(stored)
    if window.ops_digest != ops_digest(request.ops):
        return None
    return RequestResult(
        request.client,
        request.session,
        request.cseq,
        window.sequence,
        "ok",
        window.results or (),
        window.digest,
    )


def _window_key(session: bytes, cseq: int) -> bytes:
    return SESSION_WINDOW + session + cseq.to_bytes(8, "big")
