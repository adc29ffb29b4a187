"""Compliance modes in the replicated state: what they demand is refused to be weakened.

Turning a mode on needs an administrator; turning one off needs the control plane's signature, so
that whoever has an administrator's key cannot first switch off what would record or prevent what
he is about to do.
"""

from collections.abc import Callable
from typing import Any, Final

from dataplane.documents.audit_commands import AuditPut, CompliancePut
from dataplane.documents.auditing import Audit
from dataplane.documents.collections import Collections
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    IndexPut,
    KeyPut,
    Op,
    OpResult,
    RestoreBegin,
)
from dataplane.documents.errors import CONFLICT, FORBIDDEN, Refusal, invalid
from dataplane.documents.membership import Membership
from dataplane.documents.settings import settings_of
from dataplane.documents.subjects import subject_field
from dataplane.documents.tables import (
    COMPLIANCE,
    Batch,
    ComplianceRow,
    MetaRow,
    decode_compliance,
    encode_row,
)
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.audit import LEVELS
from dataplane.wire.compliance import MODES, ModeRules, code_of, modes_payload

type Fault = tuple[str, str] | None
"""A JSON Pointer and what is wrong there."""


class Compliance:
    """The modes of one state."""

    def __init__(
        self,
        store: KeyValueStore,
        meta: MetaRow,
        *,
        audit: Audit,
        collections: Collections,
        membership: Membership,
    ) -> None:
        self._meta = meta
        self._audit = audit
        self._collections = collections
        self._membership = membership
        stored = store.get(COMPLIANCE)
        self.row = ComplianceRow() if stored is None else decode_compliance(stored)
        self._hold()
        self._checks: Final[dict[type[Op], Callable[[ModeRules, Any], Fault]]] = {
            AuditPut: self._audit_fault,
            KeyPut: self._key_fault,
            CollectionDrop: self._drop_fault,
            CollectionPut: self._options_fault,
            IndexPut: self._index_fault,
            RestoreBegin: self._restore_fault,
        }

    def _hold(self) -> None:
        kept = [MODES[mode].retention_ms for mode in self.row.modes]
        self._audit.keep_least_ms = max(kept, default=0)

    def put(self, batch: Batch, operation: CompliancePut) -> OpResult:
        """Change which modes are on; settings that are too weak for a new one are raised.

        Raises:
            Refusal: `invalid`, `conflict` or `forbidden`.
        """
        row, modes = self.row, operation.modes
        if any(mode not in MODES for mode in modes) or list(modes) != sorted(set(modes)):
            raise invalid("/modes", f"some of {', '.join(MODES)}, in this order")
        if operation.revision != row.revision:
            raise Refusal(CONFLICT, f"the modes are at revision {row.revision}")
        gone = [mode for mode in row.modes if mode not in modes]
        payload = modes_payload(self._membership.cluster_id, row.revision, modes)
        if gone and not self._membership.is_signed(payload, operation.sig):
            detail = f"turning off {', '.join(gone)} needs the control plane's signature"
            raise Refusal(FORBIDDEN, detail)
        row.modes, row.revision = modes, row.revision + 1
        batch.put(COMPLIANCE, encode_row(row))
        self._hold()
        self._raise_settings()
        return OpResult(200, version=row.revision)

    def _raise_settings(self) -> None:
        ends, rules = self._audit.ends, [MODES[mode] for mode in self.row.modes]
        level = max([ends.level, *[rule.level for rule in rules]], key=LEVELS.index)
        retention_ms = max([ends.retention_ms, *[rule.retention_ms for rule in rules]])
        if (level, retention_ms) != (ends.level, ends.retention_ms):
            self._audit.put(AuditPut(level, retention_ms))

    def check(self, operation: Op) -> None:
        """Refuse what a mode forbids.

        Raises:
            Refusal: The code of the first mode that forbids it.
        """
        check = self._checks.get(type(operation))
        for mode in self.row.modes if check is not None else ():
            assert check is not None, "no loop without one"
            fault = check(MODES[mode], operation)
            if fault is not None:
                raise Refusal(code_of(mode), f"{mode}: {fault[1]}", errors=(fault,))

    @staticmethod
    def _audit_fault(rules: ModeRules, operation: AuditPut) -> Fault:
        level, retention_ms = operation.level, operation.retention_ms
        if level in LEVELS and LEVELS.index(level) < LEVELS.index(rules.level):
            return "/level", f"the level of the audit log is at least {rules.level}"
        if retention_ms is not None and retention_ms < rules.retention_ms:
            return "/retention_ms", f"records are kept for at least {rules.retention_ms} ms"
        return None

    def _key_fault(self, rules: ModeRules, operation: KeyPut) -> Fault:
        latest_ms = self._meta.now_ms + rules.key_lifetime_ms
        if operation.expires_ms is None or operation.expires_ms > latest_ms:
            return "/expires_ms", f"a key lives for at most {rules.key_lifetime_ms} ms"
        return None

    def _drop_fault(self, rules: ModeRules, operation: CollectionDrop) -> Fault:
        row = self._collections.rows.get(operation.name)
        if rules.keeps_collections and row is not None and row.documents:
            return "", "a collection that holds documents is not dropped"
        return None

    def _options_fault(self, rules: ModeRules, operation: CollectionPut) -> Fault:
        row = self._collections.rows.get(operation.name)
        field = None if row is None else subject_field(row.options)
        if rules.keeps_subjects and field is not None and field != subject_field(operation.options):
            return "/subject", f"the field that names persons stays {field}"
        if rules.keeps_collections and row is not None and row.documents:
            before, after = settings_of(row.options).ttl_s, settings_of(operation.options).ttl_s
            if after is not None and (before is None or after < before):
                return "/ttl", "documents that are kept do not begin to expire, nor sooner"
        return None

    def _index_fault(self, rules: ModeRules, operation: IndexPut) -> Fault:
        row = self._collections.rows.get(operation.collection)
        is_new = self._collections.indexes.find(operation.collection, operation.name) is None
        holds = rules.keeps_collections and row is not None and row.documents
        if holds and is_new and operation.expire_after_s is not None:
            return "/expire_after_s", "documents that are kept do not begin to expire"
        return None

    def _restore_fault(self, rules: ModeRules, operation: RestoreBegin) -> Fault:
        if rules.keeps_collections and operation.replace and self._meta.documents:
            return "/replace", "what the cluster holds is not cleared away"
        return None
