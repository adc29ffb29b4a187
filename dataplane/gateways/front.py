"""What the HTTP port of a node answers: REST, and what speaks another protocol from a path on."""

from typing import Final

from dataplane.gateways.context import Context
from dataplane.gateways.graphql.app import PATH, graphql
from dataplane.gateways.rest.app import RestApp
from dataplane.gateways.rest.messages import Request, Response
from dataplane.gateways.tracing import TRACE, trace_of
from dataplane.gateways.websocket.connection import Connection, handshake
from dataplane.gateways.websocket.session import ApiSession

WEBSOCKET: Final = "/api/v1/ws"
SWITCHES: Final = frozenset({WEBSOCKET, PATH})


class Front:
    """Hands a request to the gateway of its path."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rest = RestApp(context)
        self.refuse = self._rest.refuse

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path not in SWITCHES:
            return await self._rest(request)
        try:
            TRACE.set(trace_of(request.headers.get("traceparent")))
            if request.path == PATH:
                return await graphql(self._context, request)
            return self._websocket(request)
        except Exception as error:  # noqa: BLE001 - the last line before the client
            return self._rest.failure(error, request.path)

    def _websocket(self, request: Request) -> Response:
        context, given = self._context, request.headers.get("authorization")
        caller = None if given is None else context.admission.caller_of(given)

        def session(connection: Connection) -> ApiSession:
            return ApiSession(context, connection, caller)

        return handshake(request, session)
