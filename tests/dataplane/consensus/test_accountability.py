"""A replica that contradicts itself is caught, also late; nobody honest ever is."""

import msgspec
import pytest

from dataplane.consensus.evidence import PROOFS_PER_MESSAGE_MAX, EvidenceBook, proof_from
from dataplane.consensus.messages import (
    Accusation,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Committed,
    CommittedEntry,
    EquivocationProof,
    NewView,
    Prepare,
    PrePrepare,
    Proposed,
    TimeoutCertificate,
    ViewChange,
    checkpoint_payload,
    digest_of,
    encode_batch,
    new_view_payload,
    suspect_payload,
    view_change_payload,
)
from dataplane.simulation.scenarios.lab import CLUSTER_ID, Lab
from dataplane.simulation.signatures import signer_of

MADE_UP, OTHER = b"\1" * 32, b"\2" * 32


def checkpoint(replica: int, sequence: int, root: bytes) -> Checkpoint:
    payload = checkpoint_payload(CLUSTER_ID, epoch=0, sequence=sequence, root=root)
    return Checkpoint(0, sequence, root, replica, signer_of("vote", replica).sign(payload))


def proof_of(lab: Lab, kind=Commit, replica: int = 3, sequence: int = 1) -> EquivocationProof:
    if kind is Checkpoint:
        pair = checkpoint(replica, sequence, MADE_UP), checkpoint(replica, sequence, OTHER)
    else:
        pair = tuple(lab.vote(kind, replica, sequence, digest) for digest in (MADE_UP, OTHER))
    proof = proof_from(*pair)
    assert proof is not None
    return proof


def accused(lab: Lab, i: int) -> list[tuple[int, str, int]]:
    found = [evidence.proof for evidence in lab.bench[i].evidence]
    return [(proof.replica, proof.kind, proof.sequence) for proof in found]


def decided(lab: Lab) -> bytes:
    """Decide sequence 1 without replica 3; return its digest."""
    lab.drop = lambda source, target, message: 3 in (source, target)
    lab.order(1)
    (proposal,) = lab.bench[0].votes(PrePrepare)
    assert isinstance(proposal, PrePrepare)
    return proposal.digest


# --- Late contradictions --------------------------------------------------------------------------


def test_a_second_commit_is_evidence_also_when_the_first_value_is_decided():
    lab = Lab(4)
    digest = decided(lab)
    certificate_signer = 1
    lab.give(2, lab.vote(Commit, certificate_signer, 1, MADE_UP))
    assert accused(lab, 2) == [(1, "commit", 1)]
    assert lab.bench[2].executed, digest


def test_a_commit_for_the_decided_digest_after_another_one_is_not_surplus():
    lab = Lab(4)
    digest = decided(lab)
    lab.give(2, lab.vote(Commit, 3, 1, MADE_UP))
    late = lab.vote(Commit, 3, 1, digest)
    assert not lab.bench[2].replica.is_surplus(late)
    lab.give(2, late)
    assert accused(lab, 2) == [(3, "commit", 1)]


def test_an_equal_vote_of_a_truthful_replica_stays_surplus():
    lab = Lab(4)
    digest = decided(lab)
    assert lab.bench[2].replica.is_surplus(lab.vote(Commit, 1, 1, digest))
    assert lab.bench[2].replica.is_surplus(lab.vote(Commit, 3, 1, digest))


def test_a_prepare_that_contradicts_an_earlier_one_is_not_surplus_after_the_quorum():
    lab = Lab(4)
    lab.drop = lambda source, target, message: 3 in (source, target)
    lab.give(2, lab.vote(Prepare, 3, 1, MADE_UP))
    lab.order(1)
    (proposal,) = lab.bench[0].votes(PrePrepare)
    late = lab.vote(Prepare, 3, 1, proposal.digest)
    assert not lab.bench[2].replica.is_surplus(late)
    lab.give(2, late)
    assert accused(lab, 2) == [(3, "prepare", 1)]


def test_a_second_proposal_is_evidence_also_when_the_first_is_decided():
    lab = Lab(4)
    decided(lab)
    lab.give(2, lab.proposal(1, lab.request(0, 9)))
    assert accused(lab, 2) == [(0, "pre_prepare", 1)]


