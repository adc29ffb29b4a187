"""Laggards, checkpoints, divergence, and the limits of who may ask what."""

from dataclasses import replace

import msgspec
import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Committed,
    CommittedEntry,
    FetchCommitted,
    Forward,
    Status,
    checkpoint_payload,
)
from dataplane.simulation.scenarios.lab import CLUSTER_ID, LIMITS, Lab
from dataplane.simulation.scenarios.ordering import lost_decisions_are_made_again
from dataplane.simulation.signatures import signer_of


def _isolate(lab: Lab, who: int) -> None:
    lab.drop = lambda source, target, message: who in (source, target)


def _join(lab: Lab) -> None:
    lab.drop = lambda source, target, message: False


def test_fabric_1454_a_laggard_catches_up_in_a_quiet_cluster():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(*range(1, 11))
    assert not lab.bench[3].executed
    _join(lab)
    for _ in range(3):
        lab.tick(after_ms=LIMITS.status_ms)
        lab.run()
    assert lab.bench[3].executed == lab.bench[0].executed
    assert lab.bench[3].replica.stable == lab.bench[0].replica.stable == 8


@pytest.mark.parametrize("laggard", [0, 3])
def test_after_a_crash_of_all_a_laggard_learns_what_no_log_calls_decided(laggard):
    lost_decisions_are_made_again(laggard)


def test_a_laggard_needs_no_primary_to_catch_up():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(*range(1, 11))
    _isolate(lab, 0)
    for _ in range(3):
        lab.tick(1, 2, 3, after_ms=LIMITS.status_ms)
        lab.run()
    assert len(lab.bench[3].executed) == 10


def test_a_liar_ahead_of_all_does_not_keep_a_laggard_from_asking_others():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(1, 2, 3)
    _join(lab)
    lab.now_ms += LIMITS.status_ms
    lab.give(3, Status(0, 0, 2**40, 2**40, 1, True, b""))
    lab.wire.clear()  # The liar is asked, and never answers.
    lab.now_ms += LIMITS.retransmit_ms
    lab.give(3, Status(0, 0, 2**40, 2**40, 1, True, b""))
    lab.give(3, Status(0, 0, 0, 3, 2, True, b""))
    lab.run()
    assert len(lab.bench[3].executed) == 3


def test_sawtooth_166_decided_batches_may_come_in_any_order():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(1, 2, 3)
    lab.give(0, FetchCommitted(1, 3), sender=3)
    (answer,) = lab.bench[0].votes(Committed)
    for entry in reversed(answer.entries):
        lab.give(3, Committed((entry,)), sender=2)
    assert lab.bench[3].executed == lab.bench[0].executed


def test_a_batch_with_a_short_or_repeated_certificate_is_refused():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(1)
    lab.give(0, FetchCommitted(1, 1), sender=3)
    entry = lab.bench[0].votes(Committed)[0].entries[0]
    proof = entry.certificate
    for votes in (proof.votes[:2], (*proof.votes[:2], proof.votes[0]), ()):
        weak = CommitCertificate(proof.epoch, proof.view, proof.sequence, proof.digest, votes)
        assert not lab.give(3, Committed((CommittedEntry(entry.batch, weak),)), sender=0)
    assert not lab.give(3, Committed((CommittedEntry(entry.batch + b"\0", proof),)), sender=0)
    assert lab.give(3, Committed((entry,)), sender=0)


def test_a_laggard_piles_up_no_votes_for_checkpoints_proved_long_ago():
    limits = Limits(checkpoint_interval=2, window=2, pipeline=4, fetch_batches_max=2)
    lab = Lab(4, limits=limits)
    _isolate(lab, 3)
    lab.order(*range(1, 31))
    lab.drop = lambda source, target, message: (
        3 in (source, target) and not isinstance(message, Status | FetchCommitted | Committed)
    )
    lab.tick(after_ms=limits.status_ms)
    lab.run()
    assert len(lab.bench[3].executed) == 30
    assert lab.bench[3].replica.stable == 0
    assert lab.bench[3].replica.sizes()["checkpoints"] <= 3
    _join(lab)
    lab.tick(after_ms=limits.status_ms)
    lab.run()
    assert lab.bench[3].replica.stable == 30


def test_checkpoints_become_stable_and_slots_are_dropped():
    lab = Lab(4)
    lab.order(*range(1, 9))
    for bench in lab.bench.values():
        assert bench.stable == [4, 8]
        assert bench.replica.sizes()["slots"] == 0


def test_concord_912_a_vote_for_an_old_checkpoint_is_answered_with_the_proof():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(1, 2, 3, 4)
    assert lab.bench[0].stable == [4]
    root = b"\7" * 32
    payload = checkpoint_payload(CLUSTER_ID, epoch=0, sequence=4, root=root)
    said = len(lab.bench[0].said)
    lab.give(0, Checkpoint(0, 4, root, 3, signer_of("vote", 3).sign(payload)))
    assert [message.sequence for message in lab.bench[0].said[said:]] == [4]


def test_fabric_1971_a_replica_notices_its_own_divergence_and_votes_no_more():
    lab = Lab(4)
    lab.order(1, 2, 3)
    lab.bench[2].app._now_ms += 10_000
    lab.order(4)
    assert "diverged" in lab.bench[2].alarms
    assert lab.bench[2].replica.diverged
    said = len(lab.bench[2].said)
    lab.order(5)
    assert not any(hasattr(message, "digest") for message in lab.bench[2].said[said:])
    assert len(lab.bench[0].executed) == 5


