"""Conflicts: refused writes that asked to be kept, and how they are settled."""

from itertools import islice
from typing import Any, Final

import msgspec

from dataplane.documents.commands import Resolve, decode_result, encode_op
from dataplane.documents.conflicts import CONFLICTS
from dataplane.documents.tables import decode_document_row
from dataplane.documents.values import check_collection_name, check_names, pack_document
from dataplane.gateways.answers import record_body, result_body, result_problem
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.operations import OWN_NAMES
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import idempotency_of, struct_of
from dataplane.gateways.rest.responses import json_response
from dataplane.gateways.services.queries import catch_up
from dataplane.gateways.services.reads import require_sound

PAGE_MAX: Final = 100


class ResolveBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a resolution: which side to take, or a document of one's own."""

    take: str = "document"
    document: dict[str, Any] | None = None
    if_version: int | None = None


async def _catch_up(context: Context) -> int:
    await catch_up(context)
    require_sound(context)
    return context.cluster.executed


async def conflicts_list(
    context: Context, request: Request, caller: Caller, collection: str
) -> Response:
    """GET the open conflicts of a collection, by id; `after` is the last id of the page before."""
    caller.require("documents:read", collection)
    check_collection_name(collection)
    sequence = await _catch_up(context)
    prefix = f"{collection}."
    after = request.query.get("after", prefix)
    if not after.startswith(prefix):
        raise Problem("invalid", "after is the id that ended the page before")
    rows = context.state.view.rows(CONFLICTS, start=after)
    found = [
        record_body(decode_document_row(key.decode(), row))
        for key, row in islice(rows, PAGE_MAX + 1)
        if key.startswith(prefix.encode()) and key != after.encode()
    ][:PAGE_MAX]
    answer = {
        "conflicts": found,
        "next": found[-1]["_id"] if len(found) == PAGE_MAX else None,
    }
    return json_response(answer, 200, context.position(sequence))


async def conflict_read(
    context: Context, _request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """GET one conflict, with both values."""
    collection, conflict = place
    caller.require("documents:read", collection)
    sequence = await _catch_up(context)
    record = context.state.view.get(CONFLICTS, conflict)
    if record is None or not conflict.startswith(f"{collection}."):
        raise Problem("not_found", f"no conflict {conflict} in {collection}")
    return json_response(record_body(record), 200, context.position(sequence))


async def conflict_resolve(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """POST how a conflict is settled; the write and the end of the conflict are one step."""
    collection, conflict = place
    caller.require("documents:write", collection)
    body = struct_of(request, ResolveBody)
    document = body.document
    if (body.take == "document") != (document is not None):
        raise Problem("invalid", "take mine or theirs, or send a document")
    if document is not None:
        for name in OWN_NAMES:
            document.pop(name, None)
        check_names(document)
    op = Resolve(
        collection,
        conflict,
        body.take,
        None if document is None else pack_document(document),
        body.if_version,
        idempotency_of(request, caller),
    )
    submitted = await context.submit([encode_op(op)])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise result_problem(result)
    answer = None if result.document is None else result_body(result, result.document)
    return json_response({"document": answer}, 200, context.position(submitted.sequence))
