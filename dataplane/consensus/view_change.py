"""Leaving a view and beginning the next (OSDI'99, section 4.4, with a timeout certificate).

A view is left in two steps. A replica that suspects the primary says so (Suspect) and goes on
voting. Only a blocking set of Suspects, n-q+1, is a timeout certificate: whoever holds it stops
voting in the view and sends what it prepared (ViewChange). So one replica, faulty or cut off, never
moves a view and never exiles itself, and whoever left takes everybody along. The next primary
proves by q ViewChanges what may have been decided and proposes it again (NewView).

On disk before it is said: the own ViewChange (it must be repeated, never replaced), and the NewView
before any vote in the view.
"""

from msgspec.structs import replace

from dataplane.consensus.checkpoints import Checkpoints
from dataplane.consensus.messages import (
    CarriedProposal,
    NewView,
    Status,
    Suspect,
    TimeoutCertificate,
    ViewChange,
    new_view_payload,
    suspect_payload,
    view_change_payload,
)
from dataplane.consensus.new_view import Selection, select
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.records import Recovered, ViewEntered, ViewLeft
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.suspicion import Suspicion


class ViewChanges:
    """One replica's part in moving the view."""

    def __init__(
        self,
        state: ReplicaState,
        ordering: Ordering,
        checkpoints: Checkpoints,
        suspicion: Suspicion,
    ) -> None:
        self._state = state
        self._ordering = ordering
        self._checkpoints = checkpoints
        self._suspicion = suspicion
        self._suspects: dict[int, Suspect] = {}
        self._changes: dict[int, ViewChange] = {}
        self._own_change: ViewChange | None = None
        self._timeout: TimeoutCertificate | None = None
        """Why the view was left, at a replica that may not say ViewChange."""
        self._said_ms = 0
        self._repeated_ms = 0
        self._helped_ms: dict[int, int] = {}

    @property
    def sizes(self) -> dict[str, int]:
        """How much the bounded books hold: one entry a replica."""
        return {"suspects": len(self._suspects), "view_changes": len(self._changes)}

    # --- Suspect and the timeout certificate -----------------------------------------------------

    def suspect(self, now_ms: int, cause: str) -> None:
        """Say, and repeat, that the view should be left."""
        state = self._state
        own_id = state.config.replica_id
        vote = self._suspects.get(own_id)
        is_new = vote is None or vote.view != state.view
        if not is_new and now_ms - self._said_ms < state.config.limits.retransmit_ms:
            return
        self._said_ms = now_ms
        if vote is None or is_new:
            state.alarm("suspects_primary", f"view {state.view}: {cause}")
            payload = suspect_payload(
                state.config.cluster_id, epoch=state.config.epoch, view=state.view
            )
            vote = Suspect(state.config.epoch, state.view, own_id, state.signer.sign(payload))
        state.broadcast(vote)
        self.on_suspect(vote, now_ms)

    def on_suspect(self, vote: Suspect, now_ms: int) -> None:
        """Count a Suspect; of each replica the one of the highest view is kept."""
        state = self._state
        known = self._suspects.get(vote.replica)
        if known is None or vote.view > known.view:
            self._suspects[vote.replica] = vote
        if vote.view < state.view:
            self.help(vote.replica, now_ms)
            return
        votes = [
            self._suspects[replica]
            for replica in sorted(self._suspects)
            if self._suspects[replica].view == vote.view
        ]
        if len(votes) >= state.config.blocking:
            signatures = tuple((suspect.replica, suspect.sig) for suspect in votes)
            certificate = TimeoutCertificate(vote.epoch, vote.view, signatures)
            self.on_timeout(certificate, now_ms)

    def on_timeout(self, certificate: TimeoutCertificate, now_ms: int) -> None:
        """Leave the view that a blocking set suspects, and every one before it."""
        state = self._state
        if certificate.view < state.view or state.is_out:
            return
        state.view, state.active, state.new_view = certificate.view + 1, False, None
        self._own_change = self._timeout = None
        self._repeated_ms = now_ms
        change = None if state.amnesia else self._signed_change(certificate)
        self._ordering.leave_view()
        self._suspicion.view_left(now_ms)
        if change is None:
            # What it prepared is forgotten: it waits for the NewView that the others make. They may
            # have no certificate of their own, so it shows what it left for.
            self._timeout = certificate
            state.broadcast(certificate)
            return
        barrier = state.persist_view(
            ViewLeft(change), then=lambda now: self._change_is_durable(change, now)
        )
        state.broadcast(change, barrier)

    def _signed_change(self, certificate: TimeoutCertificate) -> ViewChange:
        state = self._state
        slots = [state.slots[sequence] for sequence in sorted(state.slots)]
        proofs = [slot.proof for slot in slots if state.stable < slot.sequence <= state.high]
        unsigned = ViewChange(
            state.config.epoch,
            certificate.view + 1,
            certificate,
            state.stable_certificate,
            tuple(proof for proof in proofs if proof is not None),
            state.config.replica_id,
            b"",
        )
        payload = view_change_payload(state.config.cluster_id, unsigned)
        return replace(unsigned, sig=state.signer.sign(payload))

    def _change_is_durable(self, change: ViewChange, now_ms: int) -> None:
        if self._state.view == change.view and not self._state.active:
            self._own_change = change
            self._count(change, now_ms)

    # --- ViewChange and NewView ------------------------------------------------------------------

    def on_view_change(self, change: ViewChange, now_ms: int) -> None:
        """Follow its timeout certificate; as the view's primary, count it."""
        state = self._state
        self._compare(change)
        self.on_timeout(change.timeout, now_ms)
        if change.view < state.view or (change.view == state.view and state.active):
            self.help(change.replica, now_ms)
        elif change.view == state.view:
            self._count(change, now_ms)

    def _compare(self, change: ViewChange) -> None:
        """Notice a replica that says of one view what it prepared in two ways."""
        state = self._state
        known = self._changes.get(change.replica)
        if known is not None:
            state.accuse(known, change)
        if state.new_view is not None:
            for counted in state.new_view.changes:
                if counted.replica == change.replica:
                    state.accuse(counted, change)

    def _count(self, change: ViewChange, now_ms: int) -> None:
        """Keep the first ViewChange of each replica; with a quorum, begin the view."""
        state = self._state
        known = self._changes.get(change.replica)
        if known is None or known.view < change.view:
            self._changes[change.replica] = change
        if state.active or state.is_mute or not state.is_primary or self._own_change is None:
            return
        changes = [
            self._changes[replica]
            for replica in sorted(self._changes)
            if self._changes[replica].view == state.view
        ]
        if len(changes) >= state.config.quorum:
            self._begin(tuple(changes[: state.config.quorum]), now_ms)

    def _begin(self, changes: tuple[ViewChange, ...], now_ms: int) -> None:
        """Build the NewView, as the primary of the view."""
        state = self._state
        selection = select(changes, state.config.base)
        if selection is None:
            state.alarm(
                "contradicting_proofs", f"more than f replicas lied before view {state.view}"
            )
            return
        first = selection.checkpoint_sequence + 1
        unsigned = NewView(
            state.config.epoch,
            state.view,
            changes,
            tuple(
                CarriedProposal(
                    first + offset,
                    digest,
                    state.sign_vote(b"PP", view=state.view, sequence=first + offset, digest=digest),
                )
                for offset, digest in enumerate(selection.digests)
            ),
            state.config.replica_id,
            b"",
        )
        payload = new_view_payload(state.config.cluster_id, unsigned)
        new_view = replace(unsigned, sig=state.signer.sign(payload))
        barrier = self._enter(new_view, selection, now_ms)
        state.broadcast(new_view, barrier)
        self._ordering.take_carried(now_ms)

    def on_new_view(self, new_view: NewView, now_ms: int) -> None:
        """Take part in a view that is proven to begin, however far ahead it is."""
        state = self._state
        if state.new_view is not None:
            state.accuse(state.new_view, new_view)
        for change in new_view.changes:
            self._compare(change)
        if new_view.view < state.view or (new_view.view == state.view and state.active):
            return
        selection = select(new_view.changes, state.config.base)
        if state.is_out or selection is None:
            return
        self._enter(new_view, selection, now_ms)
        self._ordering.take_carried(now_ms)

    def _enter(self, new_view: NewView, selection: Selection, now_ms: int) -> int:
        """Write the NewView down and stand in its view; return the barrier before all votes."""
        state = self._state
        barrier = state.persist_view(ViewEntered(new_view), then=lambda _now: None)
        self._stand_in(new_view)
        if selection.checkpoint is not None:
            self._checkpoints.on_certificate(selection.checkpoint)
        self._ordering.enter_view(new_view, selection)
        self._ordering.requeue(now_ms)
        self._suspicion.view_entered(now_ms)
        return barrier

    def _stand_in(self, new_view: NewView) -> None:
        state = self._state
        state.view, state.active, state.new_view = new_view.view, True, new_view
        self._own_change = self._timeout = None
        self._changes.clear()

    # --- Loss, laggards, restart -----------------------------------------------------------------

    def on_tick(self, now_ms: int, *, busy: bool) -> None:
        """Judge the primary; repeat the own ViewChange while the view does not begin."""
        state = self._state
        cause = self._suspicion.cause(now_ms, busy=busy)
        if cause is not None and not state.is_out and not state.amnesia:
            self.suspect(now_ms, cause)
        if now_ms - self._repeated_ms >= state.config.limits.retransmit_ms:
            self.repeat(now_ms)

    def repeat(self, now_ms: int) -> None:
        """Send the own ViewChange again; its sending may have been in vain."""
        message = self._own_change or self._timeout
        if message is not None:
            self._repeated_ms = now_ms
            self._state.broadcast(message, self._state.urgent_barrier)

    def on_status(self, status: Status, now_ms: int) -> None:
        """Take along a replica that is in an older view, or waits for the NewView of this one."""
        state = self._state
        waits = status.view == state.view and state.active and not status.is_active
        if status.view < state.view or waits:
            self.help(status.replica, now_ms)

    def help(self, replica: int, now_ms: int) -> None:
        """Send a replica what takes it into this view; each replica now and then only."""
        state = self._state
        if now_ms - self._helped_ms.get(replica, 0) < state.config.limits.retransmit_ms:
            return
        message = state.new_view if state.active else self._own_change or self._timeout
        if message is not None:
            self._helped_ms[replica] = now_ms
            state.send(replica, message, state.urgent_barrier)

    def resume(self, now_ms: int) -> None:
        """After a restart: repeat the own ViewChange, and as its view's primary count it again."""
        self.repeat(now_ms)
        if self._own_change is not None:
            self._count(self._own_change, now_ms)

    def restore(self, recovered: Recovered) -> None:
        """Stand in the view the log tells; a view that was left is not voted in again."""
        state, left, entered = self._state, recovered.left, recovered.entered
        if left is not None and (entered is None or left.view > entered.view):
            state.view, state.active, state.view_record = left.view, False, ViewLeft(left)
            self._own_change = left
        elif entered is not None:
            state.view_record = ViewEntered(entered)
            self._stand_in(entered)
            selection = select(entered.changes, state.config.base)
            assert selection is not None, "an accepted NewView does not contradict itself"
            self._ordering.enter_view(entered, selection)
