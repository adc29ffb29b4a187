"""Checkpoints: proof of the state, and the moving of the watermarks (OSDI'99, section 4.3)."""

from dataplane.consensus.accountability import checkpoints_in
from dataplane.consensus.history import CheckpointHistory
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
        self._roots: dict[int, bytes] = {}
        self._history = CheckpointHistory(state)
        self._sent_at_ms = 0

    @property
    def certified(self) -> CheckpointCertificate | None:
        """The newest certificate that is not the stable checkpoint's yet."""
        return self._certified

    def on_root(self, sequence: int, root: bytes, now_ms: int) -> None:
        """Sign the root that this replica's state has after `sequence`."""
        state = self._state
        self._remember(sequence, root)
        if self._certified is not None and self._certified.sequence == sequence:
            self._compare(self._certified)
        known = self._own.get(sequence)
        if known is not None:
            if known.root != root:
                # It signed a root of a state that was found wrong since, or is wrong now. It never
                # signs another for the same checkpoint; the others' certificate tells which.
                state.alarm("root_changed", f"own root at {sequence} is not the one it signed")
            return
        if state.is_mute:
            return
        if not self._is_wanted(sequence):
            # A laggard executes what the others proved long ago: its root helps nobody, and votes
            # that never become stable would pile up. Its peers send it the proof.
            state.mark("late_root_withheld")
            return
        self._sent_at_ms = now_ms
        self._sign(sequence, root)

    def _is_wanted(self, sequence: int) -> bool:
        state = self._state
        certified = self._certified.sequence if self._certified else state.stable
        is_near = state.in_reach(sequence) or 0 < sequence == state.config.base
        return sequence >= certified and is_near

    def _sign_withheld(self) -> None:
        """Sign roots that were out of reach while this replica lagged: they may be wanted now."""
        for sequence in sorted(self._roots):
            is_new = sequence > self._state.proven and sequence not in self._own
            if is_new and self._is_wanted(sequence) and not self._state.is_mute:
                self._state.mark("withheld_root_signed")
                self._sign(sequence, self._roots[sequence])

    def _sign(self, sequence: int, root: bytes) -> None:
        state = self._state
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
        barrier = state.persist(sequence, Checkpointed(vote), then=lambda _now: self._count(vote))
        state.broadcast(vote, barrier)

    def _remember(self, sequence: int, root: bytes) -> None:
        limits = self._state.config.limits
        self._roots[sequence] = root
        while len(self._roots) > 2 * limits.window // limits.checkpoint_interval + 1:
            del self._roots[min(self._roots)]

    def on_checkpoint(self, vote: Checkpoint) -> None:
        """Count a replica's checkpoint; a sender that lags gets the proof of the stable one."""
        state = self._state
        if vote.sequence <= state.proven:
            self._history.on_vote(vote)
            if state.stable_certificate is not None:
                state.mark("vote_below_watermark_answered")
                state.send(vote.replica, state.stable_certificate)
            return
        interval = state.config.limits.checkpoint_interval
        is_ahead = vote.sequence % interval == 0 and state.in_reach(vote.sequence)
        if is_ahead or vote.sequence == state.config.base:
            self._count(vote)

    def _count(self, vote: Checkpoint) -> None:
        state = self._state
        if vote.sequence <= state.proven:
            return
        votes = self._votes.setdefault(vote.sequence, {})
        state.accuse(votes.setdefault(vote.replica, vote), vote)
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
        self._history.on_certificate(certificate)
        self._compare_votes(certificate)
        newest = self._certified.sequence if self._certified else self._state.proven
        if certificate.sequence <= newest:
            return
        self._certified = certificate
        self.advance()

    def is_surplus(self, certificate: CheckpointCertificate) -> bool:
        """Whether a certificate need not be verified: what it proves is stable here already."""
        is_past = certificate.sequence <= self._state.proven
        return is_past and not self._history.contradicts(certificate)

    def _compare_votes(self, certificate: CheckpointCertificate) -> None:
        """Compare what replicas signed in a certificate with what they said here."""
        state = self._state
        book = self._votes.get(certificate.sequence, {})
        for vote in checkpoints_in(certificate):
            state.accuse(book.get(vote.replica, vote), vote)

    def advance(self) -> None:
        """Make the newest certified checkpoint stable when it is executed here."""
        certificate = self._certified
        if certificate is None:
            return
        if certificate.sequence > self._state.executed:
            self._state.mark("certificate_before_execution")
            return
        if self._state.copying or not self._compare(certificate):
            return
        self._certified = None
        self._make_stable(certificate)

    def _compare(self, certificate: CheckpointCertificate) -> bool:
        root = self._roots.get(certificate.sequence)
        if root is None or root == certificate.root:
            return True
        if not self._state.diverged:
            self._state.diverged = True
            self._state.alarm(
                "diverged", f"own root at {certificate.sequence} differs from the certified one"
            )
        return False

    def jumped(self, certificate: CheckpointCertificate) -> None:
        """The own state is now the certified one, whatever it was before."""
        self._roots = {certificate.sequence: certificate.root}
        if certificate.sequence > self._state.proven:
            self._make_stable(certificate)
        if self._certified is not None and self._certified.sequence <= self._state.stable:
            self._certified = None

    def _make_stable(self, certificate: CheckpointCertificate) -> None:
        state = self._state
        assert certificate.sequence > state.proven
        state.stable = certificate.sequence
        state.stable_certificate, state.past_certificate = certificate, None
        self._history.keep(certificate, self._votes.get(certificate.sequence, {}))
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
        self._sign_withheld()

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

        With one replica nobody else's vote would ever make its own count. The state that the epoch
        began with is signed like a checkpoint: who joins the epoch can copy it at once.
        """
        for sequence in sorted(self._own):
            if sequence in self._own:
                self._count(self._own[sequence])
        if recovered.base_root is not None:
            self.on_root(self._state.config.base, recovered.base_root, now_ms)
        at_checkpoint = recovered.applied % self._state.config.limits.checkpoint_interval == 0
        if recovered.root is not None and at_checkpoint:
            self.on_root(recovered.applied, recovered.root, now_ms)

    def restore(self, recovered: Recovered) -> None:
        """Rebuild own checkpoint votes from the log."""
        if recovered.stable is not None:
            self._state.stable = recovered.stable.sequence
            self._state.stable_certificate = recovered.stable
            self._history.keep(recovered.stable, {})
        else:
            self._state.past_certificate = recovered.past_stable
        for sequence in sorted(recovered.checkpoints):
            vote = recovered.checkpoints[sequence]
            if sequence > self._state.proven:
                self._own[sequence] = vote
                self._votes[sequence] = {vote.replica: vote}
                self._roots[sequence] = vote.root
