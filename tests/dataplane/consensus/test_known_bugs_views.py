"""Bugs of other implementations around the change of the view; each test is named after one.

The rows are those of the design's table of known bugs: project and issue.
"""

from itertools import permutations

import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    NULL_DIGEST,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Heartbeat,
    NewView,
    Prepare,
    Status,
    Suspect,
    ViewChange,
)
from dataplane.consensus.new_view import select
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
    suspect,
    timeout,
    view_change,
    views,
)
from dataplane.simulation.scenarios.lab import LIMITS, Lab
from dataplane.simulation.scenarios.views import (
    all_that_is_said_may_be_lost,
    carried_batch_may_be_old,
    drafts_are_proposed_once,
    no_second_vote_for_a_slot,
)
from dataplane.wire.quorum import blocking_size, faults_tolerated, quorum_size

A, B = b"\1" * 32, b"\2" * 32


def _checkpoint(sequence: int):
    return checkpoint(sequence, A, (0, 1, 2)) if sequence else None


@pytest.mark.parametrize("heads", sorted(set(permutations((0, 4, 8, 0)))))
def test_fabric_1111_view_changes_with_any_spread_of_checkpoints_begin_the_view(heads):
    lab = Lab(4)
    changes = [
        view_change(lab, i, 1, [proof(lab, 0, heads[i] + 2, B)], stable=_checkpoint(heads[i]))
        for i in (0, 2, 3)
    ]
    selection = select(changes, 0)
    assert selection is not None
    newest = max(heads[i] for i in (0, 2, 3))
    assert selection.checkpoint_sequence == newest
    assert selection.digests == (NULL_DIGEST, B)
    for change in changes:
        assert lab.give(1, change)
    assert views(lab)[1] == (1, True)


@pytest.mark.parametrize("laggards", [(2, 3), (0, 3), (0, 1)])
def test_indy_plenum_1506_replicas_without_a_common_checkpoint_change_the_view(laggards):
    lab = Lab(4)
    lab.drop = lambda source, target, message: (
        target in laggards and isinstance(message, Checkpoint | CheckpointCertificate)
    )
    lab.order(*range(1, 11))
    heads = [bench.replica.stable for bench in lab.bench.values()]
    assert heads == [0 if i in laggards else 8 for i in range(4)]
    leave(lab, 0)
    assert views(lab) == [(1, True)] * 4
    pass_time(lab, 2 * LIMITS.status_ms)
    lab.order(11, gateway=3)
    assert all(executed_cseqs(lab, i) == [*range(1, 12)] for i in range(4))


def test_indy_plenum_1488_a_batch_from_before_a_long_pause_is_carried_without_looking_at_its_time():
    carried_batch_may_be_old()


def test_indy_node_1720_replicas_that_left_different_views_meet_in_the_highest():
    lab = Lab(4)
    lab.tick()
    cut_off(lab, *range(4))
    for i, last in ((0, 1), (1, 4), (2, 7), (3, 2)):
        for view in range(last):
            lab.give(i, timeout(view, (0, 1)), sender=0)
    assert [view for view, _ in views(lab)] == [1, 4, 7, 2]
    lab.wire.clear()
    join(lab)
    pass_time(lab, 2 * LIMITS.status_ms)
    assert views(lab) == [(7, True)] * 4
    lab.order(1, gateway=2)
    assert all(executed_cseqs(lab, i) == [1] for i in range(4))


@pytest.mark.parametrize("n", [3, 4, 6])
def test_fabric_1917_everything_said_during_a_view_change_may_be_lost(n):
    all_that_is_said_may_be_lost(n)


def test_neo_642_one_replica_committed_when_the_others_left_the_view():
    lab = Lab(4)
    lab.drop = lambda source, target, message: (
        isinstance(message, Commit) or (isinstance(message, Prepare) and target != 3)
    )
    lab.order(1)
    assert [len(bench.votes(Commit)) for bench in lab.bench.values()] == [0, 0, 0, 1]
    cut_off(lab, 3)
    leave(lab, 0, 3)
    assert not lab.bench[1].votes(NewView)[0].proposals
    lab.wire.clear()
    join(lab)
    pass_time(lab, 4 * LIMITS.status_ms)
    assert views(lab) == [(1, True)] * 4
    assert all(bench.executed == lab.bench[0].executed for bench in lab.bench.values())
    assert set(executed_cseqs(lab, 3)) == {1}


