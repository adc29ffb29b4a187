"""The routes of indexes."""

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import idempotency_of, object_of
from dataplane.gateways.rest.responses import answer_response
from dataplane.gateways.services import indexes

BODY_BYTES_MAX = 64 * 1024


async def indexes_list(
    context: Context, _request: Request, caller: Caller, collection: str
) -> Response:
    """GET the indexes of a collection."""
    return answer_response(indexes.indexes_list(context, caller, collection))


async def advice(context: Context, _request: Request, caller: Caller, collection: str) -> Response:
    """GET which queries were seen and which indexes would help."""
    return answer_response(indexes.advice(context, caller, collection))


async def index_read(
    context: Context, _request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """GET one index."""
    return answer_response(indexes.index_read(context, caller, *place))


async def index_put(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """PUT an index."""
    body = object_of(request, bytes_max=BODY_BYTES_MAX)
    key = idempotency_of(request, caller)
    return answer_response(await indexes.index_put(context, caller, place, body, idempotency=key))


async def index_drop(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """DELETE an index."""
    key = idempotency_of(request, caller)
    return answer_response(await indexes.index_drop(context, caller, place, idempotency=key))
