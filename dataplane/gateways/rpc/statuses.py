"""Refusals as gRPC statuses, and facts of answers as messages."""

from typing import Any, Final, NoReturn

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

STATUS_OF_HTTP: Final = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.FAILED_PRECONDITION,
    410: StatusCode.OUT_OF_RANGE,
    412: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.UNIMPLEMENTED,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    431: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
    507: StatusCode.RESOURCE_EXHAUSTED,
}
_OF_CODE: Final = {
    "conflict": StatusCode.ALREADY_EXISTS,
    "idempotency_key_reused": StatusCode.FAILED_PRECONDITION,
    "overrun": StatusCode.ABORTED,
}


def status_of(code: str) -> StatusCode:
    """Return the status of a code; `aerolith-code` tells which of the codes of a status it was."""
    return _OF_CODE.get(code) or STATUS_OF_HTTP[TITLES[code][0]]


CODE_KEY: Final = "aerolith-code"
PROBLEM_KEY: Final = "aerolith-problem-bin"
RETRY_KEY: Final = "retry-after"
PROBLEM_BYTES_MAX: Final = 4_096
"""Metadata of 8 KiB is what clients take by default."""

encode: Final = msgspec.json.Encoder().encode


async def abort(call: ServicerContext[Any, Any], problem: Problem, instance: str) -> NoReturn:
    """End a call with the status of a problem, and the problem beside it."""
    status = status_of(problem.code)
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
    body = dict(answer.fields())
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