@pytest.mark.parametrize("n", [3, 4, 6])
def test_sawtooth_90_a_backup_that_was_cut_off_rejoins_a_quiet_cluster(n):
    lab = Lab(n)
    lab.order(1)
    cut_off(lab, n - 1)
    pass_time(lab, 20_000)
    assert lab.bench[n - 1].votes(Suspect)
    assert views(lab) == [(0, True)] * n
    join(lab)
    suspicions = len(lab.bench[n - 1].votes(Suspect))
    pass_time(lab, 10_000)
    assert views(lab) == [(0, True)] * n
    assert len(lab.bench[n - 1].votes(Suspect)) <= suspicions + 1
    lab.order(2, gateway=n - 1)
    assert all(executed_cseqs(lab, i) == [1, 2] for i in range(n))


def test_fabric_1120_a_backup_that_was_cut_off_meanwhile_joins_the_later_view():
    lab = Lab(4)
    cut_off(lab, 3)
    leave(lab, 0, 3)
    leave(lab, 1, 3)
    join(lab)
    pass_time(lab, 2 * LIMITS.status_ms)
    assert views(lab) == [(2, True)] * 4


def test_raijin_18_a_replayed_quorum_of_an_old_view_moves_nobody_back():
    lab = Lab(4)
    leave(lab, 0)
    old = lab.bench[1].votes(NewView)[0]
    leave(lab, 1)
    leave(lab, 2)
    for change in old.changes:
        lab.give(3, change)
    lab.give(3, old, 1)
    assert views(lab)[3] == (3, True)


def test_fisco_2211_a_flood_of_huge_views_moves_and_fills_nothing():
    lab = Lab(4)
    for i in range(200):
        lab.give(3, suspect(0, 2**40 + i))
        lab.give(3, Status(0, 2**40 + i, 0, 0, 0, is_active=True, head=b""))
        lab.give(3, lab.vote(Prepare, 0, 1, A, view=2**40 + i))
        lab.give(3, lab.vote(Commit, 0, 1, A, view=2**40 + i))
        lab.give(3, Heartbeat(0, 2**40 + i, 0))
    assert views(lab)[3] == (0, True)
    assert max(lab.bench[3].replica.sizes().values()) <= 4
    lab.order(1)
    assert all(executed_cseqs(lab, i) == [1] for i in range(4))


@pytest.mark.parametrize("place", [0, 1])
def test_concord_50_a_forged_certificate_does_not_hide_a_good_one(place):
    lab = Lab(4)
    good, forged = proof(lab, 0, 2 - place, A), proof(lab, 0, 1 + place, B, backups=(2,))
    proofs = sorted((good, forged), key=lambda one: one.sequence)
    assert not lab.give(1, view_change(lab, 0, 1, proofs))
    for i in (2, 3):
        assert lab.give(1, view_change(lab, i, 1, [good]))
    (message,) = lab.bench[1].votes(NewView)
    assert [p.digest for p in message.proposals][-1] == A
    assert 0 not in {change.replica for change in message.changes}


@pytest.mark.parametrize("n", [5, 6])
@pytest.mark.parametrize("view", [0, 1])
def test_sawtooth_111_an_equivocating_primary_is_counted_once_in_every_view(n, view):
    lab = Lab(n)
    for past in range(view):
        leave(lab, past)
    primary = view % n
    one, other = (
        proposal(lab, view, 1, batch_of(lab, lab.request(primary, cseq))) for cseq in (1, 2)
    )
    cut_off(lab, primary)
    for i in range(n):
        if i != primary:
            lab.give(i, one if i % 2 else other)
            for said in (one, other):
                lab.give(i, lab.vote(Prepare, primary, 1, said.digest, view=view))
                lab.give(i, lab.vote(Commit, primary, 1, said.digest, view=view))
    lab.run()
    assert len({bench.executed[0] for bench in lab.bench.values() if bench.executed}) <= 1
    committed = {vote.digest for bench in lab.bench.values() for vote in bench.votes(Commit)}
    assert len(committed) <= 1


def test_celo_253_quorums_and_blocking_sets_of_every_size_intersect():
    for n in range(1, 201):
        f, quorum, blocking = faults_tolerated(n), quorum_size(n), blocking_size(n)
        assert 2 * quorum - n >= f + 1
        assert quorum <= n - f
        assert quorum + blocking == n + 1
        assert f + 1 <= blocking <= quorum


def test_celo_200_replicas_with_certificates_of_different_views_do_not_block_each_other():
    """IBFT's locks: 0 holds A of view 0, 1 holds B of view 1, 2 and 3 hold nothing."""
    lab = Lab(4)
    old, new = batch_of(lab, lab.request(0, 1)), batch_of(lab, lab.request(1, 2))
    first, second = proposal(lab, 0, 1, old), proposal(lab, 1, 1, new)
    changes = [
        view_change(lab, 0, 2, [proof(lab, 0, 1, first.digest)]),
        view_change(lab, 1, 2, [proof(lab, 1, 1, second.digest)]),
        view_change(lab, 3, 2),
    ]
    message = new_view(lab, 2, changes)
    assert [p.digest for p in message.proposals] == [second.digest]
    lab.give(0, first)
    for i in range(4):
        assert lab.give(i, message)
    lab.give(3, proposal(lab, 2, 1, new), 2)  # Of the four it alone has the batch then.
    pass_time(lab, 3 * LIMITS.status_ms)
    assert all(executed_cseqs(lab, i)[:1] == [2] for i in range(4))


