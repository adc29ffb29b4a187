"""A test for each bug others published that can be had here, by its row; and what seeds found.

Rows whose test stands beside the rule it is about are named here only. Not here: rows about the
transfer of state and the fast paths that this protocol does not have. Changes of members have
theirs in `tests/simulation/test_members.py` (31, 32, 33).
"""

import msgspec
import pytest

from dataplane.consensus.messages import (
    Commit,
    Forward,
    Heartbeat,
    NewView,
    Prepare,
    Suspect,
    ViewChange,
    suspect_payload,
    vote_payload,
)
from dataplane.simulation.scenarios.lab import CLUSTER_ID, LIMITS, START_MS, Lab
from dataplane.simulation.signatures import signer_of
from tests.dataplane.consensus import (
    test_catch_up,
    test_durability,
    test_normal_case,
    test_quorum,
)

OTHERS = (1, 2, 3)

test_bug_03_an_old_batch_is_no_reason_to_refuse = (
    test_normal_case.test_indy_1488_a_proposal_repeated_after_a_long_outage_is_accepted
)
test_bug_11_an_early_proposal_is_kept = (
    test_normal_case.test_fabric_1119_a_proposal_beyond_the_window_is_kept_for_later
)
test_bug_11_also_when_the_low_watermark_moves_later = (
    test_normal_case.test_fabric_1119_the_same_when_the_low_watermark_moves_without_an_execution
)
test_bug_12_the_prepare_of_a_primary_is_not_counted = (
    test_normal_case.test_sawtooth_111_a_prepare_of_the_primary_is_not_counted_besides_its_proposal
)
test_bug_13_a_repeated_vote_counts_once = (
    test_normal_case.test_fabric_370_a_repeated_vote_of_one_replica_counts_once
)
test_bug_14_votes_for_another_digest_do_not_count = (
    test_normal_case.test_rustchain_2087_votes_for_another_digest_do_not_count
)
test_bug_15_two_quorums_share_an_honest_replica = (
    test_quorum.test_two_quorums_share_an_honest_replica
)
test_bug_17_a_late_copy_of_an_executed_request_takes_no_effect = (
    test_catch_up.test_concord_1362_a_late_copy_of_an_executed_request_takes_no_effect
)
test_bug_19_a_laggard_catches_up_in_a_quiet_cluster = (
    test_catch_up.test_fabric_1454_a_laggard_catches_up_in_a_quiet_cluster
)
test_bug_19_a_vote_below_the_watermark_is_answered = (
    test_catch_up.test_concord_912_a_vote_for_an_old_checkpoint_is_answered_with_the_proof
)
test_bug_20_catching_up_needs_no_primary = test_catch_up.test_a_laggard_needs_no_primary_to_catch_up
test_bug_23_own_divergence_is_noticed = (
    test_catch_up.test_fabric_1971_a_replica_notices_its_own_divergence_and_votes_no_more
)
test_bug_24_the_state_may_be_older_or_newer_than_the_log = (
    test_durability.test_concord_1709_the_state_may_be_older_or_newer_than_the_log
)
test_bug_26_a_restart_does_not_vote_twice = (
    test_durability.test_telcoin_391_a_restarted_replica_does_not_vote_for_a_second_proposal
)
test_bug_27_a_restart_repeats_its_own_votes = (
    test_durability.test_tendermint_3089_a_restart_repeats_the_same_votes_and_no_other
)
test_bug_28_one_missing_vote_is_sent_again = (
    test_normal_case.test_hyli_520_one_missing_vote_is_sent_again
)
test_bug_36_decided_batches_come_in_any_order = (
    test_catch_up.test_sawtooth_166_decided_batches_may_come_in_any_order
)
test_bug_39_a_minority_digest_does_not_spoil_the_quorum = (
    test_normal_case.test_orderer_1035_a_minority_digest_first_does_not_spoil_the_quorum
)


def _without(lab: Lab, who: int) -> None:
    lab.drop = lambda source, target, message: who in (source, target)


def _join(lab: Lab) -> None:
    lab.drop = lambda source, target, message: False


