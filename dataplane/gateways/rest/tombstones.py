"""Erasures by destroyed keys: their list, their certificates, and the order to erase a cluster."""

import msgspec

from dataplane.documents.commands import ClusterErase
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, error_fields
from dataplane.gateways.rest.cluster import ordered
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import idempotency_of, struct_of
from dataplane.gateways.rest.responses import json_response
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, TombstoneProof

_DIGITS_MAX = 9


class EraseBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /tombstones: the key that will be destroyed, and once more of which cluster.

    A key of the wrong cluster, or a script with the wrong address, erases nothing by itself.
    """

    subject: str
    cluster_id: str


async def tombstones_list(context: Context, _request: Request, caller: Caller) -> Response:
    """GET what was erased, oldest first."""
    caller.require("cluster:read")
    results = [
        {
            "number": record.number,
            "kind": record.kind,
            "name": record.name,
            "documents": record.documents,
            "bytes": record.bytes,
            "ordered_at": record.ordered_at,
            "erased_at": record.erased_at or None,
            "at": timestamp_ms(record.at_ms),
        }
        for record in context.state.view.tombstones()
    ]
    return json_response({"results": results}, 200, context.position(context.cluster.executed))


async def cluster_erase(context: Context, request: Request, caller: Caller) -> Response:
    """POST the order to erase the cluster; its certificate then is GET /tombstones/{number}."""
    caller.require("cluster:admin")
    body = struct_of(request, EraseBody)
    if body.cluster_id != context.spec.cluster_id:
        detail = "to confirm it, repeat the id of the cluster that is to be erased"
        raise Problem("invalid", detail, error_fields((("/cluster_id", "of another cluster"),)))
    op = ClusterErase(body.subject, idempotency_of(request, caller))
    result, sequence = await ordered(context, op)
    return json_response({"number": result.version}, 201, context.position(sequence))


async def tombstone_read(
    context: Context, _request: Request, caller: Caller, number: str
) -> Response:
    """GET the certificate of one erasure: it proves itself, see `verify-tombstone`."""
    caller.require("cluster:read")
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX):
        raise Problem("not_found", "no such tombstone")
    epoch = context.cluster.status().epoch
    certificate, row = await context.reads.seal(
        lambda: context.state.view.prove_tombstone(int(number)), timeout_ms=context.timeout_ms
    )
    headers = context.position(certificate.sequence)
    if row.row is None:
        raise Problem("not_found", "no such tombstone", headers=tuple(headers))
    # Who trusts a still older epoch than these lead from needs a newer anchor.
    changes = context.cluster.epoch_changes[max(0, epoch - EPOCH_CHANGES_MAX) : epoch]
    cluster_id = context.spec.cluster_id
    proof = TombstoneProof(1, cluster_id, epoch, int(number), row, certificate, changes)
    return json_response(msgspec.to_builtins(proof), 200, headers)
