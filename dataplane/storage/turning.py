"""A plain store that is becoming an encrypted one while it is in use.

The plain store is not written any more. What is written goes to the encrypted one; what was only
deleted is noted there. In the background the rest is copied over in key order, a few rows at a
time, with a note of how far that is: a crash at any point loses nothing. At the end the files of
the plain store are removed.
"""

import heapq
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, override

from dataplane.storage.encrypted import EncryptedStore
from dataplane.storage.engine import RocksStore, prefix_end
from dataplane.storage.ports import CacheFigures, Cipher, Ciphers, KeyValueStore, Snapshot

_OWN: Final = b"\xff"
"""Keys of the state begin with letters; what this module notes comes behind them."""
_REACHED: Final = _OWN + b"r"
_GONE: Final = _OWN + b"g"
_DONE: Final = _OWN + b"d"
_BEGUN: Final = _OWN + b"b"

type Entry = tuple[bytes, bytes]


class TurningStore(KeyValueStore):
    """Shows both stores as one; `step` until it returns False, then `finish`."""

    def __init__(self, plain: RocksStore, sealed: EncryptedStore, plain_path: Path) -> None:
        self._plain, self._sealed, self._plain_path = plain, sealed, plain_path
        if sealed.get(_BEGUN) is None:
            # The log replays what the plain store lost in a crash, but only from its last prefix:
            # that must not fall behind what follows in the other store.
            plain.flush()
            sealed.write({_BEGUN: b"", _REACHED: b""})
            sealed.flush()
        self._reached = sealed.get(_REACHED) or b""
        self.copied = 0
        self._snapshots = 0
        self._is_over = False

    @property
    def sealed(self) -> EncryptedStore:
        """The store that is left at the end."""
        return self._sealed

    @override
    def get(self, key: bytes) -> bytes | None:
        value, gone = self._sealed.get_many([key, _GONE + key])
        if value is not None or gone is not None or key <= self._reached:
            return value
        return self._plain.get(key)

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    @override
    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        low, high = prefix, prefix_end(prefix) or _OWN
        if start is not None and not reverse:
            low = max(low, start)
        if start is not None and reverse:
            high = min(high, start + b"\0")
        return self.scan(low, high, reverse=reverse)

    @override
    def scan(self, low: bytes, high: bytes, *, reverse: bool = False) -> Iterator[Entry]:
        high = min(high, _OWN)
        first = max(low, self._reached + b"\0")
        sealed = self._sealed.scan(low, high, reverse=reverse)
        gone = self._sealed.scan(_GONE + first, _GONE + high, reverse=reverse)
        plain = self._plain.scan(first, max(first, high), reverse=reverse)
        return _merged(sealed, gone, plain, reverse=reverse)

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        noted = dict(changes)
        for key, value in changes.items():
            if key > self._reached:
                noted[_GONE + key] = b"" if value is None else None
        self._sealed.write(noted)

    @override
    def snapshot(self) -> Snapshot:
        self._snapshots += 1
        return TurningSnapshot(self._sealed.snapshot(), self, self._reached)

    def plain_get(self, key: bytes) -> bytes | None:
        """Return what the plain store holds: it does not change."""
        return self._plain.get(key)

    def released(self) -> None:
        """Note that a snapshot is read no more."""
        self._snapshots -= 1
        self._drop_when_free()

    @override
    def cached(self) -> CacheFigures:
        return self._sealed.cached()

    @override
    def flush(self) -> None:
        self._sealed.flush()

    @override
    def close(self) -> None:
        self.close_plain()
        self._sealed.close()

    def close_plain(self) -> None:
        """Close the plain store alone; nothing reads it any more."""
        self._plain.close()

    def estimate(self) -> int:
        """Return about how many rows the plain store has."""
        return self._plain.estimate()

    # --- Turning --------------------------------------------------------------------------------

    def step(self, row_count: int) -> bool:
        """Copy some more rows in one write; say if any is left."""
        part: list[Entry] = []
        for entry in self._plain.iterate(b"", start=self._reached + b"\0"):
            part.append(entry)
            if len(part) == row_count:
                break
        keys = [key for key, _ in part]
        gone_keys = [_GONE + key for key in keys]
        known = self._sealed.get_many(keys)
        gone = self._sealed.get_many(gone_keys)
        changes: dict[bytes, bytes | None] = {
            key: value
            for (key, value), newer, is_gone in zip(part, known, gone, strict=True)
            if newer is None and is_gone is None
        }
        changes.update(
            {key: None for key, note in zip(gone_keys, gone, strict=True) if note == b""}
        )
        reached = keys[-1] if keys else _OWN
        changes[_REACHED] = reached
        self._sealed.write(changes)
        self._reached = reached
        self.copied += len(part)
        return bool(keys)

    def clear(self, row_count: int) -> bool:
        """Forget notes of deleted rows that the plain store never had; say if any is left."""
        notes: dict[bytes, bytes | None] = {}
        for key, _ in self._sealed.iterate(_GONE):
            notes[key] = None
            if len(notes) == row_count:
                break
        self._sealed.write(notes)
        return bool(notes)

    def finish(self) -> None:
        """Note durably that nothing of the plain store is needed; it goes once nobody reads it."""
        self._sealed.write({_DONE: b"", _REACHED: None, _BEGUN: None})
        self._sealed.flush()
        self._is_over = True
        self._drop_when_free()

    def _drop_when_free(self) -> None:
        if self._is_over and not self._snapshots and self._plain_path.exists():
            self._plain.close()
            _remove_plain(self._plain_path, self._sealed)

    @property
    def is_plain_left(self) -> bool:
        """Whether the files of the plain store are still there."""
        return self._plain_path.exists()


