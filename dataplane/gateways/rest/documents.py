"""The routes of documents: what HTTP says, as calls of the service layer."""

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.operations import Condition
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import (
    JSON,
    MERGE_PATCH,
    UPDATE,
    condition_of,
    idempotency_of,
    if_match,
    object_of,
    position_of,
    require_media_type,
    wants_proof,
)
from dataplane.gateways.rest.responses import answer_response
from dataplane.gateways.services import documents
from dataplane.gateways.services.reads import Place, Reading, consistency_of


def _reading_of(request: Request) -> Reading:
    """Return how the document is to be read; most requests say nothing about it."""
    query = request.query if request.query_text else {}
    consistency = consistency_of(query.get("consistency"))
    return Reading(consistency, position_of(request), wants_proof(query.get("proof", "false")))


async def create(context: Context, request: Request, caller: Caller, collection: str) -> Response:
    """POST a document under a new or its own id."""
    require_media_type(request, JSON)
    condition = Condition(idempotency=idempotency_of(request, caller))
    return answer_response(
        await documents.create(context, caller, collection, request.body, condition=condition)
    )


async def put(context: Context, request: Request, caller: Caller, place: Place) -> Response:
    """PUT a document: create it or replace it."""
    require_media_type(request, JSON)
    condition = condition_of(request, caller)
    return answer_response(
        await documents.put(context, caller, place, request.body, condition=condition)
    )


async def patch(context: Context, request: Request, caller: Caller, place: Place) -> Response:
    """PATCH a document by merge patch or update operators."""
    kind = require_media_type(request, JSON, MERGE_PATCH, UPDATE)
    condition = Condition(if_match(request), idempotency=idempotency_of(request, caller))
    answer = await documents.patch(
        context, caller, place, request.body, condition=condition, operators=kind == UPDATE
    )
    return answer_response(answer)


async def delete(context: Context, request: Request, caller: Caller, place: Place) -> Response:
    """DELETE a document."""
    condition = Condition(if_match(request), idempotency=idempotency_of(request, caller))
    return answer_response(await documents.delete(context, caller, place, condition))


async def read(context: Context, request: Request, caller: Caller, place: Place) -> Response:
    """GET a document at the consistency asked for."""
    return answer_response(await documents.read(context, caller, place, _reading_of(request)))


async def bulk(context: Context, request: Request, caller: Caller, collection: str) -> Response:
    """POST up to 1,000 operations, each with its own result, in order."""
    caller.require("documents:write", collection)
    context.require_room()
    key = request.headers.get("idempotency-key")
    answer = await documents.bulk(
        context, caller, collection, object_of(request), idempotency_key=key
    )
    return answer_response(answer)
