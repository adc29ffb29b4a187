"""The keys under which this node writes to its disk."""

import msgspec

from dataplane.client.spec import Algorithm
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import struct_of
from dataplane.gateways.rest.responses import json_response
from dataplane.security.errors import EncryptionError


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /encryption/rotate; without an algorithm it stays as it is."""

    algorithm: Algorithm | None = None


async def encryption_show(context: Context, _request: Request, caller: Caller) -> Response:
    """GET what this node encrypts with, and how far a change of keys is."""
    caller.require("cluster:read")
    body = {"node_id": context.spec.node_id, **context.encryption.describe()}
    return json_response(body, 200, context.position(context.cluster.executed))


async def encryption_rotate(context: Context, request: Request, caller: Caller) -> Response:
    """POST a change of this node's data key: 202, since sealing everything anew takes a while."""
    caller.require("cluster:admin")
    body = struct_of(request, RotateBody) if request.body else RotateBody()
    try:
        await context.encryption.rotate(body.algorithm)
    except EncryptionError as error:
        raise Problem("conflict", str(error)) from error
    answer = {"node_id": context.spec.node_id, **context.encryption.describe()}
    return json_response(answer, 202, context.position(context.cluster.executed))
