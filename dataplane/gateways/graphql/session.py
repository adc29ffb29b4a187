"""graphql-transport-ws: operations and subscriptions over one WebSocket connection."""

import asyncio
import logging
from typing import Any, Final, override

import msgspec

from dataplane.documents.values import parse_json_document
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.graphql.execution import (
    GraphRequest,
    failed,
    prepare,
    request_of,
    run,
    stream,
)
from dataplane.gateways.graphql.resolvers import Asking
from dataplane.gateways.serving import foreseen
from dataplane.gateways.websocket.connection import MESSAGE_BYTES_MAX, Connection, Session

log = logging.getLogger(__name__)

SUBPROTOCOL: Final = "graphql-transport-ws"
INIT_S: Final = 5.0
OPERATIONS_MAX: Final = 16
ID_MAX: Final = 256

BAD_MESSAGE: Final = 4400
UNAUTHORIZED: Final = 4401
INIT_TIMEOUT: Final = 4408
ID_TAKEN: Final = 4409
TOO_MANY: Final = 4429

_encode: Final = msgspec.json.Encoder().encode


class Message(msgspec.Struct):
    """A message of the protocol."""

    type: str
    id: str | None = None
    payload: dict[str, Any] | None = None


class GraphSession(Session):
    """One client of `/graphql` over WebSocket."""

    def __init__(self, context: Context, connection: Connection, caller: Caller | None) -> None:
        self._context = context
        self._connection = connection
        self._caller = caller
        self._is_acknowledged = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._writable = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.call_later(INIT_S, self._too_late)

    def _too_late(self) -> None:
        self._connection.close(INIT_TIMEOUT, "Connection initialisation timeout")

    def _send(self, kind: str, **fields: Any) -> None:
        self._connection.send(_encode({"type": kind, **fields}))

    @override
    def message(self, text: bytes) -> None:
        try:
            body = parse_json_document(text, bytes_max=MESSAGE_BYTES_MAX)
            message = msgspec.convert(body, Message)
            self._take(message)
        except msgspec.ValidationError:
            self._connection.close(BAD_MESSAGE, "Invalid message received")
        except Exception as error:  # noqa: BLE001 - the last line before the client
            problem = foreseen(error)
            is_stranger = problem.code == "unauthenticated"
            self._connection.close(UNAUTHORIZED if is_stranger else BAD_MESSAGE, problem.detail)

    def _take(self, message: Message) -> None:
        match message.type:
            case "connection_init":
                self._init(message.payload or {})
            case "ping":
                self._send("pong")
            case "pong":
                pass
            case "complete" if message.id is not None:
                task = self._operations.pop(message.id, None)
                if task is not None:
                    task.cancel()
            case "subscribe" if message.id and message.payload is not None:
                self._begin(message.id[:ID_MAX], message.payload)
            case _:
                self._connection.close(BAD_MESSAGE, "Invalid message received")

    def _init(self, payload: dict[str, Any]) -> None:
        if self._is_acknowledged:
            self._connection.close(TOO_MANY, "Too many initialisation requests")
            return
        self._is_acknowledged = True
        self._deadline.cancel()
        given = payload.get("authorization", payload.get("Authorization"))
        if self._caller is None:
            text = given if isinstance(given, str) else None
            self._caller = self._context.admission.caller_of(text)
        self._send("connection_ack")

    def _begin(self, operation: str, payload: dict[str, Any]) -> None:
        if self._caller is None or not self._is_acknowledged:
            self._connection.close(UNAUTHORIZED, "Unauthorized")
            return
        if operation in self._operations:
            self._connection.close(ID_TAKEN, f"Subscriber for {operation[:64]} already exists")
            return
        self._caller = self._context.admission.renewed(self._caller)
        asking = Asking(self._context, self._caller, "/graphql")
        if len(self._operations) >= OPERATIONS_MAX:
            detail = f"a connection has at most {OPERATIONS_MAX} operations under way"
            told = failed(Problem("rate_limited", detail), asking.path)["errors"]
            self._send("error", id=operation, payload=told)
            return
        request = request_of(payload)
        task = self._loop.create_task(self._do(operation, request, asking))
        self._operations[operation] = task

    async def _do(self, operation: str, request: GraphRequest, asking: Asking) -> None:
        try:
            # Who does not read its answers gets no more of them made.
            await self._until_writable()
            prepared = prepare(request)
            if prepared.is_subscription:
                async for result in stream(prepared, asking):
                    self._send("next", id=operation, payload=result)
                    await self._until_writable()
            else:
                result = await run(prepared, asking)
                self._send("next", id=operation, payload=result)
        except Exception as error:  # noqa: BLE001 - the last line before the client
            problem = foreseen(error)
            if problem.code == "overrun":
                self._connection.close_slow()
            told = failed(problem, asking.path)["errors"]
            self._send("error", id=operation, payload=told)
        else:
            self._send("complete", id=operation)
        finally:
            if self._operations.get(operation) is asyncio.current_task():
                del self._operations[operation]

    async def _until_writable(self) -> None:
        if not self._connection.is_writable:
            self._writable.clear()
            await self._writable.wait()

    @override
    def resumed(self) -> None:
        self._writable.set()

    @override
    def slow_reason(self) -> str:
        """Say no more: the client knows the `place` of the last change that it got."""
        return "too slow"

    @override
    def closed(self) -> None:
        self._deadline.cancel()
        for task in self._operations.values():
            task.cancel()
