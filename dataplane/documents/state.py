"""The state machine: batches in agreed order in, results and a root out, nothing else.

The only inputs are the state, the sequence, the batch time and the requests. Replicas that execute
the same batches answer the same bytes and have the same root.
"""

from collections.abc import Sequence
from typing import Final, override

from blake3 import blake3

from dataplane.documents import tables
from dataplane.documents.accounting import Accounting
from dataplane.documents.archiving import Archiving
from dataplane.documents.audit_view import AuditLog
from dataplane.documents.auditing import Audit
from dataplane.documents.changes import Changes
from dataplane.documents.collections import Collections
from dataplane.documents.commands import (
    READ_ONLY,
    Attributed,
    Maintain,
    MalformedOperationError,
    Op,
    OpenSession,
    OpResult,
    QuotaPut,
    decode_op,
    encode_result,
)
from dataplane.documents.compliance import Compliance
from dataplane.documents.execution import IDEMPOTENCY_MS, Execution
from dataplane.documents.keys import Keys
from dataplane.documents.maintenance import STEP, TICK, Budget, Maintenance
from dataplane.documents.membership import Membership
from dataplane.documents.mending import Mending
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.restoring import Restoring
from dataplane.documents.sessions import Sessions, answer, ops_digest
from dataplane.documents.tables import Batch, MetaRow
from dataplane.documents.tiering import Tiers
from dataplane.documents.types import (
    BatchResult,
    Classes,
    Configuration,
    Executor,
    Genesis,
    NoClasses,
    RequestResult,
    RequestView,
)
from dataplane.documents.view import StateView
from dataplane.storage.ports import KeyValueStore

EXPIRIES_PER_BATCH: Final = 4
EXPIRED_BYTES: Final = 4 * 1024 * 1024
"""Of the outcomes that one batch forgets, and those of one more batch at most."""
_KEY_HASH_BYTES: Final = 32

type Decoded = Op | Attributed | MalformedOperationError


