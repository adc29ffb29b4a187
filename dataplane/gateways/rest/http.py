"""A small HTTP/1.1 server: a bare protocol on the event loop, with limits on everything.

Routes and meanings are not here: a request becomes a `Request`, an `App` answers a `Response`.
Requests of one connection are answered in order, one at a time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast, override
from urllib.parse import unquote

import httptools

from dataplane.gateways.rest.messages import (
    REASONS,
    App,
    Refuse,
    Request,
    Response,
    Switched,
    render,
)
from dataplane.gateways.rest.streaming import write_all

__all__ = ["REASONS", "HttpProtocol", "HttpServer", "Request", "Response"]

log = logging.getLogger(__name__)

HEADER_BYTES_MAX: Final = 32 * 1024
PIPELINE_MAX: Final = 16
IDLE_TIMEOUT_S: Final = 75.0
REQUEST_TIMEOUT_S: Final = 30.0
SWEEP_S: Final = 5.0
LINGER_S: Final = 2.0
BODY_BYTES_PER_S_MIN: Final = 32 * 1024
BODIES_HELD_MAX: Final = 16
"""How many bodies of full size a node holds at once, over all connections."""
SINGLE_HEADERS: Final = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "aerolith-after",
    }
)


class HttpProtocol(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: "HttpServer", loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Request | Response] = deque()
        """Whole requests, and at most one refusal, which is the last."""
        self._task: asyncio.Task[None] | None = None
        self._is_reading = True
        self._has_closed = False
        self._is_paused = False
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        self._completed_in_feed = False
        self._held_bytes = 0
        self._linger: asyncio.TimerHandle | None = None
        self._switched: Switched | None = None
        self._early: bytes | None = None
        """What came behind the request of a switch, until it is made or refused."""
        self._active_at = loop.time()
        self._request_began_at: float | None = None
        self._blocked_at: float | None = None
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._in_head = False
        self._wire_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # --- asyncio ---------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        self._transport = cast("asyncio.Transport", transport)
        refusal = self._server.admit(self)
        if refusal is not None:
            self._refuse(*refusal)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._is_reading = False
        self._has_closed = True
        self._release(self._held_bytes)
        if self._linger is not None:
            self._linger.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._switched is not None:
            self._switched.connection_lost()

    @override
    def pause_writing(self) -> None:
        """Answer nothing more while the client does not read what it asked for."""
        self._is_writable.clear()
        self._blocked_at = self._loop.time()
        if self._switched is not None:
            self._switched.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._is_writable.set()
        self._blocked_at = None
        if self._switched is not None:
            self._switched.resume_writing()

    @override
    def data_received(self, data: bytes) -> None:
        if self._switched is not None:
            self._switched.data_received(data)
            return
        if self._early is not None:
            self._early += data
        if not self._is_reading:
            return
        self._active_at = self._loop.time()
        self._completed_in_feed = False
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse("malformed", f"not HTTP/1.1: {error}")
        # What follows the end of another request in one piece belongs to the next only in part;
        # that one piece is left out of the count.
        if not self._completed_in_feed:
            self._bound_wire(len(data))

    def _feed(self, data: bytes) -> None:
        """Parse; an offer to upgrade that nothing here takes up is ignored (RFC 9110, 7.8)."""
        rest = data
        while rest and self._is_reading:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
                if self._early is not None:
                    self._early = rest
                    return
                self._parser = httptools.HttpRequestParser(self)
            else:
                return

    def _bound_wire(self, received: int) -> None:
        """Bound what the parser keeps before it shows it: headers, and trailers of chunks."""
        self._wire_bytes += received
        if self._in_head and self._wire_bytes > HEADER_BYTES_MAX:
            self._refuse("headers_too_large", f"more than {HEADER_BYTES_MAX} bytes of headers")
        elif self._wire_bytes > 2 * (self._server.body_bytes_max + HEADER_BYTES_MAX):
            self._too_large()

    # --- httptools -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request."""
        self._begin()
        self._in_head = True
        self._request_began_at = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers after a chunked body are dropped."""
        if not self._in_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        if known is None:
            self._headers[key] = text
        elif key in SINGLE_HEADERS:
            self._refuse("malformed", f"the header {key} is given twice")
        else:
            self._headers[key] = f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Look at what the headers promise."""
        self._in_head = False
        headers = self._headers
        size = sum(map(len, headers)) + sum(map(len, headers.values())) + 4 * len(headers)
        if size + len(self._url) > HEADER_BYTES_MAX:
            self._refuse("headers_too_large", f"more than {HEADER_BYTES_MAX} bytes of headers")
            return
        if "host" not in self._headers and self._parser.get_http_version() == "1.1":
            self._refuse("malformed", "a request names its Host")
            return
        length = self._headers.get("content-length", "0")
        if "upgrade" in self._headers and (length != "0" or "transfer-encoding" in self._headers):
            # The parser would take the body for the next request.
            self._refuse("malformed", "a request with a body cannot offer an upgrade")
            return
        if length.isdigit() and int(length) > self._server.body_bytes_max:
            self._too_large()
        elif self._headers.get("expect", "").lower() == "100-continue" and self._is_idle():
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _is_idle(self) -> bool:
        """Whether no earlier request of this connection waits for its answer."""
        return self._is_reading and self._task is None

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self._is_reading:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._server.body_bytes_max:
            self._too_large()
        elif not self._server.hold(len(body)):
            self._refuse("rate_limited", "the node is receiving too much at once")
        else:
            self._held_bytes += len(body)
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Queue the whole request."""
        self._completed_in_feed = True
        self._request_began_at = None
        if not self._is_reading:
            return
        try:
            url = httptools.parse_url(self._url)
            path = (url.path or b"/").decode()
            if "%" in path:
                path = unquote(path, errors="strict")
            query_text = (url.query or b"").decode()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse("malformed", "the request target is not a URL in UTF-8")
            return
        method, keep = self._parser.get_method().decode("latin-1"), self._parser.should_keep_alive()
        body = b"".join(self._body)
        if "upgrade" in self._headers and path in self._server.switches:
            keep, self._early = False, b""
            if self._transport is not None:
                self._transport.pause_reading()
        self._is_reading = keep
        version = self._parser.get_http_version()
        self._enqueue(Request(method, path, query_text, self._headers, body, keep, version))
        self._begin()

    # --- Answers ---------------------------------------------------------------------------------

    def _enqueue(self, item: Request | Response) -> None:
        self._queue.append(item)
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all())
        if len(self._queue) >= PIPELINE_MAX and not self._is_paused and self._transport:
            self._is_paused = True
            self._transport.pause_reading()

    async def _answer_all(self) -> None:
        """Answer what is queued, in order; a refusal is the last."""
        while self._queue and not self._has_closed:
            item = self._queue.popleft()
            if isinstance(item, Response):
                self._write_last(item)
                break
            response = await self._server.app(item)
            self._release(len(item.body))
            if response.switch is not None:
                self._switch(response)
                return
            if response.chunks is None:
                self._write(item, response)
            else:
                await self._stream(item, response, response.chunks)
            if not self._is_writable.is_set():
                await self._is_writable.wait()
            if self._is_paused and len(self._queue) < PIPELINE_MAX and self._transport:
                self._is_paused = False
                self._transport.resume_reading()
        self._task = None
        if self._server.stopping:
            self.close_when_idle()

    def _switch(self, response: Response) -> None:
        """Speak another protocol from now on."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        assert response.switch is not None
        transport.write(render(response, keep_alive=True, head_only=False))
        self._switched = response.switch(transport, self._server.hold)
        early, self._early = self._early, None
        if early:
            self._switched.data_received(early)
        transport.resume_reading()
        if self._server.stopping:
            self._switched.stop()

    def _release(self, size_bytes: int) -> None:
        self._held_bytes -= size_bytes
        self._server.release(size_bytes)

    def _write(self, request: Request, response: Response) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        keep = request.keep_alive and not self._server.stopping
        head_only = request.method == "HEAD"
        self._transport.write(render(response, keep_alive=keep, head_only=head_only))
        self._active_at = self._loop.time()
        if not keep:
            self._close()

    async def _stream(
        self, request: Request, response: Response, chunks: AsyncGenerator[bytes]
    ) -> None:
        """Write an answer of unknown length; HTTP/1.0 knows its end by that of the connection."""
        transport = self._transport
        assert transport is not None
        assert not response.body, "a stream has no body besides"
        is_chunked = request.http_version == "1.1"
        keep = request.keep_alive and is_chunked and not self._server.stopping
        if is_chunked:
            response.headers.append(("Transfer-Encoding", "chunked"))
        head_only = request.method == "HEAD"
        transport.write(render(response, keep_alive=keep, head_only=head_only))
        async with aclosing(chunks):
            if not head_only:
                write = transport.write
                whole = await write_all(chunks, write, self._is_writable, is_chunked=is_chunked)
                keep = keep and whole
        self._active_at = self._loop.time()
        if not keep or self._server.stopping:
            self._close()

    def _write_last(self, refusal: Response) -> None:
        """Write a refusal and close, late enough that the client gets to read it.

        Closing at once, with bytes of the refused request still unread, would make the system
        reset the connection and drop the answer (RFC 9112, section 9.6).
        """
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(render(refusal, keep_alive=False, head_only=False))
        self._transport.write_eof()
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        self._linger = self._loop.call_later(LINGER_S, self._transport.abort)

    def _close(self) -> None:
        self._is_reading = False
        self._has_closed = True
        if self._transport is not None:
            self._transport.close()

    def _too_large(self) -> None:
        limit = self._server.body_bytes_max
        self._refuse("too_large", f"a request body is at most {limit} bytes")

    def _refuse(self, code: str, detail: str) -> None:
        """Answer what never became a request, after what came before it, and close."""
        if not self._is_reading:
            return
        self._is_reading = False
        self._request_began_at = None
        self._enqueue(self._server.refuse(code, detail, ""))

    def expire(self, now: float) -> None:
        """End a connection that is idle, or slow at sending or at reading, for too long."""
        if self._switched is not None:
            self._switched.expire(now)
            return
        began, blocked = self._request_began_at, self._blocked_at
        if blocked is not None and now - blocked > REQUEST_TIMEOUT_S:
            self.abort()
        elif began is not None and now - began > self._arrival_s():
            self._refuse("timeout", "the request took too long to arrive")
        elif self._task is None and now - self._active_at > IDLE_TIMEOUT_S:
            self._close()

    def _arrival_s(self) -> float:
        """Return how long the request may take to arrive: longer for every byte that did."""
        return REQUEST_TIMEOUT_S + self._body_bytes / BODY_BYTES_PER_S_MIN

    def close_when_idle(self) -> None:
        """Close now if nothing is being answered."""
        if self._switched is not None:
            self._switched.stop()
        elif self._task is None:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class HttpServer:
    """Accepts connections and hands requests to an app."""

    def __init__(
        self,
        app: App,
        refuse: Refuse,
        *,
        body_bytes_max: int,
        connections_max: int,
        switches: frozenset[str] = frozenset(),
    ) -> None:
        self.app = app
        self.refuse = refuse
        self.body_bytes_max = body_bytes_max
        self.stopping = False
        self.switches = switches
        """Paths at which a connection may turn to another protocol."""
        self._connections_max = connections_max
        self._held_bytes = 0
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HttpProtocol(self, loop), host, port)
        self._sweep_on()

    def admit(self, connection: HttpProtocol) -> tuple[str, str] | None:
        """Take a connection; return (code, detail) when it must be refused."""
        self._connections.add(connection)
        if self.stopping:
            return "not_ready", "the node is stopping"
        if len(self._connections) > self._connections_max:
            return "rate_limited", "too many connections"
        return None

    def hold(self, size_bytes: int) -> bool:
        """Count bytes of a body that is kept; refuse when the node keeps too many already."""
        if self._held_bytes + size_bytes > BODIES_HELD_MAX * self.body_bytes_max:
            return False
        self._held_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Count bytes no longer kept."""
        self._held_bytes -= size_bytes

    def forget(self, connection: HttpProtocol) -> None:
        """Drop a closed connection."""
        self._connections.discard(connection)

    @property
    def connection_count(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def sweep(self) -> None:
        """End connections that are idle or slow for too long."""
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._connections):
            connection.expire(now)

    def _sweep_on(self) -> None:
        self.sweep()
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep_on)

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
            connection.abort()
