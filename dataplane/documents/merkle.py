"""A Merkle tree over every replicated row: a pure function of the rows, updated by changes.

A row is an entry (hash of its key, hash of key and value). Entries are grouped into buckets by the
leading nibbles of the key hash; a bucket that would hold more than `BUCKET_MAX` entries is split
into sixteen. Changes wait in a journal, one row a batch, until the root is asked for.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from blake3 import blake3

from dataplane.storage.ports import KeyValueStore

KEY_HASH_BYTES: Final = 16
ENTRY_HASH_BYTES: Final = 32
BUCKET_MAX: Final = 32
FAN_OUT: Final = 16

_ENTRY_BYTES: Final = KEY_HASH_BYTES + ENTRY_HASH_BYTES
_NO_ENTRY: Final = bytes(ENTRY_HASH_BYTES)
_JOURNAL: Final = b"j"
_NODE: Final = b"t"
_BUCKET: Final = b"B"
_INNER: Final = b"N"
_CHILD_BYTES: Final = ENTRY_HASH_BYTES + 8

type Entries = dict[bytes, bytes]
"""Key hash to entry hash; `_NO_ENTRY` marks a removed row."""


class Node(NamedTuple):
    """The digest of a subtree and the number of its entries."""

    digest: bytes
    entries: int


EMPTY: Final = Node(bytes(ENTRY_HASH_BYTES), 0)


def hash_rows(changes: Iterable[tuple[bytes, bytes | None]]) -> Entries:
    """Hash changed rows into entries."""
    entries: Entries = {}
    for key, value in changes:
        key_hash = blake3(key).digest(KEY_HASH_BYTES)
        if value is None:
            entries[key_hash] = _NO_ENTRY
        else:
            entries[key_hash] = blake3(key_hash + value).digest()
    return entries


class MerkleTree:
    """The tree of one store; its rows live beside the replicated ones."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._pending: Entries = {}
        self._journal: list[bytes] = []
        self._writes: dict[bytes, bytes | None] = {}
        self._root: Node | None = None
        for key, packed in store.iterate(_JOURNAL):
            self._journal.append(key)
            self._pending.update(_unpack(packed))

    @property
    def pending_count(self) -> int:
        """Entries that wait for the next `root`."""
        return len(self._pending)

    def record(self, sequence: int, entries: Entries, into: dict[bytes, bytes | None]) -> None:
        """Note the changed entries of a batch; `into` is the write that changes the rows."""
        key = _JOURNAL + sequence.to_bytes(8, "big")
        into[key] = b"".join([key_hash + entry for key_hash, entry in entries.items()])
        self._journal.append(key)
        self._pending.update(entries)

    def root(self) -> bytes:
        """Fold what is pending into the tree and return its digest."""
        if self._pending or self._root is None:
            changes = sorted(self._pending.items())
            self._writes = dict.fromkeys(self._journal)
            self._root = self._update("", changes)
            self._store.write(self._writes)
            self._pending, self._journal, self._writes = {}, [], {}
        return self._root.digest

    def _update(self, path: str, changes: list[tuple[bytes, bytes]]) -> Node:
        row = self._store.get(_node_key(path))
        if row is not None and row.startswith(_INNER):
            return self._update_inner(path, _unpack_children(row), changes)
        entries = {} if row is None else _unpack(row[1:])
        for key_hash, entry in changes:
            if entry == _NO_ENTRY:
                entries.pop(key_hash, None)
            else:
                entries[key_hash] = entry
        return self._build(path, entries)

    def _update_inner(
        self, path: str, children: list[Node], changes: list[tuple[bytes, bytes]]
    ) -> Node:
        for nibble, group in _groups(changes, len(path)):
            children[nibble] = self._update(f"{path}{nibble:x}", group)
        if sum(child.entries for child in children) > BUCKET_MAX:
            return self._write_inner(path, children)
        entries: Entries = {}
        for nibble in range(FAN_OUT):
            self._collect(f"{path}{nibble:x}", entries)
        return self._build(path, entries)

    def _collect(self, path: str, into: Entries) -> None:
        """Move the entries of a bucket that is no longer needed."""
        key = _node_key(path)
        row = self._writes[key] if key in self._writes else self._store.get(key)
        if row is None:
            return
        assert row.startswith(_BUCKET), "a subtree of few entries is one bucket"
        into.update(_unpack(row[1:]))
        self._writes[key] = None

    def _build(self, path: str, entries: Entries) -> Node:
        if len(entries) > BUCKET_MAX:
            children = [EMPTY] * FAN_OUT
            for nibble, group in _groups(sorted(entries.items()), len(path)):
                children[nibble] = self._build(f"{path}{nibble:x}", dict(group))
            return self._write_inner(path, children)
        if not entries:
            self._writes[_node_key(path)] = None
            return EMPTY
        packed = b"".join([key_hash + entries[key_hash] for key_hash in sorted(entries)])
        row = _BUCKET + packed
        self._writes[_node_key(path)] = row
        return Node(blake3(row).digest(), len(entries))

    def _write_inner(self, path: str, children: list[Node]) -> Node:
        row = _INNER + b"".join(
            [child.digest + child.entries.to_bytes(8, "big") for child in children]
        )
        self._writes[_node_key(path)] = row
        return Node(blake3(row).digest(), sum(child.entries for child in children))


def _node_key(path: str) -> bytes:
    return _NODE + path.encode()


def _nibble(key_hash: bytes, depth: int) -> int:
    byte = key_hash[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _groups(
    changes: list[tuple[bytes, bytes]], depth: int
) -> list[tuple[int, list[tuple[bytes, bytes]]]]:
    groups: dict[int, list[tuple[bytes, bytes]]] = {}
    for change in changes:
        groups.setdefault(_nibble(change[0], depth), []).append(change)
    return list(groups.items())


def _unpack(packed: bytes) -> Entries:
    assert len(packed) % _ENTRY_BYTES == 0, "torn entries"
    return {
        packed[start : start + KEY_HASH_BYTES]: packed[
            start + KEY_HASH_BYTES : start + _ENTRY_BYTES
        ]
        for start in range(0, len(packed), _ENTRY_BYTES)
    }


def _unpack_children(row: bytes) -> list[Node]:
    assert len(row) == 1 + FAN_OUT * _CHILD_BYTES, "torn node"
    return [
        Node(
            row[start : start + ENTRY_HASH_BYTES],
            int.from_bytes(row[start + ENTRY_HASH_BYTES : start + _CHILD_BYTES], "big"),
        )
        for start in range(1, len(row), _CHILD_BYTES)
    ]


def trail(read: Callable[[bytes], bytes | None], key_hash: bytes) -> tuple[list[bytes], bytes]:
    """Return what leads to an entry: inner nodes from the root down, then the bucket's entries.

    Inner nodes are their children, digest and count, in order. The entries are empty when the last
    child is; the entry itself need not be there. `read` reads rows of a store without pending
    changes.
    """
    nodes: list[bytes] = []
    while True:
        path = "".join([f"{_nibble(key_hash, depth):x}" for depth in range(len(nodes))])
        row = read(_node_key(path))
        if row is None or row.startswith(_BUCKET):
            return nodes, b"" if row is None else row[1:]
        nodes.append(row[1:])
