"""Requests of clients as operations of the cluster."""

from typing import Any, Final

import msgspec
from blake3 import blake3

from dataplane.documents.commands import Create, Delete, Op, Patch, Put, Update
from dataplane.documents.errors import Refusal, invalid
from dataplane.documents.values import (
    Json,
    check_collection_name,
    check_id,
    check_names,
    pack_document,
    parse_json_document,
)
from dataplane.gateways.auth import Caller
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Request

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
UPDATE: Final = "application/vnd.aerolith.update+json"
BULK_OPERATIONS_MAX: Final = 1_000
BULK_BYTES_MAX: Final = 16 * 1024 * 1024
IDEMPOTENCY_KEY_MAX: Final = 255


def media_type(request: Request) -> str:
    """Return the content type without parameters; a missing one counts as JSON."""
    return request.headers.get("content-type", JSON).split(";", 1)[0].strip().lower()


def require_media_type(request: Request, *allowed: str) -> str:
    """Return the content type when it is one of the allowed.

    Raises:
        Problem: `unsupported_media_type`.
    """
    given = media_type(request)
    if given not in allowed:
        raise Problem("unsupported_media_type", f"send one of {', '.join(allowed)}")
    return given


def object_of(request: Request, *, bytes_max: int = BULK_BYTES_MAX) -> Json:
    """Return the JSON object in the body.

    Raises:
        Problem: `unsupported_media_type`.
        Refusal: `malformed` or `too_large`.
    """
    require_media_type(request, JSON)
    return parse_json_document(request.body, bytes_max=bytes_max)


def struct_of[S: msgspec.Struct](request: Request, kind: type[S]) -> S:
    """Return the body as a struct that refuses unknown fields.

    Raises:
        Problem: `malformed`, `invalid` or `unsupported_media_type`.
    """
    require_media_type(request, JSON)
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise Problem("invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed", f"not JSON: {error}") from error


def idempotency_of(request: Request, caller: Caller, part: int | None = None) -> bytes | None:
    """Return the replicated name of the request's Idempotency-Key, per key of the caller.

    Raises:
        Problem: `invalid` when it is empty or too long.
    """
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not 1 <= len(given) <= IDEMPOTENCY_KEY_MAX:
        raise Problem("invalid", f"an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} characters")
    suffix = b"" if part is None else b"|%d" % part
    return blake3(caller.key.id.encode() + b"|" + given.encode() + suffix).digest()


def if_match(request: Request) -> int | None:
    """Return the version that If-Match names.

    Raises:
        Problem: `invalid` for anything but one quoted version.
    """
    given = request.headers.get("if-match")
    if given is None:
        return None
    text = given.strip().strip('"')
    if not text.isdigit():
        raise Problem("invalid", "If-Match takes one version in quotes, as ETag gave it")
    return int(text)


def if_none_match(request: Request) -> bool:
    """Return whether the request asks that the document must not exist.

    Raises:
        Problem: `invalid` for anything but *.
    """
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    if given.strip() != "*":
        raise Problem("invalid", "If-None-Match takes * on a write")
    return True


def _without_own_id(document: Json, document_id: str) -> Json:
    """Allow a body to repeat the id of its path, and what a read returned, but no other `_` name.

    `_version`, `_created`, `_updated` and `_proof` come back from reads; sending them back is
    harmless.
    """
    given = document.pop("_id", document_id)
    if given != document_id:
        raise invalid("/_id", "differs from the id in the path")
    for name in ("_version", "_created", "_updated", "_proof"):
        document.pop(name, None)
    check_names(document)
    return document


def create_op(
    request: Request, collection: str, caller: Caller, generated_id: str
) -> tuple[Create, bytes]:
    """Return the operation of a POST, and the document."""
    check_collection_name(collection)
    document = object_of(request, bytes_max=2 * 1024 * 1024)
    chosen = document.pop("_id", None)
    if chosen is not None and not isinstance(chosen, str):
        raise invalid("/_id", "an id is a string")
    document_id = chosen if chosen is not None else generated_id
    check_id(document_id)
    check_names(document)
    body = pack_document(document)
    op = Create(
        collection,
        document_id,
        body,
        generated=chosen is None,
        idempotency=idempotency_of(request, caller),
    )
    return op, body