class TurningSnapshot(Snapshot):
    """Both stores at one moment."""

    def __init__(self, sealed: Snapshot, store: TurningStore, reached: bytes) -> None:
        self._sealed, self._store, self._reached = sealed, store, reached
        self._is_released = False

    @override
    def get(self, key: bytes) -> bytes | None:
        value = self._sealed.get(key)
        if value is not None or key <= self._reached or self._sealed.get(_GONE + key) is not None:
            return value
        return self._store.plain_get(key)

    @override
    def release(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._sealed.release()
            self._store.released()


def open_sealed(
    plain_path: Path,
    sealed_path: Path,
    ciphers: Ciphers,
    classes: Mapping[bytes, Cipher] | None = None,
) -> KeyValueStore:
    """Open the encrypted store of a node; one that is plain, or was turning, goes on turning.

    Raises:
        DirectoryLockedError: Another process has it open.
        FatalStorageError: RocksDB cannot open it.
        UnknownKeyError: It is sealed under a key that `ciphers` does not hold.
        CorruptionError: It is damaged beyond what can be told apart.
    """
    sealed = EncryptedStore(RocksStore(sealed_path), ciphers, classes)
    if not plain_path.exists():
        return sealed
    if sealed.get(_DONE) is not None:
        _remove_plain(plain_path, sealed)
        return sealed
    return TurningStore(RocksStore(plain_path), sealed, plain_path)


def _remove_plain(path: Path, sealed: EncryptedStore) -> None:
    shutil.rmtree(path)
    sealed.write({_DONE: None})


def _merged(
    sealed: Iterator[Entry], gone: Iterator[Entry], plain: Iterator[Entry], *, reverse: bool
) -> Iterator[Entry]:
    """Yield rows in key order; of one key the first source that says anything decides."""
    marks = ((key.removeprefix(_GONE), None) for key, _ in gone)
    sources = [
        ((key, value) for key, value in sealed),
        ((key, value) for key, value in marks),
        ((key, value) for key, value in plain),
    ]
    last: bytes | None = None
    for key, value in heapq.merge(*sources, key=_first, reverse=reverse):
        if key == last:
            continue
        last = key
        if value is not None:
            yield key, value


def _first(entry: tuple[bytes, bytes | None]) -> bytes:
    return entry[0]
