"""Checks of signatures and shapes, done before a message reaches the core.

The core trusts what it is given: whatever drives it calls `verify_message` first and drops (and
counts against the peer) what does not pass.
"""

from dataplane.consensus.config import ReplicaConfig, Verifier
from dataplane.consensus.evidence import PROOFS_PER_MESSAGE_MAX, proof_fault
from dataplane.consensus.messages import (
    DIGEST_BYTES,
    EXEC_VERSION,
    Accusation,
    AnyMessage,
    Batch,
    BatchBody,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Committed,
    EquivocationProof,
    FetchBatch,
    FetchCommitted,
    Forward,
    Heartbeat,
    NewView,
    Prepare,
    PrePrepare,
    Proposed,
    Replies,
    Request,
    Status,
    Suspect,
    TimeoutCertificate,
    ViewChange,
    checkpoint_payload,
    decode_batch,
    digest_of,
    request_payload,
    vote_payload,
)
from dataplane.consensus.signatures import (
    verify_checkpoint_certificate,
    verify_commit_certificate,
)
from dataplane.consensus.transfer_checks import check_transfer
from dataplane.consensus.view_verification import (
    verify_new_view,
    verify_suspect,
    verify_timeout,
    verify_view_change,
)
from dataplane.wire.errors import MalformedMessageError

OF_ONE_EPOCH = (
    PrePrepare,
    Prepare,
    Commit,
    Checkpoint,
    CheckpointCertificate,
    Heartbeat,
    Suspect,
    TimeoutCertificate,
    ViewChange,
    NewView,
    Proposed,
)
VOTE_KINDS = {PrePrepare: b"PP", Proposed: b"PP", Prepare: b"P", Commit: b"C"}


