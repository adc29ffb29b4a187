"""What happens to a conditional write whose condition fails: the policy of its collection.

Decided when the write is executed, from the state and the operation alone, so that every replica
decides alike. A refused write that carries a stamp is kept as a document of `_conflicts`.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dataplane.documents import tables
from dataplane.documents.commands import Create, Delete, Patch, Put, Update
from dataplane.documents.errors import (
    CONFLICT,
    NOT_FOUND,
    PRECONDITION_FAILED,
    TOO_LARGE,
    Refusal,
    invalid,
)
from dataplane.documents.merging import Field, merge_documents, pack_fields, unpack_fields
from dataplane.documents.operators import apply_update
from dataplane.documents.stubs import body_of
from dataplane.documents.subjects import check_subject_option
from dataplane.documents.values import (
    DOCUMENT_BYTES_MAX,
    Json,
    check_document,
    merge_patch,
    pack_document,
    unpack_document,
)

CONFLICTS: Final = "_conflicts"
"""The collection of refused writes; only the cluster writes to it."""
POLICY_OPTION: Final = "conflict_policy"
SHREDDABLE_OPTION: Final = "shreddable"
REJECT: Final = "reject"
LAST_WRITER_WINS: Final = "lww"
MERGE_PATCH: Final = "merge_patch"
POLICIES: Final = (REJECT, LAST_WRITER_WINS, MERGE_PATCH)
RECORDED_BYTES_MAX: Final = 512 * 1024
"""Of a write and its base together, so that a record of both always fits in a document."""
_RECORDED_CODES: Final = frozenset({PRECONDITION_FAILED, CONFLICT, NOT_FOUND})
_STAMP: Final = re.compile(r"[0-9a-zA-Z._-]{1,64}")

type Write = Create | Put | Patch | Update | Delete
type Conditional = Put | Patch | Update | Delete


def check_options(options: Json) -> None:
    """Refuse options of a collection that execution could not follow.

    Raises:
        Refusal: `invalid`.
    """
    if options.get(POLICY_OPTION, REJECT) not in POLICIES:
        raise invalid(f"/{POLICY_OPTION}", f"one of {', '.join(POLICIES)}")
    check_subject_option(options)
    if not isinstance(options.get(SHREDDABLE_OPTION, False), bool):
        raise invalid(f"/{SHREDDABLE_OPTION}", "true or false")


def is_shreddable(options: bytes) -> bool:
    """Return whether documents are under a key of their own, which a drop destroys."""
    return unpack_document(options).get(SHREDDABLE_OPTION) is True


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a write goes on: as asked, or as a policy decided after meeting another version."""

    policy: str | None = None
    met: int | None = None
    """The version that was not expected; 0 when the document was gone."""
    merged: Json | None = None


AS_ASKED: Final = Verdict()


def judge(operation: Conditional, row: bytes | None, policy: str) -> Verdict:
    """Decide a write on the row that is there.

    Raises:
        Refusal: `precondition_failed` with the version and, from a merge, the fields.
    """
    version = None if row is None else tables.decode_document_header(row)[0]
    if operation.if_version is None or operation.if_version == version:
        return AS_ASKED
    if policy == LAST_WRITER_WINS:
        return Verdict(policy, version or 0)
    detail = "another version is current"
    if policy != MERGE_PATCH:
        raise Refusal(PRECONDITION_FAILED, detail, version=version)
    if operation.base is None:
        detail = "another version is current, and no base was sent to merge with"
        raise Refusal(PRECONDITION_FAILED, detail, version=version)
    base = unpack_document(operation.base)
    mine = apply_own(operation, base)
    theirs = None if row is None else unpack_document(body_of(row))
    if mine is None or theirs is None:
        merged, fields = _merge_absence(base, mine, theirs)
    else:
        merged, fields = merge_documents(base, mine, theirs)
    if fields:
        detail = "the same fields were changed"
        raise Refusal(PRECONDITION_FAILED, detail, version=version, fields=pack_fields(fields))
    return Verdict(policy, version or 0, merged)


def _merge_absence(
    base: Json, mine: Json | None, theirs: Json | None
) -> tuple[Json | None, list[Field]]:
    """Merge when one side deleted the document: only if the other left it as it was."""
    named = (("base", base), ("mine", mine), ("theirs", theirs))
    sides = {side: value for side, value in named if value is not None}
    if mine is None and theirs is not None and pack_document(theirs) == pack_document(base):
        return None, []
    return None, [Field("", sides)]


