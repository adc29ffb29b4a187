"""Checks of the messages that change the view. One defect refuses the whole message."""

from dataplane.consensus.config import ReplicaConfig, Verifier
from dataplane.consensus.messages import (
    DIGEST_BYTES,
    NewView,
    PreparedProof,
    Suspect,
    TimeoutCertificate,
    ViewChange,
    new_view_payload,
    suspect_payload,
    view_change_payload,
    vote_payload,
)
from dataplane.consensus.new_view import select
from dataplane.consensus.signatures import verify_checkpoint_certificate, verify_signers


def verify_suspect(vote: Suspect, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether a member signed that it suspects the view's primary."""
    key = config.public_key(vote.replica)
    if key is None or vote.view < 0 or vote.epoch != config.epoch:
        return False
    payload = suspect_payload(config.cluster_id, epoch=vote.epoch, view=vote.view)
    return verifier.verify(key, payload, vote.sig)


def verify_timeout(
    certificate: TimeoutCertificate, config: ReplicaConfig, verifier: Verifier
) -> bool:
    """Return whether a blocking set of distinct members suspects the view."""
    if certificate.epoch != config.epoch or certificate.view < 0:
        return False
    payload = suspect_payload(config.cluster_id, epoch=certificate.epoch, view=certificate.view)
    return verify_signers(certificate.votes, payload, config, verifier, least=config.blocking)


def _verify_proof(proof: PreparedProof, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether the primary of its view and q-1 distinct backups signed for the digest."""
    if len(proof.digest) != DIGEST_BYTES:
        return False
    primary = config.primary(proof.view)
    key = config.public_key(primary)
    if key is None or any(replica == primary for replica, _ in proof.votes):
        return False

    def payload(kind: bytes) -> bytes:
        return vote_payload(
            kind,
            config.cluster_id,
            epoch=config.epoch,
            view=proof.view,
            sequence=proof.sequence,
            digest=proof.digest,
        )

    return verifier.verify(key, payload(b"PP"), proof.proposal_sig) and verify_signers(
        proof.votes, payload(b"P"), config, verifier, least=config.quorum - 1
    )


def verify_view_change(change: ViewChange, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether the message is signed and everything in it proves itself."""
    key = config.public_key(change.replica)
    if key is None or change.epoch != config.epoch or change.view < 1:
        return False
    if change.timeout.view != change.view - 1:
        return False
    checkpoint = change.checkpoint
    stable = config.base if checkpoint is None else checkpoint.sequence
    previous = stable
    for proof in change.prepared:
        in_window = previous < proof.sequence <= stable + config.limits.window
        if not in_window or not 0 <= proof.view < change.view:
            return False
        previous = proof.sequence
    payload = view_change_payload(config.cluster_id, change)
    return (
        verifier.verify(key, payload, change.sig)
        and verify_timeout(change.timeout, config, verifier)
        and (checkpoint is None or verify_checkpoint_certificate(checkpoint, config, verifier))
        and all(_verify_proof(proof, config, verifier) for proof in change.prepared)
    )


def verify_new_view(new_view: NewView, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether the view's primary signed it and its proposals follow from q ViewChanges."""
    if new_view.epoch != config.epoch or new_view.view < 1:
        return False
    primary = config.primary(new_view.view)
    key = config.public_key(primary)
    replicas = [change.replica for change in new_view.changes]
    if key is None or new_view.replica != primary or replicas != sorted(set(replicas)):
        return False
    if len(replicas) != config.quorum:
        return False
    if any(change.view != new_view.view for change in new_view.changes):
        return False
    if not verifier.verify(key, new_view_payload(config.cluster_id, new_view), new_view.sig):
        return False
    return all(
        verify_view_change(change, config, verifier) for change in new_view.changes
    ) and _verify_carried(new_view, key, config, verifier)


def _verify_carried(
    new_view: NewView, key: bytes, config: ReplicaConfig, verifier: Verifier
) -> bool:
    selection = select(new_view.changes, config.base)
    if selection is None or len(selection.digests) != len(new_view.proposals):
        return False
    first = selection.checkpoint_sequence + 1
    for offset, carried in enumerate(new_view.proposals):
        if (carried.sequence, carried.digest) != (first + offset, selection.digests[offset]):
            return False
        payload = vote_payload(
            b"PP",
            config.cluster_id,
            epoch=config.epoch,
            view=new_view.view,
            sequence=carried.sequence,
            digest=carried.digest,
        )
        if not verifier.verify(key, payload, carried.sig):
            return False
    return True
