"""The Merkle tree over every replicated row: a pure function of the rows, updated by changes.

The shape of nodes is `consensus.tree`. Changes wait in memory, and by their keys in the journal,
until the root is asked for. Beside the nodes an index leads from key hashes back to keys, so that
a peer can be given the rows of a bucket.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Final

from dataplane.consensus.tree import (
    BUCKET,
    BUCKET_MAX,
    EMPTY,
    ENTRY_HASH_BYTES,
    FAN_OUT,
    Entries,
    Node,
    bucket_size,
    change_bucket,
    child_path,
    decode_bucket,
    decode_inner,
    encode_bucket,
    encode_inner,
    hash_entry,
    hash_key,
    is_inner,
    nibble,
    node_digest,
)
from dataplane.documents.journal import changed_since
from dataplane.documents.tables import Changes
from dataplane.storage.ports import KeyValueStore

_NO_ENTRY: Final = bytes(ENTRY_HASH_BYTES)
_FEW: Final = 4
"""So many changes of a bucket are made one by one."""
_READ_ROWS: Final = 64
_PARTS: Final = 256
"""Of the tree, by the first byte of key hashes, that can be folded one without the others."""
_NODE: Final = b"t"
_INDEX: Final = b"h"
_FOLDED: Final = b"e"


type Changed = tuple[bytes, bytes, bytes]
"""Hash of its key, entry and key of a changed row; the entry is `_NO_ENTRY` when it is gone."""


def node_key(path: str) -> bytes:
    """Return the key of a node's row."""
    return _NODE + path.encode()


def index_key(key_hash: bytes) -> bytes:
    """Return the key of the row that holds the key with this hash."""
    return _INDEX + key_hash


def folded_row(sequence: int) -> Changes:
    """Return the row that says up to which batch the tree is folded."""
    return {_FOLDED: (sequence + 1).to_bytes(8, "big")}


