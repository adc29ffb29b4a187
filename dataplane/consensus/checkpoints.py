"""Checkpoints: proof of the state, and the moving of the watermarks (OSDI'99, section 4.3)."""

from dataplane.consensus.messages import (
    Checkpoint,
    CheckpointCertificate,
    checkpoint_payload,
)
from dataplane.consensus.outcome import Stable
from dataplane.consensus.records import Checkpointed, MadeStable, Recovered
from dataplane.consensus.state import ReplicaState


class Checkpoints:
    """Collects signed roots; a quorum of equal ones makes a checkpoint stable."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._own: dict[int, Checkpoint] = {}
        self._votes: dict[int, dict[int, Checkpoint]] = {}
        self._certified: CheckpointCertificate | None = None
        self._sent_at_ms = 0

    def on_root(self, sequence: int, root: bytes, now_ms: int) -> None:
        """Sign the root that this replica's state has after `sequence`."""
        state = self._state
        known = self._own.get(sequence)
        if known is not None:
            assert known.root == root, "one root per checkpoint, also after a restart"
            return
        certified = self._certified.sequence if self._certified else state.stable
        if sequence < certified or not state.in_reach(sequence):
            # A laggard executes what the others proved long ago: its root helps nobody, and votes
            # that never become stable would pile up. Its peers send it the proof.
            state.mark("late_root_withheld")
            return
        payload = checkpoint_payload(
            state.config.cluster_id, epoch=state.config.epoch, sequence=sequence, root=root
        )
        vote = Checkpoint(
            state.config.epoch,
            sequence,
            root,
            state.config.replica_id,
            state.signer.sign(payload),
        )
        self._own[sequence] = vote
        self._sent_at_ms = now_ms
        barrier = state.persist(sequence, Checkpointed(vote), then=lambda _now: self._count(vote))
        state.broadcast(vote, barrier)
        if self._certified is not None and self._certified.sequence == sequence:
            self._compare(self._certified)

    def on_checkpoint(self, vote: Checkpoint) -> None:
        """Count a replica's checkpoint; a sender that lags gets the proof of the stable one."""
        state = self._state
        if vote.sequence <= state.stable:
            if state.stable_certificate is not None:
                state.mark("vote_below_watermark_answered")
                state.send(vote.replica, state.stable_certificate)
            return
        limits = state.config.limits
        if vote.sequence % limits.checkpoint_interval or not state.in_reach(vote.sequence):
            return
        self._count(vote)

    def _count(self, vote: Checkpoint) -> None:
        state = self._state
        if vote.sequence <= state.stable:
            return
        votes = self._votes.setdefault(vote.sequence, {})
        votes.setdefault(vote.replica, vote)
        equal = [votes[r] for r in sorted(votes) if votes[r].root == vote.root]
        if len(equal) < state.config.quorum:
            return
        certificate = CheckpointCertificate(
            vote.epoch,
            vote.sequence,
            vote.root,
            tuple((checkpoint.replica, checkpoint.sig) for checkpoint in equal),
        )
        state.broadcast(certificate)
        self.on_certificate(certificate)

    def on_certificate(self, certificate: CheckpointCertificate) -> None:
        """Take a verified certificate; the watermark moves once this replica executed so far."""
        newest = self._certified.sequence if self._certified else self._state.stable
        if certificate.sequence <= newest:
            return
        self._certified = certificate
        self.advance()

    def advance(self) -> None:
        """Make the newest certified checkpoint stable when it is executed here."""
        certificate = self._certified
        if certificate is None:
            return
        if certificate.sequence > self._state.executed:
            self._state.mark("certificate_before_execution")
            return
        if certificate.sequence in self._own and not self._compare(certificate):
            return
        self._certified = None
        self._make_stable(certificate)

    def _compare(self, certificate: CheckpointCertificate) -> bool:
        own = self._own[certificate.sequence]
        if own.root == certificate.root:
            return True
        self._state.diverged = True
        self._state.alarm(
            "diverged", f"own root at {certificate.sequence} differs from the certified one"
        )
        return False

    def _make_stable(self, certificate: CheckpointCertificate) -> None:
        state = self._state
        assert certificate.sequence > state.stable
        state.stable = certificate.sequence
        state.stable_certificate = certificate
        for book in (self._own, self._votes):
            for sequence in [s for s in book if s <= certificate.sequence]:
                del book[sequence]
        state.keep_view_record()
        # The log may shrink only once the reason is in it.
        state.note(
            certificate.sequence,
            MadeStable(certificate),
            then=lambda _now: state.emit(Stable(certificate)),
        )

    def retransmit(self, now_ms: int) -> None:
        """Send the newest own checkpoint again while it is not stable."""
        state = self._state
        if self._own and now_ms - self._sent_at_ms >= state.config.limits.retransmit_ms:
            self._sent_at_ms = now_ms
            state.broadcast(self._own[max(self._own)], state.urgent_barrier)

    @property
    def unfinished(self) -> bool:
        """Whether an own checkpoint waits for its quorum."""
        return bool(self._own)

    @property
    def vote_book_count(self) -> int:
        """For how many checkpoints votes are kept."""
        return len(self._votes)

    def resume(self, recovered: Recovered, now_ms: int) -> None:
        """Count the own votes that were on disk; vote for the state's own checkpoint if it is lost.

        With one replica nobody else's vote would ever make its own count.
        """
        for sequence in sorted(self._own):
            if sequence in self._own:
                self._count(self._own[sequence])
        at_checkpoint = recovered.applied % self._state.config.limits.checkpoint_interval == 0
        if recovered.root is not None and at_checkpoint:
            self.on_root(recovered.applied, recovered.root, now_ms)

    def restore(self, recovered: Recovered) -> None:
        """Rebuild own checkpoint votes from the log."""
        if recovered.stable is not None:
            self._state.stable = recovered.stable.sequence
            self._state.stable_certificate = recovered.stable
        for sequence in sorted(recovered.checkpoints):
            vote = recovered.checkpoints[sequence]
            if sequence > self._state.stable:
                self._own[sequence] = vote
                self._votes[sequence] = {vote.replica: vote}