def test_concord_805_all_stop_between_two_views_and_remember_where_they_stood():
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Commit)
    lab.order(1)
    lab.drop = lambda source, target, message: True
    leave(lab, 0)
    said = [bench.votes(ViewChange) for bench in lab.bench.values()]
    for i in range(4):
        lab.restart(i)
    assert views(lab) == [(1, False)] * 4
    assert [bench.votes(ViewChange) for bench in lab.bench.values()] == said
    join(lab)
    pass_time(lab, 500)
    assert all(executed_cseqs(lab, i) == [1] for i in range(4))


def test_telcoin_391_a_restarted_replica_gives_no_second_vote_in_a_later_view():
    no_second_vote_for_a_slot()


def _story(steps: int | None) -> tuple[Lab, int]:
    """Order one request, leave view 0 when two steps are done; stop after `steps`."""
    lab = Lab(4, sync=False)
    lab.ask(0, lab.request(0, 1))
    done = 0
    while steps is None or done < steps:
        if done == 12:
            for i in range(4):
                lab.give(i, timeout(0, (0, 1)), sender=i)
        waiting = [i for i, bench in lab.bench.items() if bench.barrier > bench.durable]
        if lab.wire:
            source, target, message = lab.wire.popleft()
            assert lab.give(target, message, source)
        elif waiting:
            lab.sync(waiting[0])
        else:
            break
        done += 1
    return lab, done


STEPS = _story(None)[1]


@pytest.mark.parametrize("victims", [(0,), (1,), (3,), (0, 1, 2, 3)])
@pytest.mark.parametrize("step", range(0, STEPS, 3))
def test_tendermint_3089_a_restart_at_any_step_of_a_view_change_repeats_and_contradicts_nothing(
    step, victims
):
    lab, _ = _story(step)
    executed = max((bench.executed for bench in lab.bench.values()), key=len)
    lab.auto_sync = True
    for i in victims:
        lab.restart(i, keep=step % 2)
    for i in lab.bench:
        if i not in victims:
            lab.sync(i)
    lab.ask(0, lab.request(0, 1))
    pass_time(lab, 6 * LIMITS.status_ms)
    assert all(bench.executed == lab.bench[0].executed for bench in lab.bench.values())
    assert lab.bench[0].executed[: len(executed)] == executed
    assert set(executed_cseqs(lab, 0)) == {1}
    assert not any(bench.evidence for bench in lab.bench.values())
    assert len({view for view, _ in views(lab)}) == 1


def test_fabric_4438_a_primary_that_waits_for_lost_prepares_suspects_itself():
    lab = Lab(4)
    lab.tick()
    lab.drop = lambda source, target, message: (
        isinstance(message, Prepare | Commit) and message.view == 0
    )
    lab.ask(0, lab.request(0, 1))
    pass_time(lab, 2_000)
    assert lab.bench[0].votes(Suspect)
    assert all(executed_cseqs(lab, i)[:1] == [1] for i in range(4))


@pytest.mark.parametrize("n", [3, 4, 6, 7])
def test_smartbft_109_the_death_of_an_idle_primary_is_noticed(n):
    lab = Lab(n)
    pass_time(lab, 500)
    cut_off(lab, 0)
    pass_time(lab, 1_500, 0)
    assert views(lab)[1:] == [(1, True)] * (n - 1)


def test_fisco_704_after_an_hour_without_a_quorum_the_cluster_recovers_within_a_minute():
    lab = Lab(4, limits=Limits(status_ms=500))
    lab.order(1)
    lab.drop = lambda source, target, message: source // 2 != target // 2
    lab.ask(1, lab.request(1, 2))
    for _ in range(3_600_000 // 400):
        lab.tick(after_ms=400)
        lab.run()
    left = max(view for view, _ in views(lab))
    assert 100 < left < 200, "patience grows, but not without limit"
    join(lab)
    healed_ms = lab.now_ms
    while not all(2 in executed_cseqs(lab, i) for i in range(4)):
        lab.tick(after_ms=200)
        lab.run()
        assert lab.now_ms - healed_ms < 60_000


def test_sawtooth_140_drafts_of_an_old_primary_are_proposed_once_when_it_leads_again():
    drafts_are_proposed_once()
