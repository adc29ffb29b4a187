"""When a replica that executed the last batch of an epoch leaves it."""

from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.outcome import EpochEnded
from dataplane.consensus.records import EpochClosed
from dataplane.consensus.state import ReplicaState

PATIENCE_STATUSES = 10


class Ending:
    """Leaves once every decision of the epoch is on disk, for those who lag.

    A crash may take certificates and leave the state with their batches. A quorum can decide those
    again as long as it is one: whoever left first, with the state and no proof of it, could strand
    the others for good. So it votes on until the proof is there, for as long as that can help.
    """

    def __init__(self, state: ReplicaState, catch_up: CatchUp) -> None:
        self._state = state
        self._catch_up = catch_up
        self._since_ms: int | None = None

    def consider(self, now_ms: int) -> None:
        """Vote no more, and leave, if the end is executed and nobody needs this replica here."""
        state = self._state
        sequence = state.epoch_end
        if sequence is None or state.ended or state.executed != sequence:
            return
        if self._since_ms is None:
            self._since_ms = now_ms
        patience_ms = PATIENCE_STATUSES * state.config.limits.status_ms
        if now_ms - self._since_ms < patience_ms and state.unproven() and not self._others_left():
            state.mark("stayed_for_proof")
            return
        state.ended = True
        state.persist(
            sequence,
            EpochClosed(state.config.epoch, sequence),
            then=lambda _now: state.emit(EpochEnded(sequence)),
        )

    def _others_left(self) -> bool:
        """Whether more members than may lie say that they left; they are asked for the proof."""
        config = self._state.config
        positions = self._catch_up.positions.values()
        left = [peer for peer in positions if peer.epoch > config.epoch]
        return sum(config.public_key(peer.replica) is not None for peer in left) > config.f
