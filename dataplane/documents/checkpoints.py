"""The state as it was at recent checkpoints, for peers that copy it.

A checkpoint just executed is a snapshot of the store, which costs nothing to take. After a restart
there is none: then the way back is computed from the journal when a peer asks. What is shown is
compared with the root the peer wants, so that a node whose state is wrong says that it has none.
"""

from dataclasses import dataclass
from typing import Final

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    CheckpointGone,
    FetchNodes,
    FetchRows,
    TreeNodes,
    TreeRows,
)
from dataplane.documents.journal import Journal
from dataplane.documents.merkle import index_key, node_key
from dataplane.documents.rewinding import rewound
from dataplane.documents.tables import Changes
from dataplane.storage.ports import KeyValueStore, Snapshot

STABLE_KEPT: Final = 2
LEASES_MAX: Final = 2
LEASE_IDLE_MS: Final = 30_000
LEASE_MS: Final = 600_000

type Answer = TreeNodes | TreeRows | CheckpointGone


@dataclass(slots=True)
class View:
    """The state at one checkpoint, and how long somebody has been reading it."""

    state: Snapshot
    root: bytes
    asked_ms: int = 0
    since_ms: int = 0


class ShownCheckpoints:
    """Views of the last stable checkpoints, of those not stable yet, and of those being read."""

    def __init__(self, store: KeyValueStore, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._views: dict[int, View] = {}
        self._stable: list[int] = []

    def __len__(self) -> int:
        return len(self._views)

    def mark(self, sequence: int, root: bytes) -> None:
        """Keep the state as it is now, which is that after `sequence`, with this root."""
        self._drop(sequence)
        self._views[sequence] = View(self._store.snapshot(), root)

    def retain(self, sequence: int, into: Changes) -> None:
        """Note that a checkpoint is stable, and forget what nobody can want any more."""
        if sequence not in self._stable:
            self._stable = sorted([*self._stable, sequence])[-STABLE_KEPT:]
        self._journal.prune(self._stable[0], into)
        for known in sorted(self._views):
            is_past = known < self._stable[-1] and known not in self._stable
            if is_past and not self._views[known].asked_ms:
                self._drop(known)

    def forget(self) -> None:
        """Drop every view: the state jumped, or the store is about to be closed."""
        for known in list(self._views):
            self._drop(known)
        self._stable = []

    def expire(self, now_ms: int) -> None:
        """Drop views that were kept only for a reader that went away or takes too long."""
        for known, view in list(self._views.items()):
            if not view.asked_ms or known in self._stable or known > max(self._stable, default=0):
                continue
            idle = now_ms - view.asked_ms > LEASE_IDLE_MS
            if idle or now_ms - view.since_ms > LEASE_MS:
                self._drop(known)
        read = [known for known in sorted(self._views) if known not in self._stable]
        leased = [known for known in read if known < max(self._stable, default=0)]
        for known in leased[:-LEASES_MAX]:
            self._drop(known)

    def _drop(self, sequence: int) -> None:
        view = self._views.pop(sequence, None)
        if view is not None:
            view.state.release()

    def answer(
        self, question: FetchNodes | FetchRows, limits: Limits, now_ms: int, *, may_rewind: bool
    ) -> Answer:
        """Answer a peer's question, as far as the limits allow."""
        self.expire(now_ms)
        view = self._view(question.sequence, may_rewind=may_rewind)
        if view is None or view.root != question.root:
            return CheckpointGone(question.sequence)
        view.asked_ms = now_ms
        view.since_ms = view.since_ms or now_ms
        if isinstance(question, FetchNodes):
            return self._nodes(view.state, question, limits)
        return self._rows(view.state, question, limits)

    def root_at(self, sequence: int) -> bytes | None:
        """Return the root of the state after `sequence`, as far as the journal leads back."""
        view = self._view(sequence, may_rewind=True)
        return None if view is None else view.root

    def _view(self, sequence: int, *, may_rewind: bool) -> View | None:
        view = self._views.get(sequence)
        if view is None and may_rewind and self._journal.covers(sequence):
            view = View(*rewound(self._store, self._journal, sequence))
            self._views[sequence] = view
        return view

    @staticmethod
    def _nodes(state: Snapshot, question: FetchNodes, limits: Limits) -> TreeNodes:
        nodes: list[tuple[str, bytes]] = []
        size_bytes = 0
        for path in question.paths:
            row = state.get(node_key(path))
            if row is None:
                continue
            size_bytes += len(row)
            if nodes and size_bytes > limits.copy_bytes_max:
                break
            nodes.append((path, row))
        return TreeNodes(question.sequence, tuple(nodes))

    @staticmethod
    def _rows(state: Snapshot, question: FetchRows, limits: Limits) -> TreeRows:
        rows: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        for key_hash in question.keys:
            key = state.get(index_key(key_hash))
            value = None if key is None else state.get(key)
            if key is None or value is None:
                continue
            size_bytes += len(key) + len(value)
            if rows and size_bytes > limits.copy_bytes_max:
                break
            rows.append((key, value))
        return TreeRows(question.sequence, tuple(rows))
