"""Which operations are written down in the audit log, and what is written of each.

Every operation is in exactly one of the tables here; a test says so, so that a new one cannot go
unrecorded by oversight.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from dataplane.documents.archive_commands import ArchiveSalt, ArchiveSeen, Hold
from dataplane.documents.audit_commands import (
    AuditPut,
    CompliancePut,
    EraseBegin,
    EraseEnd,
    EraseStep,
    ReportAudit,
)
from dataplane.documents.commands import (
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
)
from dataplane.documents.conflicts import CONFLICTS
from dataplane.documents.errors import Refusal
from dataplane.documents.transactions import decode_outcome
from dataplane.documents.values import check_document, unpack_document
from dataplane.wire.audit import BASIC, FORENSIC, FULL
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.membership import decode_next

type Place = tuple[str, str]
"""The collection and the id of a document."""

DETAIL_BYTES_MAX: Final = 1_024
NAME_CHARS_MAX: Final = 200

_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Description(NamedTuple):
    """What an operation was about."""

    action: str
    collection: str | None
    id: str | None
    detail: str | None


class Account(NamedTuple):
    """What is written down of one act: what it was, how it ended, which document it was about."""

    what: Description
    result: OpResult
    place: Place | None


def detail_of(facts: Mapping[str, Any]) -> str:
    """Return facts as JSON, or as their digest when they are long."""
    encoded = _encode(dict(facts))
    if len(encoded) > DETAIL_BYTES_MAX:
        encoded = _encode({"blake3": blake3(encoded).hexdigest(), "bytes": len(encoded)})
    return encoded.decode()


def clip(name: str) -> str:
    """Return a name, shortened to what a record holds; one so long was refused in any case."""
    return name if len(name) <= NAME_CHARS_MAX else name[:NAME_CHARS_MAX]


def _collection_put(op: CollectionPut) -> Description:
    try:
        options = unpack_document(check_document(op.options, reserved=False))
    except Refusal:
        # MessagePack can say what JSON cannot: the operation was refused for it.
        options = {}
    return Description("collection.put", op.name, None, detail_of(options))


def _collection_drop(op: CollectionDrop) -> Description:
    return Description("collection.drop", op.name, None, None)


def _index_put(op: IndexPut) -> Description:
    facts = {
        "fields": [list(field) for field in op.fields],
        "unique": op.unique,
        "sparse": op.sparse,
        "partial": op.partial is not None,
        "expire_after_s": op.expire_after_s,
    }
    return Description("index.put", clip(op.collection), clip(op.name), detail_of(facts))


def _index_drop(op: IndexDrop) -> Description:
    return Description("index.drop", clip(op.collection), clip(op.name), None)


def _cluster_erase(op: ClusterErase) -> Description:
    return Description("cluster.erase", None, None, detail_of({"key": op.subject}))


def _key_put(op: KeyPut) -> Description:
    facts = {
        "name": op.name,
        "scopes": op.scopes,
        "collections": op.collections,
        "expires_ms": op.expires_ms,
    }
    return Description("key.put", None, op.id, detail_of(facts))


def _key_revoke(op: KeyRevoke) -> Description:
    return Description("key.revoke", None, op.id, None)


def _quota_put(op: QuotaPut) -> Description:
    facts = {
        "calls_limit": op.calls_limit,
        "storage_limit_bytes": op.storage_limit_bytes,
        "period_start_ms": op.period_start_ms,
        "period_end_ms": op.period_end_ms,
    }
    return Description("quota.put", None, None, detail_of(facts))


def _reconfigure(op: Reconfigure) -> Description:
    try:
        order = decode_next(op.order)
    except MalformedMessageError:
        return Description("members.put", None, None, None)
    facts = {"epoch": order.epoch, "members": [member.id for member in order.members]}
    return Description("members.put", None, None, detail_of(facts))


def _audit_put(op: AuditPut) -> Description:
    facts = {
        "level": op.level,
        "retention_ms": op.retention_ms,
        "records_max": op.records_max,
    }
    given = {name: value for name, value in facts.items() if value is not None}
    return Description("audit.put", None, None, detail_of(given))


def _compliance_put(op: CompliancePut) -> Description:
    facts = {"modes": [clip(mode) for mode in op.modes], "signed": bool(op.sig)}
    return Description("compliance.put", None, None, detail_of(facts))


def _erase_begin(op: EraseBegin) -> Description:
    facts = {"subject": op.subject.hex(), "salt": op.salt.hex()}
    return Description("subject.erase_begin", None, clip(op.id.hex()), detail_of(facts))


def _erase_end(op: EraseEnd) -> Description:
    return Description("subject.erase", None, clip(op.id.hex()), None)


def _restore_begin(op: RestoreBegin) -> Description:
    facts = {
        "cluster": op.source_cluster,
        "sequence": op.source_sequence,
        "rows": op.rows,
        "replace": op.replace,
    }
    return Description("restore.begin", None, op.id.hex(), detail_of(facts))


def _restore_end(op: RestoreEnd) -> Description:
    return Description("restore.end", None, op.id.hex(), None)


def _restore_discard(op: RestoreDiscard) -> Description:
    return Description("restore.discard", None, op.id.hex(), None)


ADMINISTRATIVE: Final[dict[type[Op], Callable[[Any], Description]]] = {
    CollectionPut: _collection_put,
    CollectionDrop: _collection_drop,
    IndexPut: _index_put,
    IndexDrop: _index_drop,
    ClusterErase: _cluster_erase,
    KeyPut: _key_put,
    KeyRevoke: _key_revoke,
    QuotaPut: _quota_put,
    Reconfigure: _reconfigure,
    AuditPut: _audit_put,
    CompliancePut: _compliance_put,
    EraseBegin: _erase_begin,
    EraseEnd: _erase_end,
    RestoreBegin: _restore_begin,
    RestoreEnd: _restore_end,
    RestoreDiscard: _restore_discard,
}
"""Recorded at every level."""

WRITES: Final[dict[type[Op], str]] = {
    Create: "document.create",
    Put: "document.put",
    Patch: "document.patch",
    Update: "document.update",
    Delete: "document.delete",
    Resolve: "conflict.resolve",
    Transact: "transaction",
    EraseStep: "subject.erase_step",
}
"""Recorded at `full` and above."""

UNRECORDED: Final[frozenset[type[Op]]] = frozenset(
    {
        OpenSession,
        Get,
        Barrier,
        Seal,
        Maintain,
        ReportCalls,
        ReportAudit,
        RestoreRows,
        Warm,
        ArchiveSeen,
        ArchiveSalt,
        Hold,
    }
)
"""Of the gateways themselves; that a document was read is recorded when its gateway reports it.