def put_op(request: Request, collection: str, document_id: str, caller: Caller) -> Put:
    """Return the operation of a PUT."""
    check_collection_name(collection)
    check_id(document_id)
    document = _without_own_id(object_of(request, bytes_max=2 * 1024 * 1024), document_id)
    return Put(
        collection,
        document_id,
        pack_document(document),
        if_version=if_match(request),
        if_none_match=if_none_match(request),
        idempotency=idempotency_of(request, caller),
    )


def patch_op(request: Request, collection: str, document_id: str, caller: Caller) -> Patch | Update:
    """Return the operation of a PATCH, by its content type."""
    check_collection_name(collection)
    check_id(document_id)
    kind = require_media_type(request, JSON, MERGE_PATCH, UPDATE)
    body = parse_json_document(request.body, bytes_max=2 * 1024 * 1024)
    version, idempotency = if_match(request), idempotency_of(request, caller)
    if kind == UPDATE:
        packed = pack_document(body)
        return Update(collection, document_id, packed, version, idempotency)
    check_names(body)
    return Patch(collection, document_id, pack_document(body), version, idempotency)


def delete_op(request: Request, collection: str, document_id: str, caller: Caller) -> Delete:
    """Return the operation of a DELETE."""
    check_collection_name(collection)
    check_id(document_id)
    return Delete(collection, document_id, if_match(request), idempotency_of(request, caller))


class BulkItem(msgspec.Struct, forbid_unknown_fields=True):
    """One operation of a bulk request."""

    op: str
    id: str | None = None
    document: dict[str, Any] | None = None
    if_version: int | None = None


def bulk_items(request: Request) -> list[Any]:
    """Return the items of a bulk request, not checked yet.

    Raises:
        Problem: `invalid`, `too_large`.
    """
    body = object_of(request)
    items = body.pop("operations", None)
    if body or not isinstance(items, list) or not items:
        raise Problem("invalid", 'send {"operations": [...]} with at least one operation')
    if len(items) > BULK_OPERATIONS_MAX:
        raise Problem("too_large", f"a bulk request has at most {BULK_OPERATIONS_MAX} operations")
    return items


def bulk_op(
    raw: object, collection: str, idempotency: bytes | None, generated_id: str
) -> tuple[str, Op]:
    """Return the operation of one bulk item.

    Raises:
        Refusal: `invalid` and the like, for this item alone.
    """
    try:
        item = msgspec.convert(raw, BulkItem)
    except msgspec.ValidationError as error:
        raise Refusal("invalid", str(error)) from error
    document = item.document
    if item.op == "create" and item.id is None and document is not None:
        item.id = document.pop("_id", None)
    document_id = item.id if item.id is not None else generated_id
    if not isinstance(document_id, str):
        raise invalid("/id", "an id is a string")
    check_id(document_id)
    if item.op != "create" and item.id is None:
        raise invalid("/id", "this operation needs an id")
    if item.op == "delete":
        return item.op, Delete(collection, document_id, item.if_version, idempotency)
    if document is None:
        raise invalid("/document", "this operation needs a document")
    if item.op == "patch":
        check_names(document)
        packed = pack_document(document)
        return item.op, Patch(collection, document_id, packed, item.if_version, idempotency)
    packed = pack_document(_without_own_id(document, document_id))
    if item.op == "create":
        generated = item.id is None
        return item.op, Create(collection, document_id, packed, generated, idempotency)
    if item.op == "put":
        put = Put(
            collection, document_id, packed, if_version=item.if_version, idempotency=idempotency
        )
        return item.op, put
    raise invalid("/op", "one of create, put, patch, delete")
