"""Restores: the content of a backup, in parts, into a cluster that is empty or is to be so."""

from collections.abc import Generator
from io import BytesIO
from typing import Any, Final

import msgspec

from dataplane.client.backups import BackupReader, Contents, Weighing
from dataplane.client.restores import PART_ROWS_MAX, PARTS_TYPE, announcement, parts_of
from dataplane.documents.commands import (
    OP_BYTES_MAX,
    RestoreBegin,
    RestoreDiscard,
    RestoreEnd,
    RestoreRows,
)
from dataplane.documents.types import RestoreRecord
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.backups import require_all
from dataplane.gateways.rest.cluster import ordered
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import number_of, require_media_type, struct_of, wants_proof
from dataplane.gateways.rest.responses import json_response
from dataplane.wire.backups import MEDIA_TYPE, Head, RestoreProof, Row
from dataplane.wire.proofs import EPOCH_CHANGES_MAX

RECORDS_PER_TURN: Final = 8
ID_BYTES: Final = 16
_RESTORE_ID: Final[dict[str, Any]] = {
    "name": "id",
    "in": "query",
    "required": True,
    "description": "which restore, as its beginning named it",
    "schema": {"type": "string", "pattern": f"^[0-9a-fA-F]{{{2 * ID_BYTES}}}$"},
}
_NUMBER: Final[dict[str, Any]] = {
    "name": "number",
    "in": "query",
    "description": "of the part: the `next` of the answer before, 0 first",
    "schema": {"type": "integer", "minimum": 0, "default": 0},
}
_PROOF: Final[dict[str, Any]] = {
    "name": "proof",
    "in": "query",
    "description": "adds `proof`: what a quorum signs of it",
    "schema": {"type": "boolean", "default": False},
}
RESTORE_PARAMETERS: Final = {
    ("get", "/api/v1/restore"): [_PROOF],
    ("delete", "/api/v1/restore"): [_RESTORE_ID],
    ("post", "/api/v1/restore/parts"): [_RESTORE_ID, _NUMBER],
    ("post", "/api/v1/restore/finish"): [_RESTORE_ID],
}
_decode_part: Final = msgspec.msgpack.Decoder(tuple[Row, ...]).decode


class BeginBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /restore; digests and the id are hex."""

    id: str
    source_cluster: str
    source_epoch: int
    source_sequence: int
    source_root: str
    source_at_ms: int
    content: str
    rows: int
    next_collection: int
    version_floor: int
    replace: bool = False


def _bytes(name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Problem("invalid", f"{name} takes hex digits") from error


def _id(request: Request) -> bytes:
    return _bytes("id", request.query.get("id", ""))


def restore_body(record: RestoreRecord | None) -> dict[str, Any]:
    """Return how far a restore is, as clients see it."""
    if record is None:
        return {"state": "none"}
    return {
        "id": record.id.hex(),
        "state": record.state,
        "source": {
            "cluster_id": record.source_cluster,
            "epoch": record.source_epoch,
            "sequence": record.source_sequence,
            "root": record.source_root.hex(),
            "time": timestamp_ms(record.source_at_ms),
        },
        "content": record.content.hex(),
        "rows": record.rows,
        "rows_expected": record.rows_expected,
        "next": record.next,
        "sequence": record.sequence,
        "given_up_at": None if record.ends_ms is None else timestamp_ms(record.ends_ms),
    }


def _answer(context: Context, sequence: int, **more: object) -> Response:
    body = {"restore": restore_body(context.state.view.restore()), **more}
    return json_response(body, 200, context.position(sequence))


async def restore_read(context: Context, request: Request, caller: Caller) -> Response:
    """GET how far it is, and with `proof` what a quorum signs of it."""
    require_all(caller)
    if not wants_proof(request.query.get("proof", "false")):
        return _answer(context, context.cluster.executed)
    epoch = context.cluster.config.epoch
    certificate, row = await context.reads.seal(
        context.state.view.prove_restore, timeout_ms=context.timeout_ms
    )
    changes = context.cluster.epoch_changes[max(0, epoch - EPOCH_CHANGES_MAX) : epoch]
    proof = RestoreProof(1, context.spec.cluster_id, epoch, row, certificate, changes)
    return _answer(context, certificate.sequence, proof=proof)


async def restore_begin(context: Context, request: Request, caller: Caller) -> Response:
    """PUT the beginning of a restore; again, to learn how far it is."""
    require_all(caller)
    body = struct_of(request, BeginBody)
    op = RestoreBegin(
        id=_bytes("id", body.id),
        source_cluster=body.source_cluster,
        source_epoch=body.source_epoch,
        source_sequence=body.source_sequence,
        source_root=_bytes("source_root", body.source_root),
        source_at_ms=body.source_at_ms,
        content=_bytes("content", body.content),
        rows=body.rows,
        next_collection=body.next_collection,
        version_floor=body.version_floor,
        replace=body.replace,
    )
    _, sequence = await ordered(context, op)
    return _answer(context, sequence)


async def restore_part(context: Context, request: Request, caller: Caller) -> Response:
    """POST the next part."""
    require_all(caller)
    require_media_type(request, PARTS_TYPE)
    if len(request.body) > OP_BYTES_MAX:
        raise Problem("too_large", f"a part has at most {OP_BYTES_MAX} bytes")
    try:
        rows = _decode_part(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Problem("malformed", f"not a part of a restore: {error}") from error
    if len(rows) > PART_ROWS_MAX:
        raise Problem("too_large", f"a part has at most {PART_ROWS_MAX} rows")
    number = number_of(request, "number", 0)
    _, sequence = await ordered(context, RestoreRows(_id(request), number, rows))
    return _answer(context, sequence)


async def restore_finish(context: Context, request: Request, caller: Caller) -> Response:
    """POST the end: from here on the cluster has what was loaded."""
    require_all(caller)
    _, sequence = await ordered(context, RestoreEnd(_id(request)))
    return _answer(context, sequence)


async def restore_discard(context: Context, request: Request, caller: Caller) -> Response:
    """DELETE a restore that is under way: the cluster is empty again."""
    require_all(caller)
    _, sequence = await ordered(context, RestoreDiscard(_id(request)))
    return Response(204, headers=context.position(sequence))


async def restore_whole(context: Context, request: Request, caller: Caller) -> Response:
    """POST a whole backup, as large as a body may be; a larger one comes in parts.

    Who signed it cannot be checked here, for want of a trust anchor: check it before sending it.
    """
    require_all(caller)
    require_media_type(request, MEDIA_TYPE)
    head, contents = await context.turns.run(_weighed(request.body))
    announced = announcement(head, contents)
    restore_id = context.random_bytes(ID_BYTES)
    fields = msgspec.to_builtins(announced)
    for name in ("source_root", "content"):
        fields[name] = bytes.fromhex(fields[name])
    await ordered(context, RestoreBegin(id=restore_id, **fields))
    sequence = 0
    try:
        records = BackupReader(BytesIO(request.body)).records()
        for number, part in enumerate(parts_of(contents, records)):
            await ordered(context, RestoreRows(restore_id, number, part))
        _, sequence = await ordered(context, RestoreEnd(restore_id))
    except Problem:
        await ordered(context, RestoreDiscard(restore_id))
        raise
    return _answer(context, sequence)


def _weighed(body: bytes) -> Generator[None, None, tuple[Head, Contents]]:
    weighing, reader = Weighing(), BackupReader(BytesIO(body))
    for count, _ in enumerate(weighing.through(reader.records())):
        if count % RECORDS_PER_TURN == 0:
            yield
    contents = weighing.contents()
    if contents.root != reader.head.certificate.root:
        raise Problem("invalid", "the rows of the backup are not those that were signed")
    return reader.head, contents
