"""What clients ask to be written, as operations of the cluster, whatever the protocol."""

from typing import Annotated, Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from dataplane.documents.commands import Create, Delete, Patch, Put, Update
from dataplane.documents.conflicts import Write
from dataplane.documents.errors import TOO_LARGE, Refusal, invalid
from dataplane.documents.values import (
    DOCUMENT_BYTES_MAX,
    Json,
    check_collection_name,
    check_id,
    check_names,
    pack_document,
    parse_json_document,
)
from dataplane.gateways.auth import Caller
from dataplane.gateways.errors import Problem

WITH_BASE_BYTES_MAX: Final = DOCUMENT_BYTES_MAX
"""Of a write and its base together: both travel in one operation."""
TEXT_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of the JSON text of one document."""
BULK_OPERATIONS_MAX: Final = 1_000
IDEMPOTENCY_KEY_MAX: Final = 255
OWN_NAMES: Final = ("_id", "_version", "_created", "_updated", "_proof")
"""What reads add to a document; sending it back is harmless."""


type Version = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A version, or a sequence, as clients name it."""


class Condition(NamedTuple):
    """What must hold for a write, and the name under which it is done once."""

    if_version: int | None = None
    if_none_match: bool = False
    idempotency: bytes | None = None


UNCONDITIONAL: Final = Condition()


def idempotency_name(caller: Caller, given: str | None, part: int | None = None) -> bytes | None:
    """Return the replicated name of an idempotency key, per key of the caller.

    Raises:
        Problem: `invalid` when it is empty or too long.
    """
    if given is None:
        return None
    if not 1 <= len(given) <= IDEMPOTENCY_KEY_MAX:
        raise Problem("invalid", f"an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} characters")
    suffix = b"" if part is None else b"|%d" % part
    return blake3(caller.key.id.encode() + b"|" + given.encode() + suffix).digest()


