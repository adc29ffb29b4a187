"""Leaving a view, carrying over what may be decided, beginning the next (OSDI'99, 4.4)."""

import pytest

from dataplane.consensus.messages import (
    NULL_DIGEST,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Committed,
    CommittedEntry,
    Forward,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    digest_of,
)
from dataplane.consensus.slots import BODIES_MAX
from dataplane.simulation.scenarios.crafting import (
    batch_of,
    checkpoint,
    cut_off,
    executed_cseqs,
    join,
    leave,
    new_view,
    pass_time,
    proof,
    proposal,
    timeout,
    view_change,
    views,
)
from dataplane.simulation.scenarios.lab import LIMITS, Lab
from dataplane.simulation.scenarios.views import (
    batch_comes_from_any_holder,
    batch_of_an_old_view_is_held,
    carried_request_may_be_repeated,
    highest_view_is_carried,
    prepares_count_in_their_view_only,
    unprepared_batch_is_proposed_anew,
)


def _drop(lab: Lab, *kinds, to: int | None = None) -> None:
    lab.drop = lambda source, target, message: isinstance(message, kinds) and to in (None, target)


def _all_executed(lab: Lab, *cseqs: int) -> bool:
    return all(executed_cseqs(lab, i) == list(cseqs) for i in range(lab.n))


def test_a_prepared_batch_is_carried_over_and_executed_once_everywhere():
    lab = Lab(4)
    _drop(lab, Commit, to=3)
    lab.order(1)
    assert [len(bench.executed) for bench in lab.bench.values()] == [1, 1, 1, 0]
    join(lab)
    leave(lab, 0)
    assert views(lab) == [(1, True)] * 4
    assert _all_executed(lab, 1)
    carried = lab.bench[1].votes(NewView)[0].proposals
    assert [(p.sequence, p.digest) for p in carried] == [
        (1, lab.bench[0].votes(PrePrepare)[0].digest)
    ]
    lab.order(2, gateway=2)
    assert _all_executed(lab, 1, 2)


def test_who_executed_a_carried_batch_votes_for_it_again():
    lab = Lab(4)
    lab.order(1)
    leave(lab, 0)
    for i in (0, 2, 3):
        assert [vote.view for vote in lab.bench[i].votes(Prepare) if vote.sequence == 1][-1] == 1
    assert _all_executed(lab, 1)


def test_a_sequence_nobody_prepared_below_one_that_was_becomes_the_null_batch():
    lab = Lab(4)
    cut_off(lab, 0)
    second = lab.proposal(2, lab.request(0, 2))
    for i in (1, 2, 3):
        lab.give(i, second)
    lab.run()
    assert all(len(lab.bench[i].votes(Commit)) == 1 for i in (1, 2, 3))
    leave(lab, 0, 0)
    carried = [p.digest for p in lab.bench[1].votes(NewView)[0].proposals]
    assert carried == [NULL_DIGEST, second.digest]
    assert [len(batch.requests) for batch in lab.bench[2].executed] == [0, 1]


def test_what_was_prepared_nowhere_is_proposed_anew():
    unprepared_batch_is_proposed_anew()


def test_of_several_prepared_certificates_the_one_of_the_highest_view_counts():
    highest_view_is_carried()


def test_a_new_view_may_rest_on_a_checkpoint_some_do_not_have_yet():
    lab = Lab(4)
    cut_off(lab, 3)
    lab.order(*range(1, 10))
    join(lab)
    certificate = lab.bench[0].replica._state.stable_certificate
    assert certificate is not None
    assert certificate.sequence == 8
    leave(lab, 0)
    assert views(lab) == [(1, True)] * 4
    pass_time(lab, 3 * LIMITS.status_ms)
    assert _all_executed(lab, *range(1, 10))
    assert lab.bench[3].replica.stable == 8
    lab.order(10, gateway=3)
    assert _all_executed(lab, *range(1, 11))


def test_the_newest_checkpoint_of_the_quorum_counts_however_stale_the_others_are():
    lab = Lab(4)
    lab.order(*range(1, 6))
    certificate = lab.bench[0].replica._state.stable_certificate
    lab.give(2, timeout(0, (0, 1)), sender=0)
    fifth = digest_of(batch_of(lab, lab.request(0, 5)))
    changes = [
        view_change(lab, 0, 1),
        view_change(lab, 1, 1, [proof(lab, 0, 5, fifth)], stable=certificate),
        view_change(lab, 3, 1, [proof(lab, 0, 3, fifth)]),
    ]
    message = new_view(lab, 1, changes)
    assert [p.sequence for p in message.proposals] == [5]
    assert lab.give(2, message)
    assert lab.bench[2].replica.active


def test_votes_in_a_left_view_are_given_no_more_but_decisions_are_learned():
    lab = Lab(4)
    first, second = (lab.proposal(s, lab.request(0, s)) for s in (1, 2))
    lab.give(3, first)
    lab.give(3, lab.vote(Prepare, 1, 1, first.digest))
    lab.give(3, timeout(0, (1, 2)), sender=1)
    before = len(lab.bench[3].said)
    lab.give(3, second)
    lab.give(3, lab.vote(Prepare, 2, 1, first.digest))
    assert not [said for said in lab.bench[3].said[before:] if isinstance(said, Prepare | Commit)]
    for replica in (0, 1, 2):
        lab.give(3, lab.vote(Commit, replica, 1, first.digest))
    assert len(lab.bench[3].executed) == 1
    assert views(lab)[3] == (1, False)


