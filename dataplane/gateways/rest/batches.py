"""Decided batches with their proofs, for who archives them."""

from typing import Any, Final

from dataplane.client.archives import MEDIA_TYPE, Batches, encode_batches
from dataplane.consensus.messages import CommittedEntry
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.backups import require_all
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import number_of
from dataplane.wire.proofs import EPOCH_CHANGES_MAX

COUNT_MAX: Final = 256
BYTES_MAX: Final = 4 * 1024 * 1024
BATCHES_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "after",
        "in": "query",
        "description": "the sequence after which batches are told",
        "schema": {"type": "integer", "minimum": 0, "default": 0},
    }
]


async def batches_list(context: Context, request: Request, caller: Caller) -> Response:
    """GET what was decided after a sequence, as much as this node sends at once."""
    require_all(caller)
    after = number_of(request, "after", 0)
    executed, decided = context.cluster.executed, context.cluster.decided
    entries: list[CommittedEntry] = []
    size_bytes = 0
    for sequence in range(after + 1, min(executed, after + COUNT_MAX) + 1):
        entry = decided.get(sequence)
        if entry is None:
            break
        size_bytes += len(entry.batch)
        if entries and size_bytes > BYTES_MAX:
            break
        entries.append(entry)
    if not entries and after < executed:
        detail = f"this node no longer has the batch after {after}"
        raise Problem("resync_required", detail, {"executed": executed})
    changes = context.cluster.epoch_changes[-EPOCH_CHANGES_MAX:]
    body = encode_batches(Batches(tuple(entries), changes))
    return Response(200, body, MEDIA_TYPE, context.position(executed))
