"""Seals: the signatures of a quorum under the state at one sequence, for a reader's proof.

A gateway orders a `Seal`. Each replica that executes the batch signs the root that follows it and
sends the signature to the gateway; q equal roots are a certificate. A decided batch has one state,
so no replica can be led to sign two roots for one sequence, also after a restart: nothing needs to
be on disk first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from blake3 import blake3

from dataplane.consensus.config import ReplicaConfig, Signer, Verifier
from dataplane.documents.commands import Seal, encode_op
from dataplane.documents.types import RequestView
from dataplane.replication.errors import NotReadyError, OverloadedError
from dataplane.replication.peer_messages import SealVote
from dataplane.wire.proofs import Certificate, seal_payload

OPEN_MAX: Final = 256
EARLY_MAX: Final = 64
"""Votes of one replica for sequences that this one has not executed yet."""
_HEAD: Final = encode_op(Seal(b"")).removesuffix(b"\xc4\x00")
"""How every encoded `Seal` begins: what precedes the empty byte string."""

type Sealed = tuple[Certificate, Any]
"""The certificate, and what was captured at its sequence."""


@dataclass(eq=False, slots=True)
class OpenSeal:
    """A reader's seal on its way; `capture` reads the state at the moment it is executed."""

    op: bytes
    capture: Callable[[], Any]
    future: asyncio.Future[Sealed]
    captured: Any = None
    sequence: int = 0
    """Where it was executed, 0 before."""


@dataclass(slots=True)
class _Sealing:
    """A sequence that this gateway had sealed, until its readers have their certificate."""

    root: bytes
    seals: list[OpenSeal]
    votes: dict[int, SealVote] = field(default_factory=dict)


