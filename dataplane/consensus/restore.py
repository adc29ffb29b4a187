"""What a restart makes of the log: slots, own votes, undecided work, the view."""

from msgspec.structs import replace

from dataplane.consensus.messages import CommittedEntry, decode_batch
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.records import Accepted, Recovered
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState


def restore_ordering(state: ReplicaState, ordering: Ordering, recovered: Recovered) -> None:
    """Rebuild slots and the archive; the view and the stable checkpoint are restored already."""
    for sequence in sorted(recovered.decided):
        decided = recovered.decided[sequence]
        batch = decided.batch or recovered.bodies.get((sequence, decided.certificate.digest))
        if batch is not None:
            state.archive.add(sequence, CommittedEntry(batch, decided.certificate))
    for sequence, commit in recovered.past_commits.items():
        body = recovered.bodies.get((sequence, commit.digest))
        if sequence not in state.archive and sequence <= state.executed and body is not None:
            state.past[sequence] = (commit, body)
    voted = {*recovered.accepted, *recovered.prepared}
    for (sequence, digest), batch in recovered.bodies.items():
        if sequence > state.stable and sequence in voted:
            state.slot(sequence).keep_body(digest, batch)
    for sequence in sorted(voted):
        if sequence > state.stable:
            _restore_slot(state, ordering, sequence, recovered)
    # What only a view proposed that was left meanwhile is free again.
    standing = [
        sequence
        for sequence, accepted in recovered.accepted.items()
        if accepted.pre_prepare.view == state.view
    ]
    known = [
        state.config.base,
        state.executed,
        ordering.proposed,
        *standing,
        *recovered.decided,
    ]
    ordering.next_sequence = max(known) + 1
    state.archive.trim(state.superseded)


def _restore_slot(
    state: ReplicaState, ordering: Ordering, sequence: int, recovered: Recovered
) -> None:
    slot = state.slot(sequence)
    prepared = recovered.prepared.get(sequence)
    if prepared is not None:
        slot.proof = prepared.proof
        state.prepared = max(state.prepared, sequence)
        slot.commits[state.config.replica_id] = prepared.vote
        _restore_body(slot, prepared.proof.digest, recovered)
        if state.active and prepared.vote.view == state.view:
            slot.own_commit = prepared.vote
    accepted = recovered.accepted.get(sequence)
    if accepted is None:
        return
    _restore_body(slot, accepted.pre_prepare.digest, recovered)
    batch = decode_batch(slot.bodies[accepted.pre_prepare.digest])
    ordering.last_ts_ms = max(ordering.last_ts_ms, batch.ts_ms)
    if state.active and accepted.pre_prepare.view == state.view:
        _restore_proposal(state, slot, accepted)
        ordering.carried_is_accepted(sequence)
        if sequence > state.executed:
            for request in batch.requests:
                state.pending.mark_in_flight(request)


def _restore_proposal(state: ReplicaState, slot: Slot, accepted: Accepted) -> None:
    digest = accepted.pre_prepare.digest
    slot.pre_prepare = replace(accepted.pre_prepare, batch=slot.bodies[digest])
    slot.own_prepare = accepted.vote
    slot.proposal_durable = True
    if accepted.vote is not None:
        slot.prepares[state.config.replica_id] = accepted.vote


def _restore_body(slot: Slot, digest: bytes, recovered: Recovered) -> None:
    batch = recovered.bodies.get((slot.sequence, digest))
    assert batch is not None, "a vote's batch is on disk before the vote"
    slot.keep_body(digest, batch)


def resume(state: ReplicaState, ordering: Ordering, now_ms: int) -> None:
    """Go on after a restart: votes that were durable count again, decided batches execute."""
    ordering.request_execution()
    for sequence in sorted(state.slots):
        slot = state.slots[sequence]
        ordering.check_prepared(slot, now_ms)
        own_commit = slot.commits.get(state.config.replica_id)
        if own_commit is not None:
            ordering.check_committed(slot, own_commit)
    ordering.take_carried(now_ms)