@pytest.mark.parametrize("liar", [1, 3])
def test_one_false_root_does_not_stop_a_checkpoint(liar):
    lab = Lab(4)
    root = b"\7" * 32
    payload = checkpoint_payload(CLUSTER_ID, epoch=0, sequence=4, root=root)
    false = Checkpoint(0, 4, root, liar, signer_of("vote", liar).sign(payload))
    for i in range(4):
        if i != liar:
            lab.give(i, false)
    lab.order(1, 2, 3, 4)
    assert all(bench.stable == [4] for bench in lab.bench.values())
    assert not any(bench.replica.diverged for bench in lab.bench.values())


def test_concord_1362_a_late_copy_of_an_executed_request_takes_no_effect():
    lab = Lab(4)
    lab.ask(0, lab.request(0, 0, b"nonce"))
    lab.run()
    lab.order(1)
    lab.ask(2, lab.request(0, 1))
    lab.run()
    assert all(len(bench.executed) == 3 for bench in lab.bench.values())
    assert len({bench.app.root() for bench in lab.bench.values()}) == 1
    assert all(
        dict(bench.app._store.iterate(b"C")) == {b"Ckey": b"1"} for bench in lab.bench.values()
    )


def test_waiting_requests_are_bounded_per_client_and_in_all():
    limits = Limits(pending_requests_max=10, pending_per_client_max=4)
    lab = Lab(4, limits=limits)
    for gateway in (1, 2, 3):
        for cseq in range(1, 20):
            lab.ask(1, lab.request(gateway, cseq))
    assert lab.bench[1].replica.pending_count == 10


def test_a_request_too_long_for_any_proposal_is_refused_at_the_door():
    limits = Limits(batch_bytes_max=1_000)
    lab = Lab(4, limits=limits)
    fits, too_long = (lab.request(2, 1, b"x" * size) for size in (1_500, 1_501))
    assert lab.give(0, Forward((fits,)), sender=2)
    assert not lab.give(0, Forward((too_long,)), sender=2)
    lab.run()
    assert len(lab.bench[3].executed) == 1


def test_a_backup_never_forwards_more_than_the_primary_takes_in_one_message():
    limits = Limits(pending_per_client_max=2, retransmit_ms=100)
    lab = Lab(4, limits=limits)
    lab.drop = lambda source, target, message: True
    for gateway in (1, 2, 3):
        for cseq in (1, 2):
            lab.ask(1, lab.request(gateway, cseq))
    lab.run()
    _join(lab)
    for _ in range(6):
        lab.tick(after_ms=limits.retransmit_ms)
        lab.run()
    assert sum(len(batch.requests) for batch in lab.bench[0].executed) == 6


def test_an_answer_holds_batches_of_one_epoch_only():
    lab = Lab(4)
    lab.order(1, 2)
    archive = lab.bench[0].replica._state.archive
    second = archive._entries[2]
    later = msgspec.structs.replace(second.certificate, epoch=1)
    archive._entries[2] = msgspec.structs.replace(second, certificate=later)
    lab.bench[0].said.clear()
    assert lab.give(0, FetchCommitted(1, 2), 3)
    (answer,) = lab.bench[0].votes(Committed)
    assert [entry.certificate.epoch for entry in answer.entries] == [0]


def test_a_decision_known_by_its_commits_alone_is_fetched():
    lab = Lab(4)
    _isolate(lab, 3)
    lab.order(1)
    _join(lab)
    digest = lab.bench[0].replica._state.archive.get(1).certificate.digest
    for replica in (0, 1, 2):
        assert lab.give(3, lab.vote(Commit, replica, 1, digest))
    assert not lab.bench[3].executed
    for _ in range(4):
        lab.tick(3, after_ms=LIMITS.retransmit_ms)
        lab.drop = lambda source, target, message: isinstance(message, Status | Committed)
        lab.run()
    assert len(lab.bench[3].executed) == 1


def test_two_strangers_do_not_answer_each_other_for_ever():
    lab = Lab(4)
    lab.bench[0].said.clear()
    for _ in range(5):
        assert lab.give(0, Status(1, 0, 0, 0, 9, True, b""), 9)
    assert len(lab.bench[0].votes(Status)) == 1
    lab.now_ms += LIMITS.status_ms
    assert lab.give(0, Status(1, 0, 0, 0, 9, True, b""), 9)
    assert len(lab.bench[0].votes(Status)) == 2


def test_a_root_out_of_reach_is_signed_when_the_low_watermark_comes_near():
    """Else a laggard's vote is missing where another replica's root is false (seed 357)."""
    lab = Lab(3, limits=replace(LIMITS, checkpoint_interval=2, window=2, pipeline=2))
    proofs: dict[int, CheckpointCertificate] = {}

    def drop(source: int, target: int, message: AnyMessage) -> bool:
        if isinstance(message, CheckpointCertificate):
            proofs[message.sequence] = message
        return 2 in (source, target)

    lab.drop = drop
    for cseq in range(1, 7):
        lab.order(cseq)
    lab.drop = lambda source, target, message: isinstance(
        message, Checkpoint | CheckpointCertificate
    )
    for _ in range(8):
        lab.tick(after_ms=LIMITS.status_ms)
        lab.run()
    late = lab.bench[2]
    assert late.replica.executed == 6
    assert not [vote for vote in late.votes(Checkpoint) if vote.sequence == 6]
    lab.give(2, proofs[4], 0)
    assert [vote for vote in late.votes(Checkpoint) if vote.sequence == 6]
