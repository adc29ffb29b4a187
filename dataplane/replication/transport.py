"""Connections between the nodes of a cluster: mutual TLS, frames, one connection per pair.

The node with the higher id dials. Each side proves by its certificate which node it is and says in
a hello which life (incarnation) it is in; a newer connection of the same node replaces the older.
Nothing is repeated here: the protocol above repeats what it still needs.
"""

import asyncio
import logging
import random  # noqa: TID251 - only spreads reconnects in time
import ssl
from collections.abc import Callable
from typing import Final, cast, override

import msgspec

from dataplane.client.spec import NodeSpec
from dataplane.replication.configuration import member_of
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.security.tls import client_context, peer_node_id, server_context
from dataplane.wire.errors import FrameTooLargeError
from dataplane.wire.framing import FrameDecoder, encode_frame
from dataplane.wire.membership import Member

log = logging.getLogger(__name__)

QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
DIAL_TIMEOUT_S: Final = 5.0
HANDSHAKE_TIMEOUT_S: Final = 5.0
HELLO_TIMEOUT_S: Final = 5.0
WATCH_S: Final = 1.0
SILENCE_S: Final = 5.0
"""Every replica states its position each second: one that says nothing for so long is gone."""
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0
LATER_S: Final = 0.005
"""How long a frame that nobody waits for may wait for others to the same peer."""
REMOVED_GRACE_S: Final = 60.0
"""A removed node learns meanwhile that it was."""


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The first frame of each side."""

    cluster_id: str
    epoch: int
    node_id: int
    incarnation: int


type OnFrames = Callable[[int, list[bytes]], None]
type MakeTransport = Callable[[NodeSpec, int, ReplicationMetrics, OnFrames], "PeerTransport"]


class PeerConnection(asyncio.Protocol):
    """One connection; frames out are corked until the end of the event-loop turn."""

    def __init__(self, owner: "PeerTransport", loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._is_flush_due = False
        self._later_timer: asyncio.TimerHandle | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self.node_id: int | None = None
        self.incarnation = 0
        self.heard_at = loop.time()
        self.closed = loop.create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        self._transport = cast("asyncio.Transport", transport)
        certificate = transport.get_extra_info("peercert")
        self.node_id = peer_node_id(certificate, self._owner.spec.cluster_id)
        if self.node_id is None or not self._owner.is_peer(self.node_id):
            log.warning("peer.refused", extra={"reason": "certificate names no member"})
            self._transport.abort()
            return
        self._hello_timer = self._loop.call_later(HELLO_TIMEOUT_S, self.abort)
        self._transport.write(encode_frame(msgspec.msgpack.encode(self._owner.hello())))

    @override
    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        try:
            frames = self._decoder.feed(data)
        except FrameTooLargeError:
            self._owner.fault(self.node_id)
            self.abort()
            return
        if self._hello_timer is not None and frames:
            if not self._greet(frames.pop(0)):
                log.warning("peer.refused", extra={"peer": self.node_id, "reason": "wrong hello"})
                self.abort()
                return
            self._hello_timer.cancel()
            self._hello_timer = None
            if not self._owner.connected(self):
                return
        if frames and self.node_id is not None:
            self._owner.on_frames(self.node_id, frames)

    def _greet(self, frame: bytes) -> bool:
        try:
            hello = msgspec.msgpack.decode(frame, type=Hello)
        except msgspec.DecodeError:
            return False
        self.incarnation = hello.incarnation
        spec = self._owner.spec
        # The epoch may differ: a peer that lags, or joins, must be heard to be helped.
        return (hello.cluster_id, hello.node_id) == (spec.cluster_id, self.node_id)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._hello_timer, self._later_timer):
            if timer is not None:
                timer.cancel()
        self._owner.disconnected(self)
        if not self.closed.done():
            self.closed.set_result(None)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the peer to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, frame: bytes, *, later: bool = False) -> bool:
        """Queue a frame; return False when the peer reads too slowly and it was dropped.

        One to go `later` leaves with the next that is not, after `LATER_S` at the latest.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > QUEUE_BYTES_MAX:
            return False
        self._outgoing.append(frame)
        if self._is_flush_due:
            return True
        if not later:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)
        elif self._later_timer is None:
            self._later_timer = self._loop.call_later(LATER_S, self._flush_late)
        return True

    def _flush_late(self) -> None:
        # Set once and left to run out: arming a timer for every frame costs more than it saves.
        self._later_timer = None
        if self._outgoing and not self._is_flush_due:
            self._flush()

    def _flush(self) -> None:
        self._is_flush_due = False
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(outgoing))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class PeerTransport:
    """All connections of one node."""

    def __init__(
        self, spec: NodeSpec, incarnation: int, metrics: ReplicationMetrics, on_frames: OnFrames
    ) -> None:
        self.spec = spec
        self.on_frames = on_frames
        self._incarnation = incarnation
        self._metrics = metrics
        self._peers: dict[int, PeerConnection] = {}
        self._connection_counts: dict[int, int] = {}
        self._server: asyncio.Server | None = None
        self._dialers: dict[int, asyncio.Task[None]] = {}
        self._members: dict[int, Member] = {}
        self._highest_id = 0
        self._started = False
        self._watcher: asyncio.TimerHandle | None = None
        self._watched_at = 0.0
        self._stopping = False
        self._context = client_context(spec.tls)
        self.set_members(tuple(map(member_of, spec.members)))
        self._jitter = random.Random(spec.node_id)  # noqa: S311 - spreads reconnects

    def hello(self) -> Hello:
        """Return this node's first frame."""
        spec = self.spec
        return Hello(spec.cluster_id, spec.epoch, spec.node_id, self._incarnation)

    def is_peer(self, node_id: int) -> bool:
        """Whether the id is another member's, or of a node that comes to learn.

        Ids rise and are never used again: one below the newest that is no member's was removed.
        """
        if node_id == self.spec.node_id:
            return False
        return node_id in self._members or node_id > self._highest_id

    def set_members(self, members: tuple[Member, ...]) -> None:
        """Talk to these members; those removed have a while to learn of it."""
        removed = [node_id for node_id in self._members if all(m.id != node_id for m in members)]
        self._members = {member.id: member for member in members}
        self._highest_id = max(self._highest_id, *self._members)
        for node_id in removed:
            task = self._dialers.pop(node_id, None)
            if task is not None:
                task.cancel()
            if self._started:
                asyncio.get_running_loop().call_later(REMOVED_GRACE_S, self._drop, node_id)
        if self._started:
            self._dial_members()

    def _drop(self, node_id: int) -> None:
        connection = self._peers.get(node_id)
        if connection is not None and not self.is_peer(node_id):
            connection.abort()

    def _dial_members(self) -> None:
        """Dial the members with a lower id that are not dialled yet."""
        loop = asyncio.get_running_loop()
        routes = {route.id: (route.host, route.port) for route in self.spec.routes}
        for member in self._members.values():
            # Where a member is may not be known yet: then it must come here.
            is_dialled = member.id in self._dialers or not member.host
            if member.id < self.spec.node_id and not is_dialled:
                host, port = routes.get(member.id, (member.host, member.peer_port))
                self._dialers[member.id] = loop.create_task(
                    self._dial(member.id, host, port, self._context)
                )

    def fault(self, node_id: int | None) -> None:
        """Count a protocol fault of a peer."""
        if node_id is not None:
            self._metrics.fault(node_id)

    async def start(self) -> None:
        """Listen, and dial the members with a lower id."""
        loop = asyncio.get_running_loop()
        me = self.spec.me
        self._server = await loop.create_server(
            lambda: PeerConnection(self, loop),
            me.host,
            me.peer_port,
            ssl=server_context(self.spec.tls),
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
        )
        self._started = True
        self._dial_members()
        self._watched_at = loop.time()
        self._watcher = loop.call_later(WATCH_S, self._watch, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop connections over which nothing comes: a stopped peer never closes its own."""
        now = loop.time()
        # If this process itself stood still, what its peers said is still unread.
        awake = now - self._watched_at < 2 * WATCH_S
        self._watched_at = now
        for node_id, connection in tuple(self._peers.items()):
            if awake and now - connection.heard_at > SILENCE_S:
                log.warning("peer.silent", extra={"peer": node_id})
                connection.abort()
        self._watcher = loop.call_later(WATCH_S, self._watch, loop)

    async def _dial(self, node_id: int, host: str, port: int, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        backoff = BACKOFF_MIN_S
        while not self._stopping:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    _, connection = await loop.create_connection(
                        lambda: PeerConnection(self, loop),
                        host,
                        port,
                        ssl=context,
                        server_hostname="",
                    )
            except OSError:
                await asyncio.sleep(backoff * (0.5 + self._jitter.random()))
                backoff = min(BACKOFF_MAX_S, backoff * 2)
                continue
            if connection.node_id not in {node_id, None}:
                connection.abort()
            await connection.closed
            backoff = BACKOFF_MIN_S if connection.incarnation else min(BACKOFF_MAX_S, backoff * 2)
            await asyncio.sleep(backoff * (0.5 + self._jitter.random()))

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for peers to read."""
        return sum(connection.queued_bytes for connection in self._peers.values())

    def queued_bytes_of(self, node_id: int) -> int:
        """Bytes that wait for one peer to read."""
        connection = self._peers.get(node_id)
        return 0 if connection is None else connection.queued_bytes

    def connected(self, connection: PeerConnection) -> bool:
        """Take a greeted connection unless a newer life of the same node has one."""
        assert connection.node_id is not None
        old = self._peers.get(connection.node_id)
        if self._stopping or (old is not None and old.incarnation > connection.incarnation):
            connection.abort()
            return False
        self._peers[connection.node_id] = connection
        count = self._connection_counts.get(connection.node_id, 0) + 1
        self._connection_counts[connection.node_id] = count
        if old is not None:
            old.abort()
        log.info("peer.connected", extra={"peer": connection.node_id})
        return True

    def disconnected(self, connection: PeerConnection) -> None:
        """Forget a closed connection."""
        if connection.node_id is not None and self._peers.get(connection.node_id) is connection:
            del self._peers[connection.node_id]
            log.info("peer.disconnected", extra={"peer": connection.node_id})

    def reachable(self, node_id: int) -> bool:
        """Whether there is a connection to the node now."""
        return node_id in self._peers

    def connection_number(self, node_id: int) -> int:
        """Return which connection to the node this is, counted from 1; 0 when there is none."""
        return self._connection_counts[node_id] if node_id in self._peers else 0

    def send(self, node_id: int, payload: bytes, *, later: bool = False) -> None:
        """Send to one peer, or drop the message when it is away or too slow."""
        self.send_frame(node_id, encode_frame(payload), later=later)

    def broadcast(self, payload: bytes) -> None:
        """Send to every peer."""
        frame = encode_frame(payload)
        for node_id in tuple(self._peers):
            self.send_frame(node_id, frame)

    def send_frame(self, node_id: int, frame: bytes, *, later: bool = False) -> None:
        """Send an encoded frame to one peer."""
        connection = self._peers.get(node_id)
        if connection is not None and connection.send(frame, later=later):
            self._metrics.messages_sent += 1
        else:
            self._metrics.messages_dropped += 1

    async def stop(self) -> None:
        """Close everything."""
        self._stopping = True
        if self._watcher is not None:
            self._watcher.cancel()
        for task in self._dialers.values():
            task.cancel()
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._peers.values()):
            connection.abort()
        for task in self._dialers.values():
            try:
                await task
            except asyncio.CancelledError:
                continue