class StateMachine(Executor):
    """Executes batches over a key-value store that it alone writes."""

    def __init__(
        self,
        store: KeyValueStore,
        genesis: Genesis,
        classes: Classes | None = None,
        *,
        member: int | None = None,
    ) -> None:
        """Take up the state in `store`; an empty store gets the genesis state first.

        `genesis` is ignored when the store holds a state. `classes` keeps the keys of collections
        that are to be shredded; it is told before they are needed, and when they are not.
        `member` is whose state it is: which fragments of segments are its own.
        """
        self._store = store
        self._classes = classes or NoClasses()
        self._member = member
        self.view = StateView()
        self.mending = None if member is None else Mending(store, lambda: self.tiers, member)
        self.view.mending = self.mending
        self._replicated = ReplicatedStore(store, self._replaced, self._look)
        self._load()
        if store.get(tables.META) is None:
            self._write_genesis(genesis)

    def _replaced(self) -> None:
        """Take up a state that was copied."""
        self._load()
        if self.mending is not None:
            self.mending.begin()

    def _look(self) -> None:
        """Look at a little of what this replica keeps beside the rows."""
        if self.mending is not None:
            self.mending.look()

    def _load(self) -> None:
        """Read what is kept in memory; a second time when a copied state took the rows' place."""
        store = self._store
        stored = store.get(tables.META)
        self._meta = MetaRow() if stored is None else tables.decode_meta(stored)
        self._sessions = Sessions(store)
        self._collections = Collections(store, self._meta)
        self._classes.open(self._collections.classes)
        self._classes.settle(self._collections.classes)
        self._known_classes = set(self._collections.classes)
        self._keys = Keys(store)
        self._accounting = Accounting(store, self._meta)
        self._membership = Membership(store)
        self.tiers = Tiers(store, self._meta, self._membership, self._member)
        self._archiving = Archiving(
            store,
            self._meta,
            collections=self._collections,
            membership=self._membership,
            tiers=self.tiers,
        )
        self._changes = Changes(store, self._meta.applied)
        self._restoring = Restoring(store, self._meta, self._collections, self._accounting)
        self._audit = Audit(store, self._meta, self._membership)
        self._compliance = Compliance(
            store,
            self._meta,
            audit=self._audit,
            collections=self._collections,
            membership=self._membership,
        )
        self._execution = Execution(
            self._meta,
            collections=self._collections,
            keys=self._keys,
            accounting=self._accounting,
            membership=self._membership,
            restoring=self._restoring,
            audit=self._audit,
            compliance=self._compliance,
            tiers=self.tiers,
            archiving=self._archiving,
        )
        self.maintenance = Maintenance(
            store,
            self._meta,
            self._execution.writing,
            collections=self._collections,
            restoring=self._restoring,
            tiers=self.tiers,
            archiving=self._archiving,
        )
        self._oldest_expiry = _oldest_expiry(store)
        self._show()

    def _show(self) -> None:
        """Let the view show what was read: gateways hold on to it, so it stays the same one."""
        self.view.compliance = self._compliance
        self.view.erasing = self._execution.erasing
        self.view.audit = AuditLog(self._store, self._audit.ends)
        parts = (
            self._collections,
            self._keys,
            self._accounting,
            self._changes,
            self._restoring,
        )
        self.view.show(self._store, self._meta, parts)
        self.view.maintenance = self.maintenance
        self.view.tiers = self.tiers
        self.view.archiving = self._archiving
        self.view.session_count = len(self._sessions)
        self.view.replaced()

    @property
    @override
    def applied(self) -> int:
        return self._meta.applied

    @override
    def apply(
        self, sequence: int, batch_ts_ms: int, requests: Sequence[RequestView]
    ) -> BatchResult:
        meta = self._meta
        assert sequence == meta.applied + 1, f"batch {sequence} after {meta.applied}"
        assert batch_ts_ms >= 0, "batch time is a time"
        meta.applied = sequence
        meta.now_ms = max(meta.now_ms, batch_ts_ms)
        batch = Batch(self._store)
        decoded = [[_decode(data) for data in request.ops] for request in requests]
        self._begin(batch)
        if self.maintenance.is_due(meta.now_ms):
            self.maintenance.step(batch, _budget(decoded))
        self._prefetch(batch, decoded)
        results = tuple(
            [
                self._request(batch, request, operations)
                for request, operations in zip(requests, decoded, strict=True)
            ]
        )
        self._finish(batch, sequence, batch_ts_ms, requests)
        return BatchResult(sequence, results)

    @override
    def recorded(self, request: RequestView) -> RequestResult | None:
        if request.cseq == 0 and self._sessions.is_of(request):
            opened = encode_result(OpResult(201, id=request.session.hex()))
            return answer(request, self._meta.applied, "ok", (opened,))
        return self._sessions.recorded(request)

    @override
    def root(self) -> bytes:
        return self._replicated.root()

    @property
    @override
    def copies(self) -> ReplicatedStore:
        return self._replicated

    @property
    @override
    def configuration(self) -> Configuration:
        return self._membership.configuration

    def _begin(self, batch: Batch) -> None:
        """Do what falls due with time, in a fixed order, before any request."""
        self._accounting.advance(batch)
        self._sessions.expire(batch, self._meta.now_ms)
        self._expire_outcomes(batch)
        self._collections.sweep(batch)
        self.tiers.sweep(batch)
        self._audit.sweep(batch)

    def _prefetch(self, batch: Batch, decoded: list[list[Decoded]]) -> None:
        keys: list[bytes] = []
        document_keys = self._execution.document_keys
        for operations in decoded:
            for operation in operations:
                if isinstance(operation, MalformedOperationError):
                    continue
                if isinstance(operation, Attributed):
                    operation = operation.operation  # noqa: PLW2901 - what is read is the same
                keys += document_keys(operation)
                idempotency: bytes | None = getattr(operation, "idempotency", None)
                if idempotency is not None:
                    keys.append(tables.IDEMPOTENCY + idempotency)
        batch.prefetch(keys)

    def _request(
        self, batch: Batch, request: RequestView, operations: list[Decoded]
    ) -> RequestResult:
        sequence, now_ms = self._meta.applied, self._meta.now_ms
        if len(operations) == 1 and isinstance(operations[0], OpenSession):
            session = self._sessions.open(batch, now_ms, request.client, operations[0])
            opened = encode_result(OpResult(201, id=session.hex()))
            return answer(request, sequence, "ok", (opened,))
        checked = self._sessions.check(batch, sequence, request)
        if isinstance(checked, RequestResult):
            return checked
        self._audit.client = self._archiving.client = request.client
        self._execution.begin_request()
        run = self._execution.run
        results = tuple([run(batch, operation) for operation in operations])
        result = answer(request, sequence, "ok", results)
        reads = all(isinstance(operation, READ_ONLY) for operation in operations)
        self._sessions.done(batch, now_ms, request, None if reads else result)
        return result

    def _finish(
        self, batch: Batch, sequence: int, batch_ts_ms: int, requests: Sequence[RequestView]
    ) -> None:
        """Write the rows, their journal and the applied sequence at once."""
        meta = self._meta
        self._note_expiry(batch)
        if batch.thawed or batch.erased:
            self.tiers.settle(batch)
        if self.tiers.holds.dead:
            known = self._collections
            self.tiers.release_dropped(batch, known.revision, known.rows.values())
        self._collections.write(batch)
        self._audit.write(batch)
        digest = blake3(meta.history)
        digest.update(b"%d:%d" % (sequence, batch_ts_ms))
        for request in requests:
            digest.update(request.client + request.session)
            digest.update(b"%d:%d" % (request.cseq, request.ack))
            digest.update(ops_digest(request.ops))
        meta.history = digest.digest()
        self._membership.advance(batch, sequence)
        batch.put(tables.META, tables.encode_row(meta))
        if self._restoring.is_over:
            self._changes.break_off(batch, sequence)
        self._changes.record(batch, sequence, meta.now_ms)
        self._commit(sequence, batch)
        if self._restoring.is_over:
            self._load()
        self.view.session_count = len(self._sessions)
        if batch.documents:
            self.view.changed(batch.documents)

    def _commit(self, sequence: int, batch: Batch) -> None:
        """Write a batch; keys of classes are there before it, and gone behind it."""
        classes = self._collections.classes
        if classes == self._known_classes:
            self._replicated.commit(sequence, batch)
            return
        self._classes.open(classes | self._known_classes)
        self._replicated.commit(sequence, batch)
        self._classes.settle(classes)
        self._known_classes = set(classes)

    def _note_expiry(self, batch: Batch) -> None:
        """Remember which outcomes this batch stored, in one row, so that they can expire."""
        used = self._execution.idempotency_used
        if not used:
            return
        key = tables.number_key(tables.IDEMPOTENCY_EXPIRY, self._meta.now_ms, self._meta.applied)
        batch.put(key, b"".join(used))
        used.clear()
        if self._oldest_expiry is None:
            self._oldest_expiry = self._meta.now_ms

    def _expire_outcomes(self, batch: Batch) -> None:
        """Forget outcomes older than `IDEMPOTENCY_MS`, those of a few batches at a time."""
        horizon = self._meta.now_ms - IDEMPOTENCY_MS
        if self._oldest_expiry is None or self._oldest_expiry > horizon:
            return
        self._oldest_expiry = None
        size_bytes = 0
        rows = self._store.iterate(tables.IDEMPOTENCY_EXPIRY)
        for expired, (row_key, packed) in enumerate(rows):
            at_ms = tables.key_numbers(row_key)[0]
            is_enough = expired == EXPIRIES_PER_BATCH or size_bytes > EXPIRED_BYTES
            if at_ms > horizon or is_enough:
                self._oldest_expiry = at_ms
                break
            batch.delete(row_key)
            for start in range(0, len(packed), _KEY_HASH_BYTES):
                key = tables.IDEMPOTENCY + packed[start : start + _KEY_HASH_BYTES]
                stored = batch.get(key)
                size_bytes += len(stored or b"")
                # The key may have been used again since, after its first outcome ran out.
                if stored is not None and tables.decode_idempotency(stored).at_ms <= horizon:
                    batch.delete(key)

    def _write_genesis(self, genesis: Genesis) -> None:
        assert genesis.usage_window_ms > 0, "usage windows have a length"
        batch = Batch(self._store)
        self._meta.usage_window_ms = genesis.usage_window_ms
        for key in genesis.keys:
            self._keys.put(batch, key, 0)
        quota = QuotaPut(
            genesis.calls_limit,
            genesis.storage_limit_bytes,
            requests_per_s=genesis.requests_per_s,
        )
        self._accounting.set_quota(batch, quota)
        self._membership.write_genesis(batch, genesis)
        self._audit.write(batch)
        batch.put(tables.META, tables.encode_row(self._meta))
        self._replicated.commit(0, batch)


def _decode(data: bytes) -> Decoded:
    try:
        return decode_op(data)
    except MalformedOperationError as error:
        return error


def _budget(decoded: list[list[Decoded]]) -> Budget:
    asked = any(isinstance(op, Maintain) for operations in decoded for op in operations)
    return TICK if asked else STEP


def _oldest_expiry(store: KeyValueStore) -> int | None:
    for key, _ in store.iterate(tables.IDEMPOTENCY_EXPIRY):
        return tables.key_numbers(key)[0]
    return None
