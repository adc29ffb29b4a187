"""Every refusal a client of a cluster can meet, in one table (RFC 9457 problems)."""

from dataclasses import dataclass, field
from typing import Any, Final

from dataplane.client.errors import BackupError
from dataplane.documents.errors import Refusal
from dataplane.query.types import QueryError
from dataplane.replication.errors import NoQuorumError, NotReadyError, OverloadedError
from dataplane.wire.compliance import MODES, code_of

TITLES: Final = {
    "malformed": (400, "The request is not well formed"),
    "unauthenticated": (401, "A valid token is needed"),
    "forbidden": (403, "The token does not allow this"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "The path does not know this method"),
    "timeout": (408, "The request took too long to arrive"),
    **{code_of(mode): (409, f"The compliance mode {mode} does not allow this") for mode in MODES},
    "conflict": (409, "The request conflicts with what is there"),
    "resync_required": (410, "What happened after this place is not known here"),
    "overrun": (410, "The reader is too slow"),
    "precondition_failed": (412, "The document changed meanwhile"),
    "too_large": (413, "Too large"),
    "unsupported_media_type": (415, "The content type is not understood here"),
    "invalid": (422, "Something in the request is not allowed"),
    "idempotency_key_reused": (422, "The Idempotency-Key was used for something else"),
    "quota_exceeded": (429, "The plan's calls are used up"),
    "rate_limited": (429, "Too many requests at once"),
    "headers_too_large": (431, "The headers are too large"),
    "internal": (500, "The node failed to answer"),
    "audit_backlog": (503, "What was read waits to be recorded"),
    "no_quorum": (503, "No quorum of nodes answered in time"),
    "not_ready": (503, "The node is not ready"),
    "restore_mismatch": (409, "What was loaded is not what was announced"),
    "restoring": (503, "The cluster is being restored"),
    "storage_quota_exceeded": (507, "The plan's storage is full"),
    "audit_full": (507, "The audit log is full"),
}
"""code -> (status, title); the codes are stable."""

RETRY_AFTER_S: Final = {
    "audit_backlog": 1,
    "no_quorum": 1,
    "not_ready": 1,
    "rate_limited": 1,
    "restoring": 5,
}


@dataclass(slots=True)
class Problem(Exception):
    """A refusal on its way to the client."""

    code: str
    detail: str
    fields: dict[str, Any] = field(default_factory=dict)
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    is_recorded: bool = False
    """The audit log has it already, or is about to."""

    def __post_init__(self) -> None:
        assert self.code in TITLES, self.code
        if self.retry_after_s is None:
            self.retry_after_s = RETRY_AFTER_S.get(self.code)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return TITLES[self.code][0]

    def body(self, instance: str) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": f"urn:aerolith:problem:{self.code}",
            "title": TITLES[self.code][1],
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            **self.fields,
        }


def problem_of(error: Exception) -> Problem | None:  # noqa: PLR0911 - a table
    """Return the problem for an error of the layers below, None when it is a bug."""
    match error:
        case Problem():
            return error
        case Refusal():
            return Problem(error.code, error.detail, error_fields(error.errors))
        case QueryError():
            return Problem(error.code, str(error), {"errors": error.errors})
        case BackupError():
            return Problem("invalid", f"not a usable backup: {error.detail}")
        case NoQuorumError():
            return Problem(
                "no_quorum",
                f"{error}; nothing is lost, retry with the same Idempotency-Key",
            )
        case NotReadyError():
            return Problem("not_ready", str(error))
        case OverloadedError():
            return Problem("rate_limited", str(error))
        case _:
            return None


def error_fields(errors: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the `errors` member for (JSON Pointer, detail) pairs."""
    if not errors:
        return {}
    return {"errors": [{"pointer": pointer, "detail": detail} for pointer, detail in errors]}
