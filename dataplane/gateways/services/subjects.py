"""What is stored of a person, over all collections: to be handed out, or to be removed."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.commands import (
    Op,
    OpResult,
    decode_result,
    encode_op,
)
from dataplane.documents.conflicts import CONFLICTS
from dataplane.documents.erasing import STEP_IDS_MAX
from dataplane.documents.subjects import (
    SALT_BYTES,
    SUBJECT_CHARS_MAX,
    Subject,
    subject_hash,
    subjects_at,
)
from dataplane.documents.tables import HEADER_BYTES, decode_document_row
from dataplane.documents.values import unpack_document
from dataplane.gateways.answers import Answer, record_body, result_problem
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, error_fields
from dataplane.gateways.fetches import Fetched
from dataplane.gateways.services.queries import ROUNDS_MAX, SEGMENTS_MAX, reach, run_steps
from dataplane.query import parse_query, query_steps
from dataplane.query.types import PAGE_BYTES_MAX, QueryTooCostlyError
from dataplane.replication.errors import ReplicationError

PAGE: Final = 200
PAGE_SCATTERED: Final = 32
"""Each of them may be in a segment of its own, and one more is looked at."""
assert min(SEGMENTS_MAX, ROUNDS_MAX) > PAGE_SCATTERED + 1, "by an index such a page is always had"
STEPS_PER_CALL: Final = 20
SEGMENTS_PER_CALL: Final = 16
"""Of those that hold what was removed: what is left in each is put back."""
SLICE: Final = STEP_IDS_MAX
"""Kept conflicts that are looked at in one turn of the event loop, or removed in one step."""
_KEPT: Final = "~"
"""Begins the place of an export among kept conflicts; no cursor of a query begins so."""
_SIDES: Final = ("mine", "theirs", "base")


type What = tuple[str, str, Subject]
"""A collection, its field that names persons, and the person."""


class Part(NamedTuple):
    """Some documents of one collection, and the cursor of the rest."""

    documents: list[dict[str, Any]]
    next: str | None


def check_subject(subject: object) -> Subject:
    """Return what names a person.

    Raises:
        Problem: `invalid`.
    """
    is_text = isinstance(subject, str) and 0 < len(subject) <= SUBJECT_CHARS_MAX
    if is_text or (type(subject) is int and -(2**63) <= subject < 2**63):
        assert isinstance(subject, str | int)
        return subject
    fault = ("/subject", f"a text of 1 to {SUBJECT_CHARS_MAX} characters, or a whole number")
    raise Problem("invalid", "subject is what names the person", error_fields((fault,)))


def _places(context: Context, caller: Caller, scope: str) -> list[tuple[str, str]]:
    """Return the collections that name persons, with the field; the key must cover them all."""
    fields = context.state.view.erasing.fields()
    if not fields:
        detail = "no collection has the option subject, which says what field names a person"
        raise Problem("invalid", detail)
    for name in fields:
        caller.require(scope, name)
    return list(fields.items())


async def export(context: Context, caller: Caller, subject: Subject, after: str | None) -> Answer:
    """Return a page of what is stored of a person, and where the next one begins."""
    with context.reporter.reading(Seen("subject.export")):
        places = _places(context, caller, "documents:read")
        collection, _, cursor = (after or "").partition("/")
        names = [name for name, _ in places]
        if after and collection not in names:
            raise Problem("invalid", "after is the next of the page before")
        await reach(context, 0, "strong")
        at = names.index(collection) if after else 0
        name, field = places[at]
        place, following = name, None
        if cursor.startswith(_KEPT):
            start = cursor.removeprefix(_KEPT) or None
            part = await _conflicts(context, (name, field, subject), start)
            place = CONFLICTS
            if part.next is not None:
                following = f"{name}/{_KEPT}{part.next}"
            elif at + 1 < len(names):
                following = f"{names[at + 1]}/"
        else:
            part = await _page(context, (name, field, subject), cursor or None)
            following = f"{name}/{part.next or _KEPT}"
        found = [{"collection": place, "document": document} for document in part.documents]
        facts = context.position(context.cluster.executed)
        return Answer(200, {"documents": found, "next": following, "collections": names}, facts)


async def _page(context: Context, what: What, cursor: str | None) -> Part:
    """Return some documents that name a person, fewer of those that are cold in many places."""
    with contextlib.suppress(QueryTooCostlyError):
        return await _some_of(context, what, cursor, PAGE)
    try:
        return await _some_of(context, what, cursor, PAGE_SCATTERED)
    except QueryTooCostlyError as error:
        collection, field, _ = what
        hint = f"make an index of {collection} on {field}, by which persons are found in it"
        raise QueryTooCostlyError([("", f"{error}; {hint}")]) from error


async def _some_of(context: Context, what: What, cursor: str | None, limit: int) -> Part:
    collection, field, subject = what
    question = {"filter": {field: subject}, "limit": limit, "after": cursor}
    view, parsed = context.state.view, parse_query(collection, question)
    page = await run_steps(
        context, lambda segments: query_steps(view, parsed, segments=segments), Fetched()
    )
    return Part(page.documents, page.next)


async def _conflicts(context: Context, what: What, start: str | None) -> Part:
    """Return kept conflicts of a collection of which a side names the person."""
    collection, field, subject = what
    prefix = f"{collection}."
    start = start or prefix
    found: list[dict[str, Any]] = []
    while True:
        rows, is_last = _some(context.state.view.rows(CONFLICTS, start=start))
        for key, row in rows:
            if not key.startswith(prefix.encode()):
                return Part(found, None)
            record = unpack_document(row[HEADER_BYTES:])
            if any(subject in subjects_at(record.get(side), field) for side in _SIDES):
                found.append(record_body(decode_document_row(key.decode(), row)))
        if is_last:
            return Part(found, None)
        # No id holds the character 0: this comes straight after the last.
        start = rows[-1][0].decode() + "\0"
        if found:
            return Part(found, start)
        await asyncio.sleep(0)


def _some(rows: Iterator[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return some rows, no more than one step may look at, and whether they are the last."""
    part: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    for row in rows:
        part.append(row)
        size_bytes += len(row[1])
        if len(part) == SLICE or size_bytes > PAGE_BYTES_MAX:
            return part, False
    return part, True


