"""The history of a document: its recent versions, who made them, and what each changed."""

from collections.abc import Generator
from itertools import islice
from typing import Any, Final, NamedTuple

from dataplane.client.field_differences import differences
from dataplane.documents.audited import clip
from dataplane.documents.changes import COPIED, FORGOTTEN, KEEP_BYTES, KEEP_MS, RESTORED
from dataplane.documents.history import (
    CREATED,
    DROPPED,
    NEWEST,
    WITHHELD,
    Found,
    Version,
    history_steps,
)
from dataplane.documents.tables import decode_document_row
from dataplane.documents.values import SYSTEM_COLLECTIONS, check_id, check_readable_name
from dataplane.gateways.answers import Answer, record_body
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.services.queries import question_consistency, reach
from dataplane.gateways.services.reads import Place, require_sound
from dataplane.wire.audit import BASIC

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
CHANGED_MAX: Final = 100
"""Fields that are named of what one version changed."""
AUDIT_SCOPE: Final = "audit:read"
SHOWN, SECRET, UNRECORDED = "shown", "withheld", "unrecorded"
_HOURS: Final = KEEP_MS // 3_600_000
_MIB: Final = KEEP_BYTES // (1024 * 1024)
BEGINNINGS: Final = {
    CREATED: "nothing is older: the document begins here",
    DROPPED: "the collection was dropped here with all that it held",
    WITHHELD: "the document was erased here with the person whom it named",
    FORGOTTEN: f"a node keeps {_MIB} MiB and {_HOURS} hours of changes; what is older is forgotten",
    COPIED: "this node took over the state of others here; another node may know more",
    RESTORED: "a backup was restored here; what was before is not told",
}
"""Why a history begins where it does."""


class HistoryRequest(NamedTuple):
    """What of a history is wanted."""

    limit: int = LIMIT_DEFAULT
    before: tuple[int, int] | None = None
    """The place of the version where the page before ended."""
    with_documents: bool = True
    consistency: str | None = None
    after: int = 0
    """The newest sequence that the client has seen."""


async def read(context: Context, caller: Caller, place: Place, asked: HistoryRequest) -> Answer:
    """Return recent versions of a document, newest first, as far as this node knows them."""
    with context.reporter.reading(Seen("document.history", *place)):
        return await _read(context, caller, place, asked)


async def _read(context: Context, caller: Caller, place: Place, asked: HistoryRequest) -> Answer:
    collection, document_id = place
    caller.require("documents:read", collection)
    check_readable_name(collection)
    check_id(document_id)
    if collection in SYSTEM_COLLECTIONS:
        caller.require("cluster:admin")
    consistency = question_consistency(asked.consistency)
    await reach(context, asked.after, consistency)
    actors = _actors(context, caller)
    body, sequence = await context.turns.run(_page(context, place, asked, actors))
    facts = context.position(sequence)
    if consistency != "strong":
        facts.append(context.staleness(sequence))
    return Answer(200, body, facts)


def _actors(context: Context, caller: Caller) -> str:
    """Return whether it is told who made the versions: that is read from the audit log."""
    if not {AUDIT_SCOPE, "cluster:admin"} & set(caller.key.scopes):
        return SECRET
    return UNRECORDED if context.state.view.audit.ends.level == BASIC else SHOWN


def _page(
    context: Context, place: Place, asked: HistoryRequest, actors: str
) -> Generator[None, None, tuple[dict[str, Any], int]]:
    """Look for the versions, and one more: what the oldest shown one changed is seen beside it."""
    require_sound(context)
    sequence, view = context.cluster.executed, context.state.view
    found = yield from history_steps(
        lambda: view.changes, place, before=asked.before or NEWEST, count_max=asked.limit + 1
    )
    is_last = found.beginning is not None and len(found.versions) <= asked.limit
    shown = found.versions if is_last else found.versions[:-1]
    if not shown and asked.before is None and view.row(*place) is None:
        raise Problem("not_found", f"no document {place[1]} in {place[0]}, and no trace of one")
    versions: list[dict[str, Any]] = []
    for version, older in zip(shown, [*found.versions[1:], None], strict=False):
        body = _version_body(place[1], version, older)
        if not asked.with_documents:
            del body["document"]
        body["actor"] = None if actors == SECRET else _actor(context, place, version)
        versions.append(body)
        yield
    last = shown[-1] if shown else None
    body = {
        "versions": versions,
        "next": None if is_last or last is None else f"{last.sequence}-{last.position}",
        "begins": _beginning(found) if is_last else None,
        "actors": actors,
        "retention": {"bytes": KEEP_BYTES, "hours": _HOURS},
    }
    return body, sequence


def _beginning(found: Found) -> dict[str, Any]:
    assert found.beginning is not None
    sequence, reason = found.beginning
    return {"sequence": sequence, "reason": reason, "detail": BEGINNINGS[reason]}


def _version_body(document_id: str, version: Version, older: Version | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "place": f"{version.sequence}-{version.position}",
        "sequence": version.sequence,
        "position": version.position,
        "time": timestamp_ms(version.at_ms),
        "operation": version.operation,
        "version": version.version,
        "transaction": None,
        "document": None,
        "changed": None,
        "changed_count": None,
    }
    if version.transaction is not None:
        body["transaction"] = dict(zip(("first", "count"), version.transaction, strict=True))
    if version.row is None:
        return body
    body["document"] = _document(document_id, version.row)
    if older is not None and older.row is not None and version.operation != "insert":
        different = differences(_document(document_id, older.row), body["document"])
        body["changed"] = [
            {"pointer": field.pointer, "kind": field.kind}
            for field in islice(different, CHANGED_MAX)
        ]
        body["changed_count"] = len(body["changed"]) + sum(1 for _ in different)
    return body


def _document(document_id: str, row: bytes) -> dict[str, Any]:
    return record_body(decode_document_row(document_id, row))


def _actor(context: Context, place: Place, version: Version) -> str | None:
    """Return the id of the key that a version is recorded with, None when it is not recorded.

    A delete is recorded without a version.
    """
    wanted = (clip(place[0]), clip(place[1]))
    for record in context.state.view.audit.at(version.sequence):
        is_it = (record.collection, record.id) == wanted and record.status < 400
        is_gone = version.row is None and record.action == "document.delete"
        if is_it and (is_gone or (record.version == version.version and version.row is not None)):
            return record.actor
    return None
