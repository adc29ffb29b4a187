"""What a new view carries over: computed by its primary, and again by everyone who accepts it.

Castro & Liskov, OSDI'99, section 4.4: the set O of the NEW-VIEW message.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dataplane.consensus.messages import (
    NULL_DIGEST,
    CheckpointCertificate,
    PreparedProof,
    ViewChange,
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What follows from a quorum of ViewChanges.

    Sequences above `checkpoint_sequence` and up to the last of `digests` are proposed again, in
    order and without gaps; what was prepared nowhere becomes the null batch.
    """

    base: int
    checkpoint: CheckpointCertificate | None
    digests: tuple[bytes, ...]
    holders: tuple[tuple[int, ...], ...]
    """Who voted for each digest and so holds its batch; none are needed for the null batch."""

    @property
    def checkpoint_sequence(self) -> int:
        """min-s: the newest stable checkpoint of the quorum, or where the epoch began."""
        return self.base if self.checkpoint is None else self.checkpoint.sequence

    @property
    def last(self) -> int:
        """max-s: the highest sequence that is carried, or the checkpoint's when none is."""
        return self.checkpoint_sequence + len(self.digests)


def select(changes: Sequence[ViewChange], base: int) -> Selection | None:
    """Return what a view carries over, None when two proofs of one view contradict each other.

    `base` is where the epoch began. Two prepared certificates of one view with different digests
    need more than f liars.
    """
    checkpoint: CheckpointCertificate | None = None
    for change in changes:
        known = base if checkpoint is None else checkpoint.sequence
        if change.checkpoint is not None and change.checkpoint.sequence > known:
            checkpoint = change.checkpoint
    first = 1 + (base if checkpoint is None else checkpoint.sequence)
    best: dict[int, PreparedProof] = {}
    for change in changes:
        for proof in change.prepared:
            known_proof = best.get(proof.sequence)
            if known_proof is None or proof.view > known_proof.view:
                best[proof.sequence] = proof
            elif proof.view == known_proof.view and proof.digest != known_proof.digest:
                return None
    last = max((sequence for sequence in best if sequence >= first), default=first - 1)
    chosen = [best.get(sequence) for sequence in range(first, last + 1)]
    return Selection(
        base,
        checkpoint,
        tuple(NULL_DIGEST if proof is None else proof.digest for proof in chosen),
        tuple(
            () if proof is None else tuple(replica for replica, _ in proof.votes)
            for proof in chosen
        ),
    )
