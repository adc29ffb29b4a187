"""Bugs planted into suspicion, carried proposals, and the checks of what moves a view."""

from collections.abc import Callable

from dataplane.consensus import view_verification
from dataplane.consensus.bodies import Bodies
from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.history import CheckpointHistory
from dataplane.consensus.messages import Batch, FetchBatch, NewView, Prepare, PrePrepare
from dataplane.consensus.new_view import Selection
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.pending import PendingRequests
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.suspicion import Suspicion
from dataplane.consensus.view_change import ViewChanges
from dataplane.simulation.planting import Patch


def timeout_unverified() -> list[Patch]:
    """A ViewChange needs no proof that its view may be left."""
    return [(view_verification, "verify_timeout", lambda *arguments: True)]


def proofs_unverified() -> list[Patch]:
    """The prepared certificates of a ViewChange are believed."""
    return [(view_verification, "_verify_proof", lambda *arguments: True)]


def carried_unverified() -> list[Patch]:
    """What a NewView proposes is believed, not computed again."""
    return [(view_verification, "_verify_carried", lambda *arguments: True)]


def vote_guard_removed() -> list[Patch]:
    """A second proposal for a slot of one view gets a second vote."""
    real = Ordering.on_pre_prepare

    def on_pre_prepare(self: Ordering, message: PrePrepare, now_ms: int) -> None:
        slot = self._state.slots.get(message.sequence)
        if slot is not None and slot.pre_prepare is not None:
            slot.leave_view()
        real(self, message, now_ms)

    return [(Ordering, "on_pre_prepare", on_pre_prepare)]


def back_off_ends_at_entry() -> list[Patch]:
    """To enter a view counts as success, whatever comes of it."""
    real = Suspicion.view_entered

    def view_entered(self: Suspicion, now_ms: int) -> None:
        real(self, now_ms)
        self._views_in_vain = 0

    return [(Suspicion, "view_entered", view_entered)]


def back_off_without_limit() -> list[Patch]:
    """Patience doubles for ever."""

    def view_timeout_ms(self: Suspicion) -> int:
        return self._state.config.limits.view_timeout_ms << self._views_in_vain

    return [(Suspicion, "view_timeout_ms", property(view_timeout_ms))]


def carried_time_checked() -> list[Patch]:
    """The time of a carried batch must be near the own clock."""
    real = Ordering._vote_for  # noqa: SLF001 - planted into the private parts

    def vote_for(self: Ordering, message: PrePrepare, batch: Batch, now_ms: int) -> None:
        limit_ms = self._state.config.limits.clock_skew_max_ms
        if not batch.requests or abs(batch.ts_ms - now_ms) <= limit_ms:
            real(self, message, batch, now_ms)

    return [(Ordering, "_vote_for", vote_for)]


def batch_of_the_primary_only() -> list[Patch]:
    """A carried batch is asked of the primary only."""

    def fetch(self: Bodies, sequence: int, digest: bytes, *others: object) -> None:
        del others
        self._state.send(self._state.primary, FetchBatch(sequence, digest))

    return [(Bodies, "fetch", fetch)]


def batch_of_the_last_view_only() -> list[Patch]:
    """Of a slot only the last proposal's batch is kept."""

    def keep_body(self: Slot, digest: bytes, batch: bytes) -> None:
        self.bodies = {digest: batch}

    return [(Slot, "keep_body", keep_body)]


def view_change_said_once() -> list[Patch]:
    """A ViewChange is not sent again, and nobody is taken along into a new view."""
    return [
        (ViewChanges, "repeat", lambda self, now_ms: None),
        (ViewChanges, "help", lambda self, replica, now_ms: None),
    ]


def view_record_not_kept() -> list[Patch]:
    """The view is not written down again before the log drops where it stands."""
    return [(ReplicaState, "keep_view_record", lambda self: None)]


def executed_stays_in_flight() -> list[Patch]:
    """A carried batch that is executed already keeps its requests in flight."""
    real = Ordering._vote_for  # noqa: SLF001 - planted into the private parts

    def vote_for(self: Ordering, message: PrePrepare, batch: Batch, now_ms: int) -> None:
        for request in batch.requests:
            self._state.pending.mark_in_flight(request)
        real(self, message, batch, now_ms)

    return [(Ordering, "_vote_for", vote_for)]


def own_progress_is_enough() -> list[Patch]:
    """A primary that orders anything at all is trusted, whatever else waits."""
    return [(Suspicion, "_is_overdue", lambda self, now_ms: False)]


def sleep_forgiven_twice() -> list[Patch]:
    """What happened since a replica woke up is forgiven together with its sleep."""
    real = Suspicion._forgive_own_sleep  # noqa: SLF001 - planted into the private parts

    def forgive(self: Suspicion, now_ms: int) -> None:
        before = self._tick_ms
        real(self, now_ms)
        self._heard_ms += max(0, now_ms - before - 1_000)

    return [(Suspicion, "_forgive_own_sleep", forgive)]


def left_views_are_unfinished() -> list[Patch]:
    """Nothing that an earlier view proposed is ever free again."""
    real = Ordering.enter_view

    def enter_view(self: Ordering, new_view: NewView, selection: Selection) -> None:
        before = self.next_sequence
        real(self, new_view, selection)
        self.next_sequence = max(before, self.next_sequence)

    return [(Ordering, "enter_view", enter_view)]


def drafts_are_forgotten() -> list[Patch]:
    """Requests whose proposals a new view did not carry are not proposed again."""
    return [(PendingRequests, "requeue", lambda self, now_ms: None)]


def prepares_of_left_views_count() -> list[Patch]:
    """Prepares count whatever view they are of."""

    def prepared_votes(self: Slot, primary: int, self_id: int) -> int:
        del self_id
        proposal = self.pre_prepare
        if proposal is None:
            return 0
        votes: list[Prepare] = [v for v in self.prepares.values() if v.digest == proposal.digest]
        return 1 + sum(1 for vote in votes if vote.replica != primary)

    return [(Slot, "prepared_votes", prepared_votes)]


def past_checkpoints_not_compared() -> list[Patch]:
    """What is signed of checkpoints that are stable already is dropped unread."""
    return [
        (CheckpointHistory, "contradicts", lambda self, certificate: False),
        (CheckpointHistory, "on_certificate", lambda self, certificate: None),
        (CheckpointHistory, "on_vote", lambda self, vote: None),
    ]


def heads_not_compared() -> list[Patch]:
    """Nobody looks at which batch another one executed last."""
    return [(CatchUp, "_compare_heads", lambda self, status, now_ms: None)]


SUSPICION_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant
    for plant in (
        timeout_unverified,
        proofs_unverified,
        carried_unverified,
        vote_guard_removed,
        back_off_ends_at_entry,
        back_off_without_limit,
        carried_time_checked,
        batch_of_the_primary_only,
        batch_of_the_last_view_only,
        view_change_said_once,
        view_record_not_kept,
        executed_stays_in_flight,
        own_progress_is_enough,
        sleep_forgiven_twice,
        left_views_are_unfinished,
        drafts_are_forgotten,
        prepares_of_left_views_count,
        past_checkpoints_not_compared,
        heads_not_compared,
    )
}
