"""The state as it was at an earlier checkpoint, told from the state now and the journal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, override

from dataplane.documents.journal import Journal, old_of
from dataplane.documents.merkle import MerkleTree
from dataplane.documents.tables import Changes
from dataplane.storage.ports import KeyValueStore, Snapshot

HELD_BYTES_MAX: Final = 16 * 1024 * 1024


class Rewound(KeyValueStore, Snapshot):
    """A snapshot with changes in front of it that reach no store.

    Of rows that changed since, the first are held in memory, the others where they are journaled.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._behind = store.snapshot()
        self._changes: Changes = {}
        self._held_bytes = 0
        self._journaled: dict[bytes, bytes] = {}

    def rewind(self, part: bytes, key: bytes, old: bytes | None) -> bool:
        """Show a row as it was; say whether nothing older is known of it."""
        if key in self._changes or key in self._journaled:
            return False
        if old is not None and self._held_bytes > HELD_BYTES_MAX:
            self._journaled[key] = part
        else:
            self._changes[key] = old
            self._held_bytes += len(old or b"")
        return True

    @override
    def get(self, key: bytes) -> bytes | None:
        if key in self._changes:
            return self._changes[key]
        part = self._journaled.get(key)
        return self._behind.get(key) if part is None else old_of(self._behind, part, key)

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
    state = Rewound(store)
    tree = MerkleTree(state)
    for part, changed in journal.parts(sequence):
        tree.note([old for old in changed if state.rewind(part, *old)])
    return state, tree.root()
