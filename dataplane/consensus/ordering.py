"""The three phases: pre-prepare, prepare, commit (OSDI'99, section 4.2)."""

from dataplane.consensus.messages import (
    Batch,
    Commit,
    CommitCertificate,
    CommittedEntry,
    Prepare,
    PrePrepare,
    decode_batch,
    digest_of,
    encode_batch,
)
from dataplane.consensus.outcome import Execute
from dataplane.consensus.records import Accepted, Decided, Prepared, Recovered
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState


class Ordering:
    """Proposes, votes and decides, one slot a sequence number, several slots in flight."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._next_sequence = 1
        self._last_ts_ms = 0
        self._early: dict[int, PrePrepare] = {}
        self._forgotten = 0

    @property
    def proposed(self) -> int:
        """The highest sequence this replica proposed or saw proposed."""
        return self._next_sequence - 1

    @property
    def early_count(self) -> int:
        """How many proposals wait for the window to move."""
        return len(self._early)

    # --- The primary ---------------------------------------------------------------------------

    def propose(self, now_ms: int) -> None:
        """Propose what waits: at once when nothing is in flight, else a full or old batch."""
        state, limits = self._state, self._state.config.limits
        while state.is_primary and not state.diverged:
            if self._next_sequence > min(state.high, state.executed + limits.pipeline):
                return
            since = state.pending.oldest_unproposed_ms()
            if since is None:
                return
            old = now_ms - since >= self.batch_delay_ms()
            full = state.pending.unproposed_ops(limits.batch_ops_max) >= limits.batch_ops_max
            if not old and not full:
                return
            self._propose_batch(now_ms)

    def batch_delay_ms(self) -> int:
        """Return how long a request may wait for company.

        Nothing when idle; a moment while little is in flight; while much is, what is in flight
        sets the pace: an instance costs the same whatever it carries.
        """
        limits = self._state.config.limits
        in_flight = self._next_sequence - 1 - self._state.executed
        if in_flight <= 0:
            return 0
        return limits.batch_delay_ms if in_flight < limits.batches_eager else limits.batch_wait_ms

    def _propose_batch(self, now_ms: int) -> None:
        state = self._state
        self._last_ts_ms = max(self._last_ts_ms, now_ms)
        batch = Batch(self._last_ts_ms, tuple(state.pending.take_batch()))
        assert batch.requests
        data = encode_batch(batch)
        sequence, digest = self._next_sequence, digest_of(data)
        self._next_sequence += 1
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
        slot = state.slot(sequence)
        assert slot.pre_prepare is None, "a primary proposes once per sequence"
        slot.pre_prepare, slot.batch, slot.sent_at_ms = proposal, batch, now_ms
        barrier = state.persist(
            sequence,
            Accepted(proposal, None),
            then=lambda now: self._proposal_is_durable(sequence, now),
        )
        state.broadcast(proposal, barrier)

    def _proposal_is_durable(self, sequence: int, now_ms: int) -> None:
        slot = self._state.slots.get(sequence)
        if slot is None:
            return
        slot.proposal_durable = True
        if slot.own_prepare is not None:
            slot.prepares[self._state.config.replica_id] = slot.own_prepare
        self._check_prepared(slot, now_ms)

    # --- Every replica -------------------------------------------------------------------------

    def on_pre_prepare(self, message: PrePrepare, now_ms: int) -> None:
        """Accept the primary's proposal or keep it for later; a second digest is evidence."""
        state = self._state
        if message.view != state.view or state.is_primary or state.diverged:
            return
        if not state.stable < message.sequence or message.sequence in state.archive:
            return
        slot = state.slots.get(message.sequence)
        if slot is not None and slot.pre_prepare is not None:
            if slot.pre_prepare.digest != message.digest:
                state.accuse(slot.pre_prepare, message)
            return
        limits = state.config.limits
        if message.sequence > min(state.high, state.executed + limits.pipeline):
            # The primary's window may move first: keep it, dropping it would cost a view.
            if state.in_reach(message.sequence) and len(self._early) < 2 * limits.window:
                self._early.setdefault(message.sequence, message)
            return
        self._accept(message, now_ms)

    def _accept(self, message: PrePrepare, now_ms: int) -> None:
        state = self._state
        batch = decode_batch(message.batch)
        # Only the future is refused. A time in the past is what every proposal has that was lost
        # and is repeated after a long outage; refusing it would block its slot for good, and
        # agreed time never falls anyway.
        if batch.ts_ms - now_ms > state.config.limits.clock_skew_max_ms:
            state.alarm("clock_skew", f"proposal {message.sequence} has a time in the future")
            return
        vote = Prepare(
            message.epoch,
            message.view,
            message.sequence,
            message.digest,
            state.config.replica_id,
            state.sign_vote(
                b"P", view=message.view, sequence=message.sequence, digest=message.digest
            ),
        )
        slot = state.slot(message.sequence)
        slot.pre_prepare, slot.batch, slot.own_prepare = message, batch, vote
        slot.sent_at_ms = now_ms
        self._next_sequence = max(self._next_sequence, message.sequence + 1)
        for request in batch.requests:
            state.pending.mark_in_flight(request)
        sequence = message.sequence
        barrier = state.persist(
            sequence,
            Accepted(message, vote),
            then=lambda now: self._proposal_is_durable(sequence, now),
        )
        state.broadcast(vote, barrier)
        self._try_decide(slot)

    def on_prepare(self, vote: Prepare, now_ms: int) -> None:
        """Count a backup's Prepare; the primary's own is ignored, its proposal was its vote."""
        state = self._state
        if vote.view != state.view or not state.in_reach(vote.sequence):
            return
        if vote.replica == state.config.primary(vote.view):
            return
        slot = state.slot(vote.sequence)
        first = slot.prepares.setdefault(vote.replica, vote)
        if first.digest != vote.digest:
            state.accuse(first, vote)
            return
        self._check_prepared(slot, now_ms)

    def _check_prepared(self, slot: Slot, now_ms: int) -> None:
        """prepared(m, v, n): a proposal and enough Prepares -> commit phase. OSDI'99, 4.2."""
        state = self._state
        proposal = slot.pre_prepare
        if proposal is None or slot.own_commit is not None or state.diverged:
            return
        primary = state.config.primary(proposal.view)
        if slot.prepared_votes(primary, state.config.replica_id) < state.config.quorum:
            return
        vote = Commit(
            proposal.epoch,
            proposal.view,
            proposal.sequence,
            proposal.digest,
            state.config.replica_id,
            state.sign_vote(
                b"C", view=proposal.view, sequence=proposal.sequence, digest=proposal.digest
            ),
        )
        slot.own_commit = vote
        slot.sent_at_ms = now_ms
        prepares = tuple(
            (replica, slot.prepares[replica].sig)
            for replica in sorted(slot.prepares)
            if slot.prepares[replica].digest == proposal.digest
        )
        sequence = proposal.sequence
        barrier = state.persist(
            sequence,
            Prepared(vote, prepares),
            then=lambda _now: self._commit_is_durable(sequence),
        )
        state.broadcast(vote, barrier)

    def _commit_is_durable(self, sequence: int) -> None:
        slot = self._state.slots.get(sequence)
        if slot is None or slot.own_commit is None:
            return
        slot.commits.setdefault(self._state.config.replica_id, slot.own_commit)
        self._check_committed(slot, slot.own_commit)

    def on_commit(self, vote: Commit) -> None:
        """Count a Commit; learning a decision needs no proposal and no current view."""
        state = self._state
        if not state.in_reach(vote.sequence) or vote.sequence in state.archive:
            return
        slot = state.slot(vote.sequence)
        first = slot.commits.setdefault(vote.replica, vote)
        if first.digest != vote.digest and first.view == vote.view:
            state.accuse(first, vote)
            return
        self._check_committed(slot, vote)

    def _check_committed(self, slot: Slot, vote: Commit) -> None:
        state = self._state
        if slot.certificate is not None:
            return
        votes = slot.commit_votes(vote.view, vote.digest)
        if len(votes) < state.config.quorum:
            return
        slot.certificate = CommitCertificate(
            vote.epoch,
            vote.view,
            vote.sequence,
            vote.digest,
            tuple((commit.replica, commit.sig) for commit in votes),
        )
        self._try_decide(slot)

    def _try_decide(self, slot: Slot) -> None:
        """Move a slot with a certificate and the decided batch into the archive."""
        certificate, proposal = slot.certificate, slot.pre_prepare
        if certificate is None or proposal is None or proposal.digest != certificate.digest:
            return
        if slot.sequence in self._state.archive:
            return
        self._decide(CommittedEntry(proposal.batch, certificate), has_record=True)

    def _decide(self, entry: CommittedEntry, *, has_record: bool) -> None:
        state = self._state
        sequence = entry.certificate.sequence
        state.archive.add(sequence, entry)
        self._next_sequence = max(self._next_sequence, sequence + 1)
        # Nothing waits for this record: the votes behind the certificate are on disk already.
        state.note(sequence, Decided(entry.certificate, None if has_record else entry.batch))
        self.request_execution()

    def learn(self, entry: CommittedEntry) -> None:
        """Take a decided batch from a peer; its certificate was verified."""
        state = self._state
        sequence = entry.certificate.sequence
        if sequence <= state.requested or sequence in state.archive:
            return
        if sequence > state.executed + 2 * state.config.limits.window:
            return
        self._decide(entry, has_record=False)

    # --- Execution -----------------------------------------------------------------------------

    def request_execution(self) -> None:
        """Ask for the execution of every decided batch that is next in order."""
        state = self._state
        interval = state.config.limits.checkpoint_interval
        while not state.diverged:
            entry = state.archive.get(state.requested + 1)
            if entry is None:
                return
            state.requested += 1
            batch = decode_batch(entry.batch)
            self._last_ts_ms = max(self._last_ts_ms, batch.ts_ms)
            for request in batch.requests:
                state.pending.executed(request)
            state.emit(Execute(state.requested, batch, state.requested % interval == 0))

    def window_moved(self, now_ms: int) -> None:
        """The window moved: look at proposals kept for later, propose what waits."""
        state = self._state
        state.archive.trim(state.executed)
        reach = min(state.high, state.executed + state.config.limits.pipeline)
        for sequence in sorted(self._early):
            if sequence > reach:
                break
            self.on_pre_prepare(self._early.pop(sequence), now_ms)
        self.propose(now_ms)

    def forget_stable(self) -> None:
        """Drop the slots at and below the stable checkpoint that are executed."""
        state = self._state
        horizon = min(state.stable, state.executed)
        if horizon == self._forgotten:
            return
        self._forgotten = horizon
        for sequence in [s for s in state.slots if s <= horizon]:
            del state.slots[sequence]
        for sequence in [s for s in self._early if s <= horizon]:
            del self._early[sequence]

    # --- Loss and restart ----------------------------------------------------------------------

    def retransmit(self, now_ms: int) -> None:
        """Send own messages again for slots that wait too long."""
        state, limits = self._state, self._state.config.limits
        last = min(self.proposed, state.executed + limits.pipeline)
        for sequence in range(state.executed + 1, last + 1):
            slot = state.slots.get(sequence)
            if slot is None or sequence in state.archive:
                continue
            if now_ms - slot.sent_at_ms >= limits.retransmit_ms:
                slot.sent_at_ms = now_ms
                self._resend(slot)

    def repeat_to(self, replica: int, first: int) -> None:
        """Repeat proposals and own Commits that a laggard needs and no certificate here covers.

        The record of a decision reaches the disk late, and nothing waits for it: when all crash at
        once, what was executed may have no certificate left anywhere. The Commits behind it were
        on disk before they were sent; a quorum of replicas that repeats them decides it again.
        """
        state = self._state
        last = min(state.executed, first + state.config.limits.pipeline - 1)
        for sequence in range(first, last + 1):
            slot = state.slots.get(sequence)
            if slot is None or sequence in state.archive:
                return
            for message in (slot.pre_prepare, slot.own_commit):
                if message is not None:
                    state.send(replica, message, state.urgent_barrier)

    def _resend(self, slot: Slot) -> None:
        state = self._state
        if slot.pre_prepare is not None and state.is_primary and slot.proposal_durable:
            state.broadcast(slot.pre_prepare, state.urgent_barrier)
        if slot.own_prepare is not None:
            state.broadcast(slot.own_prepare, state.urgent_barrier)
        if slot.own_commit is not None:
            state.broadcast(slot.own_commit, state.urgent_barrier)

    def is_surplus(self, vote: Prepare | Commit) -> bool:
        """Whether a vote adds nothing: its digest has its quorum here already.

        Such a vote need not be verified. One with another digest must be: it may be evidence.
        """
        entry = self._state.archive.get(vote.sequence)
        if entry is not None:
            return entry.certificate.digest == vote.digest
        slot = self._state.slots.get(vote.sequence)
        if slot is None or slot.own_commit is None or isinstance(vote, Commit):
            return False
        return slot.own_commit.digest == vote.digest

    def has_unfinished(self) -> bool:
        """Whether some proposal this replica knows is not executed yet."""
        return self.proposed > self._state.executed

    def restore(self, recovered: Recovered) -> None:
        """Rebuild slots, own votes and undecided work from the log."""
        state = self._state
        batches = {
            (sequence, accepted.pre_prepare.digest): accepted.pre_prepare.batch
            for sequence, accepted in recovered.accepted.items()
        }
        for sequence in sorted(recovered.decided):
            decided = recovered.decided[sequence]
            batch = decided.batch or batches.get((sequence, decided.certificate.digest))
            if batch is not None:
                state.archive.add(sequence, CommittedEntry(batch, decided.certificate))
        for sequence in sorted(recovered.accepted):
            if sequence > state.stable:
                self._restore_slot(sequence, recovered)
        known = [0, state.executed, *recovered.accepted, *recovered.decided]
        self._next_sequence = max(known) + 1
        state.archive.trim(state.executed)

    def _restore_slot(self, sequence: int, recovered: Recovered) -> None:
        state = self._state
        accepted, prepared = recovered.accepted[sequence], recovered.prepared.get(sequence)
        slot = state.slot(sequence)
        slot.pre_prepare, slot.own_prepare = accepted.pre_prepare, accepted.vote
        slot.batch = decode_batch(accepted.pre_prepare.batch)
        slot.proposal_durable = True
        self._last_ts_ms = max(self._last_ts_ms, slot.batch.ts_ms)
        own = state.config.replica_id
        if accepted.vote is not None:
            slot.prepares[own] = accepted.vote
        if prepared is not None:
            slot.own_commit = prepared.vote
            slot.commits[own] = prepared.vote
        if sequence > state.executed:
            for request in slot.batch.requests:
                state.pending.mark_in_flight(request)

    def resume(self, now_ms: int) -> None:
        """Go on after a restart: votes that were durable count again, decided batches execute."""
        self.request_execution()
        for sequence in sorted(self._state.slots):
            slot = self._state.slots[sequence]
            self._check_prepared(slot, now_ms)
            if slot.own_commit is not None:
                self._check_committed(slot, slot.own_commit)
