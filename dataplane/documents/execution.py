"""What each operation does to the state of one batch."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from blake3 import blake3

from dataplane.documents import tables
from dataplane.documents.accounting import Accounting
from dataplane.documents.archiving import Archiving
from dataplane.documents.audit_commands import (
    AuditPut,
    CompliancePut,
    EraseBegin,
    EraseEnd,
    EraseStep,
    ReportAudit,
)
from dataplane.documents.audited import Place, places_of, touched
from dataplane.documents.auditing import FULL_DETAIL, Audit, Digests
from dataplane.documents.collections import Collections
from dataplane.documents.commands import (
    WHILE_RESTORING,
    Attributed,
    Barrier,
    Check,
    ClusterErase,
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    Get,
    IndexDrop,
    IndexPut,
    KeyPut,
    KeyRevoke,
    Maintain,
    MalformedOperationError,
    Op,
    OpenSession,
    OpResult,
    Patch,
    Put,
    QuotaPut,
    Reconfigure,
    ReportCalls,
    Resolve,
    RestoreBegin,
    RestoreDiscard,
    RestoreEnd,
    RestoreRows,
    Seal,
    Step,
    Transact,
    Update,
    Warm,
    encode_op,
    encode_result,
)
from dataplane.documents.compliance import Compliance
from dataplane.documents.conflicts import (
    Verdict,
    Write,
    check_basis,
    is_recorded,
    judge,
)
from dataplane.documents.erasing import Erasing
from dataplane.documents.errors import (
    AUDIT_FULL,
    CONFLICT,
    IDEMPOTENCY_KEY_REUSED,
    INVALID,
    MALFORMED,
    NOT_FOUND,
    NOT_READY,
    PRECONDITION_FAILED,
    RESTORING,
    STATUS,
    Refusal,
    invalid,
)
from dataplane.documents.index_definitions import check_index_name, definition_of
from dataplane.documents.keys import Keys
from dataplane.documents.membership import Membership
from dataplane.documents.operators import apply_update
from dataplane.documents.resolving import Conflicts
from dataplane.documents.restoring import Restoring
from dataplane.documents.stubs import COLD_RESULT, ColdError, body_digest, body_of
from dataplane.documents.tables import Batch, IdempotencyRow, MetaRow
from dataplane.documents.tiering import Tiers
from dataplane.documents.transactions import Transactions, as_sent
from dataplane.documents.values import (
    SYSTEM_COLLECTIONS,
    Json,
    check_document,
    check_id,
    check_names,
    merge_patch,
    pack_checked,
    unpack_document,
)
from dataplane.documents.writing import Writing, counted
from dataplane.wire.stubs import fits, stub_of

IDEMPOTENCY_MS: Final = 24 * 3_600_000
SUBJECT_MAX: Final = 200
_IDEMPOTENCY_BYTES: Final = 32
_BOUNDED: Final = frozenset(
    {Create, Put, Patch, Update, Delete, Get, Resolve, Transact, EraseStep, Warm}
)
"""What may be large in one batch, however small it is sent."""
NOT_DONE: Final = encode_result(
    OpResult(
        STATUS[NOT_READY],
        NOT_READY,
        detail="others changed as much as one batch may; this was not done, try again",
    )
)
"""The result of an operation that found its batch full: to be ordered again."""
_DOCUMENT_OPERATIONS: Final = (Put, Create, Patch, Update, Delete, Get, Check, Warm)


class Execution:
    """Executes operations one by one; an operation changes everything it should or nothing."""

    def __init__(
        self,
        meta: MetaRow,
        *,
        collections: Collections,
        keys: Keys,
        accounting: Accounting,
        membership: Membership,
        restoring: Restoring,
        audit: Audit,
        compliance: Compliance,
        tiers: Tiers,
        archiving: Archiving,
    ) -> None:
        self._meta = meta
        self._audit = audit
        self._compliance = compliance
        self._collections = collections
        self._keys = keys
        self._accounting = accounting
        self.writing = self._writing = Writing(meta, collections, accounting)
        self.erasing = Erasing(
            meta, collections=collections, writing=self._writing, audit=audit, tiers=tiers
        )
        self._membership = membership
        self._restoring = restoring
        self.idempotency_used: list[bytes] = []
        self._cold: set[Place] = set()
        """What operations of the request at hand could not be done about."""
        self._handlers: dict[type[Op], Callable[[Batch, Any], OpResult]] = {
            OpenSession: self._open_session,
            Create: self._create,
            Put: counted(self.document_key, self._put),
            Patch: counted(self.document_key, self._patch),
            Update: counted(self.document_key, self._update),
            Delete: counted(self.document_key, self._delete),
            Get: self._get,
            Transact: self._transact,
            Barrier: self._barrier,
            Seal: self._barrier,
            CollectionPut: self._collection_put,
            CollectionDrop: self._collection_drop,
            IndexPut: self._index_put,
            IndexDrop: self._index_drop,
            Maintain: self._barrier,
            Warm: self._warm,
            ClusterErase: self._cluster_erase,
            KeyPut: self._key_put,
            KeyRevoke: self._key_revoke,
            QuotaPut: self._quota_put,
            ReportCalls: self._report_calls,
            Reconfigure: self._reconfigure,
            AuditPut: self._audit_put,
            ReportAudit: self._report_audit,
            CompliancePut: compliance.put,
            **_handlers_of(restoring, self.erasing, archiving),
        }
        self._transactions = Transactions(collections, self._handlers)
        self._conflicts = Conflicts(collections, self._writing, self._handlers)
        self._handlers[Resolve] = self._conflicts.resolve

    def begin_request(self) -> None:
        """Learn that the next operations are another request's."""
        self._cold.clear()

    def run(self, batch: Batch, operation: Op | Attributed | MalformedOperationError) -> bytes:
        """Execute one operation and return its encoded result."""
        self._audit.actor = None
        if isinstance(operation, Attributed):
            self._audit.actor, operation = operation
        if batch.is_full and type(operation) in _BOUNDED:
            # Not even recorded: who sent it orders it again.
            return NOT_DONE
        if isinstance(operation, MalformedOperationError):
            return encode_result(OpResult(400, MALFORMED, detail="not an operation"))
        key: bytes | None = getattr(operation, "idempotency", None)
        if key is None:
            return encode_result(self._outcome(batch, operation))
        if len(key) != _IDEMPOTENCY_BYTES:
            return encode_result(OpResult(422, INVALID, detail="not an idempotency key"))
        return self._run_once(batch, operation, key)

    def document_keys(self, operation: Op) -> list[bytes]:
        """Return the document rows that an operation reads first, as far as they are known."""
        if not isinstance(operation, Transact):
            key = self.document_key(operation)
            return [] if key is None else [key]
        return [key for step in operation.steps if (key := self.document_key(step)) is not None]

    def document_key(self, operation: Op | Step) -> bytes | None:
        """Return the row a document operation reads first, None for another or a new collection."""
        if isinstance(operation, _DOCUMENT_OPERATIONS):
            prefix = self._collections.prefixes.get(operation.collection)
            if prefix is not None:
                return prefix + operation.id.encode()
        return None

    def _run_once(self, batch: Batch, operation: Op, key: bytes) -> bytes:
        """Execute an operation unless its idempotency key has an outcome already."""
        row_key = tables.IDEMPOTENCY + key
        operation_digest = blake3(encode_op(_as_sent(operation))).digest(16)
        stored = batch.get(row_key)
        if stored is not None:
            row = tables.decode_idempotency(stored)
            if row.at_ms + IDEMPOTENCY_MS > self._meta.now_ms:
                if row.op_digest == operation_digest:
                    return row.result
                detail = "the key was used for another operation"
                return encode_result(OpResult(422, IDEMPOTENCY_KEY_REUSED, detail=detail))
        outcome = self._outcome(batch, operation)
        result = encode_result(outcome)
        # A full disk quota is not an outcome to repeat: the same request may succeed later.
        if outcome.status < 500:
            batch.spend(len(result))
            new = IdempotencyRow(at_ms=self._meta.now_ms, op_digest=operation_digest, result=result)
            batch.put(row_key, tables.encode_row(new))
            self.idempotency_used.append(key)
        return result

    def _outcome(self, batch: Batch, operation: Op) -> OpResult:
        # What comes behind an operation that is to be repeated must not overtake it.
        if self._cold and not self._cold.isdisjoint(touched(operation)):
            return self._is_cold(operation)
        audit = self._audit
        if type(operation) not in audit.watched:
            return self._executed(batch, operation)
        if not audit.has_room(operation):
            return OpResult(STATUS[AUDIT_FULL], AUDIT_FULL, detail=FULL_DETAIL)
        before = self._digests(batch, operation)
        result = self._executed(batch, operation)
        if result is COLD_RESULT:
            return result
        audit.note(operation, result, before, self._digests(batch, operation))
        return result

    def _digests(self, batch: Batch, operation: Op) -> Digests:
        """Return the digests of an operation's documents as they are now, if they are recorded."""
        found: Digests = {}
        for place in places_of(operation) if self._audit.is_forensic else ():
            key = self.document_key(Get(*place))
            row = None if key is None else batch.get(key)
            found[place] = None if row is None else body_digest(row)
        return found

    def _executed(self, batch: Batch, operation: Op) -> OpResult:
        if self._restoring.is_active and not isinstance(operation, WHILE_RESTORING):
            detail = "the cluster is being restored; nothing can be read or written until then"
            return OpResult(STATUS[RESTORING], RESTORING, detail=detail)
        try:
            return self._decided(batch, operation)
        except ColdError:
            return self._is_cold(operation)

    def _is_cold(self, operation: Op) -> OpResult:
        self._cold.update(touched(operation))
        return COLD_RESULT

    def _decided(self, batch: Batch, operation: Op) -> OpResult:
        try:
            if self._compliance.row.modes:
                self._compliance.check(operation)
            return self._handlers[type(operation)](batch, operation)
        except Refusal as refusal:
            return self._refused(batch, operation, refusal)

    def _refused(self, batch: Batch, operation: Op, refusal: Refusal) -> OpResult:
        """Return the result of a refusal, after keeping the write if it asked for that."""
        conflict = None
        if is_recorded(operation, refusal):
            try:
                conflict = self._conflicts.record(batch, operation, refusal)
            except Refusal as full:
                refusal = full
        return OpResult(
            refusal.status,
            refusal.code,
            version=refusal.version,
            detail=refusal.detail,
            errors=refusal.errors,
            fields=refusal.fields,
            conflict=conflict,
        )

    def _create(self, batch: Batch, operation: Create) -> OpResult:
        body = check_document(operation.document)
        key = self._writable(operation)
        if key is not None and (row := batch.get(key)) is not None:
            version = tables.decode_document_header(row)[0]
            raise Refusal(CONFLICT, "the id exists", version=version)
        return self._writing.insert(batch, _place(operation), body)

    def _put(self, batch: Batch, operation: Put) -> OpResult:
        body = check_document(operation.document)
        key = self._writable(operation)
        row = None if key is None else batch.get(key)
        verdict = self._judge(operation, row)
        if row is None:
            return _noted(self._writing.insert(batch, _place(operation), body), verdict)
        if operation.if_none_match:
            version = tables.decode_document_header(row)[0]
            raise Refusal(PRECONDITION_FAILED, "the document exists", version=version)
        if verdict.merged is not None:
            body = pack_checked(verdict.merged)
        result = self._writing.replace(batch, _place(operation), row, body, change="replace")
        return _noted(result, verdict, body)

    def _patch(self, batch: Batch, operation: Patch) -> OpResult:
        patch = unpack_document(check_document(operation.patch))
        return self._modify(batch, operation, lambda old: merge_patch(old, patch))

    def _update(self, batch: Batch, operation: Update) -> OpResult:
        operators = unpack_document(check_document(operation.operators, reserved=False))
        return self._modify(batch, operation, lambda old: apply_update(old, operators))

    def _modify(
        self, batch: Batch, operation: Patch | Update, change: Callable[[Json], Json]
    ) -> OpResult:
        key = self._writable(operation)
        row = None if key is None else batch.get(key)
        verdict = self._judge(operation, row)
        if row is None:
            raise Refusal(NOT_FOUND, "no such document")
        document = verdict.merged
        if document is None:
            document = change(unpack_document(body_of(row)))
        check_names(document)
        body = pack_checked(document)
        result = self._writing.replace(batch, _place(operation), row, body, change="update")
        return _noted(result, verdict)

    def _delete(self, batch: Batch, operation: Delete) -> OpResult:
        key = self._writable(operation)
        row = None if key is None else batch.get(key)
        verdict = self._judge(operation, row)
        if key is None or row is None:
            raise Refusal(NOT_FOUND, "no such document")
        self._writing.remove(batch, _place(operation), row)
        return _noted(OpResult(204, id=operation.id), verdict)

    def _judge(self, operation: Put | Patch | Update | Delete, row: bytes | None) -> Verdict:
        return judge(operation, row, self._collections.settings(operation.collection).policy)

    def _get(self, batch: Batch, operation: Get) -> OpResult:
        key = self.document_key(operation)
        row = None if key is None else batch.get(key)
        if row is None:
            raise Refusal(NOT_FOUND, "no such document")
        body = body_of(row)
        batch.spend(len(row))
        version, created_us, updated_us = tables.decode_document_header(row)
        return OpResult(200, None, operation.id, version, created_us, updated_us, body)

    def _transact(self, batch: Batch, operation: Transact) -> OpResult:
        return self._transactions.run(batch, operation)

    def _writable(self, operation: Create | Put | Patch | Update | Delete) -> bytes | None:
        check_id(operation.id)
        if operation.collection in SYSTEM_COLLECTIONS:
            raise invalid("/collection", "this collection belongs to the cluster")
        check_basis(operation)
        return self.document_key(operation)

    def _barrier(self, _batch: Batch, _operation: Barrier | Seal | Maintain) -> OpResult:
        return OpResult(200)

    def _warm(self, batch: Batch, operation: Warm) -> OpResult:
        key = self.document_key(operation)
        row = None if key is None else batch.get(key)
        stub = None if row is None else stub_of(row)
        if row is None or stub is None:
            return OpResult(200)
        if tables.decode_document_header(row)[0] != operation.version:
            return OpResult(200)
        if not fits(stub, operation.document):
            raise invalid("/document", "not the body of this document")
        place = operation.collection, operation.id
        self._writing.warm(batch, place, row, operation.document, rests=operation.rests)
        return OpResult(200)

    def _index_put(self, _batch: Batch, operation: IndexPut) -> OpResult:
        new = self._collections.create_index(
            operation.collection, operation.name, definition_of(operation)
        )
        return OpResult(201 if new else 200, id=operation.name)

    def _index_drop(self, batch: Batch, operation: IndexDrop) -> OpResult:
        check_index_name(operation.name)
        self._collections.indexes.drop(batch, operation.collection, operation.name)
        return OpResult(204, id=operation.name)

    def _collection_put(self, batch: Batch, operation: CollectionPut) -> OpResult:
        new = self._collections.put(batch, operation, self._meta.now_ms * 1000)
        return OpResult(201 if new else 200, id=operation.name)

    def _collection_drop(self, batch: Batch, operation: CollectionDrop) -> OpResult:
        self._writing.drop(batch, operation.name, self._collections.drop(batch, operation))
        return OpResult(204, id=operation.name)

    def _cluster_erase(self, batch: Batch, operation: ClusterErase) -> OpResult:
        if not 0 < len(operation.subject) <= SUBJECT_MAX:
            raise invalid("/subject", f"1 to {SUBJECT_MAX} characters")
        number = self._collections.erase_cluster(batch, operation.subject)
        return OpResult(201, version=number)

    def _key_put(self, batch: Batch, operation: KeyPut) -> OpResult:
        new = self._keys.put(batch, operation, self._meta.now_ms * 1000)
        return OpResult(201 if new else 200, id=operation.id)

    def _key_revoke(self, batch: Batch, operation: KeyRevoke) -> OpResult:
        self._keys.revoke(batch, operation.id)
        return OpResult(204, id=operation.id)

    def _quota_put(self, batch: Batch, operation: QuotaPut) -> OpResult:
        self._accounting.set_quota(batch, operation)
        return OpResult(200)

    def _report_calls(self, batch: Batch, operation: ReportCalls) -> OpResult:
        self._accounting.report(batch, operation)
        return OpResult(200)

    def _audit_put(self, _batch: Batch, operation: AuditPut) -> OpResult:
        self._audit.put(operation)
        return OpResult(200)

    def _report_audit(self, _batch: Batch, operation: ReportAudit) -> OpResult:
        self._audit.report(operation)
        return OpResult(200)

    def _reconfigure(self, batch: Batch, operation: Reconfigure) -> OpResult:
        ends_at = self._membership.reconfigure(batch, operation, self._meta)
        return OpResult(200, version=ends_at)

    def _open_session(self, _batch: Batch, _operation: OpenSession) -> OpResult:
        raise invalid("", "OpenSession must be the only operation of its request")


