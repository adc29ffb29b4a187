"""Proofs that nodes of the cluster lied, as this node keeps them."""

from typing import Final

import msgspec

from dataplane.client.evidence import document_of
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import number_of
from dataplane.gateways.rest.responses import json_response

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200


async def evidence_list(context: Context, request: Request, caller: Caller) -> Response:
    """GET the proofs in the order in which this node got them."""
    caller.require("cluster:read")
    start, limit = number_of(request, "cursor", 0), number_of(request, "limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        fault = {"pointer": "/limit", "detail": "a whole number from 0"}
        raise Problem("invalid", f"limit is from 1 to {LIMIT_MAX}", {"errors": [fault]})
    records = context.cluster.accountability.records
    end = min(start + limit, len(records))
    results = [
        {
            "proof": msgspec.to_builtins(document_of(record.proof, context.spec.cluster_id)),
            "seen": timestamp_ms(record.seen_ms),
            "told_by": record.told_by,
        }
        for record in records[start:end]
    ]
    body = {
        "node_id": context.spec.node_id,
        "count": len(records),
        "results": results,
        "next": str(end) if end < len(records) else None,
    }
    return json_response(body, 200, context.position(context.cluster.executed))
