"""The audit log: reading it with its proof, its settings, and what of requests goes into it."""

import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Concatenate, Final

import msgspec

from dataplane.documents.audit_commands import AuditPut
from dataplane.documents.audit_view import AuditPage, AuditQuestion, Linked
from dataplane.documents.proving import prove_row
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.cluster import ordered
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import (
    idempotency_of,
    number_of,
    position_of,
    struct_of,
)
from dataplane.gateways.rest.responses import json_response
from dataplane.gateways.services.queries import question_consistency, reach
from dataplane.gateways.services.reads import require_sound
from dataplane.wire.audit import ENDS_KEY, AuditEnds, AuditProof, decode_ends
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, Certificate, RowProof

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
SCOPE: Final = "audit:read"
NDJSON: Final = "application/x-ndjson"
NEXT_HEADER: Final = "Aerolith-Next"
_PREFIX: Final = "/api/v1/"
_DIGITS_MAX: Final = 18
_NOUNS: Final = {
    "bulk": "document",
    "conflicts": "conflict",
    "documents": "document",
    "indexes": "index",
    "keys": "key",
}

type Proven = tuple[int, Certificate, RowProof]
"""The epoch of a certificate, and the proof of the ends of the chain under it."""


class AuditBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /audit; what is left out stays as it is."""

    level: str | None = None
    retention_ms: int | None = None
    records_max: int | None = None


async def audit_list(context: Context, request: Request, caller: Caller) -> Response:
    """GET records by time or sequence, with a proof of the end of the chain if asked for."""
    if SCOPE not in caller.key.scopes:
        caller.require("cluster:admin")
    consistency = question_consistency(request.query.get("consistency"))
    question, is_lines = question_of(request), _wants_lines(request)
    if _says_yes(request, "proof"):
        page, ends, proven = await _proven_page(context, consistency, question)
        proof = _proof(context, proven)
        sequence = proof.certificate.sequence
    else:
        await reach(context, position_of(request), consistency)
        require_sound(context)
        log, proof, sequence = context.state.view.audit, None, context.cluster.executed
        page, ends = log.page(question), log.ends
    headers = context.position(sequence)
    if consistency != "strong":
        headers.append(context.staleness(sequence))
    body: dict[str, Any] = {"chain": ends_body(ends)}
    if proof is not None:
        body["proof"] = proof
    records = [record_body(linked) for linked in page.records]
    following = None if page.next is None else str(page.next)
    if is_lines:
        encoded = [msgspec.json.encode(line) for line in (*records, body)]
        headers += [] if following is None else [(NEXT_HEADER, following)]
        return Response(200, b"\n".join(encoded) + b"\n", NDJSON, headers)
    return json_response({"records": records, "next": following, **body}, 200, headers)


async def audit_put(context: Context, request: Request, caller: Caller) -> Response:
    """PUT what is recorded and how long it is kept."""
    caller.require("cluster:admin")
    body = struct_of(request, AuditBody)
    op = AuditPut(body.level, body.retention_ms, body.records_max, idempotency_of(request, caller))
    _, sequence = await ordered(context, op)
    answer = ends_body(context.state.view.audit.ends)
    return json_response(answer, 200, context.position(sequence))


def question_of(request: Request) -> AuditQuestion:
    """Return what the query string asks for.

    Raises:
        Problem: `invalid`.
    """
    limit = number_of(request, "limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        raise _invalid("limit", f"a whole number from 1 to {LIMIT_MAX}")
    order = request.query.get("order", "asc")
    if order not in {"asc", "desc"}:
        raise _invalid("order", "asc or desc")
    return AuditQuestion(
        limit,
        after=_whole(request, "after"),
        since_ms=_moment(request, "since"),
        until_ms=_moment(request, "until"),
        from_sequence=_whole(request, "from"),
        to_sequence=_whole(request, "to"),
        action=request.query.get("action") or None,
        actor=request.query.get("actor") or None,
        collection=request.query.get("collection") or None,
        is_newest_first=order == "desc",
    )


def _says_yes(request: Request, name: str) -> bool:
    text = request.query.get(name, "false")
    if text not in {"true", "1", "false", "0"}:
        raise _invalid(name, "true or false")
    return text in {"true", "1"}


def _wants_lines(request: Request) -> bool:
    wanted = request.query.get("format", "json")
    if wanted not in {"json", "ndjson"}:
        raise _invalid("format", "json or ndjson")
    return wanted == "ndjson" or NDJSON in request.headers.get("accept", "")


def _invalid(name: str, what: str) -> Problem:
    fault = {"pointer": f"/{name}", "detail": what}
    return Problem("invalid", f"{name} is {what}", {"errors": [fault]})


def _whole(request: Request, name: str) -> int | None:
    text = request.query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
        raise _invalid(name, "a whole number from 0")
    return int(text)


def _moment(request: Request, name: str) -> int | None:
    """Return a time of the query string, RFC 3339, in milliseconds since 1970."""
    text = request.query.get(name)
    if not text:
        return None
    try:
        # A plus in a query string that nobody escaped arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise _invalid(name, "a time, as 2026-11-23T10:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


async def _proven_page(
    context: Context, consistency: str, question: AuditQuestion
) -> tuple[AuditPage, AuditEnds, Proven]:
    """Return records with the proof of the end of the chain as it was when they were read.

    A strong reading has the state sealed; the others rest on the last stable checkpoint, and show
    nothing that is younger.
    """
    log, held = context.state.view.audit, context.reads.views.newest
    if consistency != "strong" and held is not None:
        checkpoint, snapshot = held
        proof = prove_row(snapshot.get, ENDS_KEY)
        certificate = Certificate(
            "checkpoint", checkpoint.sequence, checkpoint.root, checkpoint.votes
        )
        ends = _ends_in(proof)
        page = log.page(dataclasses.replace(question, up_to=ends.last))
        return page, ends, (checkpoint.epoch, certificate, proof)
    epoch = context.cluster.status().epoch
    certificate, (page, proof) = await context.reads.seal(
        lambda: (log.page(question), log.prove()), timeout_ms=context.timeout_ms
    )
    return page, _ends_in(proof), (epoch, certificate, proof)


def _ends_in(proof: RowProof) -> AuditEnds:
    assert proof.row is not None, "the ends are in the state from its genesis"
    return decode_ends(proof.row)


def _proof(context: Context, proven: Proven) -> AuditProof:
    epoch, certificate, ends = proven
    changes = context.cluster.epoch_changes[max(0, epoch - EPOCH_CHANGES_MAX) : epoch]
    return AuditProof(1, context.spec.cluster_id, epoch, ends, certificate, changes)


def ends_body(ends: AuditEnds) -> dict[str, Any]:
    """Return the settings and the ends of the chain as clients see them."""
    return {
        "level": ends.level,
        "retention_ms": ends.retention_ms,
        "records_max": ends.records_max,
        "first": ends.first,
        "last": ends.last,
        "start": ends.start.hex(),
        "head": ends.head.hex(),
    }


def record_body(linked: Linked) -> dict[str, Any]:
    """Return a record as clients see it: with all that its hash covers."""
    record = linked.record
    return {
        **msgspec.structs.asdict(record),
        "at": timestamp_ms(record.at_ms),
        "before": None if record.before is None else record.before.hex(),
        "after": None if record.after is None else record.after.hex(),
        "previous": linked.previous.hex(),
        "hash": linked.hash.hex(),
    }


def seen_of(request: Request) -> Seen:
    """Return what a request is called in the audit log, should it be forbidden."""
    parts = request.path[len(_PREFIX) :].split("/")
    verb = "read" if request.method in {"GET", "HEAD"} else request.method.lower()
    if parts[-1] in {"query", "aggregate"}:
        return Seen(f"document.{parts[-1]}", parts[1])
    if parts[0] == "collections" and len(parts) > 2:
        document_id = parts[3] if len(parts) > 3 else None
        return Seen(f"{_NOUNS.get(parts[2], parts[2])}.{verb}", parts[1], document_id)
    if parts[0] == "collections":
        return Seen(f"collection.{verb}", parts[1] if len(parts) > 1 else None)
    noun = _NOUNS.get(parts[0], parts[0])
    return Seen(f"{noun}.{verb}", None, parts[1] if len(parts) > 1 else None)


def recorded[**P](
    action: str, handler: Callable[Concatenate[Context, Request, Caller, P], Awaitable[Response]]
) -> Callable[Concatenate[Context, Request, Caller, P], Coroutine[Any, Any, Response]]:
    """Return a handler of reads that has them noted; `documents.read` and queries do it alone."""

    async def record(
        context: Context, request: Request, caller: Caller, /, *args: P.args, **kwargs: P.kwargs
    ) -> Response:
        place = args[0] if args else ()
        names = (place,) if isinstance(place, str) else place
        assert isinstance(names, tuple), "a collection, or the place of a document"
        with context.reporter.reading(Seen(action, *names)):
            return await handler(context, request, caller, *args, **kwargs)

    return record
