"""Histories that differ: more than f replicas lied, and those who signed both are found."""

import pytest
from msgspec.structs import replace

from dataplane.consensus.history import KEPT_MAX
from dataplane.consensus.messages import (
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Committed,
    CommittedEntry,
    Status,
    digest_of,
)
from dataplane.simulation.scenarios.crafting import batch_of, checkpoint
from dataplane.simulation.scenarios.lab import LIMITS, Lab

OTHER = b"\2" * 32


def lab_at(last: int) -> Lab:
    lab = Lab(4)
    lab.order(*range(1, last + 1))
    return lab


def accused(lab: Lab, i: int) -> set[tuple[int, str, int]]:
    found = [evidence.proof for evidence in lab.bench[i].evidence]
    return {(proof.replica, proof.kind, proof.sequence) for proof in found}


def other_entry(lab: Lab, sequence: int, *, view: int = 0, signers=(0, 1, 3)) -> CommittedEntry:
    """Another batch for a sequence, with a certificate of its own."""
    data = batch_of(lab, lab.request(1, 999))
    digest = digest_of(data)
    votes = tuple((i, lab.vote(Commit, i, sequence, digest, view=view).sig) for i in signers)
    return CommittedEntry(data, CommitCertificate(0, view, sequence, digest, votes))


def status(replica: int, executed: int, head: bytes = OTHER) -> Status:
    return Status(0, 0, 0, executed, replica, is_active=True, head=head)


@pytest.mark.parametrize("sequence", [8, 20])
def test_another_certificate_of_a_stable_checkpoint_accuses_who_signed_both(sequence):
    lab = lab_at(20)
    assert lab.bench[3].replica.stable == 20
    forged = checkpoint(sequence, OTHER, (0, 1, 2))
    assert not lab.bench[3].replica.is_surplus(forged)
    lab.give(3, forged, sender=0)
    # A quorum that signed the stable root shares at least two with this one.
    assert len(accused(lab, 3)) >= 2
    assert accused(lab, 3) <= {(i, "checkpoint", sequence) for i in (0, 1, 2)}
    assert lab.bench[3].alarms.count("forked") == 1


def test_a_vote_for_another_root_of_an_older_checkpoint_accuses_its_replica():
    lab = lab_at(20)
    (vote,) = [
        vote
        for vote in lab.bench[0].said
        if getattr(vote, "root", None) and vote.sequence == 8 and hasattr(vote, "replica")
    ]
    false = checkpoint(8, OTHER, (0,)).votes[0][1]
    lab.give(3, replace(vote, root=OTHER, sig=false), sender=0)
    assert accused(lab, 3) == {(0, "checkpoint", 8)}


def test_what_proves_nothing_new_is_not_verified():
    lab = lab_at(4 * (KEPT_MAX + 2))
    replica, stable = lab.bench[3].replica, lab.state(3).stable_certificate
    assert stable is not None
    assert replica.is_surplus(stable)
    assert replica.is_surplus(replace(stable, votes=()))
    # Of what is long past nothing is known any more that it could contradict.
    assert replica.is_surplus(replace(stable, sequence=4, root=OTHER))
    assert not replica.is_surplus(replace(stable, root=OTHER))
    assert not replica.is_surplus(replace(stable, sequence=stable.sequence + 4))


def test_another_decision_below_the_stable_checkpoint_accuses_who_committed_both():
    lab = lab_at(6)
    assert lab.bench[2].replica.stable == 4
    for _ in range(2):
        lab.give(2, Committed((other_entry(lab, 2),)), sender=1)
    assert len(accused(lab, 2)) >= 2
    assert accused(lab, 2) <= {(i, "commit", 2) for i in (0, 1, 3)}
    assert lab.bench[2].alarms.count("forked") == 1, "once for each sequence"


def test_decisions_of_two_views_are_told_of_though_nobody_contradicts_itself():
    lab = lab_at(6)
    lab.give(2, Committed((other_entry(lab, 2, view=1),)), sender=1)
    assert not accused(lab, 2)
    assert lab.bench[2].alarms.count("forked") == 1


def test_who_executed_another_batch_is_shown_this_one_now_and_then():
    lab = lab_at(6)
    lab.bench[0].said.clear()
    for _ in range(10):
        lab.give(0, status(2, 5))
    shown = [[e.certificate.sequence for e in m.entries] for m in lab.bench[0].votes(Committed)]
    assert shown == [[5]]
    assert len(lab.bench[0].votes(CheckpointCertificate)) >= 1
    lab.now_ms += 10 * LIMITS.status_ms
    lab.give(0, status(2, 5))
    assert len(lab.bench[0].votes(Committed)) == 2


@pytest.mark.parametrize("executed", [5, 7])
def test_who_executed_the_same_or_more_is_shown_nothing(executed):
    lab = lab_at(6)
    lab.bench[0].said.clear()
    own = lab.state(1).archive.get(5)
    assert own is not None
    lab.give(0, status(2, executed, own.certificate.digest if executed == 5 else OTHER))
    lab.give(0, status(2, 5, b""))
    assert not lab.bench[0].votes(Committed)


def test_a_position_names_the_last_batch():
    lab = lab_at(3)
    lab.tick(0, after_ms=LIMITS.status_ms)
    head = lab.state(0).archive.get(3)
    assert head is not None
    assert lab.bench[0].votes(Status)[-1].head == head.certificate.digest
    assert not lab.give(1, status(0, 3, b"short"))
