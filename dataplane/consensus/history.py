"""What replicas signed of checkpoints that are stable: who says another thing later is noticed."""

from typing import Final

from dataplane.consensus.accountability import checkpoints_in
from dataplane.consensus.messages import Checkpoint, CheckpointCertificate
from dataplane.consensus.state import ReplicaState

KEPT_MAX: Final = 8


class CheckpointHistory:
    """The roots of the last stable checkpoints and who signed them, a bounded number."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._roots: dict[int, bytes] = {}
        self._votes: dict[int, dict[int, Checkpoint]] = {}

    def keep(self, certificate: CheckpointCertificate, votes: dict[int, Checkpoint]) -> None:
        """Keep a stable checkpoint, with the other votes for it that are known."""
        signed = {vote.replica: vote for vote in checkpoints_in(certificate)}
        self._roots[certificate.sequence] = certificate.root
        self._votes[certificate.sequence] = signed | votes
        while len(self._roots) > KEPT_MAX:
            oldest = min(self._roots)
            del self._roots[oldest], self._votes[oldest]

    def contradicts(self, certificate: CheckpointCertificate) -> bool:
        """Whether a certificate is of another root than the stable one: worth verifying."""
        return self._roots.get(certificate.sequence, certificate.root) != certificate.root

    def on_vote(self, vote: Checkpoint) -> None:
        """Compare a verified vote with what its replica said before."""
        votes = self._votes.get(vote.sequence)
        if votes is not None:
            self._state.accuse(votes.setdefault(vote.replica, vote), vote)

    def on_certificate(self, certificate: CheckpointCertificate) -> None:
        """Compare a verified certificate with the stable checkpoint."""
        if self.contradicts(certificate):
            self._state.forked(certificate.sequence)
        votes = self._votes.get(certificate.sequence, {})
        for vote in checkpoints_in(certificate):
            self._state.accuse(votes.get(vote.replica, vote), vote)