class Seals:
    """One node's part: signs for every gateway, and collects for its own."""

    def __init__(
        self,
        *,
        config: ReplicaConfig,
        signer: Signer,
        verifier: Verifier,
        gateway_key: bytes,
        nonce: bytes,
        send: Callable[[int, SealVote], None],
        on_contradiction: Callable[[str], None],
    ) -> None:
        self._config = config
        self._signer = signer
        self._verifier = verifier
        self._gateway_key = gateway_key
        # Tokens of an earlier life may still be executed: they must name no seal of this one.
        self._life = blake3(b"seals" + nonce).digest(8)
        self._send = send
        self._on_contradiction = on_contradiction
        self._executed = 0
        self._made = 0
        self._open: dict[bytes, OpenSeal] = {}
        self._sealings: dict[int, _Sealing] = {}
        self._early: dict[int, OrderedDict[int, SealVote]] = {}

    def set_config(self, config: ReplicaConfig) -> None:
        """Sign and count as a member of a new epoch."""
        self._config = config

    @property
    def open_count(self) -> int:
        """How many readers wait for a certificate."""
        return len(self._open) + sum(len(s.seals) for s in self._sealings.values())

    @property
    def early_count(self) -> int:
        """How many votes are kept for what is not executed yet."""
        return sum(len(votes) for votes in self._early.values())

    # --- The reader's side ----------------------------------------------------------------------

    def open(self, capture: Callable[[], Any]) -> OpenSeal:
        """Begin a seal; its `op` is to be ordered, its `future` to be awaited.

        Raises:
            OverloadedError: Too many readers wait already.
        """
        if self.open_count >= OPEN_MAX:
            raise OverloadedError("too many proofs are asked for at once")
        self._made += 1
        op = encode_op(Seal(self._life + self._made.to_bytes(8, "big")))
        seal = OpenSeal(op, capture, asyncio.get_running_loop().create_future())
        self._open[op] = seal
        return seal

    def close(self, seal: OpenSeal) -> None:
        """Forget a seal, whatever became of it."""
        self._open.pop(seal.op, None)
        sealing = self._sealings.get(seal.sequence)
        if sealing is not None and seal in sealing.seals:
            sealing.seals.remove(seal)
            if not sealing.seals:
                del self._sealings[seal.sequence]
        if not seal.future.done():
            seal.future.cancel()

    def stop(self) -> None:
        """Fail every seal that waits."""
        waiting = [*self._open.values(), *[s for g in self._sealings.values() for s in g.seals]]
        for seal in waiting:
            if not seal.future.done():
                seal.future.set_exception(NotReadyError("the node is stopping"))

    # --- Execution ------------------------------------------------------------------------------

    def on_executed(
        self, sequence: int, requests: Iterable[RequestView], root: Callable[[], bytes]
    ) -> None:
        """Sign the state for every gateway that sealed it; capture what own readers asked for."""
        self._executed = sequence
        clients: dict[bytes, None] = {}
        mine: list[OpenSeal] = []
        for request in requests:
            for op in request.ops:
                if op.startswith(_HEAD):
                    clients[request.client] = None
                    if request.client == self._gateway_key and op in self._open:
                        mine.append(self._open.pop(op))
        if clients:
            self._sign(sequence, root(), clients, mine)
        self._take_early(sequence)

    def _sign(
        self, sequence: int, root: bytes, clients: Iterable[bytes], mine: list[OpenSeal]
    ) -> None:
        config = self._config
        payload = seal_payload(config.cluster_id, epoch=config.epoch, sequence=sequence, root=root)
        vote = SealVote(config.epoch, sequence, root, self._signer.sign(payload))
        for client in clients:
            gateway = config.gateway_of(client)
            if gateway is not None and gateway != config.replica_id:
                self._send(gateway, vote)
        if not mine:
            return
        for seal in mine:
            seal.sequence = sequence
            seal.captured = seal.capture()
        self._sealings[sequence] = _Sealing(root, mine)
        self._count(config.replica_id, vote)

    def _take_early(self, sequence: int) -> None:
        for replica, votes in self._early.items():
            while votes and min(votes) <= sequence:
                vote = votes.pop(min(votes))
                if vote.sequence == sequence and self._is_signed(replica, vote):
                    self._count(replica, vote)

    # --- Votes ----------------------------------------------------------------------------------

    def on_vote(self, sender: int, vote: SealVote) -> bool:
        """Take a peer's vote; return False when it should not have been sent."""
        if vote.epoch != self._config.epoch:
            return False
        if vote.sequence in self._sealings:
            if not self._is_signed(sender, vote):
                return False
            self._count(sender, vote)
        elif vote.sequence > self._executed:
            votes = self._early.setdefault(sender, OrderedDict())
            votes[vote.sequence] = vote
            if len(votes) > EARLY_MAX:
                votes.popitem(last=False)
        return True

    def _is_signed(self, replica: int, vote: SealVote) -> bool:
        config = self._config
        key = config.public_key(replica)
        payload = seal_payload(
            config.cluster_id, epoch=vote.epoch, sequence=vote.sequence, root=vote.root
        )
        return key is not None and self._verifier.verify(key, payload, vote.sig)

    def _count(self, replica: int, vote: SealVote) -> None:
        sealing = self._sealings.get(vote.sequence)
        if sealing is None:
            return
        sealing.votes[replica] = vote
        equal = {r: v.sig for r, v in sealing.votes.items() if v.root == vote.root}
        if len(equal) < self._config.quorum:
            return
        del self._sealings[vote.sequence]
        if vote.root != sealing.root:
            self._on_contradiction(f"the root at {vote.sequence}")
            self._fail(sealing)
            return
        certificate = Certificate("seal", vote.sequence, vote.root, tuple(sorted(equal.items())))
        for seal in sealing.seals:
            if not seal.future.done():
                seal.future.set_result((certificate, seal.captured))

    @staticmethod
    def _fail(sealing: _Sealing) -> None:
        for seal in sealing.seals:
            if not seal.future.done():
                seal.future.set_exception(NotReadyError("this node's state is not the agreed one"))
