"""Pre-prepare, prepare, commit: one message at a time."""

import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Forward,
    Prepare,
    PrePrepare,
)
from dataplane.consensus.outcome import Alarm
from dataplane.simulation.scenarios.lab import LIMITS, START_MS, Lab
from dataplane.simulation.scenarios.ordering import early_proposal_is_kept, lost_votes_are_repeated

OTHER = b"\1" * 32


@pytest.mark.parametrize("n", [1, 3, 4, 5, 6, 7, 10])
def test_requests_are_executed_everywhere_in_one_order(n):
    lab = Lab(n)
    lab.order(1, 2, 3, gateway=n - 1)
    batches = {i: bench.executed for i, bench in lab.bench.items()}
    assert [len(batch.requests) for batch in batches[0]] == [1, 1, 1]
    assert all(batches[i] == batches[0] for i in batches)


def test_the_primary_sends_no_prepare():
    lab = Lab(4)
    lab.order(1)
    assert not lab.bench[0].votes(Prepare)
    assert len(lab.bench[1].votes(Prepare)) == 1


def test_a_backup_passes_requests_to_the_primary():
    lab = Lab(4)
    lab.ask(2, lab.request(2, 1))
    assert [(target, type(said)) for _, target, said in lab.wire] == [(0, Forward)]


def test_sawtooth_111_a_prepare_of_the_primary_is_not_counted_besides_its_proposal():
    lab = Lab(4)
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, proposal)
    lab.give(1, lab.vote(Prepare, 0, 1, proposal.digest))
    assert not lab.bench[1].votes(Commit)
    lab.give(1, lab.vote(Prepare, 2, 1, proposal.digest))
    assert len(lab.bench[1].votes(Commit)) == 1


def test_fabric_370_a_repeated_vote_of_one_replica_counts_once():
    lab = Lab(7)
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, proposal)
    for _ in range(5):
        lab.give(1, lab.vote(Prepare, 2, 1, proposal.digest))
        lab.give(1, lab.vote(Commit, 2, 1, proposal.digest))
    assert not lab.bench[1].votes(Commit)
    assert not lab.bench[1].executed


def test_rustchain_2087_votes_for_another_digest_do_not_count():
    lab = Lab(4)
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, proposal)
    lab.give(1, lab.vote(Prepare, 2, 1, OTHER))
    lab.give(1, lab.vote(Prepare, 3, 1, OTHER))
    for replica in (0, 2, 3):
        lab.give(1, lab.vote(Commit, replica, 1, OTHER))
    assert not lab.bench[1].votes(Commit)
    assert not lab.bench[1].executed


def test_orderer_1035_a_minority_digest_first_does_not_spoil_the_quorum():
    lab = Lab(4)
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, lab.vote(Commit, 3, 1, OTHER))
    lab.give(1, proposal)
    lab.give(1, lab.vote(Prepare, 2, 1, proposal.digest))
    lab.give(1, lab.vote(Commit, 0, 1, proposal.digest))
    assert not lab.bench[1].executed
    lab.give(1, lab.vote(Commit, 2, 1, proposal.digest))
    assert len(lab.bench[1].executed) == 1


@pytest.mark.parametrize("n", [4, 5, 6])
def test_one_vote_less_than_a_quorum_decides_nothing(n):
    lab = Lab(n)
    quorum = lab.config(0).quorum
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, proposal)
    for replica in range(2, quorum):  # The primary, this one and q-2 others: q-1 and then q.
        assert not lab.bench[1].votes(Commit)
        lab.give(1, lab.vote(Prepare, replica, 1, proposal.digest))
    assert len(lab.bench[1].votes(Commit)) == 1
    for replica in range(2, quorum):
        lab.give(1, lab.vote(Commit, replica, 1, proposal.digest))
    assert not lab.bench[1].executed
    lab.give(1, lab.vote(Commit, 0, 1, proposal.digest))
    assert len(lab.bench[1].executed) == 1


def test_a_decision_is_learned_before_the_proposal_and_executed_with_it():
    lab = Lab(4)
    proposal = lab.proposal(1, lab.request(0, 1))
    for replica in (0, 2, 3):
        lab.give(1, lab.vote(Commit, replica, 1, proposal.digest))
    assert not lab.bench[1].executed
    lab.give(1, proposal)
    assert len(lab.bench[1].executed) == 1


def test_batches_decided_out_of_order_are_executed_in_order():
    lab = Lab(4)
    first, second = (lab.proposal(s, lab.request(0, s)) for s in (1, 2))
    lab.give(1, first)
    lab.give(1, second)
    for proposal in (second, first):
        assert not lab.bench[1].executed
        for replica in (0, 2, 3):
            lab.give(1, lab.vote(Commit, replica, proposal.sequence, proposal.digest))
    assert [batch.requests[0].cseq for batch in lab.bench[1].executed] == [1, 2]


def test_equivocation_of_the_primary_is_evidence_and_the_first_proposal_stays():
    lab = Lab(4)
    first, second = (lab.proposal(1, lab.request(0, cseq)) for cseq in (1, 2))
    lab.give(1, first)
    lab.give(1, second)
    lab.give(1, second)
    (evidence,) = lab.bench[1].evidence
    said = {evidence.proof.first.digest, evidence.proof.second.digest}
    assert (evidence.replica, said) == (0, {first.digest, second.digest})
    assert [vote.digest for vote in lab.bench[1].votes(Prepare)] == [first.digest]


