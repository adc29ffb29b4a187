"""One sequence number's progress through the three phases."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dataplane.consensus.config import MemberKeys
from dataplane.consensus.messages import (
    Commit,
    CommitCertificate,
    Prepare,
    PreparedProof,
    PrePrepare,
)

BODIES_MAX = 8
"""Batches kept of one slot: one for each view that proposed another."""


@dataclass(slots=True)
class Slot:
    """What a replica holds for one sequence number.

    The proposal and the own votes are those of the current view. Of each other replica the vote of
    its newest view is kept; in one view the first counts, and a second one with another digest is
    evidence. Own votes are added only once they are on disk.
    """

    sequence: int
    pre_prepare: PrePrepare | None = None
    own_prepare: Prepare | None = None
    own_commit: Commit | None = None
    proposal_durable: bool = False
    """The own record of the proposal is on disk (on the primary: its vote counts)."""
    prepares: dict[int, Prepare] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    proof: PreparedProof | None = None
    """The prepared certificate of the highest view in which this replica prepared."""
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    """Batches by digest, of every proposal voted for here. Their records precede the votes."""
    certificate: CommitCertificate | None = None
    sent_at_ms: int = 0

    def leave_view(self) -> None:
        """Forget what belongs to the view that ends; the proof and the bodies go on."""
        self.pre_prepare = self.own_prepare = self.own_commit = None
        self.proposal_durable = False

    def keep_body(self, digest: bytes, batch: bytes) -> None:
        """Hold the batch of a proposal beside those of earlier views.

        A liar may be the only one with a prepared certificate of an old view. It shows that late
        and keeps the batch to itself; whoever voted for the batch then must still have it.
        """
        self.bodies.pop(digest, None)
        self.bodies[digest] = batch
        if len(self.bodies) > BODIES_MAX:
            proven = None if self.proof is None else self.proof.digest
            del self.bodies[next(d for d in self.bodies if d not in {proven, digest})]

    def keep_only(self, digest: bytes) -> None:
        """Drop the batches that no view can call for once this one is decided."""
        self.bodies = {d: body for d, body in self.bodies.items() if d == digest}

    def without_vote(self, proposal: PrePrepare, members: tuple[MemberKeys, ...]) -> Iterator[int]:
        """Yield the replicas that are not known to have the proposal."""
        for member in members:
            vote = self.prepares.get(member.replica_id)
            if vote is None or (vote.view, vote.digest) != (proposal.view, proposal.digest):
                yield member.replica_id

    def prepared_votes(self, primary: int, self_id: int) -> int:
        """Count {primary} and the distinct backups whose Prepare names the accepted digest.

        The primary's proposal is its vote; a Prepare of the primary is never counted besides.
        """
        proposal = self.pre_prepare
        if proposal is None:
            return 0
        votes = sum(
            1
            for replica, vote in self.prepares.items()
            if replica != primary and vote.view == proposal.view and vote.digest == proposal.digest
        )
        primary_counts = primary != self_id or self.proposal_durable
        return votes + (1 if primary_counts else 0)

    def prepares_for(self, proposal: PrePrepare) -> tuple[tuple[int, bytes], ...]:
        """Return the signatures of the Prepares for a proposal, by replica id."""
        return tuple(
            (replica, self.prepares[replica].sig)
            for replica in sorted(self.prepares)
            if self.prepares[replica].view == proposal.view
            and self.prepares[replica].digest == proposal.digest
        )

    def commit_votes(self, view: int, digest: bytes) -> list[Commit]:
        """Return the distinct replicas' Commits for (view, digest), by replica id."""
        return [
            self.commits[replica]
            for replica in sorted(self.commits)
            if self.commits[replica].digest == digest and self.commits[replica].view == view
        ]
