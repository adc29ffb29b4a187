"""Certificates: signatures of distinct members under one payload."""

from dataplane.consensus.config import ReplicaConfig, Verifier
from dataplane.consensus.messages import (
    CheckpointCertificate,
    CommitCertificate,
    checkpoint_payload,
    vote_payload,
)


def verify_signers(
    votes: tuple[tuple[int, bytes], ...],
    payload: bytes,
    config: ReplicaConfig,
    verifier: Verifier,
    *,
    least: int,
) -> bool:
    """Return whether at least `least` distinct members, and nobody else, signed the payload."""
    signers = {replica for replica, _ in votes}
    if len(signers) != len(votes) or not least <= len(votes) <= config.n:
        return False
    for replica, signature in votes:
        key = config.public_key(replica)
        if key is None or not verifier.verify(key, payload, signature):
            return False
    return True


def verify_commit_certificate(
    certificate: CommitCertificate, config: ReplicaConfig, verifier: Verifier
) -> bool:
    """Return whether a quorum of distinct members signed Commit for the digest."""
    if certificate.epoch != config.epoch or certificate.sequence < 1 or certificate.view < 0:
        return False
    payload = vote_payload(
        b"C",
        config.cluster_id,
        epoch=certificate.epoch,
        view=certificate.view,
        sequence=certificate.sequence,
        digest=certificate.digest,
    )
    return verify_signers(certificate.votes, payload, config, verifier, least=config.quorum)


def verify_checkpoint_certificate(
    certificate: CheckpointCertificate, config: ReplicaConfig, verifier: Verifier
) -> bool:
    """Return whether a quorum of distinct members signed the checkpoint."""
    if certificate.epoch != config.epoch or certificate.sequence < 1:
        return False
    payload = checkpoint_payload(
        config.cluster_id,
        epoch=certificate.epoch,
        sequence=certificate.sequence,
        root=certificate.root,
    )
    return verify_signers(certificate.votes, payload, config, verifier, least=config.quorum)
