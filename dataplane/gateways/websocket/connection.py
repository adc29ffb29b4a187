"""One WebSocket connection: bytes become messages, with limits; what they mean is a session's.

The protocol itself is `websockets`' sans-IO one, behind the node's own HTTP server.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Final, Protocol, override

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol as WebSocketProtocol
from websockets.protocol import Side, State
from websockets.utils import accept_key

from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.messages import Hold, Request, Response, Switched

MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024 + 64 * 1024
"""The JSON text of a document, and what is around it."""
BUFFER_BYTES: Final = 512 * 1024
"""What may wait to be read by the client before the session is asked to pause."""
PING_S: Final = 20.0
SILENT_S: Final = 60.0
BLOCKED_S: Final = 10.0
LINGER_S: Final = 2.0
REASON_BYTES_MAX: Final = 120

GOING_AWAY: Final = 1001
UNSUPPORTED_DATA: Final = 1003
INVALID_DATA: Final = 1007
TRY_AGAIN_LATER: Final = 1013
SLOW: Final = 4008


class Session(Protocol):
    """What the messages of a connection mean."""

    def message(self, text: bytes) -> None:
        """Take a whole message."""
        ...

    def resumed(self) -> None:
        """Learn that the client reads again."""
        ...

    def slow_reason(self) -> str:
        """Return where a client that was too slow can go on."""
        ...

    def closed(self) -> None:
        """Learn that the connection is gone."""
        ...


class Connection(Switched):
    """Reads and writes frames."""

    def __init__(
        self,
        transport: asyncio.Transport,
        hold: Hold,
        make_session: "Callable[[Connection], Session]",
        *,
        blocked_s: float = BLOCKED_S,
    ) -> None:
        self._transport = transport
        self._hold = hold
        self._blocked_s = blocked_s
        self._loop = asyncio.get_running_loop()
        self._frames = WebSocketProtocol(Side.SERVER, max_size=MESSAGE_BYTES_MAX)
        self._parts: list[bytes | bytearray | memoryview] = []
        self._held = 0
        self._is_reading = True
        self._seen_at = self._pinged_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.is_writable = True
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._session = make_session(self)

    @property
    def is_open(self) -> bool:
        """Whether messages may still be sent."""
        return self._frames.state is State.OPEN and not self._transport.is_closing()

    # --- What the client sends -----------------------------------------------------------------

    @override
    def data_received(self, data: bytes) -> None:
        self._seen_at = self._loop.time()
        if not self._keep(len(data)):
            self.close(TRY_AGAIN_LATER, "the node is receiving too much at once")
            return
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._flush()
        partly = len(self._frames.reader.buffer) + sum(map(len, self._parts))
        self._keep(partly - self._held)

    def _keep(self, more: int) -> bool:
        if not self._hold(more):
            return False
        self._held += more
        return True

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self.close(UNSUPPORTED_DATA, "messages are JSON text")
            return
        if frame.opcode not in {Opcode.TEXT, Opcode.CONT} or not self.is_open:
            return
        self._parts.append(frame.data)
        if not frame.fin:
            return
        text, self._parts = b"".join(self._parts), []
        try:
            text.decode()
        except UnicodeDecodeError:
            self.close(INVALID_DATA, "messages are UTF-8")
            return
        self._session.message(text)

    def pause_reading(self) -> None:
        """Take no more for now."""
        if self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more."""
        if not self._is_reading and not self._transport.is_closing():
            self._is_reading = True
            self._seen_at = self._loop.time()
            self._transport.resume_reading()

    # --- What it is sent -----------------------------------------------------------------------

    def send(self, text: bytes) -> None:
        """Send a message; nothing when the connection is closing."""
        if self.is_open:
            self._frames.send_text(text)
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, and close soon after."""
        if self.is_open:
            short = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
            self._frames.send_close(code, short)
            self._flush()
            self._linger()

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._transport.is_closing():
                # Closing with bytes of the client unread would reset what it is told.
                self._transport.write_eof()
                self._linger()

    def _linger(self) -> None:
        """Give the goodbye a moment to arrive, then close whatever the client does."""
        self._cancel_timer()
        self._timer = self._loop.call_later(LINGER_S, self._transport.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- The connection ------------------------------------------------------------------------

    @override
    def pause_writing(self) -> None:
        """Wait for the client to read, but not for long."""
        self.is_writable = False
        if self.is_open:
            self._timer = self._loop.call_later(self._blocked_s, self.close_slow)

    @override
    def resume_writing(self) -> None:
        self.is_writable = True
        if self.is_open:
            self._cancel_timer()
            self._session.resumed()

    def close_slow(self) -> None:
        """Disconnect a client that reads too slowly, and tell it where to go on."""
        self.close(SLOW, self._session.slow_reason())

    @override
    def expire(self, now: float) -> None:
        if now - self._seen_at > SILENT_S:
            self._transport.abort()
        elif now - max(self._seen_at, self._pinged_at) > PING_S:
            self._pinged_at = now
            try:
                self._frames.send_ping(b"")
            except InvalidState:
                return
            self._flush()

    @override
    def stop(self) -> None:
        self.close(GOING_AWAY, "the node is stopping")

    @override
    def connection_lost(self) -> None:
        self._cancel_timer()
        self._keep(-self._held)
        self._session.closed()


def handshake(
    request: Request,
    make_session: Callable[[Connection], Session],
    *,
    subprotocol: str | None = None,
) -> Response:
    """Answer the offer to speak WebSocket (RFC 6455, section 4.2).

    Raises:
        Problem: `malformed`.
    """
    headers = request.headers
    offers = {part.strip().lower() for part in headers.get("connection", "").split(",")}
    key = headers.get("sec-websocket-key", "")
    if (
        request.method != "GET"
        or headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in offers
        or headers.get("sec-websocket-version") != "13"
        or not _is_key(key)
    ):
        raise Problem(
            "malformed",
            "this path speaks WebSocket (RFC 6455, version 13)",
            headers=(("Sec-WebSocket-Version", "13"),),
        )
    told = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
    ]
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    if subprotocol is not None:
        if subprotocol not in offered:
            raise Problem("malformed", f"this path speaks the subprotocol {subprotocol}")
        told.append(("Sec-WebSocket-Protocol", subprotocol))

    def switch(transport: asyncio.Transport, hold: Hold) -> Connection:
        return Connection(transport, hold, make_session)

    return Response(101, headers=told, switch=switch)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
