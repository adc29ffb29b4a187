"""What this node refused of what its peers sent, as its operators may look at it."""

from typing import Final

import msgspec

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import number_of
from dataplane.gateways.rest.responses import json_response

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500


async def rejections_list(context: Context, request: Request, caller: Caller) -> Response:
    """GET the latest refusals behind entry `after`, and all of them counted."""
    caller.require("cluster:read")
    after, limit = number_of(request, "after", 0), number_of(request, "limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        fault = {"pointer": "/limit", "detail": f"a whole number from 1 to {LIMIT_MAX}"}
        raise Problem("invalid", f"limit is from 1 to {LIMIT_MAX}", {"errors": [fault]})
    notices = context.cluster.notices
    found = notices.rejections.since(after, limit)
    body = {
        "node_id": context.spec.node_id,
        "newest": notices.rejections.newest,
        "results": [msgspec.to_builtins(entry) for entry in found],
        "counts": [
            {"sender": sender, "kind": kind, "reason": reason, "count": count}
            for (sender, kind, reason), count in sorted(notices.rejections.counts.items())
        ],
        "alarms": dict(sorted(notices.alarms.items())),
    }
    return json_response(body, 200, context.position(context.cluster.executed))
