"""Finding replicas that contradict themselves, also after one of their stories has won.

Every function compares a verified message with what the same replica is known to have said. What
is held is held for the protocol anyway: votes of open slots, and the certificates of decided ones.
"""

from dataplane.consensus.messages import (
    Accusation,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Prepare,
    PrePrepare,
    Proposed,
)
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState


def on_accusation(state: ReplicaState, sender: int, message: Accusation) -> None:
    """Take proofs that were checked; what is news is reported, and told to nobody again."""
    for proof in message.proofs:
        state.believe(proof, told_by=sender)


def on_proposed(state: ReplicaState, message: Proposed) -> None:
    """Compare what a peer was proposed with what this replica was proposed."""
    slot = state.slots.get(message.sequence)
    if slot is not None and slot.pre_prepare is not None:
        state.accuse(slot.pre_prepare, message)


def show_proposal(state: ReplicaState, proposal: PrePrepare, vote: Prepare) -> None:
    """Show the proposal to a replica that voted for another one of the same slot.

    A primary that tells two stories and votes for each only where it told it contradicts itself in
    front of nobody; its backups must compare what they were told. If not the primary but the voter
    made the other digest up, it learns nothing new.
    """
    if vote.view != proposal.view or vote.digest == proposal.digest:
        return
    if vote.replica == proposal.replica:
        return
    state.send(
        vote.replica,
        Proposed(
            proposal.epoch,
            proposal.view,
            proposal.sequence,
            proposal.digest,
            proposal.replica,
            proposal.sig,
        ),
    )


def on_accepted(state: ReplicaState, slot: Slot) -> None:
    """Answer the votes that came before the proposal and name another one."""
    if slot.pre_prepare is not None:
        for replica in sorted(slot.prepares):
            show_proposal(state, slot.pre_prepare, slot.prepares[replica])


def _held_commit(state: ReplicaState, replica: int, sequence: int) -> Commit | None:
    """Return a replica's Commit for a sequence, from its slot or from the certificate."""
    slot = state.slots.get(sequence)
    if slot is not None and replica in slot.commits:
        return slot.commits[replica]
    entry = state.archive.get(sequence)
    if entry is None:
        return None
    signature = dict(entry.certificate.votes).get(replica)
    return None if signature is None else _commit_in(entry.certificate, replica, signature)


def _commit_in(certificate: CommitCertificate, replica: int, signature: bytes) -> Commit:
    return Commit(
        certificate.epoch,
        certificate.view,
        certificate.sequence,
        certificate.digest,
        replica,
        signature,
    )


def on_late_commit(state: ReplicaState, vote: Commit) -> None:
    """Compare a Commit that decides nothing any more with the one that is held, or hold it."""
    first = _held_commit(state, vote.replica, vote.sequence)
    if first is not None:
        state.accuse(first, vote)
        return
    slot = state.slots.get(vote.sequence)
    if slot is not None:
        slot.commits[vote.replica] = vote


def on_commit_certificate(state: ReplicaState, certificate: CommitCertificate) -> None:
    """Compare the votes inside a peer's certificate with those that came here."""
    entry = state.archive.get(certificate.sequence)
    if entry is not None and entry.certificate.digest != certificate.digest:
        state.forked(certificate.sequence)
    for replica, signature in certificate.votes:
        first = _held_commit(state, replica, certificate.sequence)
        if first is not None:
            state.accuse(first, _commit_in(certificate, replica, signature))


def contradicts(state: ReplicaState, vote: Prepare | Commit) -> bool:
    """Whether a replica said another thing before: then the vote is worth verifying."""
    if isinstance(vote, Commit):
        held: Prepare | Commit | None = _held_commit(state, vote.replica, vote.sequence)
    else:
        slot = state.slots.get(vote.sequence)
        held = None if slot is None else slot.prepares.get(vote.replica)
    return held is not None and held.view == vote.view and held.digest != vote.digest


def checkpoints_in(certificate: CheckpointCertificate) -> list[Checkpoint]:
    """Return the signed checkpoints that a certificate is made of."""
    return [
        Checkpoint(certificate.epoch, certificate.sequence, certificate.root, replica, signature)
        for replica, signature in certificate.votes
    ]


def is_surplus(state: ReplicaState, vote: Prepare | Commit) -> bool:
    """Whether a vote adds nothing: its digest has its quorum here already.

    Such a vote need not be verified. One with another digest, or of a replica that said another
    thing before, must be: it may be evidence.
    """
    if contradicts(state, vote):
        return False
    if isinstance(vote, Commit):
        entry = state.archive.get(vote.sequence)
        return entry is not None and entry.certificate.digest == vote.digest
    slot = state.slots.get(vote.sequence)
    own = None if slot is None else slot.own_commit
    return own is not None and (own.view, own.digest) == (vote.view, vote.digest)
