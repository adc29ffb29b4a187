"""The change of the view over crashes: the same ViewChange, the same votes, the same view."""

import pytest

from dataplane.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    digest_of,
    encode_batch,
)
from dataplane.consensus.outcome import Broadcast
from dataplane.simulation.scenarios.crafting import (
    batch_of,
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
from dataplane.simulation.scenarios.views import LabelledLab, view_outlives_a_shortened_log


def test_a_view_change_is_on_disk_before_it_is_said_or_counted():
    lab = Lab(4, sync=False)
    for i in (0, 2, 3):
        lab.give(1, view_change(lab, i, 1))
    assert views(lab)[1] == (1, False)
    assert not lab.bench[1].votes(ViewChange)
    lab.sync(1)
    assert len(lab.bench[1].votes(ViewChange)) == 1
    assert not lab.bench[1].votes(NewView), "its own record comes first"
    lab.sync(1)
    assert len(lab.bench[1].votes(NewView)) == 1


def test_a_backup_votes_in_a_view_only_when_its_beginning_is_on_disk():
    lab = Lab(4, sync=False)
    first = lab.proposal(1, lab.request(0, 1))
    lab.give(3, first)
    lab.sync(3)
    changes = [view_change(lab, i, 1, [proof(lab, 0, 1, first.digest)]) for i in (0, 1, 2)]
    lab.give(3, new_view(lab, 1, changes))
    assert not [vote for vote in lab.bench[3].votes(Prepare) if vote.view == 1]
    lab.sync(3)
    assert [vote for vote in lab.bench[3].votes(Prepare) if vote.view == 1]


@pytest.mark.parametrize("kept", [0, 1])
def test_concord_805_a_crash_between_writing_and_sending_repeats_the_very_same_view_change(kept):
    lab = Lab(4, sync=False)
    lab.give(3, lab.proposal(1, lab.request(0, 1)))
    lab.sync(3)
    lab.give(3, timeout(0, (0, 1)), sender=1)
    (held,) = [
        effect.message
        for effect in lab.bench[3].held
        if isinstance(effect, Broadcast) and isinstance(effect.message, ViewChange)
    ]
    lab.auto_sync = True
    lab.restart(3, keep=kept)
    if not kept:
        assert views(lab)[3] == (0, True), "what was not written was not said"
        return
    assert views(lab)[3] == (1, False)
    assert lab.bench[3].votes(ViewChange) == [held]
    lab.tick(3, after_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].votes(ViewChange) == [held, held]
    lab.give(3, lab.vote(Prepare, 1, 1, lab.proposal(1).digest))
    assert not lab.bench[3].votes(Commit)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_all_crash_while_no_view_is_active_and_go_on(n):
    lab = Lab(n)
    lab.order(1)
    lab.drop = lambda source, target, message: isinstance(message, ViewChange | NewView)
    leave(lab, 0)
    assert views(lab) == [(1, False)] * n
    for i in range(n):
        lab.restart(i)
    assert views(lab) == [(1, False)] * n
    join(lab)
    pass_time(lab, 500)
    assert views(lab) == [(1, True)] * n
    lab.order(2, gateway=n - 1)
    assert all(executed_cseqs(lab, i) == [1, 2] for i in range(n))


def test_who_restarts_between_views_takes_the_early_proposal_of_the_new_one():
    lab = Lab(4)
    lab.give(3, timeout(0, (0, 1)), sender=1)
    lab.restart(3)
    lab.give(3, proposal(lab, 1, 1, batch_of(lab, lab.request(1, 1))))
    lab.give(3, new_view(lab, 1, [view_change(lab, i, 1) for i in (0, 1, 2)]))
    assert [vote.view for vote in lab.bench[3].votes(Prepare)] == [1]


def test_a_restart_in_a_view_keeps_what_the_view_carries():
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Commit)
    lab.order(1)
    lab.drop = lambda source, target, message: isinstance(message, Prepare | Commit)
    leave(lab, 0)
    carried = lab.bench[1].votes(NewView)[0].proposals
    assert len(carried) == 1
    for i in range(4):
        lab.restart(i)
    assert views(lab) == [(1, True)] * 4
    join(lab)
    pass_time(lab, 300)
    assert all(executed_cseqs(lab, i) == [1] for i in range(4))
    assert all(not bench.evidence for bench in lab.bench.values())


@pytest.mark.parametrize("carried", [True, False])
def test_after_a_restart_nobody_votes_a_second_time_for_a_slot_of_the_view(carried):
    lab = Lab(4)
    first = lab.proposal(1, lab.request(0, 1))
    lab.give(3, first)
    prepared = [proof(lab, 0, 1, first.digest)] if carried else []
    lab.give(3, new_view(lab, 1, [view_change(lab, i, 1, prepared) for i in (0, 1, 2)]))
    if not carried:
        lab.give(3, proposal(lab, 1, 1, first.batch))
    lab.restart(3)
    lab.give(3, proposal(lab, 1, 1, batch_of(lab, lab.request(1, 2))))
    lab.tick(3, after_ms=LIMITS.retransmit_ms)
    votes = {(vote.view, vote.digest) for vote in lab.bench[3].votes(Prepare)}
    assert votes == {(1, first.digest)}
    assert [evidence.replica for evidence in lab.bench[3].evidence] == [1]