def test_two_proposals_that_came_too_early_are_evidence():
    lab = Lab(4)
    beyond = lab.limits.pipeline + 1
    for cseq in (1, 2):
        lab.give(2, lab.proposal(beyond, lab.request(0, cseq)))
    assert accused(lab, 2) == [(0, "pre_prepare", beyond)]


def test_a_commit_inside_a_peers_certificate_contradicts_the_one_that_came_here():
    lab = Lab(4)
    batch = encode_batch(msgspec.structs.replace(_batch(lab), ts_ms=lab.now_ms))
    digest = digest_of(batch)
    lab.give(2, lab.vote(Commit, 3, 1, MADE_UP))
    votes = tuple((r, lab.vote(Commit, r, 1, digest).sig) for r in (0, 1, 3))
    entry = CommittedEntry(batch, CommitCertificate(0, 0, 1, digest, votes))
    assert lab.give(2, Committed((entry,)), sender=1)
    assert accused(lab, 2) == [(3, "commit", 1)]
    assert len(lab.bench[2].executed) == 1


def _batch(lab: Lab):
    from dataplane.consensus.messages import decode_batch

    return decode_batch(lab.proposal(1, lab.request(0, 1)).batch)


def test_a_commit_of_another_view_is_no_contradiction():
    lab = Lab(4)
    decided(lab)
    lab.give(2, lab.vote(Commit, 1, 1, MADE_UP, view=1))
    assert accused(lab, 2) == []


# --- A primary that is careful --------------------------------------------------------------------


def test_a_primary_that_votes_only_where_it_told_the_story_is_caught_by_comparing():
    lab = Lab(4)
    first, second = (lab.proposal(1, lab.request(0, cseq)) for cseq in (1, 2))
    lab.drop = lambda source, target, message: 0 in (source, target)
    for to, proposal in ((1, first), (2, second), (3, second)):
        lab.give(to, proposal)
    lab.run()
    assert all(accused(lab, i) == [(0, "pre_prepare", 1)] for i in (1, 2, 3))


def test_a_vote_before_the_proposal_is_answered_once_the_proposal_is_here():
    lab = Lab(4)
    first, second = (lab.proposal(1, lab.request(0, cseq)) for cseq in (1, 2))
    lab.give(1, lab.vote(Prepare, 2, 1, second.digest))
    assert not lab.bench[1].votes(Proposed)
    lab.give(1, first)
    (shown,) = lab.bench[1].votes(Proposed)
    assert (shown.digest, shown.replica, shown.sig) == (first.digest, 0, first.sig)


def test_a_proposal_shown_must_be_signed_by_the_primary():
    lab = Lab(4)
    shown = lab.vote(Commit, 1, 1, MADE_UP)
    forged = Proposed(0, 0, 1, MADE_UP, 0, shown.sig)
    assert not lab.give(2, forged, sender=1)
    assert not lab.give(2, msgspec.structs.replace(forged, replica=1), sender=1)


# --- Checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(MADE_UP, OTHER), (OTHER, MADE_UP)])
def test_two_roots_of_one_replica_for_one_checkpoint_are_evidence(order):
    lab = Lab(4)
    for root in order:
        lab.give(1, checkpoint(3, lab.limits.checkpoint_interval, root))
    assert accused(lab, 1) == [(3, "checkpoint", lab.limits.checkpoint_interval)]
    assert lab.bench[1].evidence[0].proof.view == 0


def stable(lab: Lab) -> bytes:
    lab.order(*range(1, lab.limits.checkpoint_interval + 1))
    assert lab.bench[1].stable == [lab.limits.checkpoint_interval]
    return lab.bench[1].app.root()


@pytest.mark.parametrize("liar", [0, 2, 3])
def test_another_root_is_evidence_also_when_the_checkpoint_is_stable(liar):
    lab = Lab(4)
    stable(lab)
    lab.give(1, checkpoint(liar, lab.limits.checkpoint_interval, MADE_UP))
    assert accused(lab, 1) == [(liar, "checkpoint", lab.limits.checkpoint_interval)]


