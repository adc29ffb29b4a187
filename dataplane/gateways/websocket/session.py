"""What the frames of `/api/v1/ws` mean: calls of the service layer, and streams."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, override

from dataplane.documents.values import parse_json_document
from dataplane.gateways.answers import Answer
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import LAG_HEADER, Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.feeds import Feed, FeedRequest, parse_place
from dataplane.gateways.operations import Condition, idempotency_name
from dataplane.gateways.services import cluster, documents, queries, transactions
from dataplane.gateways.services.reads import Reading, consistency_of
from dataplane.gateways.serving import entered, foreseen, opened, serve
from dataplane.gateways.tracing import TRACE, trace_of
from dataplane.gateways.websocket.connection import MESSAGE_BYTES_MAX, Connection, Session
from dataplane.gateways.websocket.frames import (
    Frame,
    FrameId,
    change_frame,
    collection_of,
    decode_frame,
    error_frame,
    place_of,
    plain_frame,
    required,
    result_frame,
)

AUTH_S: Final = 5.0
METRICS_S: Final = 1.0
IN_FLIGHT_MAX: Final = 32
STREAMS_MAX: Final = 16
BEHIND_MAX: Final = 50_000
FILTER_BYTES_MAX: Final = 16 * 1024
UNAUTHENTICATED: Final = 4001

type Work = Callable[[], Awaitable[Answer]]


class Stream(NamedTuple):
    """What keeps telling a client; `feed` is None for figures."""

    task: asyncio.Task[None]
    feed: Feed | None


class ApiSession(Session):
    """One client of `/api/v1/ws`."""

    def __init__(self, context: Context, connection: Connection, caller: Caller | None) -> None:
        self._context = context
        self._connection = connection
        self._caller = caller
        self._waiting: deque[bytes] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[FrameId, Stream] = {}
        self._in_flight = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._loop = asyncio.get_running_loop()
        self._deadline = None if caller else self._loop.call_later(AUTH_S, self._too_late)

    # --- Messages in, one after the other -----------------------------------------------------

    @override
    def message(self, text: bytes) -> None:
        self._waiting.append(text)
        self._go_on()

    @override
    def resumed(self) -> None:
        self._writable.set()
        self._go_on()

    def _go_on(self) -> None:
        """Take what waits, as long as there is room and the client reads its answers."""
        while self._waiting and self._in_flight < IN_FLIGHT_MAX and self._connection.is_writable:
            self._take(self._waiting.popleft())
        if self._waiting:
            self._connection.pause_reading()
        else:
            self._connection.resume_reading()

    def _take(self, text: bytes) -> None:
        frame_id: FrameId = None
        try:
            frame = decode_frame(text)
            frame_id = frame.id
            if frame.type == "auth":
                self._authenticate(frame)
            else:
                self._dispatch(frame, self._renewed())
        except Exception as error:  # noqa: BLE001 - the last line before the client
            problem = foreseen(error)
            self._connection.send(error_frame(frame_id, problem))
            if problem.code == "unauthenticated":
                self._connection.close(UNAUTHENTICATED, "unauthenticated")

    def _renewed(self) -> Caller:
        """Return who calls, if the key still may.

        Raises:
            Problem: `unauthenticated`.
        """
        if self._caller is None:
            raise Problem("unauthenticated", "the first frame is auth, with a token")
        self._caller = self._context.admission.renewed(self._caller)
        return self._caller

    def _authenticate(self, frame: Frame) -> None:
        self._caller = self._context.admission.caller_of(f"Bearer {frame.token}")
        if self._deadline is not None:
            self._deadline.cancel()
        self._connection.send(plain_frame(frame.id, "authenticated"))

    def _too_late(self) -> None:
        self._connection.close(UNAUTHENTICATED, f"no token within {AUTH_S:.0f} s")

    def _dispatch(self, frame: Frame, caller: Caller) -> None:
        match frame.type:
            case "ping":
                self._connection.send(plain_frame(frame.id, "pong"))
            case "subscribe":
                self._subscribe(frame, caller)
            case "metrics":
                with entered(self._context, caller, "", lambda: Seen("cluster.stats")):
                    caller.require("cluster:read")
                self._stream(frame.id, self._metrics(frame.id))
            case "unsubscribe":
                self._unsubscribe(frame)
            case _:
                call_class, work = call_of(self._context, frame, caller)
                self._in_flight += 1
                self._tasks.add(self._run(self._call(frame, caller, call_class, work)))

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _call(self, frame: Frame, caller: Caller, call_class: str, work: Work) -> None:
        try:
            TRACE.set(trace_of(frame.traceparent))
            seen = Seen(f"document.{frame.type}", frame.collection, frame.document_id)
            answer = await serve(self._context, caller, call_class, work, seen=seen)
        except Problem as problem:
            self._connection.send(error_frame(frame.id, problem))
        else:
            if any(name == LAG_HEADER for name, _ in answer.facts):
                answer.facts += self._context.age()
            self._connection.send(result_frame(frame.id, answer))
        finally:
            self._in_flight -= 1
            self._go_on()

    # --- Streams out -----------------------------------------------------------------------------

    def _stream(
        self, frame_id: FrameId, work: Coroutine[None, None, None], feed: Feed | None = None
    ) -> None:
        if frame_id is None or frame_id in self._streams or len(self._streams) >= STREAMS_MAX:
            work.close()
            raise Problem(
                "invalid" if frame_id is None or frame_id in self._streams else "rate_limited",
                f"a stream has an id of its own, and a connection at most {STREAMS_MAX} of them",
            )
        self._streams[frame_id] = Stream(self._run(work), feed)

    def _subscribe(self, frame: Frame, caller: Caller) -> None:
        filter_ = bytes(frame.filter)
        names = frame.collections or (() if frame.collection is None else (frame.collection,))
        asked = FeedRequest(
            after=None if frame.after is None else parse_place(str(frame.after)),
            collections=tuple(dict.fromkeys(names)),
            filter=parse_json_document(filter_, bytes_max=FILTER_BYTES_MAX) if filter_ else None,
            behind_max=BEHIND_MAX,
        )
        feed = opened(self._context, caller, asked)
        self._stream(frame.id, self._changes(frame.id, feed), feed)
        self._connection.send(plain_frame(frame.id, "subscribed", place=str(feed.place)))

    async def _changes(self, frame_id: FrameId, feed: Feed) -> None:
        try:
            async with feed:
                async for place, events in feed:
                    for event in events:
                        told = change_frame(frame_id, str(event.place), event.rendered())
                        self._connection.send(told)
                    if not events:
                        self._connection.send(plain_frame(frame_id, "alive", place=str(place)))
                    await self._until_writable()
        except Exception as error:  # noqa: BLE001 - the last line before the client
            problem = foreseen(error)
            if problem.code == "overrun":
                self._connection.close_slow()
            self._connection.send(error_frame(frame_id, problem))
        finally:
            self._ended(frame_id)

    async def _metrics(self, frame_id: FrameId) -> None:
        try:
            await self._tell_figures(frame_id)
        except Exception as error:  # noqa: BLE001 - the last line before the client
            self._connection.send(error_frame(frame_id, foreseen(error)))
        finally:
            self._ended(frame_id)

    async def _tell_figures(self, frame_id: FrameId) -> None:
        with self._context.admission.stream(self._renewed()):
            while True:
                figures = cluster.stats(self._context, self._renewed()).body
                self._connection.send(plain_frame(frame_id, "metrics", metrics=figures))
                await asyncio.sleep(METRICS_S)
                await self._until_writable()

    def _ended(self, frame_id: FrameId) -> None:
        """Forget a stream, unless another has its id already."""
        stream = self._streams.get(frame_id)
        if stream is not None and stream.task is asyncio.current_task():
            del self._streams[frame_id]

    async def _until_writable(self) -> None:
        if not self._connection.is_writable:
            self._writable.clear()
            await self._writable.wait()

    def _unsubscribe(self, frame: Frame) -> None:
        stream = self._streams.pop(frame.subscription, None)
        if stream is None:
            raise Problem("not_found", "there is no such subscription")
        stream.task.cancel()
        self._connection.send(plain_frame(frame.id, "unsubscribed"))

    # --- The end -----------------------------------------------------------------------------

    @override
    def slow_reason(self) -> str:
        """Return the place from which no subscription misses anything."""
        places = [stream.feed.place for stream in self._streams.values() if stream.feed]
        if not places:
            return "too slow"
        return f"too slow; last {min(places, key=lambda place: (place[0], place[1] or 0))}"

    @override
    def closed(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()


def call_of(context: Context, frame: Frame, caller: Caller) -> tuple[str, Work]:  # noqa: PLR0911
    """Return the class and the work of a frame that asks for one answer.

    Raises:
        Problem: `invalid`.
    """
    condition = Condition(
        frame.if_version, frame.if_none_match, idempotency_name(caller, frame.idempotency_key)
    )
    match frame.type:
        case "get":
            place, reading = place_of(frame), _reading(frame)
            return "read", lambda: documents.read(context, caller, place, reading)
        case "create":
            name, body = collection_of(frame), required(frame.document, "document")
            return "write", lambda: documents.create(
                context, caller, name, body, condition=condition
            )
        case "put":
            place, body = place_of(frame), required(frame.document, "document")
            return "write", lambda: documents.put(context, caller, place, body, condition=condition)
        case "patch":
            place, is_update = place_of(frame), bool(bytes(frame.update))
            body = bytes(frame.update) or required(frame.patch, "patch")
            return "write", lambda: documents.patch(
                context, caller, place, body, condition=condition, operators=is_update
            )
        case "delete":
            place = place_of(frame)
            return "delete", lambda: documents.delete(context, caller, place, condition)
        case "query":
            return "query", _question(context, frame, caller, queries.query)
        case "aggregate":
            return "query", _question(context, frame, caller, queries.aggregate)
        case "transact":
            return "write", _transaction(context, frame, caller)
        case _:
            raise Problem("invalid", f"there is no frame of the type {frame.type[:64]}")


def _transaction(context: Context, frame: Frame, caller: Caller) -> Work:
    text = b'{"operations":%b}' % required(frame.operations, "operations")
    body = parse_json_document(text, bytes_max=MESSAGE_BYTES_MAX)
    key = frame.idempotency_key
    return lambda: transactions.transact(context, caller, body, idempotency_key=key)


def _reading(frame: Frame) -> Reading:
    return Reading(consistency_of(frame.consistency), _after(frame), frame.proof)


def _after(frame: Frame) -> int:
    if frame.after is None:
        return 0
    if not isinstance(frame.after, int):
        raise Problem("invalid", "after takes a sequence")
    return frame.after


def _question(
    context: Context, frame: Frame, caller: Caller, ask: Callable[..., Awaitable[Answer]]
) -> Work:
    collection, after = collection_of(frame), _after(frame)
    text = required(getattr(frame, frame.type), frame.type)
    body: dict[str, Any] = parse_json_document(text, bytes_max=queries.BODY_BYTES_MAX)
    return lambda: ask(context, caller, collection, body, after=after)
