"""How a replica that lags learns decided batches, also when no client sends anything."""

from dataplane.consensus.messages import (
    Committed,
    CommittedEntry,
    FetchCommitted,
    Status,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.state import ReplicaState

LEARNER_HASTE = 10


class CatchUp:
    """Exchanges positions every second; a laggard fetches batches with their certificates."""

    def __init__(self, state: ReplicaState, ordering: Ordering) -> None:
        self._state = state
        self._ordering = ordering
        self._status_sent_ms = 0
        self._asked_ms: dict[int, int] = {}
        self.peers: dict[int, Status] = {}

    @property
    def status_ms(self) -> int:
        """How often this replica tells its position: a learner asks the members that way."""
        status_ms = self._state.config.limits.status_ms
        return status_ms // LEARNER_HASTE if self._state.config.is_learner else status_ms

    def on_tick(self, now_ms: int) -> None:
        """Tell the others where this replica stands."""
        state = self._state
        if now_ms - self._status_sent_ms < self.status_ms:
            return
        self._status_sent_ms = now_ms
        state.broadcast(self._status())

    def _status(self) -> Status:
        state = self._state
        return Status(
            state.config.epoch,
            state.view,
            state.stable,
            state.executed,
            state.config.replica_id,
            state.active,
        )

    def on_status(self, status: Status, now_ms: int) -> None:
        """Note the peer's position; fetch from it what is missing here."""
        state = self._state
        is_here = status.epoch == state.config.epoch
        if is_here and status.stable < state.stable and state.stable_certificate is not None:
            state.send(status.replica, state.stable_certificate)
        if status.executed < state.executed and status.executed + 1 not in state.archive:
            self._ordering.repeat_to(status.replica, status.executed + 1)
        if state.config.public_key(status.replica) is None:
            # A learner, or a member of another epoch: it asks, and is not waited for.
            state.send(status.replica, self._status())
        else:
            self.peers[status.replica] = status
        if is_here and status.view > state.view:
            # It will answer with what takes this replica into its view.
            state.send(status.replica, self._status())
        if status.executed > state.requested:
            self._ask(status, now_ms)

    def _ask(self, status: Status, now_ms: int) -> None:
        """Fetch from a peer that is ahead.

        One question at a time, and a peer that did not answer only after the others had their turn:
        one that always claims to be ahead must not keep this replica from asking the others.
        """
        limits = self._state.config.limits
        is_free = now_ms - max(self._asked_ms.values(), default=0) >= limits.retransmit_ms
        is_turn = now_ms - self._asked_ms.get(status.replica, 0) >= 2 * limits.status_ms
        if is_free and is_turn:
            self._fetch(status.replica, status.executed, now_ms)

    def _fetch(self, peer: int, last: int, now_ms: int) -> None:
        state = self._state
        self._asked_ms[peer] = now_ms
        first = state.requested + 1
        last = min(last, first + state.config.limits.fetch_batches_max - 1)
        state.send(peer, FetchCommitted(first, last))

    def on_fetch(self, sender: int, message: FetchCommitted) -> None:
        """Answer with as many decided batches as the limits allow."""
        state, limits = self._state, self._state.config.limits
        entries: list[CommittedEntry] = []
        size_bytes = 0
        for sequence in range(message.first, message.last + 1):
            entry = state.archive.get(sequence)
            if entry is None or len(entries) >= limits.fetch_batches_max:
                break
            size_bytes += len(entry.batch)
            if entries and size_bytes > limits.fetch_bytes_max:
                break
            entries.append(entry)
        if entries:
            state.send(sender, Committed(tuple(entries)))
        elif message.first <= state.executed and message.first not in state.slots:
            state.alarm("peer_needs_state_transfer", f"replica {sender} is at {message.first - 1}")

    def on_committed(self, sender: int, message: Committed, now_ms: int) -> None:
        """Take decided batches and ask for the next ones while the sender has more."""
        before = self._state.requested
        self._asked_ms.pop(sender, None)
        for entry in message.entries:
            self._ordering.learn(entry)
        status = self.peers.get(sender)
        moved = self._state.requested > before
        if moved and status is not None and status.executed > self._state.requested:
            self._fetch(sender, status.executed, now_ms)
