"""A store that stands for another, and later for a third, without a cost for whoever calls it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, override

from dataplane.storage.ports import CacheFigures, KeyValueStore, Snapshot

_METHODS: Final = ("get", "get_many", "iterate", "scan", "write", "snapshot", "flush")


class StandIn(KeyValueStore):
    """Passes every call on. The methods of the other are put in the place of its own.

    So a caller must not keep a bound method of it for longer than a turn of the event loop.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self.stand_for(store)

    def stand_for(self, store: KeyValueStore) -> None:
        """Stand for another store from now on."""
        self.store = store
        for name in _METHODS:
            setattr(self, name, getattr(store, name))

    @override
    def get(self, key: bytes) -> bytes | None:
        return self.store.get(key)

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.store.get_many(keys)

    @override
    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self.store.iterate(prefix, start=start, reverse=reverse)

    @override
    def scan(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self.store.scan(low, high, reverse=reverse)

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.store.write(changes)

    @override
    def snapshot(self) -> Snapshot:
        return self.store.snapshot()

    @override
    def cached(self) -> CacheFigures:
        return self.store.cached()

    @override
    def flush(self) -> None:
        self.store.flush()

    @override
    def close(self) -> None:
        self.store.close()
