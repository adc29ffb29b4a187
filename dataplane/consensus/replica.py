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

A primary that is gone, slow or lying is replaced: `suspicion` judges it, `view_change` moves the
view and carries over what may have been decided (section 4.4).

All times are milliseconds of one clock that never runs backwards and starts near wall time.
"""

from collections import Counter

from dataplane.consensus import accountability
from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.checkpoints import Checkpoints
from dataplane.consensus.config import ReplicaConfig, Signer
from dataplane.consensus.ending import Ending
from dataplane.consensus.messages import (
    Accusation,
    AnyMessage,
    BatchBody,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Committed,
    FetchBatch,
    FetchCommitted,
    Forward,
    Heartbeat,
    NewView,
    Prepare,
    PrePrepare,
    Proposed,
    Replies,
    Request,
    Status,
    Suspect,
    TimeoutCertificate,
    ViewChange,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.outcome import Effect, Installed, Wanted
from dataplane.consensus.proposing import Proposer
from dataplane.consensus.records import Recovered
from dataplane.consensus.restore import restore_ordering, resume
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.suspicion import Suspicion
from dataplane.consensus.transfer import Transfer
from dataplane.consensus.view_change import ViewChanges

FORWARD_COUNT_MAX = 64


class Replica:
    """One replica of one cluster."""

    def __init__(self, config: ReplicaConfig, signer: Signer, recovered: Recovered) -> None:
        self._state = ReplicaState(config, signer)
        self._state.executed = self._state.requested = recovered.applied
        self._state.amnesia = recovered.amnesia
        self._checkpoints = Checkpoints(self._state)
        self._ordering = Ordering(self._state)
        self._proposer = Proposer(self._state, self._ordering)
        self._suspicion = Suspicion(self._state)
        self._catch_up = CatchUp(self._state, self._ordering)
        self._ending = Ending(self._state, self._catch_up)
        self._transfer = Transfer(self._state, self._checkpoints, self._ordering)
        self._views = ViewChanges(self._state, self._ordering, self._checkpoints, self._suspicion)
        self._checkpoints.restore(recovered)
        self._views.restore(recovered)
        restore_ordering(self._state, self._ordering, recovered)
        self._stood_in = self._state.view if self._state.active else None
        self._recovered, self._started, self._alive_ms = recovered, False, 0
        self.decided = self._state.archive  # The newest decided batches, with their proofs.
        self._state.epoch_end, self._window_from = recovered.ends_at, self._state.stable

    # --- What the driver may look at ------------------------------------------------------------

    @property
    def view(self) -> int:
        """The current view."""
        return self._state.view

    @property
    def active(self) -> bool:
        """Whether this replica takes part in the view; if not, it waits for the NewView."""
        return self._state.active

    @property
    def primary(self) -> int:
        """The id of the current view's primary."""
        return self._state.primary

    @property
    def executed(self) -> int:
        """The last executed sequence."""
        return self._state.executed

    @property
    def stable(self) -> int:
        """The last stable checkpoint, h."""
        return self._state.stable

    @property
    def promised(self) -> int | None:
        """Above it no quorum with this replica decided; None when it may not vouch for that."""
        return self._state.promised

    @property
    def diverged(self) -> bool:
        """Whether this replica's state differs from a certified one: it votes no more."""
        return self._state.diverged

    @property
    def is_learner(self) -> bool:
        """Whether this replica follows, and is no member of its epoch."""
        return self._state.config.is_learner

    @property
    def amnesia(self) -> bool:
        """Whether this replica may have forgotten votes: it learns, and never votes again."""
        return self._state.amnesia

    @property
    def copying(self) -> int | None:
        """The checkpoint whose state is being copied from the peers."""
        return self._transfer.target

    @property
    def copies_completed(self) -> int:
        """How many states were copied since the start."""
        return self._transfer.completed

    @property
    def pending_count(self) -> int:
        """How many requests wait for execution."""
        return len(self._state.pending)

    @property
    def peers(self) -> dict[int, Status]:
        """The last position heard from each peer."""
        return self._catch_up.peers

    @property
    def positions(self) -> dict[int, Status]:
        """The last position heard from anybody, also from those that are no members."""
        return self._catch_up.positions

    @property
    def marks(self) -> Counter[str]:
        """How often each rule applied that nothing outside shows."""
        return self._state.marks

    def sizes(self) -> dict[str, int]:
        """Return how much each bounded container holds."""
        state = self._state
        return {
            "slots": len(state.slots),
            "archive": len(state.archive),
            "pending": len(state.pending),
            "in_flight": state.pending.in_flight_count,
            "evidence": state.evidence_count,
            "checkpoints": self._checkpoints.vote_book_count,
            "peers": len(self._catch_up.peers),
            **self._ordering.sizes,
            **self._views.sizes,
            **self._transfer.sizes,
        }

    # --- Events ---------------------------------------------------------------------------------

    def on_request(self, now_ms: int, request: Request) -> None:
        """Take a verified request: order it, or pass it to the primary."""
        state = self._state
        if not self._add(request, now_ms):
            return
        if state.leads:
            self._proposer.propose(now_ms)
        elif not self._is_left_behind():
            if state.active:
                state.send(state.primary, Forward((request,)))
        elif self._is_own(request) and not self._is_stranger():
            # Nobody executed it yet; and there may never be another moment to say it.
            state.broadcast(Forward((request,)))

    def _add(self, request: Request, now_ms: int) -> bool:
        pending = self._state.pending
        if pending.add(request, now_ms):
            return True
        self._state.mark("request_known" if request.key in pending else "pending_bound_hit")
        return False

    def _is_left_behind(self) -> bool:
        """Whether it is proved that the others executed what this replica has not, or it left.

        Such a replica keeps its requests to itself: it may hold many that were executed long ago,
        and to have them ordered again and again would keep it behind for ever.
        """
        certified = self._checkpoints.certified
        is_behind = certified is not None and certified.sequence > self._state.executed
        return is_behind or self._state.copying or self._is_stranger()

    def _is_own(self, request: Request) -> bool:
        return self._state.config.gateway_of(request.client) == self._state.config.replica_id

    def _is_stranger(self) -> bool:
        return self._state.config.is_learner or self._state.precedes_epoch

    def is_surplus(self, message: AnyMessage) -> bool:
        """Whether a message may be dropped unverified because it adds nothing."""
        if isinstance(message, Accusation):
            return not any(self._state.evidence.wants(proof) for proof in message.proofs)
        if isinstance(message, CheckpointCertificate):
            return self._checkpoints.is_surplus(message)
        if self._state.precedes_epoch and isinstance(message, PrePrepare | Forward):
            # It may not know every gateway's key yet, and orders nothing before it has a state.
            return True
        if not isinstance(message, Prepare | Commit):
            return False
        return accountability.is_surplus(self._state, message)

    def on_message(self, now_ms: int, sender: int, message: AnyMessage) -> None:
        """Take a message that `verify_message` passed."""
        state = self._state
        speaks = isinstance(message, (Heartbeat, PrePrepare)) and message.view == state.view
        if speaks and sender == state.primary:
            self._suspicion.heard_primary(now_ms)
        self._dispatch(now_ms, sender, message)
        self._after_event(now_ms)

    def _dispatch(  # noqa: C901, PLR0912, PLR0915 - one flat branch per message
        self, now_ms: int, sender: int, message: AnyMessage
    ) -> None:
        match message:
            case PrePrepare():
                self._on_pre_prepare(message, now_ms)
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
                self._on_status(message, now_ms)
            case FetchCommitted():
                self._catch_up.on_fetch(sender, message)
            case Committed():
                self._catch_up.on_committed(sender, message, now_ms)
            case Heartbeat():
                pass  # That it came is what it says.
            case Suspect():
                self._views.on_suspect(message, now_ms)
            case TimeoutCertificate():
                self._views.on_timeout(message, now_ms)
            case ViewChange():
                self._views.on_view_change(message, now_ms)
            case NewView():
                self._views.on_new_view(message, now_ms)
            case FetchBatch():
                self._ordering.bodies.serve(sender, message)
            case BatchBody():
                self._ordering.on_batch(message, now_ms)
            case Accusation():
                accountability.on_accusation(self._state, sender, message)
            case Proposed():
                accountability.on_proposed(self._state, message)
            case Replies():
                raise AssertionError("replies are for the gateway, not for the core")
            case _:
                self._transfer.on_message(sender, message, now_ms)

    def _after_event(self, now_ms: int) -> None:
        """Go on with what a moved low watermark or a new view allows."""
        state = self._state
        self._ordering.forget_stable()
        for accused in state.take_accused():
            self._suspicion.caught_lying(accused)
        self._ending.consider(now_ms)
        if state.active and state.view != self._stood_in:
            self._stood_in = state.view
            self._enter_view(now_ms)
        elif state.stable != self._window_from:
            self._move_window(now_ms)

    def _move_window(self, now_ms: int) -> None:
        self._window_from = self._state.stable
        self._ordering.window_moved(now_ms)
        self._proposer.propose(now_ms)

    def _enter_view(self, now_ms: int) -> None:
        """Hand the waiting requests to the new primary."""
        state = self._state
        self._move_window(now_ms)
        if not state.is_primary:
            self._forward(now_ms, interval_ms=0)

    def _on_pre_prepare(self, message: PrePrepare, now_ms: int) -> None:
        state, ordering = self._state, self._ordering
        # What comes after it is no excuse for letting the next sequence wait.
        following = state.executed + 1
        was_missing = not ordering.has_proposal(following)
        ordering.on_pre_prepare(message, now_ms)
        if was_missing and ordering.has_proposal(following):
            self._suspicion.accepted(now_ms, state.pending.oldest_ms())

    def _on_forward(self, message: Forward, now_ms: int) -> None:
        """Take requests a peer passed on: the primary orders them, a backup waits for that."""
        for request in message.requests:
            self._add(request, now_ms)
        self._proposer.propose(now_ms)

    def _on_status(self, status: Status, now_ms: int) -> None:
        self._catch_up.on_status(status, now_ms)
        self._views.on_status(status, now_ms)
        heads = [peer.executed for peer in self._catch_up.peers.values()]
        self._suspicion.heard_position(now_ms, heads)

    def on_executed(
        self, now_ms: int, sequence: int, root: bytes | None, ends_at: int | None = None
    ) -> None:
        """Take the answer to an Execute effect, in order.

        `ends_at` is the last sequence of this epoch, once the state knows that another follows.
        """
        state = self._state
        assert sequence == state.executed + 1 <= state.requested
        state.executed = sequence
        state.epoch_end = ends_at
        entry = state.archive.get(sequence)
        assert entry is not None
        self._suspicion.executed(
            now_ms,
            view=entry.certificate.view,
            waited_since_ms=self._ordering.waited_since_ms.pop(sequence),
        )
        if state.leads:
            self._proposer.executed(now_ms, sequence)
        if root is not None and not state.config.is_learner:
            self._checkpoints.on_root(sequence, root, now_ms)
        self._checkpoints.advance()
        self._ending.consider(now_ms)
        if not state.ended:
            self._ordering.forget_stable()
            self._move_window(now_ms)

    def know_members(self, config: ReplicaConfig) -> None:
        """Learn from the state what else there is to know of the members, as their gateways' keys.

        Who may vote, and by which key, is known already.
        """
        known = self._state.config
        assert (config.epoch, config.base, config.n) == (known.epoch, known.base, known.n)
        votes = [config.public_key(member.replica_id) for member in known.members]
        assert votes == [member.public_key for member in known.members]
        self._state.config = config

    def hand_over(self, successor: "Replica", now_ms: int) -> None:
        """Give the next epoch's replica the decided batches, for laggards, and what waits."""
        state, its = self._state, successor._state  # noqa: SLF001 - the same class
        its.archive = successor.decided = state.archive
        its.past = dict(state.past)
        if its.stable_certificate is None:
            its.past_certificate = state.stable_certificate or state.past_certificate
        its.past.update(state.unproven())
        for sequence in sorted(its.past)[: -state.config.limits.window]:
            del its.past[sequence]
        for request in self._state.pending.all():
            if its.config.gateway_of(request.client) is not None:
                successor.on_request(now_ms, request)

    def on_persisted(self, now_ms: int, barrier: int) -> None:
        """Everything up to the barrier is on disk."""
        self._state.reached(barrier, now_ms)
        self._after_event(now_ms)

    def on_wanted(self, now_ms: int, wanted: Wanted) -> None:
        """Take the answer to a CopyBegin or CopyStage effect."""
        self._transfer.on_wanted(wanted, now_ms)

    def on_installed(self, now_ms: int, installed: Installed) -> None:
        """Take the answer to a CopyInstall effect."""
        self._transfer.on_installed(installed, now_ms)
        if installed.is_whole:
            self._state.epoch_end = installed.ends_at
            self._ending.consider(now_ms)
            if self._state.ended:
                return
            self._ordering.request_execution()
            # What the copied state does not answer was not executed up to there. Who is always left
            # behind passes it on now or never; once a copy, so that it drives nobody on for ever.
            self._pass_on(now_ms, interval_ms=1)
        self._after_event(now_ms)

    def on_damaged(self, detail: str) -> None:
        """Learn that stored rows are not what the own tree says: get them from the peers."""
        self._state.alarm("state_damaged", detail)
        if self._state.config.n > 1:
            self._state.diverged = True

    def on_tick(self, now_ms: int) -> None:
        """Let time pass: judge the primary, repeat what may be lost, tell the position."""
        self._start(now_ms)
        state = self._state
        self._catch_up.on_tick(now_ms)
        self._transfer.on_tick(now_ms)
        self._ordering.retransmit(now_ms, self._suspicion.patience_ms)
        self._checkpoints.retransmit(now_ms)
        self._views.on_tick(now_ms, busy=self._is_busy())
        if state.leads:
            self._proposer.propose(now_ms)
            self._show_life(now_ms)
        if state.active:
            # The primary does so too: if nobody takes its proposals, others must know what waits.
            limits = state.config.limits
            patience_ms = self._suspicion.request_timeout_ms // 4
            self._forward(now_ms, interval_ms=max(limits.retransmit_ms, patience_ms))
        self._after_event(now_ms)

    def _start(self, now_ms: int) -> None:
        if self._started:
            return
        self._started = True
        self._suspicion.started(now_ms)
        self._checkpoints.resume(self._recovered, now_ms)
        self._recovered = Recovered()
        resume(self._state, self._ordering, now_ms)
        self._views.resume(now_ms)

    def _is_busy(self) -> bool:
        state = self._state
        return bool(state.pending) or self._ordering.has_unfinished() or state.is_ending

    def _show_life(self, now_ms: int) -> None:
        state = self._state
        if now_ms - self._alive_ms >= state.config.limits.heartbeat_ms:
            self._alive_ms = now_ms
            state.broadcast(Heartbeat(state.config.epoch, state.view, state.config.replica_id))

    def _forward(self, now_ms: int, *, interval_ms: int) -> None:
        """Pass waiting requests on, the first time to the primary, then to all.

        A primary that censors is then known to everybody who waits for the request (consensus:
        request forwarding). What came from another replica goes to the primary only.
        """
        if not self._is_left_behind():
            self._pass_on(now_ms, interval_ms=interval_ms)

    def _pass_on(self, now_ms: int, *, interval_ms: int) -> None:
        state = self._state
        at_most = min(FORWARD_COUNT_MAX, state.config.limits.pending_per_client_max)
        # A new primary needs everything soon, one that has it already only a sign now and then.
        bytes_max = state.config.limits.forward_bytes_max * (1 if interval_ms else 8)
        due = state.pending.due_for_forwarding(now_ms, interval_ms, at_most, bytes_max)
        own: list[Request] = []
        others: list[Request] = []
        for request in due:
            (own if interval_ms and self._is_own(request) else others).append(request)
        if own:
            state.broadcast(Forward(tuple(own)))
        if others:
            state.send(state.primary, Forward(tuple(others)))

    def next_tick_ms(self, now_ms: int) -> int:
        """Return when `on_tick` should run next; late is allowed, early is waste."""
        state, limits = self._state, self._state.config.limits
        since = state.pending.oldest_unproposed_ms() if state.leads else None
        if state.leads and state.is_ending and self._ordering.proposed < state.high:
            return now_ms + 1
        if since is not None and self._ordering.proposed < state.executed + limits.pipeline:
            return max(now_ms + 1, self._proposer.due_ms(since))
        if self._transfer.is_hungry:
            return now_ms + 1
        if state.config.is_learner:
            return now_ms + self._catch_up.status_ms
        if state.config.n == 1:
            busy = self._is_busy() or self._checkpoints.unfinished
            return now_ms + (limits.retransmit_ms if busy else limits.status_ms)
        return now_ms + min(limits.heartbeat_ms, limits.retransmit_ms)

    def take(self) -> list[Effect]:
        """Return what the driver must do, in order."""
        return self._state.take()
