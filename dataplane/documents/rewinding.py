"""The state as it was at an earlier checkpoint, told from the state now and the journal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import override

from dataplane.documents.journal import Journal
from dataplane.documents.merkle import MerkleTree
from dataplane.documents.tables import Changes
from dataplane.storage.ports import KeyValueStore, Snapshot


class Rewound(KeyValueStore, Snapshot):
    """A snapshot with changes in front of it that reach no store."""

    def __init__(self, store: KeyValueStore, changes: Changes) -> None:
        self._store = store
        self._behind = store.snapshot()
        self._changes = changes

    @override
    def get(self, key: bytes) -> bytes | None:
        return self._changes[key] if key in self._changes else self._behind.get(key)

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    @override
    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the store's own rows of now: only the journal is read so, and only at once."""
        return self._store.iterate(prefix, start=start, reverse=reverse)

    @override
    def scan(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the store's own rows of now, as `iterate` does."""
        return self._store.scan(low, high, reverse=reverse)

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._changes.update(changes)

    @override
    def snapshot(self) -> Snapshot:
        return self

    @override
    def flush(self) -> None:
        """Do nothing: the changes are nowhere but here."""

    @override
    def close(self) -> None:
        self.release()

    @override
    def release(self) -> None:
        self._behind.release()


def rewound(store: KeyValueStore, journal: Journal, sequence: int) -> tuple[Snapshot, bytes]:
    """Return the state after an earlier batch, and its root."""
    rows = journal.before(sequence)
    changed = list(rows.items())
    state = Rewound(store, rows)
    tree = MerkleTree(state)
    tree.note(changed)
    return state, tree.root()
