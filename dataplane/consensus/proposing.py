"""The primary's part: which requests become a batch, and when (OSDI'99, section 4.2)."""

from dataplane.consensus.messages import (
    Batch,
    PrePrepare,
    digest_of,
    encode_batch,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.pacing import Pace
from dataplane.consensus.state import ReplicaState


class Proposer:
    """Gives batches of waiting requests their sequence numbers while this replica leads."""

    def __init__(self, state: ReplicaState, ordering: Ordering) -> None:
        self._state = state
        self._ordering = ordering
        self._pace = Pace(state.config.limits)

    def propose(self, now_ms: int) -> None:
        """Propose what waits as soon as it is enough, or has waited long enough."""
        state, limits = self._state, self._state.config.limits
        if self._ordering.sizes["carried"]:
            # What waits here may be in a carried batch that is not here yet.
            return
        while state.leads:
            if self._ordering.next_sequence > min(state.high, state.executed + limits.pipeline):
                return
            if not self._is_due(now_ms):
                return
            self._propose_batch(now_ms)

    @property
    def _is_idle(self) -> bool:
        return self._ordering.proposed <= self._state.executed

    def _is_due(self, now_ms: int) -> bool:
        """Whether to propose now: what waits, or nothing at all to come to the epoch's end."""
        pending, limits = self._state.pending, self._state.config.limits
        if self._state.is_ending:
            return True
        since_ms = pending.oldest_unproposed_ms()
        if since_ms is None:
            return False
        is_idle = self._is_idle
        if now_ms >= self._pace.due_ms(since_ms, is_idle=is_idle):
            return True
        enough = self._pace.company if is_idle else limits.batch_ops_max
        return pending.unproposed_ops(enough) >= enough

    def due_ms(self, since_ms: int) -> int:
        """Return when to propose, full or not, what waits since `since_ms`."""
        return self._pace.due_ms(since_ms, is_idle=self._is_idle)

    def executed(self, now_ms: int, sequence: int) -> None:
        """A batch executed, of whomever."""
        limits = self._state.config.limits
        unproposed = self._state.pending.unproposed_ops(limits.batch_ops_max)
        self._pace.executed(sequence, now_ms, unproposed)

    def _propose_batch(self, now_ms: int) -> None:
        state = self._state
        self._ordering.last_ts_ms = max(self._ordering.last_ts_ms, now_ms)
        batch = Batch(self._ordering.last_ts_ms, tuple(state.pending.take_batch()))
        assert batch.requests or state.is_ending
        data = encode_batch(batch)
        sequence, digest = self._ordering.next_sequence, digest_of(data)
        self._ordering.next_sequence += 1
        self._pace.proposed(sequence, now_ms, sum(len(request.ops) for request in batch.requests))
        signature = state.sign_vote(b"PP", view=state.view, sequence=sequence, digest=digest)
        proposal = PrePrepare(
            state.config.epoch,
            state.view,
            sequence,
            digest,
            state.config.replica_id,
            signature,
            data,
        )
        barrier = self._ordering.take_proposal(proposal, None, now_ms)
        state.broadcast(proposal, barrier)
