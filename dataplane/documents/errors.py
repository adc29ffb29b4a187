"""Refusals of the state machine: every one becomes a result, never an exception of `apply`."""

from typing import Final

from dataplane.wire.compliance import MODES, code_of

MALFORMED: Final = "malformed"
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
CONFLICT: Final = "conflict"
PRECONDITION_FAILED: Final = "precondition_failed"
TOO_LARGE: Final = "too_large"
INVALID: Final = "invalid"
IDEMPOTENCY_KEY_REUSED: Final = "idempotency_key_reused"
STORAGE_QUOTA_EXCEEDED: Final = "storage_quota_exceeded"
RESTORE_MISMATCH: Final = "restore_mismatch"
RESTORING: Final = "restoring"
AUDIT_FULL: Final = "audit_full"
NOT_READY: Final = "not_ready"

COMPLIANCE_CODES: Final = tuple(map(code_of, MODES))

STATUS: Final = {
    MALFORMED: 400,
    FORBIDDEN: 403,
    NOT_FOUND: 404,
    CONFLICT: 409,
    PRECONDITION_FAILED: 412,
    TOO_LARGE: 413,
    INVALID: 422,
    IDEMPOTENCY_KEY_REUSED: 422,
    STORAGE_QUOTA_EXCEEDED: 507,
    RESTORE_MISMATCH: 409,
    RESTORING: 503,
    AUDIT_FULL: 507,
    NOT_READY: 503,
    **dict.fromkeys(COMPLIANCE_CODES, 409),
}


class Refusal(Exception):
    """An operation that cannot be done, for a reason its sender can understand."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: tuple[tuple[str, str], ...] = (),
        version: int | None = None,
        fields: bytes | None = None,
    ) -> None:
        assert code in STATUS
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = STATUS[code]
        self.errors = errors
        self.version = version
        self.fields = fields


def invalid(pointer: str, detail: str) -> Refusal:
    """Return the refusal of one field."""
    return Refusal(INVALID, detail, errors=((pointer, detail),))
