"""How a replica that lags learns decided batches, also when no client sends anything."""

from dataplane.consensus.messages import (
    BatchesGone,
    Committed,
    CommittedEntry,
    FetchCommitted,
    Status,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.state import ReplicaState

LEARNER_HASTE = 10
HEADS_MAX = 64
SHOWN_STATUSES = 5
"""One is shown that it executed another batch once in so many exchanges of positions."""


class CatchUp:
    """Exchanges positions every second; a laggard fetches batches with their certificates."""

    def __init__(self, state: ReplicaState, ordering: Ordering) -> None:
        self._state = state
        self._ordering = ordering
        self._status_sent_ms = 0
        self._asked_ms: dict[int, int] = {}
        self._answered_ms: dict[int, int] = {}
        """When each was last answered with the own position, the longest ago first."""
        self._shown_ms: dict[int, int] = {}
        """When each was last shown that it executed another batch."""
        self.positions: dict[int, Status] = {}
        """What each said last of where it is, also those that are no members."""
        self.peers: dict[int, Status] = {}

    @property
    def status_ms(self) -> int:
        """How often this replica tells its position: a learner asks the members that way."""
        if self._state.config.is_learner:
            return self._learner_status_ms
        return self._state.config.limits.status_ms

    @property
    def _learner_status_ms(self) -> int:
        return self._state.config.limits.status_ms // LEARNER_HASTE

    def on_tick(self, now_ms: int) -> None:
        """Tell the others where this replica stands, and go on asking."""
        self._fetch_next(now_ms)
        state = self._state
        if now_ms - self._status_sent_ms < self.status_ms:
            return
        self._status_sent_ms = now_ms
        state.broadcast(self._status())

    def _status(self) -> Status:
        state = self._state
        head = state.archive.get(state.executed)
        return Status(
            state.config.epoch,
            state.view,
            state.certified,
            state.executed,
            state.config.replica_id,
            state.active,
            b"" if head is None else head.certificate.digest,
        )

    def on_status(self, status: Status, now_ms: int) -> None:
        """Note the peer's position; fetch from it what is missing here."""
        state = self._state
        is_here = status.epoch == state.config.epoch
        certificate = state.certificate_of(status.epoch)
        if certificate is not None and status.stable < certificate.sequence:
            state.send(status.replica, certificate)
        self._compare_heads(status, now_ms)
        if status.executed < state.executed and status.executed + 1 not in state.archive:
            self._ordering.repeat_to(status.replica, status.executed + 1)
        if state.config.public_key(status.replica) is None:
            # A learner, or a member of another epoch: it asks, and is not waited for.
            self._answer(status.replica, now_ms)
        else:
            self.peers[status.replica] = status
        if is_here and status.view > state.view:
            # It will answer with what takes this replica into its view.
            self._answer(status.replica, now_ms)
        self.positions[status.replica] = status
        while len(self.positions) > HEADS_MAX:
            del self.positions[min(self.positions, key=self._head)]
        self._fetch_next(now_ms)

    def _compare_heads(self, status: Status, now_ms: int) -> None:
        """Show who executed another batch the proof of this one, and of the state behind it.

        Its certificate and the own one have signers in common; who gets the second can tell who
        lied, in one view at once, across views by the roots of a checkpoint.
        """
        state = self._state
        own = state.archive.get(status.executed)
        if own is None or not status.head or own.certificate.digest == status.head:
            return
        before_ms = self._shown_ms.get(status.replica)
        if before_ms is not None and now_ms - before_ms < SHOWN_STATUSES * self.status_ms:
            return
        self._shown_ms[status.replica] = now_ms
        while len(self._shown_ms) > HEADS_MAX:
            del self._shown_ms[next(iter(self._shown_ms))]
        state.send(status.replica, Committed((own,)))
        if state.stable_certificate is not None:
            state.send(status.replica, state.stable_certificate)

    def _answer(self, replica: int, now_ms: int) -> None:
        """Tell the own position, but not at once again: two would answer each other for ever."""
        before_ms = self._answered_ms.get(replica)
        if before_ms is not None and now_ms - before_ms < self._learner_status_ms:
            return
        self._answered_ms.pop(replica, None)
        self._answered_ms[replica] = now_ms
        while len(self._answered_ms) > HEADS_MAX:
            del self._answered_ms[next(iter(self._answered_ms))]
        self._state.send(replica, self._status())

    def _fetch_next(self, now_ms: int) -> None:
        """Ask the peer ahead that was asked longest ago, one question at a time.

        One that always claims to be ahead must not keep this replica from asking the others, nor
        may the moments at which peers happen to tell their positions.
        """
        state, limits = self._state, self._state.config.limits
        if now_ms - max(self._asked_ms.values(), default=0) < limits.retransmit_ms:
            return
        ahead = [peer for peer in self.positions if self._head(peer) > state.requested]
        if not ahead or state.copying or state.precedes_epoch:
            return
        asked_ms, peer = min((self._asked_ms.get(peer, 0), peer) for peer in ahead)
        if now_ms - asked_ms >= 2 * limits.status_ms:
            self._fetch(peer, self._head(peer), now_ms)

    def _head(self, peer: int) -> int:
        return self.positions[peer].executed if peer in self.positions else 0

    def _fetch(self, peer: int, last: int, now_ms: int) -> None:
        state = self._state
        self._asked_ms[peer] = now_ms
        first = state.requested + 1
        last = min(last, first + state.config.limits.fetch_batches_max - 1)
        state.send(peer, FetchCommitted(first, last))

    def on_fetch(self, sender: int, message: FetchCommitted) -> None:
        """Answer with as many decided batches of one epoch as the limits allow.

        Whoever must still come to the end of an epoch does not know who decided what follows, and
        could check no answer that goes on beyond it.
        """
        state, limits = self._state, self._state.config.limits
        entries: list[CommittedEntry] = []
        size_bytes = 0
        for sequence in range(message.first, message.last + 1):
            entry = state.archive.get(sequence)
            if entry is None or len(entries) >= limits.fetch_batches_max:
                break
            if entries and entry.certificate.epoch != entries[0].certificate.epoch:
                break
            size_bytes += len(entry.batch)
            if entries and size_bytes > limits.fetch_bytes_max:
                break
            entries.append(entry)
        if entries:
            state.send(sender, Committed(tuple(entries)))
        elif message.first <= state.executed and not self._may_be_decided_again(message.first):
            state.send(sender, BatchesGone(message.first))

    def _may_be_decided_again(self, sequence: int) -> bool:
        """Whether a batch without a certificate is left to a quorum that repeats its Commits."""
        return sequence in self._state.slots or sequence in self._state.past

    def on_committed(self, sender: int, message: Committed, now_ms: int) -> None:
        """Take decided batches and ask for the next ones while the sender has more."""
        before = self._state.requested
        self._asked_ms.pop(sender, None)
        for entry in message.entries:
            self._ordering.learn(entry)
        head = self._head(sender)
        if before < self._state.requested < head:
            self._fetch(sender, head, now_ms)