def apply_own(operation: Write, document: Json) -> Json | None:
    """Return what a write makes of a document; None is a deletion.

    Raises:
        Refusal: The write makes no sense on this document.
    """
    match operation:
        case Create() | Put():
            return unpack_document(check_document(operation.document))
        case Patch():
            return merge_patch(document, unpack_document(check_document(operation.patch)))
        case Update():
            operators = unpack_document(check_document(operation.operators, reserved=False))
            return apply_update(document, operators)
        case Delete():
            return None


def own_value(operation: Write) -> bytes | None:
    """Return the document, patch or operators that a write carries."""
    match operation:
        case Create() | Put():
            return operation.document
        case Patch():
            return operation.patch
        case Update():
            return operation.operators
        case Delete():
            return None


def check_basis(operation: Write) -> None:
    """Refuse a write whose base is no document, or that asks to be kept and could not be.

    Raises:
        Refusal: `malformed`, `invalid` or `too_large`.
    """
    base = None if isinstance(operation, Create) else operation.base
    if base is not None:
        check_document(base)
    if operation.stamp is None:
        return
    if _STAMP.fullmatch(operation.stamp) is None:
        raise invalid("/stamp", "a stamp is 1 to 64 letters, digits, dots, dashes or underscores")
    if operation.idempotency is None:
        raise invalid("/stamp", "a write that is kept when refused needs an Idempotency-Key")
    size_bytes = len(own_value(operation) or b"") + len(base or b"")
    if size_bytes > RECORDED_BYTES_MAX:
        raise Refusal(TOO_LARGE, f"a write that is kept has at most {RECORDED_BYTES_MAX} bytes")


def is_recorded(operation: object, refusal: Refusal) -> bool:
    """Whether a refusal is one of a conflict, of a write that asked to be kept."""
    stamp = getattr(operation, "stamp", None)
    return stamp is not None and refusal.code in _RECORDED_CODES


def record_id(operation: Write) -> str:
    """Return the id of the record: those of one collection lie together."""
    assert operation.idempotency is not None
    return f"{operation.collection}.{operation.idempotency[:16].hex()}"


def record_body(operation: Write, refusal: Refusal, row: bytes | None) -> bytes:
    """Return the record of a refused write, with both values."""
    mine = own_value(operation)
    version = base = None
    if not isinstance(operation, Create):
        version, base = operation.if_version, operation.base
    fields = [] if refusal.fields is None else unpack_fields(refusal.fields)
    record: dict[str, Any] = {
        "collection": operation.collection,
        "id": operation.id,
        "op": type(operation).__name__.lower(),
        "code": refusal.code,
        "stamp": operation.stamp,
        "base_version": version,
        "base": None if base is None else unpack_document(base),
        "mine": None if mine is None else unpack_document(check_document(mine, reserved=False)),
        "their_version": 0 if row is None else tables.decode_document_header(row)[0],
        "theirs": None if row is None else unpack_document(body_of(row)),
        "fields": [field["pointer"] for field in fields],
    }
    body = pack_document(record)
    if len(body) > DOCUMENT_BYTES_MAX:
        # What is theirs can be read where it is; what is mine is nowhere else.
        body = pack_document({**record, "theirs": None, "theirs_omitted": True})
    return body


class _Record(msgspec.Struct, frozen=True):
    """What execution reads of a record, and what those who look at records do."""

    collection: str
    id: str
    op: str
    code: str
    stamp: str
    base_version: int | None
    base: Json | None
    mine: Json | None
    their_version: int
    theirs: Json | None
    fields: list[str]


_decode_record = msgspec.msgpack.Decoder(_Record).decode


def check_record(body: bytes) -> None:
    """Refuse a record that `record_body` did not make.

    Raises:
        Refusal: `invalid`.
    """
    try:
        _decode_record(body)
    except msgspec.MsgspecError as error:
        raise invalid("/rows", "a conflict that cannot be read") from error


def own_operation(record: Json) -> Write:
    """Return the write of a record again, without its condition."""
    collection, document_id, mine = record["collection"], record["id"], record["mine"]
    packed = b"" if mine is None else pack_document(mine)
    match record["op"]:
        case "patch":
            return Patch(collection, document_id, packed)
        case "update":
            return Update(collection, document_id, packed)
        case "delete":
            return Delete(collection, document_id)
        case _:
            return Put(collection, document_id, packed)
