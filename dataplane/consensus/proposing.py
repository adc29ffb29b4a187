"""The primary's part: which requests become a batch, and when (OSDI'99, section 4.2)."""

from dataplane.consensus.messages import (
    Batch,
    PrePrepare,
    digest_of,
    encode_batch,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.state import ReplicaState


class Proposer:
    """Gives batches of waiting requests their sequence numbers while this replica leads."""

    def __init__(self, state: ReplicaState, ordering: Ordering) -> None:
        self._state = state
        self._ordering = ordering

    def propose(self, now_ms: int) -> None:
        """Propose what waits: at once when nothing is in flight, else a full or old batch."""
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

    def _is_due(self, now_ms: int) -> bool:
        """Whether to propose now: what waits, or nothing at all to come to the epoch's end."""
        pending, limits = self._state.pending, self._state.config.limits
        if self._state.is_ending:
            return True
        since = pending.oldest_unproposed_ms()
        if since is None:
            return False
        old = now_ms - since >= self.batch_delay_ms()
        return old or pending.unproposed_ops(limits.batch_ops_max) >= limits.batch_ops_max

    def batch_delay_ms(self) -> int:
        """Return how long a request may wait for company.

        Nothing when idle; a moment while little is in flight; while much is, what is in flight
        sets the pace: an instance costs the same whatever it carries.
        """
        limits = self._state.config.limits
        in_flight = self._ordering.next_sequence - 1 - self._state.executed
        if in_flight <= 0:
            return 0
        return limits.batch_delay_ms if in_flight < limits.batches_eager else limits.batch_wait_ms

    def _propose_batch(self, now_ms: int) -> None:
        state = self._state
        self._ordering.last_ts_ms = max(self._ordering.last_ts_ms, now_ms)
        batch = Batch(self._ordering.last_ts_ms, tuple(state.pending.take_batch()))
        assert batch.requests or state.is_ending
        data = encode_batch(batch)
        sequence, digest = self._ordering.next_sequence, digest_of(data)
        self._ordering.next_sequence += 1
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
