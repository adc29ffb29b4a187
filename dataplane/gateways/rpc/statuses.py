"""Refusals as gRPC statuses, and facts of answers as messages."""

from typing import Any, Final, NoReturn

import grpc
import msgspec
from grpc import StatusCode
from grpc.aio import ServicerContext

from dataplane.gateways.answers import Answer, Facts
from dataplane.gateways.context import (
    EPOCH_HEADER,
    LAG_HEADER,
    SEQUENCE_HEADER,
    STALE_HEADER,
    STALENESS_HEADER,
    VIEW_HEADER,
    Context,
)
from dataplane.gateways.errors import TITLES, Problem
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb

STATUS_OF: Final = {
    "malformed": StatusCode.INVALID_ARGUMENT,
    "unauthenticated": StatusCode.UNAUTHENTICATED,
    "forbidden": StatusCode.PERMISSION_DENIED,
    "not_found": StatusCode.NOT_FOUND,
    "method_not_allowed": StatusCode.UNIMPLEMENTED,
    "timeout": StatusCode.DEADLINE_EXCEEDED,
    "conflict": StatusCode.ALREADY_EXISTS,
    "resync_required": StatusCode.OUT_OF_RANGE,
    "restoring": StatusCode.UNAVAILABLE,
    "restore_mismatch": StatusCode.FAILED_PRECONDITION,
    "audit_backlog": StatusCode.UNAVAILABLE,
    "audit_full": StatusCode.RESOURCE_EXHAUSTED,
    "overrun": StatusCode.ABORTED,
    "precondition_failed": StatusCode.FAILED_PRECONDITION,
    "too_large": StatusCode.RESOURCE_EXHAUSTED,
    "unsupported_media_type": StatusCode.UNIMPLEMENTED,
    "invalid": StatusCode.INVALID_ARGUMENT,
    "idempotency_key_reused": StatusCode.FAILED_PRECONDITION,
    "quota_exceeded": StatusCode.RESOURCE_EXHAUSTED,
    "rate_limited": StatusCode.RESOURCE_EXHAUSTED,
    "headers_too_large": StatusCode.RESOURCE_EXHAUSTED,
    "internal": StatusCode.INTERNAL,
    "no_quorum": StatusCode.UNAVAILABLE,
    "not_ready": StatusCode.UNAVAILABLE,
    "storage_quota_exceeded": StatusCode.RESOURCE_EXHAUSTED,
}
"""code -> status; `aerolith-code` tells which of the codes of a status it was."""

CODE_KEY: Final = "aerolith-code"
PROBLEM_KEY: Final = "aerolith-problem-bin"
RETRY_KEY: Final = "retry-after"
PROBLEM_BYTES_MAX: Final = 4_096
"""Metadata of 8 KiB is what clients take by default."""

encode: Final = msgspec.json.Encoder().encode


async def abort(call: ServicerContext[Any, Any], problem: Problem, instance: str) -> NoReturn:
    """End a call with the status of a problem, and the problem beside it."""
    status = STATUS_OF.get(problem.code, grpc.StatusCode.UNKNOWN)
    body = encode(problem.body(instance))
    if len(body) > PROBLEM_BYTES_MAX:
        short = Problem(problem.code, problem.detail[: PROBLEM_BYTES_MAX // 2])
        body = encode(short.body(instance))
    told: list[tuple[str, str | bytes]] = [(CODE_KEY, problem.code), (PROBLEM_KEY, body)]
    if problem.retry_after_s is not None:
        told.append((RETRY_KEY, str(problem.retry_after_s)))
    title = TITLES[problem.code][1]
    await call.abort(status, f"{title}: {problem.detail}"[:1_000], tuple(told))
    raise AssertionError("abort raises")


def position(context: Context, facts: Facts) -> pb.Position:
    """Return where in the log an answer stands."""
    told = dict(facts)
    found = pb.Position(
        sequence=int(told.get(SEQUENCE_HEADER, context.cluster.executed)),
        view=int(told.get(VIEW_HEADER, context.cluster.view)),
        epoch=int(told.get(EPOCH_HEADER, context.cluster.config.epoch)),
    )
    if LAG_HEADER in told:
        age = dict(context.age())
        found.lag = int(told[LAG_HEADER])
        found.staleness_ms = int(age[STALENESS_HEADER])
        found.stale = STALE_HEADER in age
    return found


def document(context: Context, answer: Answer) -> pb.Document:
    """Return the document of an answer."""
    assert answer.body is not None
    body = dict(answer.body)
    found = pb.Document(
        id=body.pop("_id"),
        version=body.pop("_version"),
        created=body.pop("_created"),
        updated=body.pop("_updated"),
        position=position(context, answer.facts),
        is_new=answer.status == 201,
    )
    if "_proof" in body:
        found.proof_json = encode(body.pop("_proof"))
    found.json = encode(body)
    return found
