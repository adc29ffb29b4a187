"""The state as it was at the newest checkpoints, while it goes on changing."""

from typing import Final

from dataplane.consensus.messages import CheckpointCertificate
from dataplane.documents.journal import Journal
from dataplane.documents.rewinding import rewound
from dataplane.storage.ports import KeyValueStore, Snapshot

STABLE_MAX: Final = 2
OPEN_MAX: Final = 8
"""Checkpoints that wait for their quorum; the watermarks allow fewer."""


class CheckpointViews:
    """Holds a snapshot of each checkpoint that is not stable yet, and of the last stable ones."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._open: dict[int, Snapshot] = {}
        self._stable: list[tuple[CheckpointCertificate, Snapshot]] = []
        self._readers: dict[int, int] = {}
        """Identity of a snapshot -> how many read it for longer than one turn."""
        self._past: dict[int, Snapshot] = {}
        """Those that only readers still hold."""

    def take(self, sequence: int) -> None:
        """Hold the state of now: `sequence` was just executed and its root computed."""
        if sequence in self._open or any(c.sequence == sequence for c, _ in self._stable):
            return
        self._open[sequence] = self._store.snapshot()
        if len(self._open) > OPEN_MAX:
            self._open.pop(min(self._open)).release()

    def settle(self, certificate: CheckpointCertificate) -> None:
        """A checkpoint is stable: hold it with its certificate, and none before the last ones."""
        snapshot = self._open.pop(certificate.sequence, None)
        for sequence in [s for s in self._open if s < certificate.sequence]:
            self._open.pop(sequence).release()
        if snapshot is not None:
            self._hold(certificate, snapshot)

    def _hold(self, certificate: CheckpointCertificate, snapshot: Snapshot) -> None:
        self._stable.append((certificate, snapshot))
        if len(self._stable) > STABLE_MAX:
            self._let_go(self._stable.pop(0)[1])

    def borrow(self) -> tuple[CheckpointCertificate, Snapshot] | None:
        """Return the last stable checkpoint to be read for a while; `give_back` must follow."""
        if self._stable:
            own = id(self._stable[-1][1])
            self._readers[own] = self._readers.get(own, 0) + 1
        return self.newest

    def give_back(self, snapshot: Snapshot) -> None:
        """Let go of a borrowed checkpoint."""
        own = id(snapshot)
        left = self._readers.get(own, 0) - 1
        if left > 0:
            self._readers[own] = left
        elif self._readers.pop(own, None) and own in self._past:
            self._past.pop(own).release()

    def _let_go(self, snapshot: Snapshot) -> None:
        if id(snapshot) in self._readers:
            self._past[id(snapshot)] = snapshot
        else:
            snapshot.release()

    def restore(self, certificate: CheckpointCertificate, applied: int) -> None:
        """Hold a stable checkpoint of which no snapshot was taken, if the journal leads there.

        After a restart, and after a copy of a state, that is the last one. A state that turns out
        not to be the certified one is not held.
        """
        newest = self._stable[-1][0].sequence if self._stable else 0
        if not newest < certificate.sequence <= applied:
            return
        journal = Journal(self._store)
        if certificate.sequence != applied and not journal.covers(certificate.sequence):
            return
        snapshot, root = rewound(self._store, journal, certificate.sequence)
        if root == certificate.root:
            self._hold(certificate, snapshot)
        else:
            snapshot.release()

    @property
    def newest(self) -> tuple[CheckpointCertificate, Snapshot] | None:
        """The last stable checkpoint, None when there is none or its state cannot be told."""
        return self._stable[-1] if self._stable else None

    @property
    def count(self) -> int:
        """How many snapshots are held."""
        return len(self._open) + len(self._stable) + len(self._past)

    def close(self) -> None:
        """Release every snapshot: the store is about to close."""
        stable = [held for _, held in self._stable]
        for snapshot in (*self._open.values(), *stable, *self._past.values()):
            snapshot.release()
        self._readers.clear()
        self._past.clear()
        self._open.clear()
        self._stable.clear()
