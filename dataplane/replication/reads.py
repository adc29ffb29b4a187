"""Reads that need other replicas without an order of theirs: the driver's services for gateways."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dataplane.consensus.config import ReplicaConfig, Signer, Verifier
from dataplane.consensus.messages import CheckpointCertificate
from dataplane.consensus.outcome import Execute
from dataplane.consensus.replica import Replica
from dataplane.documents.checkpoint_views import CheckpointViews
from dataplane.documents.own_fragments import OwnFragments
from dataplane.documents.types import Executor
from dataplane.replication.errors import NoQuorumError
from dataplane.replication.fragments import FragmentPorts, Fragments
from dataplane.replication.handovers import Handovers
from dataplane.replication.peer_messages import (
    AnyPeerMessage,
    EpochAsk,
    EpochChain,
    EpochVote,
    EpochWord,
    FragmentAnswer,
    FragmentAsk,
    IndexAnswer,
    IndexAsk,
    ReadAnswer,
    ReadRequest,
    SealVote,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.replication.polls import Agreed, Place, Polls
from dataplane.replication.seals import Sealed, Seals
from dataplane.replication.standing import Standing
from dataplane.replication.strong_reads import PATIENCE_MS, Confirmed, IndexPorts, StrongReads
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.quorum import reply_quorum

ROOTS_MAX: Final = 8


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


@dataclass(frozen=True, slots=True)
class ReadState:
    """The executed state as these services read it."""

    read: Callable[[str, str], bytes | None]
    """A document's row by collection and id."""
    views: CheckpointViews
    own_fragments: OwnFragments


@dataclass(frozen=True, slots=True)
class ReadPorts:
    """What these services need of the node around them."""

    config: ReplicaConfig
    signer: Signer
    verifier: Verifier
    gateway_key: bytes
    nonce: bytes
    state: ReadState
    executor: Executor
    replica: Callable[[], Replica]
    standing: Standing
    send: Callable[[int, bytes], None]
    queued_bytes: Callable[[int], int]
    """How much waits for a peer to read."""
    order: Callable[[Sequence[bytes], int], Awaitable[object]]
    on_contradiction: Callable[[str], None]
    refuse: Callable[[int, str, str], None]
    """Note what a peer should not have sent: who, what, why."""
    handovers: Handovers
    stable: CheckpointCertificate | None
    """The last stable checkpoint that the log knows."""


