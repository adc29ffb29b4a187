"""Reads that need other replicas without an order of theirs: the driver's services for gateways."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dataplane.consensus.config import ReplicaConfig, Signer, Verifier
from dataplane.consensus.messages import CheckpointCertificate
from dataplane.consensus.outcome import Execute
from dataplane.documents.checkpoint_views import CheckpointViews
from dataplane.documents.types import Executor
from dataplane.replication.errors import NoQuorumError
from dataplane.replication.handovers import Handovers
from dataplane.replication.peer_messages import (
    AnyPeerMessage,
    EpochAsk,
    EpochChain,
    EpochVote,
    ReadAnswer,
    ReadRequest,
    SealVote,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.replication.polls import Agreed, Polls
from dataplane.replication.seals import Sealed, Seals
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.quorum import reply_quorum


@dataclass(frozen=True, slots=True)
class ReadState:
    """The executed state as these services read it."""

    read: Callable[[str, str], bytes | None]
    """A document's row by collection and id."""
    views: CheckpointViews


@dataclass(frozen=True, slots=True)
class ReadPorts:
    """What these services need of the node around them."""

    config: ReplicaConfig
    signer: Signer
    verifier: Verifier
    gateway_key: bytes
    nonce: bytes
    state: ReadState
    executed: Callable[[], int]
    heads: Callable[[], dict[int, int]]
    is_sound: Callable[[], bool]
    """False once this replica's state is known not to be the agreed one."""
    send: Callable[[int, bytes], None]
    order: Callable[[Sequence[bytes], int], Awaitable[object]]
    on_contradiction: Callable[[str], None]
    handovers: Handovers
    stable: CheckpointCertificate | None
    """The last stable checkpoint that the log knows."""


class Reads:
    """Bounded reads, seals and the views of checkpoints of one node."""

    def __init__(self, ports: ReadPorts) -> None:
        config = ports.config
        self._ports = ports
        self.views = ports.state.views
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
            self.views.restore(ports.stable, ports.executed())
        me = config.replica_id
        self._polls = Polls(
            me=me,
            peers=[m.replica_id for m in config.members if m.replica_id != me],
            needed=reply_quorum(config.n),
            read=ports.state.read,
            executed=ports.executed,
            heads=ports.heads,
            send=self._send,
        )

    def set_config(self, config: ReplicaConfig) -> None:
        """Ask and sign among the members of a new epoch, which sign what it begins with first."""
        if self._ports.executed() == config.base:
            self.views.take(config.base)
        self._seals.set_config(config)
        me = config.replica_id
        peers = [m.replica_id for m in config.members if m.replica_id != me]
        self._polls.set_peers(peers, reply_quorum(config.n))

    def _send(self, to: int, message: AnyPeerMessage) -> None:
        self._ports.send(to, encode_peer_message(message))

    # --- The gateway's side ---------------------------------------------------------------------

    async def bounded(
        self, collection: str, document_id: str, *, after: int, timeout_ms: int
    ) -> Agreed:
        """Return a state of a document that enough replicas agree on; see `Polls.read`."""
        return await self._polls.read((collection, document_id), after, timeout_ms)

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
    def waiting(self) -> int:
        """Reads that wait for other replicas."""
        return self._polls.open_count + self._seals.open_count

    # --- The driver's side ----------------------------------------------------------------------

    def on_frame(self, sender: int, frame: bytes) -> bool:
        """Take a peer's message; return False when it should not have been sent."""
        try:
            message = decode_peer_message(frame)
        except MalformedMessageError:
            return False
        match message:
            case ReadRequest():
                if self._ports.is_sound():
                    self._polls.on_request(sender, message)
            case ReadAnswer():
                self._polls.on_answer(sender, message)
            case SealVote():
                return self._seals.on_vote(sender, message)
            case EpochVote():
                return self._ports.handovers.on_vote(sender, message)
            case EpochAsk():
                self._ports.handovers.on_ask(sender, message)
            case EpochChain():
                return self._ports.handovers.on_chain(message)
        return True

    def on_executed(self, effect: Execute, executor: Executor) -> None:
        """A batch was just executed, and the root computed when it was wanted."""
        if effect.wants_root:
            self.views.take(effect.sequence)
        if self._ports.is_sound():
            self._seals.on_executed(effect.sequence, effect.batch.requests, executor.root)

    def on_stable(self, certificate: CheckpointCertificate) -> None:
        """A checkpoint became stable."""
        self.views.settle(certificate)
        self.views.restore(certificate, self._ports.executed())

    def stop(self) -> None:
        """Fail what waits and release what is held."""
        self._polls.stop()
        self._seals.stop()
        self.views.close()
