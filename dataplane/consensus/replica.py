"""The PBFT replica as a pure state machine.

Theory of operation. A replica is told what happened (`on_message`, `on_request`, `on_executed`,
`on_persisted`, `on_tick`) and answers with effects (`take`). It does no I/O, reads no clock and
draws no randomness: the same inputs always give the same outputs, a seed replays a whole cluster.

The normal case (Castro & Liskov, OSDI'99, section 4.2): the primary gives a batch of requests a
sequence number (pre-prepare); backups that accept it say so (prepare); whoever sees a quorum of
those votes commits; a quorum of commits decides the batch. Decided batches execute in order.

Rules that keep it safe:
1. A vote leaves only after it is on disk (`after=barrier`), and counts here only then.
2. One vote per replica, phase and slot; another digest is evidence, never a second vote.
3. Quorums come from `dataplane.wire.quorum` alone.
4. Everything is bounded: slots by the window, requests and buffers by the limits.

The view is carried everywhere; changing it (a new primary) is not part of this module yet: a
cluster whose primary is gone refuses writes with `no_quorum` until it is back.

All times are milliseconds of one clock that never runs backwards and starts near wall time.
"""

from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.checkpoints import Checkpoints
from dataplane.consensus.config import ReplicaConfig, Signer
from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Committed,
    FetchCommitted,
    Forward,
    Prepare,
    PrePrepare,
    Replies,
    Request,
    Status,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.outcome import Effect
from dataplane.consensus.records import Recovered
from dataplane.consensus.state import ReplicaState

FORWARD_COUNT_MAX = 64


class Replica:
    """One replica of one cluster."""

    def __init__(self, config: ReplicaConfig, signer: Signer, recovered: Recovered) -> None:
        self._state = ReplicaState(config, signer)
        self._state.executed = self._state.requested = recovered.applied
        self._checkpoints = Checkpoints(self._state)
        self._ordering = Ordering(self._state)
        self._catch_up = CatchUp(self._state, self._ordering)
        self._checkpoints.restore(recovered)
        self._ordering.restore(recovered)
        self._recovered = recovered
        self._started = False
        self._window_from = self._state.stable

    # --- What the driver may look at ------------------------------------------------------------

    @property
    def view(self) -> int:
        """The current view."""
        return self._state.view

    @property
    def primary(self) -> int:
        """The id of the current view's primary."""
        return self._state.config.primary(self._state.view)

    @property
    def executed(self) -> int:
        """The last executed sequence."""
        return self._state.executed

    @property
    def stable(self) -> int:
        """The last stable checkpoint, h."""
        return self._state.stable

    @property
    def diverged(self) -> bool:
        """Whether this replica's state differs from a certified one: it votes no more."""
        return self._state.diverged

    @property
    def pending_count(self) -> int:
        """How many requests wait for execution."""
        return len(self._state.pending)

    @property
    def peers(self) -> dict[int, Status]:
        """The last position heard from each peer."""
        return self._catch_up.peers

    def sizes(self) -> dict[str, int]:
        """Return how much each bounded container holds."""
        state = self._state
        return {
            "slots": len(state.slots),
            "archive": len(state.archive),
            "pending": len(state.pending),
            "in_flight": state.pending.in_flight_count,
            "evidence": state.evidence_count,
            "early": self._ordering.early_count,
            "checkpoints": self._checkpoints.vote_book_count,
            "peers": len(self._catch_up.peers),
        }

    # --- Events ---------------------------------------------------------------------------------

    def on_request(self, now_ms: int, request: Request) -> None:
        """Take a verified request: order it, or pass it to the primary."""
        state = self._state
        if not state.pending.add(request, now_ms):
            return
        if state.is_primary:
            self._ordering.propose(now_ms)
        else:
            state.send(self.primary, Forward((request,)))

    def is_surplus(self, message: AnyMessage) -> bool:
        """Whether a message may be dropped unverified because it adds nothing."""
        return isinstance(message, Prepare | Commit) and self._ordering.is_surplus(message)

    def on_message(  # noqa: C901 - one flat branch per message
        self, now_ms: int, sender: int, message: AnyMessage
    ) -> None:
        """Take a message that `verify_message` passed."""
        match message:
            case PrePrepare():
                self._ordering.on_pre_prepare(message, now_ms)
            case Prepare():
                self._ordering.on_prepare(message, now_ms)
            case Commit():
                self._ordering.on_commit(message)
            case Checkpoint():
                self._checkpoints.on_checkpoint(message)
            case CheckpointCertificate():
                self._checkpoints.on_certificate(message)
            case Forward():
                self._on_forward(message, now_ms)
            case Status():
                self._catch_up.on_status(message, now_ms)
            case FetchCommitted():
                self._catch_up.on_fetch(sender, message)
            case Committed():
                self._catch_up.on_committed(sender, message, now_ms)
            case Replies():
                raise AssertionError("replies are for the gateway, not for the core")
        self._after_event(now_ms)

    def _after_event(self, now_ms: int) -> None:
        """Go on with what a moved low watermark allows."""
        self._ordering.forget_stable()
        if self._state.stable != self._window_from:
            self._window_from = self._state.stable
            self._ordering.window_moved(now_ms)

    def _on_forward(self, message: Forward, now_ms: int) -> None:
        if not self._state.is_primary:
            return
        for request in message.requests:
            self._state.pending.add(request, now_ms)
        self._ordering.propose(now_ms)

    def on_executed(self, now_ms: int, sequence: int, root: bytes | None) -> None:
        """Take the answer to an Execute effect, in order."""
        state = self._state
        assert sequence == state.executed + 1 <= state.requested
        state.executed = sequence
        if root is not None:
            self._checkpoints.on_root(sequence, root, now_ms)
        self._checkpoints.advance()
        self._ordering.forget_stable()
        self._window_from = state.stable
        self._ordering.window_moved(now_ms)

    def on_persisted(self, now_ms: int, barrier: int) -> None:
        """Everything up to the barrier is on disk."""
        self._state.reached(barrier, now_ms)
        self._after_event(now_ms)

    def on_tick(self, now_ms: int) -> None:
        """Let time pass: propose old batches, repeat what may be lost, tell the position."""
        if not self._started:
            self._started = True
            self._checkpoints.resume(self._recovered, now_ms)
            self._recovered = Recovered()
            self._ordering.resume(now_ms)
        state = self._state
        self._catch_up.on_tick(now_ms)
        self._ordering.retransmit(now_ms)
        self._checkpoints.retransmit(now_ms)
        if state.is_primary:
            self._ordering.propose(now_ms)
            return
        limits = state.config.limits
        at_most = min(FORWARD_COUNT_MAX, limits.pending_per_client_max)
        due = state.pending.due_for_forwarding(now_ms, limits.retransmit_ms, at_most)
        if due:
            state.send(self.primary, Forward(tuple(due)))

    def next_tick_ms(self, now_ms: int) -> int:
        """Return when `on_tick` should run next; late is allowed, early is waste."""
        state, limits = self._state, self._state.config.limits
        since = state.pending.oldest_unproposed_ms() if state.is_primary else None
        if since is not None and self._ordering.proposed < state.executed + limits.pipeline:
            return max(now_ms + 1, since + self._ordering.batch_delay_ms())
        busy = self._ordering.has_unfinished() or self._checkpoints.unfinished or state.pending
        return now_ms + (limits.retransmit_ms if busy else limits.status_ms)

    def take(self) -> list[Effect]:
        """Return what the driver must do, in order."""
        return self._state.take()