class Reads:
    """Bounded reads, seals, fragments and the views of checkpoints of one node."""

    def __init__(self, ports: ReadPorts) -> None:
        config = ports.config
        self._ports = ports
        self.views = ports.state.views
        self._roots: OrderedDict[int, bytes] = OrderedDict()
        self._seals = Seals(
            config=config,
            signer=ports.signer,
            verifier=ports.verifier,
            gateway_key=ports.gateway_key,
            nonce=ports.nonce,
            send=self._send,
            on_contradiction=ports.on_contradiction,
        )
        if ports.stable is not None:
            self.views.restore(ports.stable, ports.executor.applied)
        me = config.replica_id
        self._polls = Polls(
            me=me,
            peers=[m.replica_id for m in config.members if m.replica_id != me],
            needed=reply_quorum(config.n),
            read=ports.state.read,
            executed=lambda: ports.executor.applied,
            heads=ports.standing.heads,
            send=self._send,
            refuse=ports.refuse,
        )
        self._strong = StrongReads(
            me,
            IndexPorts(
                read=ports.state.read,
                executed=lambda: ports.executor.applied,
                epoch=lambda: ports.executor.configuration.epoch,
                promised=lambda: ports.replica().promised,
                reachable=ports.standing.reaches,
                send=self._send,
            ),
        )
        self._strong.set_members(config.epoch, [m.replica_id for m in config.members])
        self.fragments = Fragments(
            FragmentPorts(
                own=ports.state.own_fragments,
                reachable=ports.standing.reaches,
                queued_bytes=ports.queued_bytes,
                send=self._send,
                refuse=ports.refuse,
                now_ms=_now_ms,
            )
        )
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None

    def set_config(self, config: ReplicaConfig) -> None:
        """Ask and sign among the members of a new epoch, which sign what it begins with first."""
        if self._ports.executor.applied == config.base:
            self.views.take(config.base)
        self._seals.set_config(config)
        me = config.replica_id
        peers = [m.replica_id for m in config.members if m.replica_id != me]
        self._polls.set_peers(peers, reply_quorum(config.n))
        self._strong.set_members(config.epoch, [m.replica_id for m in config.members])
        self._strong.flush(_now_ms())

    def _send(self, to: int, message: AnyPeerMessage) -> None:
        self._ports.send(to, encode_peer_message(message))

    # --- The gateway's side ---------------------------------------------------------------------

    async def bounded(
        self, collection: str, document_id: str, *, after: int, timeout_ms: int
    ) -> Agreed:
        """Return a state of a document that enough replicas agree on; see `Polls.read`."""
        return await self._polls.read((collection, document_id), after, timeout_ms)

    async def strong(self, place: Place | None) -> Confirmed | None:
        """Return the newest state of a document, or None when the read must be ordered.

        Everything that was acknowledged before the call is in that state. Without a place only
        this node's own state is brought so far.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Confirmed | None] = loop.create_future()

        def done(confirmed: Confirmed | None) -> None:
            if not future.done():
                future.set_result(confirmed)

        if self._ports.standing.watch.is_cut_off or not self._strong.wish(place, done):
            return None
        if not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        self._flushing = False
        self._strong.flush(_now_ms())
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._strong.open_count:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE_MS / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._strong.on_tick(_now_ms())
        self._arm()

    @property
    def _is_sound(self) -> bool:
        """Whether this replica's state is, as far as it knows, the agreed one."""
        return not self._ports.replica().diverged

    async def seal(self, capture: Callable[[], Any], *, timeout_ms: int) -> Sealed:
        """Have the state sealed; return the certificate and what `capture` read at its sequence.

        Whatever was acknowledged before the call is in that state.

        Raises:
            NoQuorumError: Too few replicas signed in time.
            OverloadedError: Too many readers wait already.
            NotReadyError: The node is stopping, or its state is not the agreed one.
        """
        seal = self._seals.open(capture)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._ports.order([seal.op], timeout_ms)
                return await seal.future
        except TimeoutError as error:
            raise NoQuorumError("too few replicas signed the state") from error
        finally:
            self._seals.close(seal)

    @property
    def roots(self) -> Mapping[int, bytes]:
        """The roots of the last checkpoints as this node itself computed them."""
        return self._roots

    @property
    def waiting(self) -> int:
        """Reads that wait for other replicas."""
        return self._polls.open_count + self._strong.open_count + self._seals.open_count

    # --- The driver's side ----------------------------------------------------------------------

    def on_frame(self, sender: int, frame: bytes) -> None:
        """Take a peer's message; note one that should not have been sent."""
        if not self._is_taken(sender, frame):
            self._ports.refuse(sender, "ReadMessage", "unverified")

    def _is_taken(self, sender: int, frame: bytes) -> bool:
        try:
            message = decode_peer_message(frame)
        except MalformedMessageError:
            return False
        match message:
            case SealVote():
                return self._seals.on_vote(sender, message)
            case EpochVote():
                return self._ports.handovers.on_vote(sender, message)
            case EpochAsk():
                self._ports.handovers.on_ask(sender, message)
            case EpochChain():
                return self._ports.handovers.on_chain(message)
            case EpochWord():
                return self._ports.handovers.on_word(message)
            case FragmentAsk():
                self.fragments.on_ask(sender, message)
            case FragmentAnswer():
                self.fragments.on_answer(sender, message)
            case _:
                self._on_read(sender, message)
        return True

    def _on_read(
        self, sender: int, message: ReadRequest | ReadAnswer | IndexAsk | IndexAnswer
    ) -> None:
        match message:
            case ReadRequest():
                if self._is_sound:
                    self._polls.on_request(sender, message)
            case ReadAnswer():
                self._polls.on_answer(sender, message)
            case IndexAsk():
                self._strong.on_ask(sender, message)
            case IndexAnswer():
                self._strong.on_answer(sender, message, _now_ms())

    def on_executed(self, effect: Execute) -> None:
        """A batch was just executed, and the root computed when it was wanted."""
        if effect.wants_root:
            self.views.take(effect.sequence)
            self._roots[effect.sequence] = self._ports.executor.root()
            if len(self._roots) > ROOTS_MAX:
                self._roots.popitem(last=False)
        if self._is_sound:
            self._seals.on_executed(
                effect.sequence, effect.batch.requests, self._ports.executor.root
            )
        self._strong.on_executed(_now_ms())

    def on_stable(self, certificate: CheckpointCertificate) -> None:
        """A checkpoint became stable."""
        self.views.settle(certificate)
        self.views.restore(certificate, self._ports.executor.applied)

    def stop(self) -> None:
        """Fail what waits and release what is held."""
        self._polls.stop()
        self._strong.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._seals.stop()
        self.views.close()