def verify_request(request: Request, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether a member's gateway signed the request and its shape is legal."""
    if config.gateway_of(request.client) is None:
        return False
    if len(request.session) != 8 or request.cseq < 0 or not 0 <= request.ack <= request.cseq:
        return False
    if not 1 <= len(request.ops) <= config.limits.batch_ops_max:
        return False
    # One request alone may be over the size of a batch (a document of 1 MiB and its envelope), but
    # never so long that backups would refuse the proposal that carries it.
    if sum(map(len, request.ops)) > config.limits.batch_bytes_max * 3 // 2:
        return False
    payload = request_payload(config.cluster_id, request)
    return verifier.verify(request.client, payload, request.sig)


def verify_vote(
    vote: PrePrepare | Proposed | Prepare | Commit, config: ReplicaConfig, verifier: Verifier
) -> bool:
    """Return whether a member signed the vote."""
    key = config.public_key(vote.replica)
    if key is None or len(vote.digest) != DIGEST_BYTES or vote.sequence < 1 or vote.view < 0:
        return False
    payload = vote_payload(
        VOTE_KINDS[type(vote)],
        config.cluster_id,
        epoch=vote.epoch,
        view=vote.view,
        sequence=vote.sequence,
        digest=vote.digest,
    )
    return verifier.verify(key, payload, vote.sig)


def verify_checkpoint(vote: Checkpoint, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether a member signed the checkpoint."""
    key = config.public_key(vote.replica)
    if key is None or len(vote.root) != DIGEST_BYTES or vote.sequence < 1:
        return False
    payload = checkpoint_payload(
        config.cluster_id, epoch=vote.epoch, sequence=vote.sequence, root=vote.root
    )
    return verifier.verify(key, payload, vote.sig)


def _parse_batch(data: bytes, config: ReplicaConfig) -> Batch | None:
    if len(data) > 2 * config.limits.batch_bytes_max + 4096:
        return None
    try:
        return decode_batch(data)
    except MalformedMessageError:
        return None


def _verify_proposal(message: PrePrepare, config: ReplicaConfig, verifier: Verifier) -> bool:
    if digest_of(message.batch) != message.digest or not verify_vote(message, config, verifier):
        return False
    batch = _parse_batch(message.batch, config)
    if batch is None or batch.exec_version != EXEC_VERSION or not 0 <= batch.ts_ms < 2**53:
        return False
    keys = {request.key for request in batch.requests}
    if len(keys) != len(batch.requests):
        return False
    return all(verify_request(request, config, verifier) for request in batch.requests)


def _verify_committed(message: Committed, config: ReplicaConfig, verifier: Verifier) -> bool:
    if len(message.entries) > config.limits.fetch_batches_max:
        return False
    return all(
        digest_of(entry.batch) == entry.certificate.digest
        and verify_commit_certificate(entry.certificate, config, verifier)
        and _parse_batch(entry.batch, config) is not None
        for entry in message.entries
    )


def is_of_another_epoch(message: AnyMessage, epoch: int) -> bool:
    """Whether a message says nothing here, and is no fault: members change their epoch in turn.

    A Status is heard whatever its epoch: whoever lags can be helped, whoever is ahead can help.
    """
    if isinstance(message, Accusation):
        return any(proof.epoch != epoch for proof in message.proofs)
    return isinstance(message, OF_ONE_EPOCH) and message.epoch != epoch


def _verify_head(message: Proposed, config: ReplicaConfig, verifier: Verifier) -> bool:
    is_primarys = message.replica == config.primary(message.view)
    return is_primarys and message.epoch == config.epoch and verify_vote(message, config, verifier)


def _proves(proof: EquivocationProof, config: ReplicaConfig, verifier: Verifier) -> bool:
    key = config.public_key(proof.replica) if proof.epoch == config.epoch else None
    return proof_fault(proof, config.cluster_id, key, verifier) is None


def verify_accusation(message: Accusation, config: ReplicaConfig, verifier: Verifier) -> bool:
    """Return whether every proof is of this epoch and proves what it says, whoever sends it."""
    if not 1 <= len(message.proofs) <= PROOFS_PER_MESSAGE_MAX:
        return False
    return all(_proves(proof, config, verifier) for proof in message.proofs)


def verify_message(  # noqa: C901, PLR0911, PLR0912 - one flat branch per message
    message: AnyMessage, sender: int, config: ReplicaConfig, verifier: Verifier
) -> bool:
    """Return whether the core may see the message. `sender` is the authenticated peer."""
    match message:
        case PrePrepare():
            return (
                # Any peer may pass a proposal on: the primary's signature is what counts.
                message.replica == config.primary(message.view)
                and message.epoch == config.epoch
                and _verify_proposal(message, config, verifier)
            )
        case Prepare() | Commit():
            return (
                message.replica == sender
                and message.epoch == config.epoch
                and verify_vote(message, config, verifier)
            )
        case Checkpoint():
            return (
                message.replica == sender
                and message.epoch == config.epoch
                and verify_checkpoint(message, config, verifier)
            )
        case CheckpointCertificate():
            return verify_checkpoint_certificate(message, config, verifier)
        case Forward():
            return len(message.requests) <= config.limits.pending_per_client_max and all(
                verify_request(request, config, verifier) for request in message.requests
            )
        case Replies():
            return all(reply.replica == sender for reply in message.replies)
        case Status():
            # A peer in another epoch lags or is ahead: either can be helped.
            return message.replica == sender and len(message.head) in (0, DIGEST_BYTES)
        case FetchCommitted():
            return 1 <= message.first <= message.last
        case Committed():
            return _verify_committed(message, config, verifier)
        case Heartbeat():
            return message.replica == sender and message.epoch == config.epoch
        case Suspect():
            return message.replica == sender and verify_suspect(message, config, verifier)
        case TimeoutCertificate():
            return verify_timeout(message, config, verifier)
        case ViewChange():
            return message.replica == sender and verify_view_change(message, config, verifier)
        case NewView():
            return verify_new_view(message, config, verifier)
        case FetchBatch():
            return message.sequence >= 1 and len(message.digest) == DIGEST_BYTES
        case BatchBody():
            return message.sequence >= 1 and _parse_batch(message.batch, config) is not None
        case Accusation():
            return verify_accusation(message, config, verifier)
        case Proposed():
            return _verify_head(message, config, verifier)
        case _:
            return check_transfer(message, config.limits)