@pytest.mark.parametrize("kind", [Prepare, Commit])
def test_two_votes_of_one_replica_are_evidence_once(kind):
    lab = Lab(4)
    for digest in (OTHER, b"\2" * 32, b"\3" * 32):
        lab.give(1, lab.vote(kind, 3, 1, digest))
    assert [evidence.replica for evidence in lab.bench[1].evidence] == [3]


def test_evidence_is_bounded_and_one_liar_leaves_room_for_another():
    limits = Limits(checkpoint_interval=4, window=16, pipeline=8, evidence_max=12)
    lab = Lab(4, limits=limits)
    for liar in (3, 2):
        for sequence in range(1, 10):
            lab.give(1, lab.vote(Commit, liar, sequence, OTHER))
            lab.give(1, lab.vote(Commit, liar, sequence, b"\2" * 32))
    assert [evidence.replica for evidence in lab.bench[1].evidence] == [3, 3, 3, 2, 2, 2]


def test_votes_outside_the_reach_of_the_window_are_not_kept():
    lab = Lab(4)
    for sequence in (1, 2 * LIMITS.window, 2 * LIMITS.window + 1, 2**40):
        lab.give(1, lab.vote(Prepare, 2, sequence, OTHER))
        lab.give(1, lab.vote(Commit, 2, sequence, OTHER))
    assert lab.bench[1].replica.sizes()["slots"] == 2


def test_fabric_1119_a_proposal_beyond_the_window_is_kept_for_later():
    early_proposal_is_kept()


def test_fabric_1119_the_same_when_the_low_watermark_moves_without_an_execution():
    limits = Limits(checkpoint_interval=2, window=2, pipeline=8)
    lab = Lab(4, limits=limits)
    lab.drop = lambda source, target, message: isinstance(
        message, Checkpoint | CheckpointCertificate
    )
    lab.order(1, 2)
    bench = lab.bench[1]
    lab.give(1, lab.proposal(3, lab.request(0, 3)))
    assert [vote.sequence for vote in bench.votes(Prepare)] == [1, 2]
    for replica in (0, 2, 3):
        lab.give(1, lab.bench[replica].votes(Checkpoint)[0])
    assert bench.stable == [2]
    assert [vote.sequence for vote in bench.votes(Prepare)] == [1, 2, 3]


def test_a_primary_stops_at_the_high_watermark_until_a_checkpoint_is_stable():
    limits = Limits(checkpoint_interval=2, window=4, pipeline=8, batch_delay_ms=0)
    lab = Lab(4, limits=limits)
    lab.drop = lambda source, target, message: type(message).__name__.startswith("Checkpoint")
    lab.order(*range(1, 8))
    assert {len(bench.executed) for bench in lab.bench.values()} == {4}
    lab.drop = lambda source, target, message: False
    lab.tick(after_ms=LIMITS.retransmit_ms * 10)
    lab.run()
    lab.tick(after_ms=LIMITS.retransmit_ms * 10)
    lab.run()
    for bench in lab.bench.values():
        assert sum(len(batch.requests) for batch in bench.executed) == 7


def test_indy_1488_a_proposal_repeated_after_a_long_outage_is_accepted():
    lab = Lab(4)
    lab.give(1, lab.proposal(1, lab.request(0, 1), ts_ms=START_MS - 30 * 60_000))
    assert len(lab.bench[1].votes(Prepare)) == 1


def test_the_alarm_of_a_refused_proposal_names_whose_it_was():
    lab = Lab(4)
    replica = lab.bench[1].replica
    late = lab.proposal(1, lab.request(0, 1), ts_ms=START_MS + 60_000)
    replica.on_message(lab.now_ms, 0, late)
    refusals = [effect for effect in replica.take() if isinstance(effect, Alarm)]
    assert [(alarm.code, alarm.replica) for alarm in refusals] == [("clock_skew", 0)]


def test_a_proposal_from_the_future_is_refused_until_it_is_not():
    lab = Lab(4)
    proposal = lab.proposal(1, lab.request(0, 1), ts_ms=START_MS + 60_000)
    lab.give(1, proposal)
    assert lab.bench[1].alarms == ["clock_skew"]
    lab.now_ms += 55_000
    lab.give(1, proposal)
    assert len(lab.bench[1].votes(Prepare)) == 1


def test_hyli_520_one_missing_vote_is_sent_again():
    lost_votes_are_repeated()


def test_a_lost_proposal_is_sent_again():
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, PrePrepare)
    lab.order(1)
    lab.drop = lambda source, target, message: False
    lab.tick(after_ms=LIMITS.retransmit_ms)
    lab.run()
    assert all(len(bench.executed) == 1 for bench in lab.bench.values())


def test_a_lost_forward_is_sent_again():
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Forward)
    lab.order(1, gateway=2)
    assert not lab.bench[0].executed
    lab.drop = lambda source, target, message: False
    lab.tick(after_ms=LIMITS.request_timeout_min_ms // 4)
    lab.run()
    assert all(len(bench.executed) == 1 for bench in lab.bench.values())
