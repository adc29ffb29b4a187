"""Indexes of collections, for whoever may administrate them."""

from typing import Any

from dataplane.documents.commands import IndexDrop, IndexPut, Op, OpResult, decode_result, encode_op
from dataplane.documents.index_definitions import check_index_name, parse_definition
from dataplane.documents.rendering import timestamp
from dataplane.documents.types import IndexRecord
from dataplane.documents.values import Json, check_collection_name, check_readable_name
from dataplane.gateways.answers import Answer, result_problem
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem


def indexes_list(context: Context, caller: Caller, collection: str) -> Answer:
    """Return the indexes of a collection as this node has them."""
    caller.require("documents:read", collection)
    check_readable_name(collection)
    view = context.state.view
    if view.collection(collection) is None:
        raise Problem("not_found", "no such collection")
    return Answer(200, {"indexes": [_told(context, it) for it in view.indexes(collection)]})


def advice(context: Context, caller: Caller, collection: str) -> Answer:
    """Return which queries this node has seen, which indexes would help, and which did."""
    caller.require("documents:read", collection)
    check_readable_name(collection)
    view = context.state.view
    if view.collection(collection) is None:
        raise Problem("not_found", "no such collection")
    given = context.queries.advice(collection, view.indexes(collection))
    return Answer(200, {"node": context.spec.node_id, **given})


def index_read(context: Context, caller: Caller, collection: str, name: str) -> Answer:
    """Return one index, and how far it is built."""
    caller.require("documents:read", collection)
    check_readable_name(collection)
    record = _find(context, collection, name)
    if record is None:
        raise Problem("not_found", "no such index")
    return Answer(200, _told(context, record))


async def index_put(
    context: Context,
    caller: Caller,
    place: tuple[str, str],
    body: Json,
    *,
    idempotency: bytes | None = None,
) -> Answer:
    """Make an index; it is built in the background."""
    collection, name = place
    caller.require("collections:admin", collection)
    check_collection_name(collection)
    check_index_name(name)
    asked = parse_definition(body)
    op = IndexPut(
        collection,
        name,
        asked.fields,
        asked.unique,
        asked.sparse,
        asked.partial,
        asked.expire_after_s,
        idempotency,
    )
    result, sequence = await _ordered(context, op)
    record = _find(context, collection, name)
    answer = {"name": name} if record is None else index_body(record)
    return Answer(result.status, answer, context.position(sequence))


async def index_drop(
    context: Context, caller: Caller, place: tuple[str, str], *, idempotency: bytes | None = None
) -> Answer:
    """Drop an index."""
    collection, name = place
    caller.require("collections:admin", collection)
    check_collection_name(collection)
    check_index_name(name)
    _, sequence = await _ordered(context, IndexDrop(collection, name, idempotency))
    return Answer(204, None, context.position(sequence))


def index_body(record: IndexRecord) -> dict[str, Any]:
    """Return an index as clients see it."""
    body: dict[str, Any] = {
        "name": record.name,
        **record.body,
        "state": record.state,
        "multikey": [
            path for bit, (path, _) in enumerate(record.fields) if record.multikey >> bit & 1
        ],
        "entries": record.entries,
        "bytes": record.bytes,
        "created": timestamp(record.created_us),
    }
    if record.state == "building":
        body["progress"] = {"documents": record.built, "of": record.documents}
    if record.failure:
        body["failure"] = {"detail": record.failure[0], "ids": list(record.failure[1:])}
    return body


def _told(context: Context, record: IndexRecord) -> dict[str, Any]:
    """Return an index with what this node used it for."""
    return {**index_body(record), "usage": context.queries.usage(record.id)}


def _find(context: Context, collection: str, name: str) -> IndexRecord | None:
    found = context.state.view.indexes(collection)
    return next((record for record in found if record.name == name), None)


async def _ordered(context: Context, op: Op) -> tuple[OpResult, int]:
    submitted = await context.submit([encode_op(op)])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise result_problem(result)
    return result, submitted.sequence