def _pass(lab: Lab, milliseconds: int, *who: int) -> None:
    for _ in range(milliseconds // LIMITS.retransmit_ms):
        lab.tick(*who, after_ms=LIMITS.retransmit_ms)
        lab.run()


def _run_until_view(lab: Lab, view: int, *who: int) -> None:
    for _ in range(100):
        if all(lab.bench[i].replica.view == view and lab.bench[i].replica.active for i in who):
            return
        _pass(lab, LIMITS.retransmit_ms, *who)
    raise AssertionError("the view does not move")


def _views(lab: Lab) -> set[tuple[int, bool]]:
    return {(bench.replica.view, bench.replica.active) for bench in lab.bench.values()}


def _suspect(replica: int, view: int) -> Suspect:
    payload = suspect_payload(CLUSTER_ID, epoch=0, view=view)
    return Suspect(0, view, replica, signer_of("vote", replica).sign(payload))


def test_bug_04_views_meet_again_after_a_long_partition():
    lab = Lab(4)
    lab.drop = lambda source, target, message: source % 2 != target % 2
    _pass(lab, 60_000)
    _join(lab)
    _pass(lab, 5_000)
    assert len(_views(lab)) == 1
    lab.order(1)
    assert all(len(bench.executed) == 1 for bench in lab.bench.values())


@pytest.mark.parametrize("lost", [ViewChange, NewView])
def test_bug_05_lost_messages_of_a_view_change_are_sent_again(lost):
    lab = Lab(4)
    lab.drop = lambda source, target, message: 0 in (source, target) or isinstance(message, lost)
    _pass(lab, 3_000, *OTHERS)
    assert any(lab.bench[i].votes(ViewChange) for i in OTHERS)
    _without(lab, 0)
    _pass(lab, 20_000, *OTHERS)
    assert len({lab.bench[i].replica.view for i in OTHERS}) == 1
    assert all(lab.bench[i].replica.active for i in OTHERS)


@pytest.mark.parametrize("backup", [1, 3])
def test_bug_06_what_one_replica_decided_is_what_the_next_view_carries(backup):
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Commit) and target != backup
    lab.order(1)
    decided = lab.bench[backup].executed
    assert decided
    lab.drop = lambda source, target, message: (
        0 in (source, target) or (isinstance(message, Commit) and message.view == 0)
    )
    _run_until_view(lab, 1, *OTHERS)
    _pass(lab, 2_000, *OTHERS)
    assert all(lab.bench[i].executed[:1] == decided for i in OTHERS)


def test_bug_07_a_backup_that_was_alone_comes_back_without_traffic():
    lab = Lab(4)
    _without(lab, 3)
    _pass(lab, 30_000)
    assert {lab.bench[i].replica.view for i in (0, 1, 2)} == {0}
    _join(lab)
    _pass(lab, 3_000)
    assert _views(lab) == {(0, True)}


def test_bug_08_a_view_never_moves_backwards():
    lab = Lab(4)
    _without(lab, 0)
    _run_until_view(lab, 1, *OTHERS)
    old = [
        message
        for i in OTHERS
        for kind in (ViewChange, NewView)
        for message in (lab.bench[i].votes(kind))
    ]
    assert old
    _without(lab, 1)
    _run_until_view(lab, 2, 0, 2, 3)
    for message in old:
        lab.give(3, message)
    assert lab.bench[3].replica.view == 2
    assert lab.bench[3].replica.active


def test_bug_09_a_huge_view_moves_nothing_and_costs_one_entry():
    lab = Lab(4)
    for view in (1, 7, 2**40, 2**41):
        assert lab.give(1, _suspect(3, view))
        lab.give(1, Heartbeat(0, view, 3))
        lab.give(1, lab.vote(Prepare, 3, 1, b"\1" * 32, view=view))
        lab.give(1, lab.vote(Commit, 3, 1, b"\1" * 32, view=view))
    assert lab.bench[1].replica.view == 0
    sizes = lab.bench[1].replica.sizes()
    assert (sizes["suspects"], sizes["slots"]) == (1, 1)
    lab.order(1)
    assert len(lab.bench[1].executed) == 1


