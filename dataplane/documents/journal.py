"""What each recent batch changed and what was there before: the way back to a checkpoint.

Rows of at most `PART_BYTES` (or of one changed row), written with the batch itself; a batch has one
unless it replaced much. They serve two ends: after a crash they name the rows that the tree has not
taken in yet, and they let a node that restarted show its peers the state of the last stable
checkpoints, which it has left behind (a cluster that lost power as a whole has no other copy of
them).
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from dataplane.documents.tables import Changes
from dataplane.storage.ports import KeyValueStore, Snapshot

PART_BYTES: Final = 1024 * 1024
_ROW: Final = b"j"
_SEQUENCE_BYTES: Final = 8
_PART_BYTES: Final = 2

type Old = tuple[bytes, bytes | None]
"""A changed row as it was before."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]]).decode


class Journal:
    """The journal rows of one store."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._parts: dict[int, int] = {}
        """Sequence -> how many rows it has."""
        for key, _ in store.iterate(_ROW):
            self._parts[_sequence(key)] = self._parts.get(_sequence(key), 0) + 1

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def last(self) -> int | None:
        """The newest batch in the journal."""
        return next(reversed(self._parts), None)

    def record(self, sequence: int, before: Iterable[Old], into: Changes) -> None:
        """Note the rows a batch changes; `into` is the write that changes them."""
        assert self.last is None or sequence > self.last, "batches come in order"
        parts = _parts_of(list(before))
        for number, part in enumerate(parts):
            into[_key(sequence, number)] = _encode(part)
        self._parts[sequence] = len(parts)

    def covers(self, sequence: int) -> bool:
        """Whether the state as it was after `sequence` can be told from the state now."""
        last = self.last
        return last is not None and next(iter(self._parts)) <= sequence + 1 <= last

    def parts(self, sequence: int) -> Iterator[tuple[bytes, list[Old]]]:
        """Yield the rows changed after `sequence`, with the key under which they are journaled.

        The first time that a row comes, it is as it was then.
        """
        for key, row in self._store.iterate(_ROW, start=_key(sequence + 1, 0)):
            assert _sequence(key) > sequence
            yield key, _decode(row)

    def prune(self, sequence: int, into: Changes) -> None:
        """Forget the batches up to and including `sequence`."""
        for known in [known for known in self._parts if known <= sequence]:
            for number in range(self._parts.pop(known)):
                into[_key(known, number)] = None


def changed_since(store: KeyValueStore, sequence: int) -> Iterator[bytes]:
    """Yield the keys that batches after `sequence` changed."""
    for _, row in store.iterate(_ROW, start=_key(sequence + 1, 0)):
        for changed, _ in _decode(row):
            yield changed


def old_of(snapshot: Snapshot, part: bytes, changed: bytes) -> bytes | None:
    """Return a row as the journal row under the key `part` has it."""
    row = snapshot.get(part)
    assert row is not None, "a snapshot keeps what it had"
    return next(old for key, old in _decode(row) if key == changed)


def _parts_of(rows: list[Old]) -> list[list[Old]]:
    """Return rows in parts of bounded size: one, unless they are very much."""
    if sum([len(key) + len(old or b"") for key, old in rows]) <= PART_BYTES:
        return [rows]
    parts: list[list[Old]] = [[]]
    size_bytes = 0
    for key, old in rows:
        own = len(key) + len(old or b"")
        size_bytes += own
        if parts[-1] and size_bytes > PART_BYTES:
            parts.append([])
            size_bytes = own
        parts[-1].append((key, old))
    return parts


def _key(sequence: int, part: int) -> bytes:
    return _ROW + sequence.to_bytes(_SEQUENCE_BYTES, "big") + part.to_bytes(_PART_BYTES, "big")


def _sequence(key: bytes) -> int:
    return int.from_bytes(key[1 : 1 + _SEQUENCE_BYTES], "big")