def test_prepares_of_a_left_view_do_not_count_in_the_next():
    prepares_count_in_their_view_only()


def test_a_decision_of_a_later_view_and_a_copied_state_may_overtake_the_own_view():
    lab = Lab(4)
    mine, decided = (batch_of(lab, lab.request(0, cseq)) for cseq in (1, 2))
    lab.give(3, proposal(lab, 0, 1, mine))
    digest = digest_of(decided)
    votes = tuple((i, lab.vote(Commit, i, 1, digest, view=2).sig) for i in (0, 1, 2))
    entry = CommittedEntry(decided, CommitCertificate(0, 2, 1, digest, votes))
    assert lab.give(3, Committed((entry,)), 0)
    assert executed_cseqs(lab, 3) == [2]
    lab.bench[3].replica._transfer.jumped(4)
    assert lab.bench[3].replica.sizes()["in_flight"] == 0


def test_a_view_change_message_takes_its_receiver_along():
    lab = Lab(4)
    lab.give(3, view_change(lab, 2, 5), sender=2)
    assert views(lab)[3] == (5, False)
    assert [said.view for said in lab.bench[3].votes(ViewChange)] == [5]


def test_a_batch_is_fetched_from_a_holder_that_is_not_the_primary():
    batch_comes_from_any_holder()


def test_the_batch_of_an_old_view_is_still_held_when_a_late_certificate_calls_for_it():
    batch_of_an_old_view_is_held()


def test_of_one_sequence_a_bounded_number_of_batches_is_kept():
    lab = Lab(4)
    slot = lab.bench[0].replica._state.slot(1)
    for i in range(3 * BODIES_MAX):
        slot.keep_body(b"%32d" % i, b"%d" % i)
    assert len(slot.bodies) == BODIES_MAX
    assert list(slot.bodies)[-1] == b"%32d" % (3 * BODIES_MAX - 1)


def test_a_repeated_request_whose_batch_was_carried_is_answered_again():
    carried_request_may_be_repeated()


def test_a_new_primary_does_not_wait_for_its_own_tick_to_order_what_waits():
    lab = Lab(4)
    cut_off(lab, 0)
    lab.ask(1, lab.request(1, 1))
    lab.ask(2, lab.request(2, 1))
    leave(lab, 0, 0)
    assert len(executed_cseqs(lab, 3)) == 2


def test_a_backup_hands_what_waits_to_the_new_primary():
    lab = Lab(4)
    cut_off(lab, 0)
    lab.ask(3, lab.request(3, 1))
    lab.wire.clear()
    leave(lab, 0, 0)
    assert isinstance(lab.bench[3].votes(Forward)[-1], Forward)
    assert executed_cseqs(lab, 3) == [1]


def test_two_valid_new_views_of_one_view_decide_nothing_twice():
    """The primary of view 1 shows two halves two quorums: in one A is prepared, in one nothing."""
    lab = Lab(4)
    first = lab.proposal(1, lab.request(0, 1))
    for i in range(1, 4):
        lab.give(i, first)
    lab.wire.clear()
    with_proof = view_change(lab, 0, 1, [proof(lab, 0, 1, first.digest)])
    others = [view_change(lab, i, 1) for i in (1, 2, 3)]
    carries = new_view(lab, 1, [with_proof, *others[:2]])
    empty = new_view(lab, 1, others)
    assert lab.give(2, carries)
    assert lab.give(3, empty)
    lab.give(3, carries)
    lab.give(2, empty)
    other = proposal(lab, 1, 1, batch_of(lab, lab.request(1, 7)))
    assert lab.give(3, other)
    assert lab.give(2, other)
    assert [vote.digest for vote in lab.bench[2].votes(Prepare) if vote.view == 1] == [first.digest]
    assert [vote.digest for vote in lab.bench[3].votes(Prepare) if vote.view == 1] == [other.digest]
    assert {evidence.replica for evidence in lab.bench[2].evidence} == {1}


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 10])
def test_every_replica_leads_in_turn_and_nothing_is_lost(n):
    lab = Lab(n)
    for view in range(n + 1):
        lab.order(view + 1, gateway=view % n)
        assert views(lab) == [(view, True)] * n
        leave(lab, view)
    pass_time(lab, LIMITS.status_ms)
    assert _all_executed(lab, *range(1, n + 2))


def test_a_replica_that_a_new_view_proves_wrong_does_not_vote_in_it():
    lab = Lab(4)
    _drop(lab, Checkpoint, CheckpointCertificate)
    lab.order(1, 2, 3, 4)
    fifth = lab.proposal(5, lab.request(0, 5))
    lab.give(3, fifth)
    certificate = checkpoint(4, b"\7" * 32, (0, 1, 2))
    changes = [
        view_change(lab, i, 1, [proof(lab, 0, 5, fifth.digest)], stable=certificate)
        for i in (0, 1, 2)
    ]
    assert lab.give(3, new_view(lab, 1, changes))
    lab.tick(3, after_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].alarms[0] == "diverged"
    assert not [vote for vote in lab.bench[3].votes(Prepare) if vote.view == 1]