def test_bug_18_a_retry_after_a_restart_gets_its_first_answer():
    lab = Lab(4)
    lab.ask(0, lab.request(0, 0, b"nonce"))
    lab.run()
    lab.order(1)
    for i in range(4):
        lab.restart(i)
    lab.ask(2, lab.request(0, 1))
    lab.run()
    assert all(bench.app._store.get(b"Ckey") == b"1" for bench in lab.bench.values())
    assert len({bench.app.root() for bench in lab.bench.values()}) == 1


def test_bug_22_a_replica_that_slept_ten_minutes_comes_along():
    lab = Lab(4)
    _without(lab, 3)
    for cseq in range(1, 11):
        lab.ask(0, lab.request(0, cseq))
        lab.run()
        _pass(lab, 60_000, 0, 1, 2)
    _join(lab)
    _pass(lab, 3_000)
    assert lab.bench[3].executed == lab.bench[0].executed
    assert len(lab.bench[3].executed) == 10
    assert len(_views(lab)) == 1


def test_bug_25_all_restart_between_two_views():
    lab = Lab(4)
    lab.drop = lambda source, target, message: 0 in (source, target) or isinstance(message, NewView)
    for _ in range(60):
        _pass(lab, LIMITS.retransmit_ms, *OTHERS)
        if not any(lab.bench[i].replica.active for i in (2, 3)):
            break
    before = [lab.bench[i].replica.view for i in (2, 3)]
    assert min(before) >= 1
    for i in OTHERS:
        lab.restart(i)
    assert [lab.bench[i].replica.view for i in (2, 3)] == before
    assert not any(lab.bench[i].replica.active for i in (2, 3))
    _without(lab, 0)
    _pass(lab, 20_000, *OTHERS)
    assert all(lab.bench[i].replica.active for i in OTHERS)


def test_bug_29_an_idle_primary_that_is_gone_is_noticed():
    lab = Lab(4)
    _without(lab, 0)
    _run_until_view(lab, 1, *OTHERS)


def test_bug_30_after_an_hour_without_a_quorum_the_cluster_is_back_in_a_minute():
    lab = Lab(4)
    lab.drop = lambda source, target, message: True
    for _ in range(360):
        lab.tick(after_ms=10_000)
        lab.wire.clear()
    _join(lab)
    lab.ask(2, lab.request(2, 1))
    _pass(lab, 60_000)
    assert all(len(bench.executed) == 1 for bench in lab.bench.values())


def test_bug_35_what_an_old_primary_had_in_its_pool_is_ordered_once():
    lab = Lab(4)
    _without(lab, 0)
    lab.ask(0, lab.request(0, 1))
    _run_until_view(lab, 1, *OTHERS)
    _join(lab)
    _pass(lab, 10_000)
    logs = [
        [r.cseq for batch in bench.executed for r in batch.requests] for bench in lab.bench.values()
    ]
    assert logs == [[1]] * 4


def test_bug_38_a_bad_signature_to_some_replicas_only_blocks_nothing():
    lab = Lab(4)
    good = lab.request(2, 1)
    bad = msgspec.structs.replace(good, sig=bytes(64))
    assert not lab.give(0, Forward((bad,)), sender=2)
    assert not lab.give(1, lab.proposal(1, bad))
    lab.ask(2, good)
    lab.run()
    assert all(len(bench.executed) == 1 for bench in lab.bench.values())


def test_a_vote_signed_in_another_epoch_is_none_in_this_one():
    lab = Lab(4)
    digest = b"\1" * 32
    payload = vote_payload(b"C", CLUSTER_ID, epoch=1, view=0, sequence=1, digest=digest)
    stolen = Commit(0, 0, 1, digest, 2, signer_of("vote", 2).sign(payload))
    assert not lab.give(1, stolen)


def test_seed_140_a_request_executed_before_its_view_carried_it_may_be_asked_again():
    lab = Lab(4)
    assert lab.now_ms == START_MS
    lab.order(1, gateway=2)
    _without(lab, 0)
    _run_until_view(lab, 1, *OTHERS)
    executed = len(lab.bench[2].executed)
    lab.ask(2, lab.request(2, 1))
    lab.run()
    assert len(lab.bench[2].executed) == executed + 1
    assert all(lab.bench[i].replica.pending_count == 0 for i in OTHERS)
