"""Exit codes of the command line, and what to do about an error; both are documented."""

from typing import Final

from dataplane.client.errors import (
    AnchorError,
    ApiError,
    ClientError,
    ClusterUnreachableError,
    EvidenceError,
    ProofError,
)

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
NOT_ALLOWED: Final = 5
UNAVAILABLE: Final = 6
LIMIT: Final = 7
UNSUCCESSFUL: Final = 8
PARTLY: Final = 9
INTERRUPTED: Final = 130

_BY_CODE: Final = {
    "unauthenticated": NOT_ALLOWED,
    "forbidden": NOT_ALLOWED,
    "not_found": NOT_FOUND,
    "conflict": CONFLICT,
    "precondition_failed": CONFLICT,
    "idempotency_key_reused": CONFLICT,
    "audit_backlog": UNAVAILABLE,
    "cluster_unreachable": UNAVAILABLE,
    "no_quorum": UNAVAILABLE,
    "not_ready": UNAVAILABLE,
    "restoring": UNAVAILABLE,
    "unavailable": UNAVAILABLE,
    "rate_limited": LIMIT,
    "quota_exceeded": LIMIT,
    "storage_quota_exceeded": LIMIT,
    "too_large": LIMIT,
    "invalid": USAGE,
    "malformed": USAGE,
}
_BY_STATUS: Final = {
    401: NOT_ALLOWED,
    403: NOT_ALLOWED,
    404: NOT_FOUND,
    405: USAGE,
    408: UNAVAILABLE,
    409: CONFLICT,
    410: CONFLICT,
    412: CONFLICT,
    413: LIMIT,
    415: USAGE,
    422: USAGE,
    429: LIMIT,
    431: LIMIT,
    507: LIMIT,
}
_SERVER_ERROR: Final = 500

_SHELL_HINTS: Final = {
    "forbidden": "The key lacks a scope, or the collection: `aerolith keys create` makes another.",
    "no_quorum": "Nothing is lost; a write may have been done. `aerolith status` shows the nodes.",
    "unauthenticated": "The key is wrong, expired or revoked: see AEROLITH_TOKEN and --key-file.",
}
"""Where the shell has a command for what the client advises."""

_PORTAL_HINTS: Final = {
    "backup_running": "Wait until it is done: `aerolith backups list`.",
    "backup_store_unavailable": "Try again later; if it lasts, tell who runs the portal.",
    "beyond_f": "Break fewer nodes, or say --beyond-f: nothing is promised then.",
    "cluster_quota_exceeded": "Delete a cluster, or ask who runs the portal for more.",
    "cluster_state": "See what it is doing: `aerolith clusters show`, `aerolith operations list`.",
    "cluster_unreachable": "No node answers the portal: `aerolith nodes list` shows them.",
    "experiment_running": "Put the nodes back first: `aerolith chaos stop`.",
    "forbidden": "Ask an owner or admin of the organization for the permission.",
    "moment_not_kept": "`aerolith backups policy show` tells which moments are kept.",
    "name_taken": "Choose another name.",
    "node_count_not_offered": "`aerolith clusters plans` lists what each plan offers.",
    "not_a_sandbox": "Only a sandbox may be broken: `aerolith chaos sandbox --on` makes it one.",
    "not_cancellable": "It is past the point of return: `aerolith operations watch` waits for it.",
    "not_retryable": "`aerolith operations show` says what is to be done instead.",
    "production_cluster": "A cluster of production is never broken: create a sandbox.",
    "quota_exceeded": "The limit of the plan is reached: see `aerolith usage`.",
    "rate_limited": "Wait a moment, or ask for less at once.",
    "unauthenticated": "The token is wrong, expired or revoked: `aerolith login` takes a new one.",
    "unavailable": "Try again in a moment; nothing was changed.",
    "unknown_plan": "`aerolith clusters plans` lists them.",
    "wrong_password": "It is the password of the account that the token is of.",
}


class CommandError(Exception):
    """A command cannot be done; says why, and what to do."""

    def __init__(self, detail: str, *, code: int = FAILED, hint: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.hint = hint


class PortalRefusedError(CommandError):
    """The portal answered with a problem; its code is stable."""

    def __init__(self, status: int, problem: dict[str, object]) -> None:
        self.status = status
        self.problem_code = str(problem.get("code", "unknown"))
        self.fields = problem
        detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
        hint = _PORTAL_HINTS.get(self.problem_code, "")
        code = exit_code(status, self.problem_code)
        super().__init__(_with_pointers(detail, problem), code=code, hint=hint)


def exit_code(status: int, code: str) -> int:
    """Return the exit code of a refusal."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    return _BY_STATUS.get(status, UNAVAILABLE if status >= _SERVER_ERROR else FAILED)


def explained(error: ClientError) -> CommandError:
    """Return what to tell about an error of the client."""
    if isinstance(error, ApiError):
        detail = _with_pointers(f"{error.detail} ({error.code})", error.fields)
        hint = _SHELL_HINTS.get(error.code, error.advice)
        return CommandError(detail, code=exit_code(error.status, error.code), hint=hint)
    if isinstance(error, ClusterUnreachableError):
        hint = "Check the addresses (--url, `aerolith clusters show`) and whether the nodes run."
        return CommandError(str(error), code=UNAVAILABLE, hint=hint)
    if isinstance(error, ProofError | EvidenceError):
        return CommandError(f"NOT PROVEN. {error}")
    if isinstance(error, AnchorError):
        hint = "`aerolith anchor` writes the trust anchor that the portal tells."
        return CommandError(str(error), code=USAGE, hint=hint)
    return CommandError(str(error))


def _with_pointers(detail: str, fields: dict[str, object]) -> str:
    errors = fields.get("errors")
    if not isinstance(errors, list):
        return detail
    lines = [
        f"  {fault.get('pointer') or '/'}: {fault.get('detail', '')}"
        for fault in errors
        if isinstance(fault, dict)
    ]
    return "\n".join([detail, *lines])