def test_another_root_is_evidence_also_after_a_restart():
    lab = Lab(4)
    stable(lab)
    lab.restart(1)
    signer = lab.bench[0].votes(CheckpointCertificate)[0].votes[0][0]
    lab.give(1, checkpoint(signer, lab.limits.checkpoint_interval, MADE_UP))
    assert accused(lab, 1) == [(signer, "checkpoint", lab.limits.checkpoint_interval)]


def test_a_root_inside_a_certificate_contradicts_the_one_that_came_here():
    lab = Lab(4)
    interval = lab.limits.checkpoint_interval
    lab.give(1, checkpoint(3, interval, MADE_UP))
    votes = tuple((r, checkpoint(r, interval, OTHER).sig) for r in (0, 2, 3))
    assert lab.give(1, CheckpointCertificate(0, interval, OTHER, votes), sender=2)
    assert accused(lab, 1) == [(3, "checkpoint", interval)]


# --- Views ----------------------------------------------------------------------------------------


def left(lab: Lab, replica: int, suspects: tuple[int, ...]) -> ViewChange:
    """A replica's ViewChange to view 1; who suspects view 0 makes it another one."""
    payload = suspect_payload(CLUSTER_ID, epoch=0, view=0)
    votes = tuple((r, signer_of("vote", r).sign(payload)) for r in suspects)
    change = ViewChange(0, 1, TimeoutCertificate(0, 0, votes), None, (), replica, b"")
    sig = signer_of("vote", replica).sign(view_change_payload(CLUSTER_ID, change))
    return msgspec.structs.replace(change, sig=sig)


def begun(lab: Lab, changes: list[ViewChange]) -> NewView:
    new_view = NewView(0, 1, tuple(changes), (), 1, b"")
    sig = signer_of("vote", 1).sign(new_view_payload(CLUSTER_ID, new_view))
    return msgspec.structs.replace(new_view, sig=sig)


def test_two_view_changes_of_one_replica_to_one_view_are_evidence():
    lab = Lab(4)
    first, second = left(lab, 3, (0, 2)), left(lab, 3, (0, 1))
    for change in (first, first, second):
        assert lab.give(1, change)
    assert accused(lab, 1) == [(3, "view_change", 0)]
    assert lab.bench[1].evidence[0].proof.view == 1


def test_a_view_change_that_contradicts_the_one_in_the_new_view_is_evidence():
    lab = Lab(4)
    assert lab.give(2, begun(lab, [left(lab, r, (0, 2)) for r in (0, 1, 3)]), sender=1)
    assert lab.give(2, left(lab, 3, (0, 2)))
    assert accused(lab, 2) == []
    assert lab.give(2, left(lab, 3, (0, 1)))
    assert accused(lab, 2) == [(3, "view_change", 0)]


def test_two_beginnings_of_one_view_are_evidence():
    lab = Lab(4)
    for changes in ([0, 1, 3], [0, 1, 2]):
        assert lab.give(3, begun(lab, [left(lab, r, (0, 2)) for r in changes]), sender=1)
    assert accused(lab, 3) == [(1, "new_view", 0)]


# --- Telling the others ---------------------------------------------------------------------------


def test_who_finds_evidence_tells_all_once_and_who_is_told_tells_nobody():
    lab = Lab(4)
    for digest in (MADE_UP, OTHER, b"\3" * 32):
        lab.give(1, lab.vote(Commit, 3, 1, digest))
    lab.run()
    assert len(lab.bench[1].votes(Accusation)) == 1
    for i in (0, 2):
        assert accused(lab, i) == [(3, "commit", 1)]
        assert lab.bench[i].evidence[0].told_by == 1
        assert not lab.bench[i].votes(Accusation)


@pytest.mark.parametrize("kind", [PrePrepare, Prepare, Commit, Checkpoint])
def test_an_accusation_is_believed_whoever_sends_it(kind):
    lab = Lab(4)
    claim = Proposed if kind is PrePrepare else kind
    if claim is Proposed:
        one, two = (lab.proposal(1, lab.request(0, cseq)) for cseq in (1, 2))
        proof = proof_from(one, two)
    else:
        proof = proof_of(lab, claim)
    for _ in range(2):
        assert lab.give(1, Accusation((proof,)), sender=2)
    assert len(lab.bench[1].evidence) == 1


