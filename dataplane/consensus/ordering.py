"""The three phases: pre-prepare, prepare, commit (OSDI'99, section 4.2)."""

from msgspec.structs import replace

from dataplane.consensus import accountability
from dataplane.consensus.bodies import Bodies, Carried
from dataplane.consensus.messages import (
    Batch,
    BatchBody,
    Commit,
    CommitCertificate,
    CommittedEntry,
    NewView,
    Prepare,
    PreparedProof,
    PrePrepare,
    decode_batch,
    digest_of,
)
from dataplane.consensus.new_view import Selection
from dataplane.consensus.outcome import Execute
from dataplane.consensus.records import Accepted, Decided, Prepared
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState


class Ordering:
    """Proposes, votes and decides, one slot a sequence number, several slots in flight."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self.bodies = Bodies(state)
        self.next_sequence = 1
        self.last_ts_ms = 0
        self.waited_since_ms: dict[int, int | None] = {}
        """Of batches under execution: since when their newest request waited here."""
        self._early: dict[int, PrePrepare] = {}
        self._carried: dict[int, Carried] = {}
        self._carried_last = 0
        self._forgotten = 0

    @property
    def proposed(self) -> int:
        """The highest sequence this replica proposed or saw proposed."""
        return self.next_sequence - 1

    @property
    def sizes(self) -> dict[str, int]:
        """How many proposals wait for the window, or of a new view for their batch."""
        return {"early": len(self._early), "carried": len(self._carried)}

    # --- Every replica -------------------------------------------------------------------------

    def on_pre_prepare(self, message: PrePrepare, now_ms: int) -> None:
        """Accept the primary's proposal or keep it for later; a second digest is evidence."""
        state = self._state
        ahead = message.view > state.view or not state.active
        is_past = message.view < state.view or message.sequence <= state.stable
        if is_past or state.is_deaf:
            return
        if ahead:
            self._keep_early(message)
            return
        if state.is_primary:
            return
        if message.sequence <= self._carried_last:
            self._on_carried_again(message, now_ms)
            return
        slot = state.slots.get(message.sequence)
        if slot is not None and slot.pre_prepare is not None:
            state.accuse(slot.pre_prepare, message)
            return
        if message.sequence > self._reach():
            # The primary's window may move first: keep it, dropping it would cost a view.
            self._keep_early(message)
        elif message.sequence not in state.archive:
            self._accept(message, now_ms)

    def _reach(self) -> int:
        state = self._state
        return min(state.high, state.executed + state.config.limits.pipeline)

    def _keep_early(self, message: PrePrepare) -> None:
        """Keep a proposal above the window, or of the view that is about to begin."""
        state = self._state
        if message.view > state.view + 1 or not state.in_reach(message.sequence):
            return
        known = self._early.get(message.sequence)
        if known is not None:
            state.accuse(known, message)
        if known is None or known.view < message.view:
            self._early[message.sequence] = message
            state.mark("early_proposal_kept")

    def _on_carried_again(self, message: PrePrepare, now_ms: int) -> None:
        """A carried sequence is proposed by the NewView alone; the batch may be welcome."""
        carried = self._carried.get(message.sequence)
        slot = self._state.slots.get(message.sequence)
        first = slot.pre_prepare if slot is not None else None
        if carried is not None:
            first = carried.header
        if first is None:
            return
        if first.digest != message.digest:
            self._state.accuse(first, message)
        elif carried is not None:
            self.on_batch(BatchBody(message.sequence, message.batch), now_ms)

    def _accept(self, message: PrePrepare, now_ms: int) -> None:
        state = self._state
        batch = decode_batch(message.batch)
        # Only the future is refused. A time in the past is what every proposal has that was lost
        # and is repeated after a long outage; refusing it would block its slot for good, and
        # agreed time never falls anyway.
        if batch.ts_ms - now_ms > state.config.limits.clock_skew_max_ms:
            detail = f"proposal {message.sequence} has a time in the future"
            state.alarm("clock_skew", detail, state.primary)
            return
        self._vote_for(message, batch, now_ms)

    def _vote_for(self, message: PrePrepare, batch: Batch, now_ms: int) -> None:
        """Take a proposal of the current view; a backup votes Prepare for it."""
        state = self._state
        if message.sequence > state.requested:
            # Of an executed batch nobody would take the mark away, and a request that its client
            # repeats would wait for ever.
            for request in batch.requests:
                state.pending.mark_in_flight(request)
        if state.is_primary or state.amnesia:
            # Whoever may not vote keeps the proposal all the same, and follows the others.
            self.take_proposal(message, None, now_ms)
            self._try_decide(state.slot(message.sequence))
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
        barrier = self.take_proposal(message, vote, now_ms)
        state.broadcast(vote, barrier)
        accountability.on_accepted(state, state.slot(message.sequence))
        self._try_decide(state.slot(message.sequence))

    def take_proposal(self, message: PrePrepare, vote: Prepare | None, now_ms: int) -> int:
        """Put a proposal into its slot and write it down; return the barrier."""
        state, sequence = self._state, message.sequence
        slot = state.slot(sequence)
        assert slot.pre_prepare is None, "one proposal per view and sequence"
        known = message.digest in slot.bodies
        slot.pre_prepare, slot.own_prepare, slot.sent_at_ms = message, vote, now_ms
        slot.keep_body(message.digest, message.batch)
        self.next_sequence = max(self.next_sequence, sequence + 1)
        return state.persist(
            sequence,
            Accepted(replace(message, batch=b"") if known else message, vote),
            then=lambda now: self._proposal_is_durable(sequence, message.view, now),
        )

    def _proposal_is_durable(self, sequence: int, view: int, now_ms: int) -> None:
        slot = self._state.slots.get(sequence)
        if slot is None or slot.pre_prepare is None or slot.pre_prepare.view != view:
            return
        slot.proposal_durable = True
        if slot.own_prepare is not None:
            slot.prepares[self._state.config.replica_id] = slot.own_prepare
        self.check_prepared(slot, now_ms)

    def on_prepare(self, vote: Prepare, now_ms: int) -> None:
        """Count a backup's Prepare; the primary's own is ignored, its proposal was its vote."""
        state = self._state
        if vote.view < state.view or not state.in_reach(vote.sequence):
            return
        if vote.replica == state.config.primary(vote.view):
            state.mark("primary_prepare_ignored")
            return
        slot = state.slot(vote.sequence)
        if slot.pre_prepare is not None:
            accountability.show_proposal(state, slot.pre_prepare, vote)
        known = slot.prepares.get(vote.replica)
        if known is not None and known.view == vote.view and known.digest != vote.digest:
            state.accuse(known, vote)
            return
        if known is None or known.view < vote.view:
            slot.prepares[vote.replica] = vote
        self.check_prepared(slot, now_ms)

    def check_prepared(self, slot: Slot, now_ms: int) -> None:
        """prepared(m, v, n): a proposal and enough Prepares -> commit phase. OSDI'99, 4.2."""
        state = self._state
        proposal = slot.pre_prepare
        if proposal is None or slot.own_commit is not None or state.is_mute or not state.active:
            return
        assert proposal.view == state.view
        if slot.prepared_votes(state.primary, state.config.replica_id) < state.config.quorum:
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
        slot.proof = PreparedProof(
            proposal.view,
            proposal.sequence,
            proposal.digest,
            proposal.sig,
            slot.prepares_for(proposal),
        )
        slot.own_commit = vote
        state.prepared = max(state.prepared, slot.sequence)
        slot.sent_at_ms = now_ms
        barrier = state.persist(
            slot.sequence,
            Prepared(vote, slot.proof),
            then=lambda _now: self._commit_is_durable(vote),
        )
        state.broadcast(vote, barrier)

    def _commit_is_durable(self, vote: Commit) -> None:
        slot = self._state.slots.get(vote.sequence)
        if slot is None:
            return
        known = slot.commits.get(vote.replica)
        if known is None or known.view < vote.view:
            slot.commits[vote.replica] = vote
        self.check_committed(slot, vote)

    def on_commit(self, vote: Commit) -> None:
        """Count a Commit; learning a decision needs no proposal and no current view."""
        state = self._state
        if not state.in_reach(vote.sequence) or vote.sequence in state.archive:
            accountability.on_late_commit(state, vote)
            return
        slot = state.slot(vote.sequence)
        known = slot.commits.get(vote.replica)
        if known is not None and known.view == vote.view and known.digest != vote.digest:
            state.accuse(known, vote)
            return
        if known is None or known.view < vote.view:
            slot.commits[vote.replica] = vote
        self.check_committed(slot, vote)

    def check_committed(self, slot: Slot, vote: Commit) -> None:
        """committed: a quorum of Commits of one view for one digest decides the slot."""
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
        if slot.pre_prepare is None:
            state.mark("decided_before_proposal")
        # Also a decision whose proposal was never seen here is work that is not finished.
        self.next_sequence = max(self.next_sequence, slot.sequence + 1)
        self._try_decide(slot)

    def _try_decide(self, slot: Slot) -> None:
        """Move a slot with a certificate and the decided batch into the archive."""
        certificate = slot.certificate
        if certificate is None or slot.sequence in self._state.archive:
            return
        body = slot.bodies.get(certificate.digest)
        if body is not None:
            self._decide(CommittedEntry(body, certificate), has_record=True)

    def _decide(self, entry: CommittedEntry, *, has_record: bool) -> None:
        state = self._state
        sequence = entry.certificate.sequence
        state.archive.add(sequence, entry)
        slot = state.slots.get(sequence)
        if slot is not None:
            slot.keep_only(entry.certificate.digest)
        self.next_sequence = max(self.next_sequence, sequence + 1)
        # Nothing waits for this record: the votes behind the certificate are on disk already.
        state.note(sequence, Decided(entry.certificate, None if has_record else entry.batch))
        self.request_execution()

    def learn(self, entry: CommittedEntry) -> None:
        """Take a decided batch from a peer; its certificate was verified."""
        state = self._state
        sequence = entry.certificate.sequence
        accountability.on_commit_certificate(state, entry.certificate)
        if sequence <= state.requested or sequence in state.archive:
            return
        if sequence > state.executed + 2 * state.config.limits.window:
            return
        self._decide(entry, has_record=False)

    # --- A new view ----------------------------------------------------------------------------

    def leave_view(self) -> None:
        """Stop voting in the view; what was prepared goes on in proofs."""
        for slot in self._state.slots.values():
            slot.leave_view()
        self._carried.clear()

    def enter_view(self, new_view: NewView, selection: Selection) -> None:
        """Take over what the new view carries (OSDI'99, 4.4); its own record is written already."""
        state = self._state
        self.leave_view()
        self._carried_last = selection.last
        for index, proposal in enumerate(new_view.proposals):
            if proposal.sequence > state.stable:
                header = PrePrepare(
                    new_view.epoch,
                    new_view.view,
                    proposal.sequence,
                    proposal.digest,
                    new_view.replica,
                    proposal.sig,
                    b"",
                )
                self._carried[proposal.sequence] = Carried(header, selection.holders[index])
        # What an earlier view proposed and nobody carries is free again.
        state_last = max(state.stable, state.requested, state.archive.last)
        self.next_sequence = max(selection.last, state_last) + 1
        state.prepared = min(state.prepared, self.proposed)

    def carried_is_accepted(self, sequence: int) -> None:
        """Note that the log has the proposal of a carried sequence already."""
        self._carried.pop(sequence, None)

    def requeue(self, now_ms: int) -> None:
        """Put requests back whose proposals the new view did not carry."""
        state = self._state
        state.pending.requeue(now_ms)
        for entry in state.archive.beyond(state.requested):
            for request in decode_batch(entry.batch).requests:
                state.pending.mark_in_flight(request)
        for sequence in [s for s, early in self._early.items() if early.view < state.view]:
            del self._early[sequence]

    def take_carried(self, now_ms: int) -> None:
        """Vote for carried proposals inside the window whose batch is here; fetch the others."""
        state = self._state
        if not state.active or state.is_deaf:
            return
        for sequence in sorted(self._carried):
            if sequence > self._reach():
                return
            carried = self._carried[sequence]
            body = self.bodies.find(sequence, carried.header.digest)
            if body is None:
                self.bodies.fetch(sequence, carried.header.digest, carried.holders, now_ms)
                continue
            del self._carried[sequence]
            header = replace(carried.header, batch=body)
            # Time and version were judged at first: again, they would end every view with old ones.
            self._vote_for(header, decode_batch(body), now_ms)

    def on_batch(self, message: BatchBody, now_ms: int) -> None:
        """Take the batch of a carried proposal or of a decided slot."""
        digest = digest_of(message.batch)
        carried = self._carried.get(message.sequence)
        slot = self._state.slots.get(message.sequence)
        if carried is not None and carried.header.digest == digest:
            self.bodies.put(message.sequence, message.batch)
            self.take_carried(now_ms)
        if slot is None or slot.certificate is None or message.sequence in self._state.archive:
            return
        if slot.certificate.digest == digest:
            has_record = digest in slot.bodies
            self._decide(CommittedEntry(message.batch, slot.certificate), has_record=has_record)

    # --- Execution -----------------------------------------------------------------------------

    def request_execution(self) -> None:
        """Ask for the execution of every decided batch that is next in order."""
        state = self._state
        interval = state.config.limits.checkpoint_interval
        # A state older than the epoch is replaced: what led to its epoch's end belongs to that one.
        is_older = state.precedes_epoch
        while not is_older and not state.diverged and not state.copying and not state.ended:
            entry = state.archive.get(state.requested + 1)
            if entry is None or entry.certificate.epoch > state.config.epoch:
                # The log may go on in a later epoch: its replica executes that, once there is one.
                return
            state.requested += 1
            batch = decode_batch(entry.batch)
            self.last_ts_ms = max(self.last_ts_ms, batch.ts_ms)
            waited = [state.pending.executed(request) for request in batch.requests]
            known = [since_ms for since_ms in waited if since_ms is not None]
            self.waited_since_ms[state.requested] = max(known, default=None)
            state.emit(Execute(state.requested, batch, state.requested % interval == 0))

    def window_moved(self, now_ms: int) -> None:
        """The window or the view moved: look at proposals kept for later."""
        state = self._state
        state.archive.trim(state.superseded)
        if self._carried:
            self.take_carried(now_ms)
        reach = self._reach() if state.active else 0
        for sequence in sorted(self._early):
            if sequence > reach:
                break
            if self._early[sequence].view <= state.view:
                state.mark("early_proposal_used")
                self.on_pre_prepare(self._early.pop(sequence), now_ms)

    def forget_stable(self) -> None:
        """Drop the slots at and below the stable checkpoint that are executed."""
        state = self._state
        horizon = min(state.stable, state.executed)
        if horizon == self._forgotten:
            return
        self._forgotten = horizon
        for book in (state.slots, self._early, self._carried):
            for sequence in [s for s in book if s <= horizon]:
                del book[sequence]
        self.bodies.forget(horizon)

    # --- Loss and restart ----------------------------------------------------------------------

    def retransmit(self, now_ms: int, patience_ms: int) -> None:
        """Send own messages again for slots that wait too long."""
        state = self._state
        self.take_carried(now_ms)
        last = min(self.proposed, state.executed + state.config.limits.pipeline)
        for sequence in range(state.executed + 1, last + 1):
            slot = state.slots.get(sequence)
            if slot is None or sequence in state.archive:
                continue
            if now_ms - slot.sent_at_ms >= patience_ms:
                slot.sent_at_ms = now_ms
                self._resend(slot)
                if slot.certificate is not None:
                    holders = tuple(replica for replica, _ in slot.certificate.votes)
                    self.bodies.fetch(sequence, slot.certificate.digest, holders, now_ms)

    def repeat_to(self, replica: int, first: int) -> None:
        """Repeat proposals and own votes that a laggard needs and no certificate here covers.

        Nothing waits for the record of a decision: when all crash at once, there may be no
        certificate left. The Commits behind it were on disk; a quorum of them decides it again.
        Where some gave theirs in a later view than others, that view must decide: with Prepares.
        """
        state = self._state
        last = min(state.executed, first + state.config.limits.pipeline - 1)
        for sequence in range(first, last + 1):
            slot = state.slots.get(sequence)
            if sequence in state.past:
                state.send(replica, state.past[sequence][0])
                continue
            if slot is None or sequence in state.archive:
                return
            own_commit = slot.commits.get(state.config.replica_id)
            for message in (slot.pre_prepare, slot.own_prepare, own_commit):
                if message is not None:
                    state.send(replica, message, state.urgent_barrier)

    def _resend(self, slot: Slot) -> None:
        state, proposal = self._state, slot.pre_prepare
        if proposal is not None and state.is_primary and slot.proposal_durable:
            for replica in slot.without_vote(proposal, state.config.members):
                state.send(replica, proposal, state.urgent_barrier)
        own_commit = slot.own_commit or slot.commits.get(state.config.replica_id)
        for vote in (slot.own_prepare, own_commit):
            if vote is not None:
                state.broadcast(vote, state.urgent_barrier)

    def has_proposal(self, sequence: int) -> bool:
        """Whether the view's proposal for a sequence is accepted here."""
        slot = self._state.slots.get(sequence)
        return slot is not None and slot.pre_prepare is not None

    def has_unfinished(self) -> bool:
        """Whether some proposal this replica knows is not executed yet."""
        return self.proposed > self._state.executed
