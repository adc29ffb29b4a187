"""Transactions, whatever the protocol: from a list of operations to the results of all of them."""

from typing import Any, Final

import msgspec

from dataplane.documents.commands import (
    OP_BYTES_MAX,
    Check,
    Get,
    OpResult,
    Step,
    Transact,
    decode_result,
    encode_op,
)
from dataplane.documents.errors import Refusal, invalid
from dataplane.documents.tables import decode_document_header
from dataplane.documents.transactions import STEPS_MAX, decode_outcome
from dataplane.documents.values import (
    Json,
    check_collection_name,
    check_id,
    check_readable_name,
    pack_document,
    unpack_document,
)
from dataplane.gateways.answers import Answer, item_body, result_body
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.operations import Version, bulk_op, idempotency_name
from dataplane.gateways.services.queries import catch_up
from dataplane.gateways.services.reads import require_sound
from dataplane.query.matching import Matcher

FILTERS_MAX: Final = 32
OPERATIONS: Final = ("create", "put", "patch", "update", "delete", "get", "check")


class ReadItem(msgspec.Struct, forbid_unknown_fields=True):
    """An operation that reads; `exists`, `version` and `filter` are for checks."""

    op: str
    id: str
    exists: bool | None = None
    version: Version | None = None
    filter: dict[str, Any] | None = None


async def transact(
    context: Context, caller: Caller, body: Json, *, idempotency_key: str | None = None
) -> Answer:
    """Do all operations or none.

    Raises:
        Problem: `conflict` with the `index` of the operation that failed and its `cause`;
            `storage_quota_exceeded` likewise; those of an ordered write.
        Refusal: An operation is not well formed: with pointers into the body.
        QueryError: A filter is none.
    """
    steps = _steps(context, caller, body)
    if any(isinstance(step, Check) and step.filter is not None for step in steps):
        await catch_up(context)
        require_sound(context)
        steps = [await _looked_at(context, index, step) for index, step in enumerate(steps)]
    operation = Transact(tuple(steps), idempotency_name(caller, idempotency_key))
    encoded = encode_op(operation)
    if len(encoded) > OP_BYTES_MAX:
        raise Problem("too_large", f"a transaction has at most {OP_BYTES_MAX} bytes")
    submitted = await context.submit([encoded])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise _problem(result)
    assert result.document is not None
    outcome = decode_outcome(result.document)
    results = [_item(step, answer) for step, answer in zip(steps, outcome.results, strict=True)]
    return Answer(200, {"results": results}, context.position(submitted.sequence))


def _steps(context: Context, caller: Caller, body: Json) -> list[Step]:
    items = body.pop("operations", None)
    if body or not isinstance(items, list) or not items:
        raise Problem("invalid", 'send {"operations": [...]} with at least one operation')
    if len(items) > STEPS_MAX:
        raise Problem("too_large", f"a transaction has at most {STEPS_MAX} operations")
    steps: list[Step] = []
    for index, item in enumerate(items):
        try:
            steps.append(_step(item, context.new_id()))
        except Refusal as refusal:
            place = f"/operations/{index}"
            errors = refusal.errors or (("", refusal.detail),)
            moved = tuple([(place + pointer, detail) for pointer, detail in errors])
            raise Refusal(refusal.code, f"operation {index}: {refusal.detail}", errors=moved) from (
                refusal
            )
    _authorize(caller, steps)
    _check_filters(steps)
    return steps


def _step(item: object, generated_id: str) -> Step:
    if not isinstance(item, dict):
        raise invalid("", "an operation is an object")
    collection = item.pop("collection", None)
    if not isinstance(collection, str):
        raise invalid("/collection", "the name of a collection")
    if item.get("op") not in OPERATIONS:
        raise invalid("/op", f"one of {', '.join(OPERATIONS)}")
    if "stamp" in item:
        raise invalid("/stamp", "a transaction is not kept when it is refused")
    if item["op"] not in {"get", "check"}:
        check_collection_name(collection)
        _, write = bulk_op(item, collection, None, generated_id)
        return write
    try:
        read = msgspec.convert(item, ReadItem)
    except msgspec.ValidationError as error:
        raise Refusal("invalid", str(error)) from error
    check_readable_name(collection)
    check_id(read.id)
    conditions = read.exists, read.version, read.filter
    if (read.op == "check") != any(condition is not None for condition in conditions):
        raise invalid("", "a check, and only a check, names exists, version or filter")
    if read.op == "get":
        return Get(collection, read.id)
    if read.exists is False and conditions[1:] != (None, None):
        raise invalid("/exists", "what must not exist has no version and fits no filter")
    filter_ = None if read.filter is None else pack_document(read.filter)
    return Check(collection, read.id, read.exists, read.version, filter_)


def _authorize(caller: Caller, steps: list[Step]) -> None:
    needed = {
        ("documents:read" if isinstance(step, Get | Check) else "documents:write", step.collection)
        for step in steps
    }
    for scope, collection in sorted(needed):
        caller.require(scope, collection)


def _check_filters(steps: list[Step]) -> None:
    """Refuse filters on what the transaction itself writes before: they are looked at first."""
    count, written = 0, set[tuple[str, str]]()
    for index, step in enumerate(steps):
        if isinstance(step, Check) and step.filter is not None:
            count += 1
            if (step.collection, step.id) in written:
                raise invalid(f"/operations/{index}/filter", "check before what writes it")
        elif not isinstance(step, Get | Check):
            written.add((step.collection, step.id))
    if count > FILTERS_MAX:
        raise Problem("too_large", f"a transaction has at most {FILTERS_MAX} filters")


async def _looked_at(context: Context, index: int, step: Step) -> Step:
    """Return a check with what this node sees; that it still is so is checked when it executes."""
    if not isinstance(step, Check) or step.filter is None:
        return step
    matcher = Matcher(unpack_document(step.filter), f"/operations/{index}/filter")
    place = step.collection, step.id
    row = await context.cold.whole(place, context.state.view.row(*place))
    if row is None:
        return msgspec.structs.replace(step, seen=0, holds=False)
    version, holds = decode_document_header(row)[0], matcher.fits(step.id, row)
    return msgspec.structs.replace(step, seen=version, holds=holds)


def _item(step: Step, result: OpResult) -> dict[str, Any]:
    if isinstance(step, Get):
        assert result.document is not None
        document = result_body(result, result.document)
        return {**item_body(result), "document": document}
    return item_body(result)


def _problem(result: OpResult) -> Problem:
    assert result.code is not None
    if result.document is None:
        return Problem(result.code, result.detail or "")
    outcome = decode_outcome(result.document)
    fields = {"index": outcome.failed, "cause": item_body(outcome.results[0])}
    return Problem(result.code, result.detail or "", fields)