async def _ordered(context: Context, op: Op) -> OpResult:
    submitted = await context.submit([encode_op(op)])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise result_problem(result)
    return result


async def erase(context: Context, caller: Caller, subject: Subject, erasure: str | None) -> Answer:
    """Remove what is stored of a person: begin, or go on with an erasure that was begun.

    202 when there is more to do than one call does: ask again with its id.
    """
    caller.require("cluster:admin")
    places = _places(context, caller, "documents:write")
    own = await _begin(context, subject, erasure)
    row = context.state.view.erasing.rows.get(own)
    if row is not None and row.record is not None:
        return receipt(context, own)
    await reach(context, 0, "strong")
    left = STEPS_PER_CALL
    for name, field in places:
        left = await _erase_collection(context, own, (name, field, subject), left)
        if left <= 0:
            return Answer(202, progress(context, own), context.position(context.cluster.executed))
    if not await _is_gone(context, own):
        return Answer(202, progress(context, own), context.position(context.cluster.executed))
    await _ordered(context, EraseEnd(own))
    return receipt(context, own)


async def _begin(context: Context, subject: Subject, erasure: str | None) -> bytes:
    if erasure is None:
        own, salt = context.random_bytes(16), context.random_bytes(SALT_BYTES)
    else:
        own = _id_of(erasure)
        known = context.state.view.erasing.rows.get(own)
        if known is None:
            raise Problem("not_found", f"no erasure {erasure}")
        salt = known.salt
    await _ordered(context, EraseBegin(own, subject_hash(salt, subject), salt))
    return own


async def _erase_collection(context: Context, own: bytes, what: What, left: int) -> int:
    """Remove what one collection has of a person; return how many steps are left to this call."""
    for look, name in ((_page, what[0]), (_conflicts, CONFLICTS)):
        cursor: str | None = None
        while left > 0:
            part = await look(context, what, cursor)
            ids = tuple(document["_id"] for document in part.documents)
            if ids:
                await _ordered(context, EraseStep(own, name, ids))
                left -= 1
            cursor = part.next
            if cursor is None:
                break
    return left


async def _is_gone(context: Context, own: bytes) -> bool:
    """Have segments made anew that hold what was removed; say whether none is left.

    Those that cannot be had now are left to whoever asks again, and to the primary.
    """
    erasing = context.state.view.erasing
    ends_ms = context.clock.now_ms() + context.timeout_ms
    for number in erasing.holding(own)[:SEGMENTS_PER_CALL]:
        with contextlib.suppress(ReplicationError):
            await context.cold.warm_out(number)
        if context.clock.now_ms() >= ends_ms:
            break
    await reach(context, 0, "strong")
    return not erasing.holding(own)


def _id_of(erasure: str) -> bytes:
    try:
        return bytes.fromhex(erasure)
    except ValueError as error:
        raise Problem("not_found", f"no erasure {erasure}") from error


def progress(context: Context, own: bytes) -> dict[str, Any]:
    """Return how far an erasure is."""
    row = context.state.view.erasing.rows.get(own)
    if row is None:
        raise Problem("not_found", f"no erasure {own.hex()}")
    return {
        "erasure": own.hex(),
        "subject_hash": row.subject.hex(),
        "salt": row.salt.hex(),
        "removed": dict(row.removed),
        "segments_left": len(context.state.view.erasing.holding(own)),
        "is_over": row.record is not None,
        "sequence": row.sequence,
        "record": row.record,
    }


def receipt(context: Context, own: bytes) -> Answer:
    """Return what an erasure came to; `record` is its place in the audit log, which proves it."""
    return Answer(200, progress(context, own), context.position(context.cluster.executed))


def erasure_show(context: Context, caller: Caller, erasure: str) -> Answer:
    """Return how far an erasure is, or what it came to."""
    caller.require("cluster:admin")
    return receipt(context, _id_of(erasure))
