"""The path `/graphql`: POST, or an upgrade to graphql-transport-ws."""

from typing import Final

from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.graphql.execution import failed, parsed_request, prepare, run
from dataplane.gateways.graphql.resolvers import Asking
from dataplane.gateways.graphql.session import SUBPROTOCOL, GraphSession
from dataplane.gateways.rest.messages import Request, Response
from dataplane.gateways.rest.parsing import JSON, require_media_type
from dataplane.gateways.rest.responses import json_response
from dataplane.gateways.serving import foreseen
from dataplane.gateways.websocket.connection import Connection, handshake

PATH: Final = "/graphql"
RESPONSE_JSON: Final = "application/graphql-response+json"


async def graphql(context: Context, request: Request) -> Response:
    """Answer one request.

    Raises:
        Problem: `unauthenticated`, `method_not_allowed`, `unsupported_media_type`; what the
            document itself causes is told in the way of GraphQL.
    """
    given = request.headers.get("authorization")
    if "upgrade" in request.headers:
        known = None if given is None else context.admission.caller_of(given)

        def session(connection: Connection) -> GraphSession:
            return GraphSession(context, connection, known)

        return handshake(request, session, subprotocol=SUBPROTOCOL)
    asking = Asking(context, context.admission.caller_of(given), PATH)
    if request.method != "POST":
        raise Problem("method_not_allowed", "use POST", headers=(("Allow", "POST"),))
    require_media_type(request, JSON)
    status = 200
    try:
        prepared = prepare(parsed_request(request.body))
        if prepared.is_subscription:
            raise Problem("invalid", f"subscriptions need WebSocket ({SUBPROTOCOL})")  # noqa: TRY301
        told = await run(prepared, asking)
    except Exception as error:  # noqa: BLE001 - the last line before the client
        problem = foreseen(error)
        status, told = problem.status, failed(problem, PATH)
    is_new = RESPONSE_JSON in request.headers.get("accept", "")
    response = json_response(told, status if is_new or status >= 500 else 200)
    if is_new:
        response.content_type = RESPONSE_JSON
    response.headers.extend(context.position(context.cluster.executed))
    return response
