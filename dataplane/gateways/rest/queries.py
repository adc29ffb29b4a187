"""The routes of questions about a whole collection."""

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import object_of, position_of
from dataplane.gateways.rest.responses import answer_response
from dataplane.gateways.services import queries


async def query(context: Context, request: Request, caller: Caller, collection: str) -> Response:
    """POST a query."""
    caller.require("documents:read", collection)
    body = object_of(request, bytes_max=queries.BODY_BYTES_MAX)
    after = position_of(request)
    return answer_response(await queries.query(context, caller, collection, body, after=after))


async def aggregate(
    context: Context, request: Request, caller: Caller, collection: str
) -> Response:
    """POST a pipeline."""
    caller.require("documents:read", collection)
    body = object_of(request, bytes_max=queries.BODY_BYTES_MAX)
    after = position_of(request)
    return answer_response(await queries.aggregate(context, caller, collection, body, after=after))
