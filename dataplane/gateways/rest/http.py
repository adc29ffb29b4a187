"""A small HTTP/1.1 server: a bare protocol on the event loop, with limits on everything.

Routes and meanings are not here: a request becomes a `Request`, an `App` answers a `Response`.
Requests of one connection are answered in order, one at a time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, cast, override
from urllib.parse import parse_qsl, unquote

import httptools

log = logging.getLogger(__name__)

HEADER_BYTES_MAX: Final = 32 * 1024
PIPELINE_MAX: Final = 16
IDLE_TIMEOUT_S: Final = 75.0
REQUEST_TIMEOUT_S: Final = 30.0
SWEEP_S: Final = 5.0

REASONS: Final = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


@dataclass(slots=True)
class Request:
    """A whole request; header names are lower case."""

    method: str
    path: str
    query_text: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query_text, keep_blank_values=True))


@dataclass(slots=True)
class Response:
    """What goes back."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


type App = Callable[[Request], Awaitable[Response]]
type Refuse = Callable[[str, str, str], Response]
"""(code, detail, path) -> the response for a request that never became one."""


class HttpProtocol(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: "HttpServer", loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._begin()
        self.active_at = loop.time()
        self.request_began_at: float | None = None

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._in_head = False
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # --- asyncio ---------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._refuse("rate_limited", "too many connections")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._closing = True
        if self._task is not None:
            self._task.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        self.active_at = self._loop.time()
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
            self._bound_head(len(data))
        except httptools.HttpParserUpgrade:
            self._refuse("malformed", "no upgrade is offered on this path")
        except httptools.HttpParserError as error:
            if not self._closing:
                self._refuse("malformed", f"not HTTP/1.1: {error}")

    def _bound_head(self, received: int) -> None:
        """Count what arrives before the headers end: the parser keeps it, however long it is."""
        if self._in_head and not self._closing:
            self._head_bytes += received
            if self._head_bytes > HEADER_BYTES_MAX:
                self._refuse("headers_too_large", f"more than {HEADER_BYTES_MAX} bytes of headers")

    # --- httptools -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request."""
        self._begin()
        self._in_head = True
        self.request_began_at = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Look at what the headers promise."""
        self._in_head = False
        size = sum(len(name) + len(value) + 4 for name, value in self._headers.items())
        if size + len(self._url) > HEADER_BYTES_MAX:
            self._refuse("headers_too_large", f"more than {HEADER_BYTES_MAX} bytes of headers")
            return
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._server.body_bytes_max:
            self._too_large()
        elif self._headers.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > self._server.body_bytes_max:
            self._too_large()
        elif not self._closing:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Queue the whole request."""
        self.request_began_at = None
        if self._closing:
            return
        url = httptools.parse_url(self._url)
        request = Request(
            self._parser.get_method().decode("latin-1"),
            unquote((url.path or b"/").decode("latin-1")),
            (url.query or b"").decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive(),
        )
        self._queue.append(request)
        if len(self._queue) > PIPELINE_MAX:
            self._refuse("rate_limited", f"more than {PIPELINE_MAX} requests in a row")
        elif self._task is None:
            self._task = self._loop.create_task(self._answer_all())

    # --- Answers ---------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        while self._queue and not self._closing:
            request = self._queue.popleft()
            response = await self._server.app(request)
            self._write(request, response)
        self._task = None
        if self._server.stopping:
            self.close_when_idle()

    def _write(self, request: Request, response: Response) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        keep = request.keep_alive and not self._server.stopping
        head_only = request.method == "HEAD"
        self._transport.write(render(response, keep_alive=keep, head_only=head_only))
        self.active_at = self._loop.time()
        if not keep:
            self._closing = True
            self._transport.close()

    def _too_large(self) -> None:
        if not self._closing:
            limit = self._server.body_bytes_max
            self._refuse("too_large", f"a request body is at most {limit} bytes")

    def _refuse(self, code: str, detail: str) -> None:
        """Answer what never became a request, and close."""
        self._closing = True
        if self._transport is not None:
            response = self._server.refuse(code, detail, "")
            self._transport.write(render(response, keep_alive=False, head_only=False))
            self._transport.close()

    def expire(self, now: float) -> None:
        """Close when idle for too long, or when a request takes too long to arrive."""
        if self._closing:
            return
        began = self.request_began_at
        if began is not None and now - began > REQUEST_TIMEOUT_S:
            self._refuse("timeout", f"a request must arrive within {REQUEST_TIMEOUT_S:.0f} s")
        elif self._task is None and now - self.active_at > IDLE_TIMEOUT_S and self._transport:
            self._closing = True
            self._transport.close()

    def close_when_idle(self) -> None:
        """Close now if nothing is being answered."""
        if self._task is None and self._transport is not None:
            self._closing = True
            self._transport.close()


def render(response: Response, *, keep_alive: bool, head_only: bool) -> bytes:
    """Return the bytes of a response."""
    lines = [f"HTTP/1.1 {response.status} {REASONS[response.status]}"]
    if response.status != 204:
        lines.append(f"Content-Type: {response.content_type}")
        lines.append(f"Content-Length: {len(response.body)}")
    lines.extend(f"{name}: {value}" for name, value in response.headers)
    if not keep_alive:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if head_only else head + response.body


class HttpServer:
    """Accepts connections and hands requests to an app."""

    def __init__(
        self, app: App, refuse: Refuse, *, body_bytes_max: int, connections_max: int
    ) -> None:
        self.app = app
        self.refuse = refuse
        self.body_bytes_max = body_bytes_max
        self.stopping = False
        self._connections_max = connections_max
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HttpProtocol(self, loop), host, port)
        self._sweep()

    def admit(self, connection: HttpProtocol) -> bool:
        """Take a connection unless there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self._connections_max and not self.stopping

    def forget(self, connection: HttpProtocol) -> None:
        """Drop a closed connection."""
        self._connections.discard(connection)

    @property
    def connection_count(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.expire(now)
        self._sweep_timer = loop.call_later(SWEEP_S, self._sweep)

    async def stop(self, grace_s: float = 2.0) -> None:
        """Accept no more, let running requests finish for a moment, close."""
        self.stopping = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if self._server is not None:
            self._server.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        while self._connections and loop.time() < until:
            for connection in tuple(self._connections):
                connection.close_when_idle()
            await asyncio.sleep(0.02)
        for connection in tuple(self._connections):
            connection.connection_lost(None)
