"""The operations of the audit log, of compliance modes, and of the erasure of persons."""

import msgspec

from dataplane.documents.operation import Operation


class AuditPut(Operation, frozen=True):
    """Set what is recorded and how long it is kept; None leaves a setting as it is."""

    level: str | None = None
    retention_ms: int | None = None
    records_max: int | None = None
    idempotency: bytes | None = None


class CompliancePut(Operation, frozen=True):
    """Set which compliance modes are on, in order; `revision` is that of the present ones.

    `sig` is the control plane's over `wire.compliance.modes_payload`: needed to turn one off.
    """

    modes: tuple[str, ...]
    revision: int
    sig: bytes = b""
    idempotency: bytes | None = None


class EraseBegin(Operation, frozen=True):
    """Begin to erase a person, known by a salted hash (`subjects.subject_hash`)."""

    id: bytes
    subject: bytes
    salt: bytes


class EraseStep(Operation, frozen=True):
    """Remove those of the named documents that name the person of an erasure."""

    id: bytes
    collection: str
    ids: tuple[str, ...]


class EraseEnd(Operation, frozen=True):
    """Say that nothing is left; the result carries the index of the audit record as `version`."""

    id: bytes


class AuditEvent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a gateway saw that is not in the log: a read, or an order that it refused itself."""

    actor: str
    action: str
    collection: str | None
    id: str | None
    status: int
    code: str | None
    version: int | None
    count: int
    detail: str | None


class ReportAudit(Operation, frozen=True):
    """Record what one gateway saw since its last report, in the order in which it saw it.

    Its idempotency key lets the gateway send it again until it knows that it was recorded.
    """

    events: tuple[AuditEvent, ...]
    idempotency: bytes | None = None