def base_of(given: object, version: int | None, pointer: str) -> bytes | None:
    """Return the packed base of a conditional write: the document as it was read.

    Raises:
        Refusal: `invalid`.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid(pointer, "a base is the document as it was read")
    if version is None:
        raise invalid(pointer, "a base needs the version it is of: If-Match, or if_version")
    if given.get("_version", version) != version:
        raise invalid(f"{pointer}/_version", "differs from the version that the write expects")
    own = {name: value for name, value in given.items() if name not in OWN_NAMES}
    check_names(own)
    return pack_document(own)


def check_together(*parts: bytes | None) -> None:
    """Refuse a write and a base that do not fit into one operation.

    Raises:
        Refusal: `too_large`.
    """
    if sum(len(part) for part in parts if part is not None) > WITH_BASE_BYTES_MAX:
        raise Refusal(TOO_LARGE, f"document and base are over {WITH_BASE_BYTES_MAX} bytes")


def _without_own_id(document: Json, document_id: str) -> Json:
    """Allow a body to repeat the id of its path, and what a read returned, but no other `_` name.

    `_version`, `_created`, `_updated` and `_proof` come back from reads; sending them back is
    harmless.
    """
    given = document.pop("_id", document_id)
    if given != document_id:
        raise invalid("/_id", "differs from the id in the path")
    for name in OWN_NAMES:
        document.pop(name, None)
    check_names(document)
    return document


def create_op(
    collection: str, body: bytes, condition: Condition, generated_id: str
) -> tuple[Create, bytes]:
    """Return the operation that creates a document, and the document."""
    check_collection_name(collection)
    document = parse_json_document(body, bytes_max=TEXT_BYTES_MAX)
    chosen = document.pop("_id", None)
    if chosen is not None and not isinstance(chosen, str):
        raise invalid("/_id", "an id is a string")
    document_id = chosen if chosen is not None else generated_id
    check_id(document_id)
    check_names(document)
    packed = pack_document(document)
    op = Create(
        collection,
        document_id,
        packed,
        generated=chosen is None,
        idempotency=condition.idempotency,
    )
    return op, packed


def put_op(place: tuple[str, str], body: bytes, condition: Condition) -> Put:
    """Return the operation that creates or replaces a document."""
    collection, document_id = place
    check_collection_name(collection)
    check_id(document_id)
    document = parse_json_document(body, bytes_max=TEXT_BYTES_MAX)
    base = base_of(document.pop("_base", None), condition.if_version, "/_base")
    packed = pack_document(_without_own_id(document, document_id))
    check_together(packed, base)
    return Put(collection, document_id, packed, *condition, base=base)


def patch_op(
    place: tuple[str, str], body: bytes, condition: Condition, *, operators: bool
) -> Patch | Update:
    """Return the operation of a merge patch, or of update operators."""
    collection, document_id = place
    check_collection_name(collection)
    check_id(document_id)
    changes = parse_json_document(body, bytes_max=TEXT_BYTES_MAX)
    version, idempotency = condition.if_version, condition.idempotency
    base = base_of(changes.pop("_base", None), version, "/_base")
    packed = pack_document(changes)
    check_together(packed, base)
    if operators:
        return Update(collection, document_id, packed, version, idempotency, base)
    check_names(changes)
    return Patch(collection, document_id, packed, version, idempotency, base)


def delete_op(place: tuple[str, str], condition: Condition) -> Delete:
    """Return the operation that deletes a document."""
    collection, document_id = place
    check_collection_name(collection)
    check_id(document_id)
    return Delete(collection, document_id, condition.if_version, condition.idempotency)


class BulkItem(msgspec.Struct, forbid_unknown_fields=True):
    """One operation of a bulk request; see `commands.Put` for `base` and `stamp`."""

    op: str
    id: str | None = None
    document: dict[str, Any] | None = None
    if_version: Version | None = None
    base: dict[str, Any] | None = None
    stamp: str | None = None


def bulk_items(body: Json) -> list[Any]:
    """Return the items of a bulk request, not checked yet.

    Raises:
        Problem: `invalid`, `too_large`.
    """
    items = body.pop("operations", None)
    if body or not isinstance(items, list) or not items:
        raise Problem("invalid", 'send {"operations": [...]} with at least one operation')
    if len(items) > BULK_OPERATIONS_MAX:
        raise Problem("too_large", f"a bulk request has at most {BULK_OPERATIONS_MAX} operations")
    return items


def bulk_op(
    raw: object, collection: str, idempotency: bytes | None, generated_id: str
) -> tuple[str, Write]:
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
    base = base_of(item.base, item.if_version, "/base")
    condition = item.if_version, idempotency, base, item.stamp
    if item.op == "delete":
        return item.op, Delete(collection, document_id, *condition)
    if document is None:
        raise invalid("/document", "this operation needs a document")
    return item.op, _bulk_write(item, (collection, document_id), document, condition)


def _bulk_write(
    item: BulkItem,
    place: tuple[str, str],
    document: Json,
    condition: tuple[int | None, bytes | None, bytes | None, str | None],
) -> Write:
    collection, document_id = place
    version, idempotency, base, stamp = condition
    if item.op == "patch":
        check_names(document)
    elif item.op in {"create", "put"}:
        document = _without_own_id(document, document_id)
    packed = pack_document(document)
    check_together(packed, base)
    match item.op:
        case "patch":
            return Patch(collection, document_id, packed, version, idempotency, base, stamp)
        case "update":
            return Update(collection, document_id, packed, version, idempotency, base, stamp)
        case "create":
            generated = item.id is None
            return Create(collection, document_id, packed, generated, idempotency, stamp)
        case "put":
            put = Put(collection, document_id, packed, version, idempotency=idempotency)
            return msgspec.structs.replace(put, base=base, stamp=stamp)
        case _:
            raise invalid("/op", "one of create, put, patch, update, delete")
