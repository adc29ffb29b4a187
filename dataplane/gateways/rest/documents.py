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
from dataplane.documents.values import check_collection_name, check_id, check_readable_name
from dataplane.gateways.auth import Caller
from dataplane.gateways.errors import error_fields
from dataplane.gateways.rest.context import Context
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import (
    bulk_items,
    bulk_op,
    create_op,
    delete_op,
    idempotency_of,
    patch_op,
    put_op,
)
from dataplane.gateways.rest.reads import (
    absent,
    consistency_of,
    document_response,
    position_of,
    read_bounded,
    read_proven,
    require_sound,
    wait_for_position,
    wants_proof,
)
from dataplane.gateways.rest.responses import (
    etag,
    item_body,
    json_response,
    policy_headers,
    record_body,
    result_body,
    result_problem,
)


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


async def create(context: Context, request: Request, caller: Caller, collection: str) -> Response:
    """POST a document under a new or its own id."""
    caller.require("documents:write", collection)
    op, body = create_op(request, collection, caller, context.new_id())
    result, sequence = await _one(context, op)
    assert result.id is not None
    assert result.version is not None
    location = f"/api/v1/collections/{collection}/documents/{quote(result.id, safe='')}"
    headers = [etag(result.version), ("Location", location), *context.position(sequence)]
    return json_response(result_body(result, body), 201, headers)


async def put(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """PUT a document: create it or replace it."""
    collection, document_id = place
    caller.require("documents:write", collection)
    op = put_op(request, collection, document_id, caller)
    result, sequence = await _one(context, op)
    return _written(context, result, result.document or op.document, sequence)


async def patch(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """PATCH a document by merge patch or update operators."""
    collection, document_id = place
    caller.require("documents:write", collection)
    op = patch_op(request, collection, document_id, caller)
    result, sequence = await _one(context, op)
    assert result.document is not None
    return _written(context, result, result.document, sequence)


def _written(context: Context, result: OpResult, body: bytes, sequence: int) -> Response:
    assert result.version is not None
    headers = [etag(result.version), *context.position(sequence), *policy_headers(result)]
    return json_response(result_body(result, body), result.status, headers)


async def delete(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """DELETE a document."""
    collection, document_id = place
    caller.require("documents:write", collection)
    result, sequence = await _one(context, delete_op(request, collection, document_id, caller))
    return Response(204, headers=[*context.position(sequence), *policy_headers(result)])


async def read(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """GET a document at the consistency asked for."""
    collection, document_id = place
    caller.require("documents:read", collection)
    check_readable_name(collection)
    check_id(document_id)
    consistency = consistency_of(request.query.get("consistency"))
    if wants_proof(request):
        return await read_proven(context, request, consistency, place)
    if consistency == "bounded":
        return await read_bounded(context, request, place)
    if consistency == "strong":
        return await _read_strong(context, place)
    if consistency == "session":
        await wait_for_position(context, position_of(request))
    require_sound(context)
    record = context.state.view.get(*place)
    headers = [*context.position(context.cluster.executed), context.staleness()]
    if record is None:
        raise absent(place, headers)
    return json_response(record_body(record), 200, [etag(record.version), *headers])


async def _read_strong(context: Context, place: tuple[str, str]) -> Response:
    """Answer the newest document, by a place in the log only where nodes do not agree without."""
    confirmed = await context.reads.strong(place)
    if confirmed is not None:
        return document_response(place, confirmed.row, context.position(confirmed.sequence))
    result, sequence = await _one(context, Get(*place))
    assert result.document is not None
    assert result.version is not None
    headers = [etag(result.version), *context.position(sequence)]
    return json_response(result_body(result, result.document), 200, headers)


async def bulk(context: Context, request: Request, caller: Caller, collection: str) -> Response:
    """POST up to 1,000 operations, each with its own result, in order."""
    caller.require("documents:write", collection)
    check_collection_name(collection)
    context.require_room()
    results: list[dict[str, Any] | None] = []
    ops: list[bytes] = []
    stamped: list[bool] = []
    for index, item in enumerate(bulk_items(request)):
        idempotency = idempotency_of(request, caller, index)
        try:
            _, op = bulk_op(item, collection, idempotency, context.new_id())
        except Refusal as refusal:
            results.append(_refused_item(refusal))
        else:
            results.append(None)
            ops.append(encode_op(op))
            stamped.append(getattr(op, "stamp", None) is not None)
    sequence = context.cluster.executed
    if ops:
        submitted = await context.submit(ops)
        sequence = submitted.sequence
        answers = iter(
            [
                item_body(decode_result(answer), with_document=wanted)
                for answer, wanted in zip(submitted.results, stamped, strict=True)
            ]
        )
        results = [next(answers) if result is None else result for result in results]
    return json_response({"results": results}, 200, context.position(sequence))


def _refused_item(refusal: Refusal) -> dict[str, Any]:
    return {
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        **error_fields(refusal.errors),
    }