def tampered(lab: Lab) -> dict[str, EquivocationProof]:
    proof = proof_of(lab)
    change = msgspec.structs.replace
    own = lab.vote(Commit, 2, 1, OTHER)
    return {
        "same digest": change(proof, second=proof.first),
        "other order": change(proof, first=proof.second, second=proof.first),
        "another replica": change(proof, replica=1),
        "a stranger": change(proof, replica=9),
        "another epoch": change(proof, epoch=1),
        "another view": change(proof, view=1),
        "another sequence": change(proof, sequence=2),
        "another kind": change(proof, kind="prepare"),
        "an unknown kind": change(proof, kind="suspect"),
        "a kind without a sequence": change(proof, kind="view_change"),
        "one bad signature": change(proof, second=change(proof.second, sig=own.sig)),
        "a short signature": change(proof, second=change(proof.second, sig=b"")),
        "a short digest": change(proof, first=change(proof.first, digest=b"\0")),
        "a huge number": change(proof, sequence=2**64 - 1),
        "a negative number": change(proof, view=-1),
    }


@pytest.mark.parametrize("what", sorted(tampered(Lab(4))))
def test_an_accusation_that_proves_nothing_is_refused_whole(what):
    lab = Lab(4)
    proofs = (proof_of(lab, Prepare, 2), tampered(lab)[what])
    assert not lab.give(1, Accusation(proofs), sender=2)
    assert accused(lab, 1) == []


def test_one_lie_about_a_checkpoint_has_one_proof():
    lab = Lab(4)
    proof = proof_of(lab, Checkpoint, 3, lab.limits.checkpoint_interval)
    assert lab.give(1, Accusation((proof,)), sender=2)
    again = msgspec.structs.replace(proof, view=7)
    assert not lab.give(1, Accusation((again,)), sender=2)


def test_an_accusation_holds_some_proofs_and_not_too_many():
    lab = Lab(4)
    many = tuple(proof_of(lab, Commit, 3, s) for s in range(1, PROOFS_PER_MESSAGE_MAX + 2))
    assert not lab.give(1, Accusation(()), sender=2)
    assert not lab.give(1, Accusation(many), sender=2)
    assert lab.give(1, Accusation(many[1:]), sender=2)
    assert len(lab.bench[1].evidence) == PROOFS_PER_MESSAGE_MAX


def test_a_book_knows_each_lie_once_and_gives_each_replica_its_share():
    lab, book = Lab(4), EvidenceBook(8, 4)
    taken = [book.note(proof_of(lab, Commit, 3, s)) for s in (1, 1, 2, 3)]
    assert taken == [True, False, True, False]
    assert book.note(proof_of(lab, Commit, 2, 1))
    assert len(book) == 3
    assert not book.wants(proof_of(lab, Commit, 3, 2))
    assert book.wants(proof_of(lab, Commit, 2, 2))


def test_an_accusation_that_tells_nothing_new_is_dropped_unverified():
    lab = Lab(4)
    known, news = (Accusation((proof_of(lab, Commit, 3, s),)) for s in (1, 2))
    assert not lab.bench[1].replica.is_surplus(known)
    assert lab.give(1, known, sender=2)
    assert lab.bench[1].replica.is_surplus(known)
    assert not lab.bench[1].replica.is_surplus(Accusation(known.proofs + news.proofs))


def test_messages_that_do_not_contradict_each_other_are_no_proof():
    lab = Lab(4)
    one = lab.vote(Commit, 3, 1, MADE_UP)
    for other in (
        one,
        lab.vote(Commit, 3, 2, OTHER),
        lab.vote(Commit, 3, 1, OTHER, view=1),
        lab.vote(Commit, 2, 1, OTHER),
        lab.vote(Prepare, 3, 1, OTHER),
    ):
        assert proof_from(one, other) is None
