"""Documents: create, replace, merge, read, delete, bulk."""

from typing import Any
from urllib.parse import quote

from dataplane.documents.commands import (
    Get,
    Op,
    OpResult,
    decode_result,
    encode_op,
)
from dataplane.documents.errors import Refusal
from dataplane.documents.values import Json, check_collection_name, check_id, check_readable_name
from dataplane.gateways.answers import (
    Answer,
    etag,
    item_body,
    policy_facts,
    result_body,
    result_problem,
)
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import error_fields
from dataplane.gateways.operations import (
    UNCONDITIONAL,
    Condition,
    bulk_items,
    bulk_op,
    create_op,
    delete_op,
    idempotency_name,
    patch_op,
    put_op,
)
from dataplane.gateways.services.reads import (
    Place,
    Reading,
    document_answer,
    read_bounded,
    read_proven,
    require_sound,
    wait_for_position,
)
from dataplane.gateways.services.schemas import refuse_early


async def _one(context: Context, op: Op) -> tuple[OpResult, int]:
    """Order one operation.

    Raises:
        Problem: The operation was refused.
    """
    submitted = await context.submit([encode_op(op)])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise result_problem(result)
    return result, submitted.sequence


async def create(
    context: Context,
    caller: Caller,
    collection: str,
    body: bytes,
    *,
    condition: Condition = UNCONDITIONAL,
) -> Answer:
    """Store a document under a new id, or under its own."""
    caller.require("documents:write", collection)
    op, packed = create_op(collection, body, condition, context.new_id())
    await refuse_early(context, collection, packed, condition)
    result, sequence = await _one(context, op)
    assert result.id is not None
    assert result.version is not None
    location = f"/api/v1/collections/{collection}/documents/{quote(result.id, safe='')}"
    facts = [etag(result.version), ("Location", location), *context.position(sequence)]
    return Answer(201, result_body(result, packed), facts)


async def put(
    context: Context,
    caller: Caller,
    place: Place,
    body: bytes,
    *,
    condition: Condition = UNCONDITIONAL,
) -> Answer:
    """Create a document or replace it."""
    caller.require("documents:write", place[0])
    op = put_op(place, body, condition)
    if op.if_version is None:
        await refuse_early(context, place[0], op.document, condition)
    result, sequence = await _one(context, op)
    return _written(context, result, result.document or op.document, sequence)


async def patch(
    context: Context,
    caller: Caller,
    place: Place,
    body: bytes,
    *,
    condition: Condition = UNCONDITIONAL,
    operators: bool = False,
) -> Answer:
    """Change a document by a merge patch, or by update operators."""
    caller.require("documents:write", place[0])
    op = patch_op(place, body, condition, operators=operators)
    result, sequence = await _one(context, op)
    assert result.document is not None
    return _written(context, result, result.document, sequence)


def _written(context: Context, result: OpResult, body: bytes, sequence: int) -> Answer:
    assert result.version is not None
    facts = [etag(result.version), *context.position(sequence), *policy_facts(result)]
    return Answer(result.status, result_body(result, body), facts)


async def delete(
    context: Context, caller: Caller, place: Place, condition: Condition = UNCONDITIONAL
) -> Answer:
    """Delete a document."""
    caller.require("documents:write", place[0])
    result, sequence = await _one(context, delete_op(place, condition))
    return Answer(204, facts=[*context.position(sequence), *policy_facts(result)])


async def read(context: Context, caller: Caller, place: Place, reading: Reading) -> Answer:
    """Return a document at the consistency asked for."""
    with context.reporter.reading(Seen("document.read", *place)) as reading_of:
        answer = await _read(context, caller, place, reading)
        reading_of.answered(answer.facts)
        return answer


async def _read(context: Context, caller: Caller, place: Place, reading: Reading) -> Answer:
    collection, document_id = place
    caller.require("documents:read", collection)
    check_readable_name(collection)
    check_id(document_id)
    consistency = reading.consistency
    if reading.proof:
        return await read_proven(context, reading, place)
    if consistency == "bounded":
        return await read_bounded(context, reading.after, place)
    if consistency == "strong":
        return await _read_strong(context, place)
    if consistency == "session":
        await wait_for_position(context, reading.after)
    require_sound(context)
    facts = [*context.position(context.cluster.executed), context.staleness()]
    return await document_answer(context, place, context.state.view.row(*place), facts)


async def _read_strong(context: Context, place: Place) -> Answer:
    """Answer the newest document, by a place in the log only where nodes do not agree without."""
    confirmed = await context.reads.strong(place)
    if confirmed is not None:
        facts = context.position(confirmed.sequence)
        return await document_answer(context, place, confirmed.row, facts)
    result, sequence = await _one(context, Get(*place))
    assert result.document is not None
    assert result.version is not None
    facts = [etag(result.version), *context.position(sequence)]
    return Answer(200, result_body(result, result.document), facts)


async def bulk(
    context: Context, caller: Caller, collection: str, body: Json, *, idempotency_key: str | None
) -> Answer:
    """Do up to 1,000 operations, each with its own result, in order."""
    caller.require("documents:write", collection)
    check_collection_name(collection)
    context.require_room()
    results: list[dict[str, Any] | None] = []
    ops: list[bytes] = []
    ids: list[str] = []
    stamped: list[bool] = []
    for index, item in enumerate(bulk_items(body)):
        idempotency = idempotency_name(caller, idempotency_key, index)
        try:
            _, op = bulk_op(item, collection, idempotency, context.new_id())
        except Refusal as refusal:
            results.append(_refused_item(refusal))
        else:
            results.append(None)
            ops.append(encode_op(op))
            ids.append(op.id)
            stamped.append(getattr(op, "stamp", None) is not None)
    sequence = context.cluster.executed
    if ops:
        submitted = await context.submit(ops, ids)
        sequence = submitted.sequence
        answers = iter(
            [
                item_body(decode_result(answer), with_document=wanted)
                for answer, wanted in zip(submitted.results, stamped, strict=True)
            ]
        )
        results = [next(answers) if result is None else result for result in results]
    return Answer(200, {"results": results}, context.position(sequence))


def _refused_item(refusal: Refusal) -> dict[str, Any]:
    return {
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        **error_fields(refusal.errors),
    }
