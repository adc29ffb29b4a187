"""What each recent batch changed and what was there before: the way back to a checkpoint.

A row per batch, written with the batch itself. It serves two ends: after a crash it names the rows
that the tree has not taken in yet, and it lets a node that restarted show its peers the state of
the last stable checkpoints, which it has left behind (a cluster that lost power as a whole has no
other copy of them).
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from dataplane.documents.tables import Changes
from dataplane.storage.ports import KeyValueStore

_ROW: Final = b"j"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]]).decode


class Journal:
    """The journal rows of one store."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._sequences = [_sequence(key) for key, _ in store.iterate(_ROW)]

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def last(self) -> int | None:
        """The newest batch in the journal."""
        return self._sequences[-1] if self._sequences else None

    def record(self, sequence: int, before: Mapping[bytes, bytes | None], into: Changes) -> None:
        """Note the rows a batch changes; `into` is the write that changes them."""
        assert self.last is None or sequence > self.last, "batches come in order"
        into[_key(sequence)] = _encode(list(before.items()))
        self._sequences.append(sequence)

    def covers(self, sequence: int) -> bool:
        """Whether the state as it was after `sequence` can be told from the state now."""
        return bool(self._sequences) and self._sequences[0] <= sequence + 1 <= self._sequences[-1]

    def before(self, sequence: int) -> dict[bytes, bytes | None]:
        """Return every row changed after `sequence` as it was then."""
        rows: dict[bytes, bytes | None] = {}
        for key, row in self._store.iterate(_ROW, start=_key(sequence + 1)):
            assert _sequence(key) > sequence
            for changed, old in _decode(row):
                rows.setdefault(changed, old)
        return rows

    def prune(self, sequence: int, into: Changes) -> None:
        """Forget the batches up to and including `sequence`."""
        kept = [known for known in self._sequences if known > sequence]
        for known in self._sequences[: len(self._sequences) - len(kept)]:
            into[_key(known)] = None
        self._sequences = kept


def changed_since(store: KeyValueStore, sequence: int) -> Iterator[bytes]:
    """Yield the keys that batches after `sequence` changed."""
    for _, row in store.iterate(_ROW, start=_key(sequence + 1)):
        for changed, _ in _decode(row):
            yield changed


def _key(sequence: int) -> bytes:
    return _ROW + sequence.to_bytes(8, "big")


def _sequence(key: bytes) -> int:
    return int.from_bytes(key[1:], "big")
