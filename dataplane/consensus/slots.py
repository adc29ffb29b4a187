"""One sequence number's progress through the three phases."""

from dataclasses import dataclass, field

from dataplane.consensus.messages import Batch, Commit, CommitCertificate, Prepare, PrePrepare


@dataclass(slots=True)
class Slot:
    """What a replica holds for one sequence number in its view.

    The first vote of a replica counts; a second one with another digest is evidence. Own votes are
    added only once they are on disk.
    """

    sequence: int
    pre_prepare: PrePrepare | None = None
    batch: Batch | None = None
    own_prepare: Prepare | None = None
    own_commit: Commit | None = None
    proposal_durable: bool = False
    """The own record of the proposal is on disk (on the primary: its vote counts)."""
    prepares: dict[int, Prepare] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    certificate: CommitCertificate | None = None
    sent_at_ms: int = 0

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
            if replica != primary and vote.digest == proposal.digest
        )
        primary_counts = primary != self_id or self.proposal_durable
        return votes + (1 if primary_counts else 0)

    def commit_votes(self, view: int, digest: bytes) -> list[Commit]:
        """Return the distinct replicas' Commits for (view, digest), by replica id."""
        return [
            self.commits[replica]
            for replica in sorted(self.commits)
            if self.commits[replica].digest == digest and self.commits[replica].view == view
        ]
