"""A class for each stable code of a refusal, and what to do about it.

`refusal_of` makes the error of a code. One that this version does not know, as a newer node may
name, is an `ApiError`. The TypeScript client's classes are generated from these.
"""

from collections.abc import Mapping
from typing import Any, Final

from dataplane.client.errors import ApiError


class MalformedError(ApiError):
    """The request is not well formed."""

    advice = "The request cannot be read: mend what the detail names before it is sent again."


class UnauthenticatedError(ApiError):
    """The token is missing, wrong, expired or revoked."""

    advice = "Use another API key of this cluster: this one is wrong, expired or revoked."


class ForbiddenError(ApiError):
    """The key lacks a scope, or does not cover the collection."""

    advice = "Use a key with the scope and the collection that the detail names."


class NotFoundError(ApiError):
    """There is no such document, collection, index or path."""

    advice = "Check the names; a document may have been deleted or have expired."


class MethodNotAllowedError(ApiError):
    """The path does not know this method."""

    advice = "Client and nodes are of different versions: use a client of the nodes' version."


class RequestTimeoutError(ApiError):
    """The request took too long to arrive."""

    advice = "Send it again, or less at once: the network is slow."


class ComplianceError(ApiError):
    """A compliance mode of the cluster does not allow it."""

    advice = (
        "The cluster holds to a compliance mode: do it within its rules, or have an owner of "
        "the cluster turn the mode off."
    )


class ConflictError(ApiError):
    """What is there does not allow it: the id is taken, an index is unique, a check failed."""

    advice = "Read what is there and decide again: the same request fails as long as that is so."


class ResyncRequiredError(ApiError):
    """What happened after this place is not known any more."""

    advice = "Read the collections anew, then follow the feed from now on."


class OverrunError(ApiError):
    """The reader of a feed is too slow."""

    advice = "Go on behind the last place, and read faster or ask for less."


class PreconditionFailedError(ApiError):
    """The document has another version than was demanded."""

    advice = "Read the document again, change what it is now, and repeat."


class TooLargeError(ApiError):
    """A document, a body or a list is over its limit."""

    advice = "Send less at once; a document has at most 1 MiB, a body 16 MiB."


class UnsupportedMediaTypeError(ApiError):
    """The content type is not understood here."""

    advice = "Send JSON; the documentation names the content types of patches."


class InvalidError(ApiError):
    """Something in the request is not allowed; `errors` points at it."""

    advice = "Mend what `errors` points at; the same request will fail again."


class IdempotencyKeyReusedError(ApiError):
    """The idempotency key was used for another request."""

    advice = "Use a new idempotency key for each thing to do."


class QuotaExceededError(ApiError):
    """The plan's calls are used up."""

    advice = "Wait until `resets`, or choose a larger plan."


class RateLimitedError(ApiError):
    """Too many requests at once."""

    advice = "Wait a moment, or ask for less at once."
    is_passing = True


class HeadersTooLargeError(ApiError):
    """The headers of the request are too large."""

    advice = "Send fewer or shorter headers: look at the key and at proxies in between."


class InternalError(ApiError):
    """The node failed to answer."""

    advice = (
        "Ask another node; a write may have been done, so repeat it under its idempotency "
        "key. The node's log says why."
    )


class AuditBacklogError(ApiError):
    """What was read waits to be recorded."""

    advice = "Wait a moment: nothing is read that cannot be recorded."
    is_passing = True


class NoQuorumError(ApiError):
    """No quorum of nodes answered in time."""

    advice = (
        "Nothing is lost; a write may have been done, so repeat it under its idempotency "
        "key. See which nodes are away."
    )
    is_passing = True


class NotReadyError(ApiError):
    """The node is starting or catching up."""

    advice = "Try again in some seconds, or ask another node."
    is_passing = True


class RestoreMismatchError(ApiError):
    """What was loaded is not what was announced."""

    advice = "Discard the restore, verify the backup, and begin anew."


class RestoringError(ApiError):
    """The cluster is being restored."""

    advice = "Wait until the restore has ended: the cluster serves nothing meanwhile."


class StorageQuotaExceededError(ApiError):
    """The plan's storage is full."""

    advice = "Delete what is not needed, or choose another plan."


class AuditFullError(ApiError):
    """The audit log is full."""

    advice = "Have an administrator allow more records, or shorten how long they are kept."


BY_CODE: Final[Mapping[str, type[ApiError]]] = {
    "malformed": MalformedError,
    "unauthenticated": UnauthenticatedError,
    "forbidden": ForbiddenError,
    "not_found": NotFoundError,
    "method_not_allowed": MethodNotAllowedError,
    "timeout": RequestTimeoutError,
    "compliance_gdpr": ComplianceError,
    "compliance_hipaa": ComplianceError,
    "compliance_pci_dss": ComplianceError,
    "compliance_sox": ComplianceError,
    "conflict": ConflictError,
    "resync_required": ResyncRequiredError,
    "overrun": OverrunError,
    "precondition_failed": PreconditionFailedError,
    "too_large": TooLargeError,
    "unsupported_media_type": UnsupportedMediaTypeError,
    "invalid": InvalidError,
    "idempotency_key_reused": IdempotencyKeyReusedError,
    "quota_exceeded": QuotaExceededError,
    "rate_limited": RateLimitedError,
    "headers_too_large": HeadersTooLargeError,
    "internal": InternalError,
    "audit_backlog": AuditBacklogError,
    "no_quorum": NoQuorumError,
    "not_ready": NotReadyError,
    "restore_mismatch": RestoreMismatchError,
    "restoring": RestoringError,
    "storage_quota_exceeded": StorageQuotaExceededError,
    "audit_full": AuditFullError,
}


def refusal_of(status: int, code: str, detail: str, fields: Mapping[str, Any]) -> ApiError:
    """Return the error of a code."""
    return BY_CODE.get(code, ApiError)(status, code, detail, fields)
