"""What proves that a replica lied, and how anybody can check it without trusting anybody.

A proof holds two statements of one replica for the same kind, epoch, view and sequence with
different digests, both signed by it. An honest replica writes down what it says before it says it
and never says another thing, so no proof against it exists. Checking takes the cluster's id and
the replica's public key, nothing else.

A further kind of message becomes provable with one line in `KINDS`: it needs a signed payload that
is a function of (epoch, view, sequence, digest), the digest covering whatever else it says.
"""

from collections.abc import Callable
from typing import Final

from dataplane.consensus.config import Verifier
from dataplane.consensus.messages import (
    DIGEST_BYTES,
    Checkpoint,
    Commit,
    EquivocationProof,
    NewView,
    Prepare,
    PrePrepare,
    Proposed,
    Statement,
    ViewChange,
    checkpoint_payload,
    new_view_digest,
    view_change_digest,
    view_payload,
    vote_payload,
)

PROOFS_PER_MESSAGE_MAX: Final = 16
NUMBER_LIMIT: Final = 2**63
SIGNATURE_BYTES: Final = 64

type Claim = PrePrepare | Proposed | Prepare | Commit | Checkpoint | ViewChange | NewView
type ProofKey = tuple[str, int, int, int, int]
type PayloadOf = Callable[[bytes, EquivocationProof, bytes], bytes]


def _vote(tag: bytes) -> PayloadOf:
    def payload(cluster_id: bytes, proof: EquivocationProof, digest: bytes) -> bytes:
        return vote_payload(
            tag,
            cluster_id,
            epoch=proof.epoch,
            view=proof.view,
            sequence=proof.sequence,
            digest=digest,
        )

    return payload


def _checkpoint(cluster_id: bytes, proof: EquivocationProof, digest: bytes) -> bytes:
    return checkpoint_payload(cluster_id, epoch=proof.epoch, sequence=proof.sequence, root=digest)


def _view(tag: bytes) -> PayloadOf:
    def payload(cluster_id: bytes, proof: EquivocationProof, digest: bytes) -> bytes:
        return view_payload(
            tag,
            cluster_id,
            epoch=proof.epoch,
            view=proof.view,
            replica=proof.replica,
            digest=digest,
        )

    return payload


KINDS: Final[dict[str, PayloadOf]] = {
    "pre_prepare": _vote(b"PP"),
    "prepare": _vote(b"P"),
    "commit": _vote(b"C"),
    "checkpoint": _checkpoint,
    "view_change": _view(b"VC"),
    "new_view": _view(b"NV"),
}
"""kind -> what its replica signed."""

VIEWLESS: Final = frozenset({"checkpoint"})
"""Kinds whose signature does not cover the view: theirs is 0, or one lie would have many proofs."""

SEQUENCELESS: Final = frozenset({"view_change", "new_view"})
"""Kinds whose signature does not cover a sequence: theirs is 0."""

_KIND_OF: Final[dict[type[Claim], str]] = {
    PrePrepare: "pre_prepare",
    Proposed: "pre_prepare",
    Prepare: "prepare",
    Commit: "commit",
    Checkpoint: "checkpoint",
    ViewChange: "view_change",
    NewView: "new_view",
}


def _statement(claim: Claim) -> Statement:
    match claim:
        case Checkpoint():
            return Statement(claim.root, claim.sig)
        case ViewChange():
            return Statement(view_change_digest(claim), claim.sig)
        case NewView():
            return Statement(new_view_digest(claim), claim.sig)
        case _:
            return Statement(claim.digest, claim.sig)


def _place(claim: Claim) -> ProofKey:
    view = 0 if isinstance(claim, Checkpoint) else claim.view
    sequence = 0 if isinstance(claim, ViewChange | NewView) else claim.sequence
    return (_KIND_OF[type(claim)], claim.replica, claim.epoch, view, sequence)


def proof_from(first: Claim, second: Claim) -> EquivocationProof | None:
    """Return the proof in two verified messages, None when they do not contradict each other."""
    if _place(first) != _place(second) or first.sig == second.sig:
        return None
    one, other = _statement(first), _statement(second)
    if one.digest == other.digest:
        return None
    if one.digest > other.digest:
        one, other = other, one
    kind, replica, epoch, view, sequence = _place(first)
    return EquivocationProof(kind, epoch, view, sequence, replica, one, other)


def _shape_fault(proof: EquivocationProof) -> str | None:
    numbers = (proof.epoch, proof.view, proof.sequence, proof.replica)
    statements = (proof.first, proof.second)
    if proof.kind not in KINDS:
        return "unknown_kind"
    if (
        not all(0 <= number < NUMBER_LIMIT for number in numbers)
        or (proof.kind in SEQUENCELESS) != (proof.sequence == 0)
        or (proof.kind in VIEWLESS and proof.view != 0)
    ):
        return "out_of_range"
    if any(
        len(said.digest) != DIGEST_BYTES or len(said.sig) != SIGNATURE_BYTES for said in statements
    ):
        return "malformed"
    if proof.first.digest == proof.second.digest:
        return "same_statement"
    return None if proof.first.digest < proof.second.digest else "wrong_order"


def proof_fault(
    proof: EquivocationProof, cluster_id: bytes, public_key: bytes | None, verifier: Verifier
) -> str | None:
    """Return the code of what is wrong with a proof, None when it proves what it says.

    `public_key` is the accused replica's key in the proof's epoch, None for a stranger.
    """
    fault = _shape_fault(proof)
    if fault is not None:
        return fault
    if public_key is None:
        return "unknown_signer"
    payload_of = KINDS[proof.kind]
    for said in (proof.first, proof.second):
        if not verifier.verify(public_key, payload_of(cluster_id, proof, said.digest), said.sig):
            return "bad_signature"
    return None


class EvidenceBook:
    """Which lies are known: one proof of each, and of each replica no more than its share.

    A liar can sign as many contradictions as it likes; they must not push out those of another.
    """

    def __init__(self, count_max: int, replica_count: int) -> None:
        self._count_max = count_max
        self._per_replica_max = max(1, count_max // replica_count)
        self._known: dict[int, set[ProofKey]] = {}

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._known.values())

    def wants(self, proof: EquivocationProof) -> bool:
        """Whether a proof would be news and has room."""
        keys = self._known.get(proof.replica, set())
        has_room = len(keys) < self._per_replica_max and len(self) < self._count_max
        return has_room and proof.key not in keys

    def knows(self, proof: EquivocationProof) -> bool:
        """Whether a proof of the same lie was noted."""
        return proof.key in self._known.get(proof.replica, ())

    def note(self, proof: EquivocationProof) -> bool:
        """Note a proof; return whether it is news and there was room."""
        if not self.wants(proof):
            return False
        self._known.setdefault(proof.replica, set()).add(proof.key)
        return True