def _handlers_of(
    restoring: Restoring, erasing: Erasing, archiving: Archiving
) -> dict[type[Op], Callable[[Batch, Any], OpResult]]:
    """Return who does what is done in several steps."""
    return {
        RestoreBegin: restoring.begin,
        RestoreRows: restoring.load,
        RestoreEnd: restoring.finish,
        RestoreDiscard: lambda batch, operation: restoring.discard(batch, operation.id),
        EraseBegin: erasing.begin,
        EraseStep: erasing.step,
        EraseEnd: erasing.end,
        **archiving.handlers,
    }


def _place(operation: Write) -> tuple[str, str]:
    return operation.collection, operation.id


def _as_sent(operation: Op) -> Op:
    """Return an operation without what its gateway made up: a retry must count as the same."""
    if isinstance(operation, Create) and operation.generated:
        return Create(operation.collection, "", operation.document, generated=True)
    return as_sent(operation) if isinstance(operation, Transact) else operation


def _noted(result: OpResult, verdict: Verdict, body: bytes | None = None) -> OpResult:
    """Add what a policy decided, and the document when it is not the one that was sent."""
    if verdict.policy is None:
        return result
    document = result.document if body is None or verdict.merged is None else body
    return msgspec.structs.replace(
        result, policy=verdict.policy, met=verdict.met, document=document
    )