class MerkleTree:
    """The tree of one store; its rows live beside the replicated ones."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._pending = _nothing_pending()
        """By the first byte of their key hashes, then by key hash."""
        self._turn = 0
        self._writes: Changes = {}
        self._sequence = -1
        self.folded = -1
        """The batch up to which the stored tree is folded."""
        self._root: Node | None = None
        self.load()

    def load(self) -> None:
        """Take up the tree that is in the store."""
        self._pending, self._root = _nothing_pending(), None
        folded = self._store.get(_FOLDED)
        self._sequence = self.folded = -1
        if folded is None:
            return
        self._sequence = self.folded = int.from_bytes(folded, "big") - 1
        keys = list(dict.fromkeys(changed_since(self._store, self._sequence)))
        for start in range(0, len(keys), _READ_ROWS):
            part = keys[start : start + _READ_ROWS]
            self.note(zip(part, self._store.get_many(part), strict=True))

    @property
    def is_indexed(self) -> bool:
        """Whether the store has a tree of this format at all."""
        return self._store.get(_FOLDED) is not None

    @property
    def pending_count(self) -> int:
        """Entries that wait for the next `root`."""
        return sum(map(len, self._pending))

    def is_pending(self, key_hash: bytes) -> bool:
        """Whether the entry is about to be replaced."""
        return key_hash in self._pending[key_hash[0]]

    def note(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Note rows as they are now."""
        pending = self._pending
        for key, value in changes:
            key_hash = hash_key(key)
            entry = _NO_ENTRY if value is None else hash_entry(key_hash, value)
            pending[key_hash[0]][key_hash] = key_hash, entry, key

    def reached(self, sequence: int) -> None:
        """Say up to which batch the changes are noted."""
        assert sequence >= self._sequence, "batches come in order"
        self._sequence = sequence

    def root(self, *, is_final: bool = True) -> bytes:
        """Fold what is pending into the tree and return its digest.

        With `is_final` off the store does not yet count as having a tree.
        """
        if any(self._pending) or self._root is None or is_final != self.is_indexed:
            self._writes = dict(folded_row(self._sequence)) if is_final else {}
            self.folded = self._sequence
            self._root = self._fold(range(_PARTS))
        return self._root.digest

    def relieve(self, pending_max: int) -> None:
        """Fold parts of what is pending until no more than so many entries are left.

        The parts take turns, so that each gathers as much as it can: a change costs the less the
        more of its neighbours change with it. How far the tree is folded is not said anew: after a
        crash what changed since is noted again, and changes nothing.
        """
        excess = self.pending_count - pending_max
        first = self._turn
        while excess > 0:
            excess -= len(self._pending[self._turn % _PARTS])
            self._turn += 1
        if self._turn > first:
            self._root = self._fold([turn % _PARTS for turn in range(first, self._turn)])

    def _fold(self, parts: Iterable[int]) -> Node:
        """Fold parts of what is pending into the stored tree; return its root."""
        changes: list[Changed] = []
        for part in sorted(parts):
            pending = self._pending[part]
            changes += [pending[key_hash] for key_hash in sorted(pending)]
            pending.clear()
        root = self._update("", self._store.get(node_key("")), changes)
        self._store.write(self._writes)
        self._writes = {}
        return root

    def _update(self, path: str, row: bytes | None, changes: list[Changed]) -> Node:
        if row is not None and is_inner(row):
            return self._update_inner(path, decode_inner(row), changes)
        bucket = BUCKET if row is None else row
        if len(changes) <= _FEW and bucket_size(bucket) + len(changes) <= BUCKET_MAX:
            return self._change_bucket(path, bucket, changes)
        entries = {} if row is None else decode_bucket(row)
        for key_hash, entry, key in changes:
            if entry == _NO_ENTRY:
                if entries.pop(key_hash, None) is not None:
                    self._writes[index_key(key_hash)] = None
            else:
                if key_hash not in entries:
                    self._writes[index_key(key_hash)] = key
                entries[key_hash] = entry
        return self._build(path, entries)

    def _change_bucket(self, path: str, bucket: bytes, changes: list[Changed]) -> Node:
        for key_hash, entry, key in changes:
            is_gone = entry == _NO_ENTRY
            changed = change_bucket(bucket, key_hash, None if is_gone else entry)
            if len(changed) != len(bucket):
                self._writes[index_key(key_hash)] = None if is_gone else key
            bucket = changed
        return self._write_bucket(path, bucket)

    def _update_inner(self, path: str, children: list[Node], changes: list[Changed]) -> Node:
        groups = _by_child(changes, len(path))
        paths = [child_path(path, index) for index in groups]
        rows = self._store.get_many(list(map(node_key, paths)))
        for index, below, row in zip(groups, paths, rows, strict=True):
            children[index] = self._update(below, row, groups[index])
        if sum(child.entries for child in children) > BUCKET_MAX:
            return self._write_inner(path, children)
        entries: Entries = {}
        for index in range(FAN_OUT):
            self._collect(child_path(path, index), entries)
        return self._build(path, entries)

    def _collect(self, path: str, into: Entries) -> None:
        """Move the entries of a bucket that is no longer needed."""
        key = node_key(path)
        row = self._writes[key] if key in self._writes else self._store.get(key)
        if row is None:
            return
        into.update(decode_bucket(row))
        self._writes[key] = None

    def _build(self, path: str, entries: Entries) -> Node:
        if len(entries) > BUCKET_MAX:
            groups: dict[int, Entries] = {}
            for key_hash, entry in entries.items():
                groups.setdefault(nibble(key_hash, len(path)), {})[key_hash] = entry
            children = [EMPTY] * FAN_OUT
            for index, group in groups.items():
                children[index] = self._build(child_path(path, index), group)
            return self._write_inner(path, children)
        return self._write_bucket(path, encode_bucket(entries))

    def _write_bucket(self, path: str, row: bytes) -> Node:
        if row == BUCKET:
            self._writes[node_key(path)] = None
            return EMPTY
        self._writes[node_key(path)] = row
        return Node(node_digest(row), bucket_size(row))

    def _write_inner(self, path: str, children: list[Node]) -> Node:
        row = encode_inner(children)
        self._writes[node_key(path)] = row
        return Node(node_digest(row), sum(child.entries for child in children))


def _nothing_pending() -> list[dict[bytes, Changed]]:
    return [{} for _ in range(_PARTS)]


def _by_child(changes: list[Changed], depth: int) -> dict[int, list[Changed]]:
    """Return changes, which are in order, by the child that each belongs to."""
    groups: dict[int, list[Changed]] = {}
    start, count = 0, len(changes)
    while start < count:
        child = nibble(changes[start][0], depth)
        end = start + 1
        # The next is mostly of another child below, and of the same one above.
        if count - start > FAN_OUT:
            end = bisect_right(changes, child, start, key=lambda change: nibble(change[0], depth))
        else:
            while end < count and nibble(changes[end][0], depth) == child:
                end += 1
        groups[child] = changes[start:end]
        start = end
    return groups


def trail(read: Callable[[bytes], bytes | None], key_hash: bytes) -> tuple[list[bytes], bytes]:
    """Return what leads to an entry: inner nodes from the root down, then the bucket's entries.

    Inner nodes are their children, digest and count, in order. The entries are empty when the last
    child is; the entry itself need not be there. `read` reads rows of a store without pending
    changes.
    """
    nodes: list[bytes] = []
    path = ""
    while True:
        row = read(node_key(path))
        if row is None or not is_inner(row):
            return nodes, b"" if row is None else row[1:]
        path = child_path(path, nibble(key_hash, len(nodes)))
        nodes.append(row[1:])