def test_a_restart_takes_no_vote_back_to_a_view_that_was_left():
    lab = Lab(4)
    first = lab.proposal(1, lab.request(0, 1))
    lab.give(3, first)
    lab.give(3, timeout(0, (0, 1)), sender=1)
    lab.restart(3)
    lab.give(3, lab.proposal(2, lab.request(0, 2)))
    for replica in (1, 2):
        lab.give(3, lab.vote(Prepare, replica, 1, first.digest))
    assert not lab.bench[3].votes(Commit)
    assert not lab.bench[3].votes(Prepare)


def test_proposals_of_a_left_view_are_not_unfinished_work_after_a_restart():
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Prepare)
    for cseq in range(1, 6):
        lab.ask(0, lab.request(0, cseq, b"%d" % cseq))
        lab.run()
        lab.tick(0, after_ms=LIMITS.batch_wait_ms)
    proposed = max(said.sequence for said in lab.bench[0].votes(PrePrepare))
    assert proposed > 1
    lab.wire.clear()
    cut_off(lab, 0)
    for i in (1, 2, 3):
        lab.bench[i].replica._state.pending.__init__(LIMITS)
    leave(lab, 0, 0)
    assert not lab.bench[1].votes(NewView)[0].proposals
    for i in (1, 2, 3):
        lab.restart(i)
        assert not lab.bench[i].replica._ordering.has_unfinished()
    lab.order(9, gateway=1)
    assert {said.sequence for said in lab.bench[1].votes(PrePrepare)} == {1}
    assert executed_cseqs(lab, 3) == [9]


@pytest.mark.parametrize("restarted", [1, 3])
def test_the_view_outlives_the_shortening_of_the_log(restarted):
    view_outlives_a_shortened_log(restarted)


def test_a_left_view_outlives_the_shortening_of_the_log():
    lab = LabelledLab(4)
    lab.give(3, timeout(0, (0, 1)), sender=1)
    lab.drop = lambda source, target, message: isinstance(message, ViewChange)
    for cseq in range(1, 50):
        lab.order(cseq)
        lab.tick(after_ms=LIMITS.retransmit_ms)
    pass_time(lab, 2 * LIMITS.status_ms)
    assert lab.bench[3].replica.stable == 48, "what the others decide is learned meanwhile"
    lab.shorten(3)
    lab.restart(3)
    assert views(lab)[3] == (1, False)
    assert [said.view for said in lab.bench[3].votes(ViewChange)] == [1]


def test_what_is_executed_nowhere_certified_and_voted_for_in_two_views_is_decided_again():
    """All crash; of q Commits two were repeated in view 1, the third only in view 0 (n=4)."""
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Commit) and target == 3
    lab.order(1)
    batch = lab.bench[0].executed[0]
    lab.drop = lambda source, target, message: (
        target == 3 or isinstance(message, Commit) or (isinstance(message, Prepare) and target == 2)
    )
    certificate = timeout(0, (0, 1))
    for i in (0, 1, 2):
        lab.give(i, certificate, sender=i)
    lab.run()
    lab.wire.clear()
    given = [[vote.view for vote in lab.bench[i].votes(Commit)] for i in range(4)]
    assert given == [[0, 1], [0, 1], [0], [0]]
    for i in range(4):
        lab.bench[i].disk = [record for record in lab.bench[i].disk if b"Decided" not in record]
        lab.restart(i)
    lab.wire.clear()
    cut_off(lab, 2)  # It stays down: the laggard is needed.
    pass_time(lab, 6 * LIMITS.status_ms, 2)
    assert digest_of(encode_batch(lab.bench[3].executed[0])) == digest_of(encode_batch(batch))
    lab.order(2, gateway=1)
    assert executed_cseqs(lab, 3)[-1] == 2


def test_a_replica_without_its_log_shows_the_others_why_it_left_a_view():
    """Nobody else holds a certificate: it would wait for ever, and its gateway with it."""
    lab = Lab(4)
    lab.order(1)
    lab.restart(3, amnesia=True)
    cut_off(lab, 3)
    lab.give(3, timeout(0, (0, 1)), sender=0)
    lab.run()
    assert views(lab)[3] == (1, False)
    join(lab)
    pass_time(lab, LIMITS.status_ms)
    assert views(lab) == [(1, True)] * 4
    assert not [said for said in lab.bench[3].said if isinstance(said, ViewChange)]
    lab.order(2, gateway=3)
    pass_time(lab, LIMITS.status_ms)
    assert executed_cseqs(lab, 3)[-1] == 2
