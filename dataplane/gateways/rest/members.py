"""The members of the cluster: who they are, and the control plane's orders to change them."""

import msgspec

from dataplane.documents.commands import Reconfigure
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.rest.cluster import ordered
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import struct_of
from dataplane.gateways.rest.responses import json_response
from dataplane.gateways.services.cluster import moving


class OrderBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /members: the order and its signature, both base64."""

    order: bytes
    sig: bytes


async def members_list(context: Context, _request: Request, caller: Caller) -> Response:
    """GET the epoch and its members."""
    caller.require("cluster:read")
    status = context.cluster.status()
    body = {
        "epoch": status.epoch,
        "ends_at": status.ends_at,
        "members": [{"id": member.id, "address": member.address} for member in status.members],
        "moving": moving(context),
        "changes": msgspec.to_builtins(context.cluster.epoch_changes),
    }
    return json_response(body, 200, context.position(status.sequence))


async def members_put(context: Context, request: Request, caller: Caller) -> Response:
    """PUT the members of the next epoch: 202, since this one ends a few batches later.

    503 `not_ready` while cold documents are moved that would be lost; GET says how far that is.
    """
    caller.require("cluster:admin")
    body = struct_of(request, OrderBody)
    epoch = context.cluster.status().epoch
    result, sequence = await ordered(context, Reconfigure(body.order, body.sig))
    answer = {"epoch": epoch, "ends_at": result.version}
    return json_response(answer, 202, context.position(sequence))
