"""Collections, keys, limits, and what the cluster says of itself."""

from typing import Any

import msgspec

from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    KeyPut,
    KeyRevoke,
    Op,
    OpResult,
    QuotaPut,
    decode_result,
    encode_op,
)
from dataplane.documents.conflicts import POLICY_OPTION, SHREDDABLE_OPTION
from dataplane.documents.settings import (
    SCHEMA_OPTION,
    TIERING_OPTION,
    TTL_OPTION,
    VALIDATION_OPTION,
    settings_of,
)
from dataplane.documents.subjects import SUBJECT_OPTION
from dataplane.documents.values import check_collection_name, pack_document
from dataplane.gateways.answers import collection_body, key_body, result_problem
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import idempotency_of, object_of, struct_of
from dataplane.gateways.rest.responses import answer_response, json_response
from dataplane.gateways.services import cluster, schemas
from dataplane.gateways.services.queries import catch_up

COLLECTION_OPTIONS = frozenset(
    {
        POLICY_OPTION,
        SHREDDABLE_OPTION,
        SCHEMA_OPTION,
        SUBJECT_OPTION,
        TIERING_OPTION,
        TTL_OPTION,
        VALIDATION_OPTION,
    }
)


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /keys/{id}; `hash` is the hex SHA-256 of the whole token.

    Of an issuer it is the public key; of a revocation nothing (see `commands.KeyPut`).
    """

    name: str
    hash: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...] = ("*",)
    expires_ms: int | None = None
    requests_per_s: int | None = None
    kind: str = "key"


class QuotaBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /quota."""

    calls_limit: int | None = None
    storage_limit_bytes: int | None = None
    period_start_ms: int | None = None
    period_end_ms: int | None = None
    requests_per_s: int | None = None


async def ordered(context: Context, op: Op) -> tuple[OpResult, int]:
    """Order one operation; return its result and where it took effect.

    Raises:
        Problem: The operation was refused.
    """
    submitted = await context.submit([encode_op(op)])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise result_problem(result)
    return result, submitted.sequence


async def collections_list(context: Context, _request: Request, caller: Caller) -> Response:
    """GET the collections that the key covers."""
    return answer_response(cluster.collections_list(context, caller))


async def collection_put(context: Context, request: Request, caller: Caller, name: str) -> Response:
    """PUT a collection."""
    caller.require("collections:admin", name)
    check_collection_name(name)
    options = object_of(request) if request.body else {}
    unknown = sorted(set(options) - COLLECTION_OPTIONS)
    if unknown:
        raise Problem("invalid", f"this version of the node has no option {unknown[0]}")
    if options.get(SHREDDABLE_OPTION) is True and not context.encryption.describe()["enabled"]:
        raise Problem("invalid", "this node keeps no keys: what it stores cannot be shredded")
    packed = pack_document(options)
    settings = settings_of(packed)
    if settings.archive_after_s is not None:
        cluster.require_archive(context)
    schema = settings.schema
    if request.query.get("dry_run") == "true":
        if schema is not None:
            caller.require("documents:read", name)
        await catch_up(context)
        status, sequence = 200, context.cluster.executed
        body: dict[str, Any] = {"name": name, "options": options, "dry_run": True}
    else:
        op = CollectionPut(name, packed, idempotency_of(request, caller))
        result, sequence = await ordered(context, op)
        status, record = result.status, context.state.view.collection(name)
        body = {"name": name} if record is None else collection_body(record)
    if schema is not None and caller.may("documents:read", name):
        with context.reporter.reading(Seen("collection.check", name)):
            body["report"] = await schemas.report(context, name, schema)
    return json_response(body, status, context.position(sequence))


async def collection_drop(
    context: Context, request: Request, caller: Caller, name: str
) -> Response:
    """DELETE a collection and all it holds."""
    caller.require("collections:admin", name)
    check_collection_name(name)
    _, sequence = await ordered(context, CollectionDrop(name, idempotency_of(request, caller)))
    return Response(204, headers=context.position(sequence))


async def keys_list(context: Context, _request: Request, caller: Caller) -> Response:
    """GET the keys, without hashes."""
    caller.require("cluster:admin")
    return json_response({"keys": [key_body(record) for record in context.state.view.keys()]})  # noqa: SIM118


async def key_put(context: Context, request: Request, caller: Caller, key_id: str) -> Response:
    """PUT a key."""
    caller.require("cluster:admin")
    body = struct_of(request, KeyBody)
    try:
        digest = bytes.fromhex(body.hash)
    except ValueError as error:
        raise Problem("invalid", "hash is the hex SHA-256 of the token") from error
    op = KeyPut(
        key_id,
        digest,
        body.name,
        body.scopes,
        body.collections,
        body.expires_ms,
        idempotency_of(request, caller),
        body.requests_per_s,
        body.kind,
    )
    result, sequence = await ordered(context, op)
    record = context.state.view.key(key_id)
    answer = {"id": key_id} if record is None else key_body(record)
    return json_response(answer, result.status, context.position(sequence))


async def key_revoke(context: Context, request: Request, caller: Caller, key_id: str) -> Response:
    """DELETE a key: it stops working on every node as soon as that executes."""
    caller.require("cluster:admin")
    _, sequence = await ordered(context, KeyRevoke(key_id, idempotency_of(request, caller)))
    return Response(204, headers=context.position(sequence))


async def quota_put(context: Context, request: Request, caller: Caller) -> Response:
    """PUT the limits of the plan."""
    caller.require("cluster:admin")
    body = struct_of(request, QuotaBody)
    op = QuotaPut(
        body.calls_limit,
        body.storage_limit_bytes,
        body.period_start_ms,
        body.period_end_ms,
        idempotency_of(request, caller),
        body.requests_per_s,
    )
    _, sequence = await ordered(context, op)
    return json_response(cluster.quota_body(context), 200, context.position(sequence))


async def stats(context: Context, _request: Request, caller: Caller) -> Response:
    """GET totals and live figures of this node."""
    return answer_response(cluster.stats(context, caller))


async def nodes_status(context: Context, _request: Request, caller: Caller) -> Response:
    """GET every member as this node sees it."""
    return answer_response(cluster.nodes_status(context, caller))