The rows of a restore are what its beginning announced. Maintenance does what was ordered
earlier. That a body changes its tier changes no document.
"""

VERSIONED: Final = ("document.", "conflict.")
"""How actions begin whose results have the version of a document."""

REPORTED_ALWAYS: Final = frozenset({"backup.read", "encryption.rotate"})
"""What gateways do without an order, and report at every level."""

_WATCHED: Final = {
    BASIC: frozenset(ADMINISTRATIVE),
    FULL: frozenset(ADMINISTRATIVE) | frozenset(WRITES),
    FORENSIC: frozenset(ADMINISTRATIVE) | frozenset(WRITES),
}
_WATCHED_NAMES: Final = {
    level: frozenset(kind.__name__.encode() for kind in kinds) for level, kinds in _WATCHED.items()
}


def watched(level: str) -> frozenset[type[Op]]:
    """Return the operations that a level records."""
    return _WATCHED[level]


def watched_names(level: str) -> frozenset[bytes]:
    """Return the names of the operations that a level records, as they are encoded."""
    return _WATCHED_NAMES[level]


def places_of(operation: Op) -> list[Place]:
    """Return which documents an operation is about."""
    if isinstance(operation, Transact):
        return [(step.collection, step.id) for step in operation.steps]
    if isinstance(operation, Create | Put | Patch | Update | Delete):
        return [(operation.collection, operation.id)]
    return []


def touched(operation: Op) -> list[Place]:
    """Return which documents an operation is about, as a write or to read."""
    if isinstance(operation, Get):
        return [(operation.collection, operation.id)]
    if isinstance(operation, Resolve):
        return [(CONFLICTS, operation.conflict)]
    if isinstance(operation, EraseStep):
        return [(operation.collection, document_id) for document_id in operation.ids]
    return places_of(operation)


def accounts_of(operation: Op, result: OpResult, *, is_forensic: bool) -> Iterator[Account]:
    """Yield what is written down of an operation that a level records.

    Of a transaction that took effect each step is an account of its own; what it read counts at
    level `forensic`. One that did not is one account.
    """
    if isinstance(operation, Transact) and result.status < 400 and result.document is not None:
        outcome = decode_outcome(result.document)
        facts = detail_of({"transaction": len(operation.steps)})
        for step, done in zip(operation.steps, outcome.results, strict=True):
            if isinstance(step, Check) or (isinstance(step, Get) and not is_forensic):
                continue
            action = "document.read" if isinstance(step, Get) else WRITES[type(step)]
            what = Description(action, clip(step.collection), clip(step.id), facts)
            yield Account(what, done, (step.collection, step.id))
    else:
        places = places_of(operation)
        is_single = not isinstance(operation, Transact) and places
        place = places[0] if is_single else None
        yield Account(_describe(operation, result), result, place)


def _describe(operation: Op, result: OpResult) -> Description:
    administrative = ADMINISTRATIVE.get(type(operation))
    if administrative is not None:
        found: Description = administrative(operation)
        collection = None if found.collection is None else clip(found.collection)
        # Only the state knows what an erasure came to, so its result says it.
        detail = result.detail if isinstance(operation, EraseEnd) else found.detail
        document_id = None if found.id is None else clip(found.id)
        return Description(found.action, collection, document_id, detail)
    action = WRITES[type(operation)]
    if isinstance(operation, Resolve):
        facts = detail_of({"conflict": clip(operation.conflict), "take": clip(operation.take)})
        return Description(action, clip(operation.collection), result.id, facts)
    if isinstance(operation, EraseStep):
        facts = detail_of({"removed": result.version})
        return Description(action, clip(operation.collection), clip(operation.id.hex()), facts)
    if isinstance(operation, Transact):
        steps = [_step_facts(step) for step in operation.steps]
        return Description(action, None, None, detail_of({"steps": steps}))
    assert isinstance(operation, Create | Put | Patch | Update | Delete)
    detail = None
    if result.policy is not None:
        detail = detail_of({"policy": result.policy, "met": result.met})
    return Description(action, clip(operation.collection), clip(operation.id), detail)


def _step_facts(step: Step) -> list[str]:
    return [type(step).__name__.lower(), clip(step.collection), clip(step.id)]
